"""A small lake, and a person who was erased from it a moment ago. Not here: what is expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa

from app.domain.datasets import DataMap
from app.domain.identifiers import Identifier, Identity, Kind, Shared
from app.domain.steps import StepKind
from app.lake.datamap import parse_map
from app.services import late
from app.services.journal import LedgerJournal
from app.services.parts import Parts
from app.services.run_stages import IDENTITIES
from app.store import runs as stored_runs
from app.store import suppression as store
from tests.lake.bronze_world import ANON, DEVICE, USER, Lake, text
from tests.places import Place
from tests.services.dsar_cases import somebody
from tests.services.erased import (
    end_run,
    finish,
    held,
    let_go,
    put_facts,
    queued,
    started,
    suppress,
    with_rules,
)

MAP = """
version: 1
catalog: {{name: lake, type: sql, uri: "{uri}", warehouse: "{root}"}}
datasets:
  - name: raw_events
    layer: bronze
    location: "{root}raw/"
    format: ndjson
    event_time: ts
    owner: {{user_id: [user.user_id]}}
    linked: {{anon_id: [user.anon_id, payload.anon_id], device_fp: [device.fp, payload.device_fp]}}
    mentions: {{user_id: [payload.user_id]}}
  - name: timed
    layer: silver
    table: lake.timed
    event_time: ts
    owner: {{user_id: [user_id]}}
  - name: built
    layer: gold
    table: lake.built
    owner: {{user_id: [user_id]}}
    built_from: [timed]
  - name: untimed
    layer: gold
    table: lake.untimed
    owner: {{user_id: [user_id]}}
downstream: {{none: true, attested_by: nobody, at: 2026-01-01}}
"""
TABLES = ("timed", "built", "untimed")
SCHEMA = pa.schema([("user_id", pa.string()), ("ts", pa.timestamp("us", "UTC"))])
HOUR = timedelta(hours=1)
A_MOMENT = timedelta(microseconds=1)
"""Long enough for a case to settle, and over at once."""
U, A, D = (
    Identifier(Kind.USER_ID, USER),
    Identifier(Kind.ANON_ID, ANON),
    Identifier(Kind.DEVICE_FP, DEVICE),
)


@dataclass
class World:
    """A small lake, and a person who was erased from it a moment ago."""

    parts: Parts
    place: Place
    lake: Lake
    run_id: str
    case_id: str
    fence: datetime
    nights: int = 0

    @property
    def before(self) -> str:
        return (self.fence - HOUR).isoformat()

    @property
    def after(self) -> str:
        return (self.fence + HOUR).isoformat()

    def lands(self, *lines: bytes, name: str = "late.ndjson") -> None:
        self.lake.load(name, text(lines))

    def appended(self, table: str, user_id: str, at: datetime) -> int:
        rows = pa.Table.from_pylist([{"user_id": user_id, "ts": at}], schema=SCHEMA)
        return self.place.engine.append(f"lake.{table}", rows)

    def sweep(self) -> dict[str, int | str]:
        """One sweep as a worker does it; what came of it."""
        self.nights += 1
        step, lease = held(self.parts, StepKind.SWEEP, f"night {self.nights}")
        try:
            end = late.sweep(step, lease, self.parts)
        finally:
            let_go(self.parts, step)
        return {**end.receipt, "state": end.state.value}

    @property
    def marks(self) -> Mapping[str, str]:
        with self.parts.database.transaction() as tx:
            return store.marks(tx)

    @property
    def swept_at(self) -> datetime | None:
        with self.parts.database.transaction() as tx:
            return store.swept_at(tx)

    @property
    def follow_up(self) -> str | None:
        with self.parts.database.transaction() as tx:
            found = stored_runs.at_work(tx)
        return found if found != self.run_id else None


def world(place: Place, lake_parts: Callable[[DataMap], Parts], tmp_path: Path) -> World:
    made = MAP.format(uri=place.catalog.uri, root=place.root)
    data_map = parse_map(made, source="lake.yaml", environment={})
    parts = with_rules(lake_parts(data_map), max_writer_lifetime=A_MOMENT)
    for table in TABLES:
        place.engine.create_table(f"lake.{table}", SCHEMA, partition_by=None, properties={})
    case = queued(parts, somebody(1), of=person)
    run_id = started(parts)
    with parts.database.transaction() as tx:
        fence = tx.now()
    suppress(parts, run_id, person(case.id))
    put_facts(parts, run_id, {"horizon:raw_events": place.reader.now().isoformat()})
    finish(parts, run_id, case.id)
    end_run(parts, run_id)
    return World(parts, place, Lake(place, tmp_path / "spool"), run_id, case.id, fence)


def person(dsar_id: str) -> Identity:
    """A user with a cookie, and a device that others use too."""
    return Identity(
        subject=dsar_id,
        given=frozenset({U}),
        linked=frozenset({A, D}),
        derived=frozenset(),
        shared=(Shared(D, 2, "tombstone"),),
    )


def followed(world: World) -> list[Identity]:
    """Who the follow-up run is about."""
    assert world.follow_up is not None
    journal = LedgerJournal.of(world.parts, world.follow_up, guard=lambda _: None)
    return journal.document(IDENTITIES, list[Identity]) or []
