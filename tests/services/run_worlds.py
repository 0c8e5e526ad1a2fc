"""A small lake at a place, the service's parts on it, cases, and a worker that does every step.

Not here: what is expected of a run (the tests).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import psycopg
import pytest

from app.domain.datasets import DataMap
from app.domain.dsars import State
from app.domain.runs import Stage
from app.domain.steps import StepKind, StepState
from app.lake.datamap import map_text, parse_map
from app.lake.make import Cast, make_lake
from app.lake.ports import Doors
from app.lake.pyiceberg_engine import PyIcebergEngine
from app.lake.stitch import stitch
from app.servers import Servers
from app.services import endings, order_holds, runs
from app.services.erasures import ACTS
from app.services.ledger import Acts, Performed, Worker, perform
from app.services.parts import Parts
from app.services.scopes import scope_cases
from app.store import dsar_records, run_reports, steps
from app.store import runs as run_rows
from app.store.run_reports import ReportRow
from app.store.runs import Run
from app.store.steps import StepRow
from tests.e2e.reader import Bucket
from tests.e2e.records import Gone, Records, gone_people, read_records
from tests.e2e.storage import BucketStorage, FolderStorage, Storage
from tests.places import Place
from tests.services.dsar_cases import ASKED, ASKER, OFFICER, approve, get, submit

ON_FILE = pytest.mark.parametrize("place", ["file"], indirect=True)
ON_S3 = pytest.mark.parametrize("place", ["s3"], indirect=True)
START = date(2026, 11, 2)
EVERY_ACT: Acts = MappingProxyType(
    {
        **ACTS,
        StepKind.SCOPE: scope_cases,
        StepKind.SHRED: endings.shred,
        StepKind.LOOK: order_holds.look,
    }
)


@dataclass
class RunWorld:
    """A lake and a service on it."""

    place: Place
    parts: Parts
    cast: Cast
    storage: Storage
    data_map: DataMap
    lake_parts: Callable[[DataMap], Parts] = field(repr=False)
    acts: Acts = field(default_factory=lambda: EVERY_ACT)

    # --- cases -----------------------------------------------------------------------------------

    def case(self, user: str | None = None, *, anon: str | None = None) -> str:
        """A case that waits for its scope."""
        asked = replace(
            ASKED,
            user_id=user,
            anon_ids=() if anon is None else (anon,),
            device_fps=(),
            external_ref=None,
        )
        return submit(self.parts, asked).dsar.id

    def queued(self, *users: str) -> list[str]:
        """Approved cases of these users."""
        ids = [self.case(user) for user in users]
        for step_id in self.ready(StepKind.SCOPE):
            perform(step_id, worker=self.worker())
        for dsar_id in ids:
            approve(self.parts, get(self.parts, dsar_id), review=None)
        return ids

    def approved(self, dsar_id: str) -> None:
        """Approve a case that waits for it (again)."""
        approve(self.parts, get(self.parts, dsar_id), review=None)

    def state(self, dsar_id: str) -> State:
        return get(self.parts, dsar_id).state

    def waiting_until(self, dsar_id: str) -> datetime | None:
        return get(self.parts, dsar_id).waiting_until

    def execute(self, owner_url: str, statement: str) -> None:
        """What no service can do: time passes, a worker falls silent."""
        options = "-csearch_path=clearlake"
        url = owner_url.replace("+psycopg", "", 1)
        with psycopg.connect(url, autocommit=True, options=options) as link:
            link.execute(statement.encode())

    # --- runs ------------------------------------------------------------------------------------

    def start(self) -> str:
        with self.parts.database.transaction() as tx:
            run_id = runs.start(OFFICER, tx, parts=self.parts)
        assert run_id is not None
        return run_id

    def run(self, run_id: str) -> Run:
        with self.parts.database.transaction() as tx:
            return run_rows.get(tx, run_id)

    def stage(self, run_id: str) -> Stage:
        return self.run(run_id).stage

    def steps(self, run_id: str) -> list[StepRow]:
        with self.parts.database.transaction() as tx:
            return steps.of_run(tx, run_id)

    def reports(self, run_id: str) -> list[ReportRow]:
        with self.parts.database.transaction() as tx:
            return run_reports.of_run(tx, run_id)

    def verdicts(self, run_id: str) -> dict[str | None, tuple[str | None, str | None]]:
        """Case (None: the run) -> verdict and outcome of its newest report."""
        found = [r for r in self.reports(run_id) if r.kind != "objects"]
        return {r.dsar_id: (r.verdict, r.outcome) for r in found}

    def report_bytes(self, run_id: str, dsar_id: str | None) -> tuple[bytes, bytes, str]:
        """Document, signature and key of the newest report on a case (None: on the run)."""
        with self.parts.database.transaction() as tx:
            found = (
                run_reports.run_report(tx, run_id, kind="run", addendum=None)
                if dsar_id is None
                else dsar_records.signed_report(tx, dsar_id, addendum=None)
            )
        assert found is not None
        assert found.signature is not None
        return found.document, found.signature, found.key_id

    # --- a worker --------------------------------------------------------------------------------

    def worker(self, name: str = "worker-1") -> Worker:
        return Worker(name, self.parts, self.acts, runs.advance)

    def ready(self, *kinds: StepKind) -> list[str]:
        """Steps that could be claimed now."""
        from app.store import leases

        with self.parts.database.transaction() as tx:
            return leases.claimable(tx, kinds=kinds or tuple(self.acts), limit=100)

    def work(self, *, until: Callable[[], bool] = lambda: False) -> list[Performed]:
        """Do steps, one after the other, until there is none (or `until` says so)."""
        done: list[Performed] = []
        while not until() and (ready := self.ready()):
            done.append(perform(ready[0], worker=self.worker()))
        return done

    def work_to(self, run_id: str, stage: Stage) -> None:
        """Do steps until the run has reached a stage."""
        self.work(until=lambda: self.stage(run_id) is stage)
        assert self.stage(run_id) is stage

    def parked(self, run_id: str) -> list[tuple[str, str, str | None]]:
        return [
            (s.kind.value, s.target, s.error_code)
            for s in self.steps(run_id)
            if s.state is StepState.PARKED
        ]

    # --- the lake --------------------------------------------------------------------------------

    def with_map(self, old: str, new: str) -> None:
        """Another data map for everything from here on."""
        text = _map_text(self.place)
        assert old in text
        self.data_map = _parsed(self.place, text.replace(old, new))
        self.parts = self.lake_parts(self.data_map)

    def apart(self) -> None:
        """From here on each step has catalog connections of its own, as in processes."""
        place = self.place

        @contextmanager
        def opened() -> Iterator[Doors]:
            engine = PyIcebergEngine(place.catalog, io_properties=place.io_properties)
            try:
                yield replace(place.doors(), engine=engine, verify_engine=engine)
            finally:
                engine.close()

        assert self.parts.lake is not None
        self.parts = replace(self.parts, lake=replace(self.parts.lake, open=opened))

    def load(self, body: bytes, *, name: str = "late") -> str:
        """A new object of the day's last hour; its URI."""
        uri = f"{self.place.root}raw/event_dt={START}/23/evt-{name}.ndjson"
        self.place.loader.load(uri, body)
        return uri

    def load_locked(self, name: str, user: str, *, but_of: Gone, until: datetime) -> str:
        """A line of the user's, and of nobody of the others, under a COMPLIANCE lock; its
        URI.
        """
        [line, *_] = [
            line
            for body in self.storage.current("raw/").values()
            for line in body.splitlines(keepends=True)
            if json.loads(line)["user"]["user_id"] == user
            and not any(value.encode() in line for value in but_of.values)
        ]
        uri = f"{self.place.root}raw/event_dt={START}/23/evt-{name}.ndjson"
        self.place.loader.load(uri, line, lock_mode="COMPLIANCE", retain_until=until)
        return uri

    def load_link(self, user: str, *, anon: str) -> None:
        """A login that Silver does not know yet: one of the user's own, with another cookie."""
        [line, *_] = [
            line
            for body in self.storage.current("raw/").values()
            for line in body.splitlines()
            if b'"identity.link"' in line and json.loads(line)["user"]["user_id"] == user
        ]
        link = json.loads(line)
        link["user"]["anon_id"] = link["payload"]["anon_id"] = anon
        link["event_id"] = "evt_01JB0000000000000000000001"
        self.load(json.dumps(link).encode() + b"\n", name=anon)

    def records(self) -> Records:
        return read_records(self.storage)

    def gone(self, *users: str, anons: tuple[str, ...] = ()) -> Gone:
        return gone_people(self.records(), users=users, anons=anons)

    def clean_of(self, gone: Gone, *, before: Records) -> None:
        """Nothing of them is left, and everybody else is as before."""
        left = self.storage.held(gone.values)
        assert not left, left[:3]
        differences = self.records().settled.differences(before.without(gone))
        assert not differences, differences[:3]


def made_run_world(
    place: Place,
    lake_parts: Callable[[DataMap], Parts],
    *,
    storage: Storage,
    events: int = 300,
) -> RunWorld:
    """A made lake, stitched, with the service on it."""
    made = make_lake(
        events=events,
        users=16,
        days=2,
        seed=1,
        codec="none",
        root=place.root,
        loader=place.loader,
        engine=place.engine,
        start=START,
        retain_until=datetime.now(UTC) + timedelta(days=30),
    )
    stitch(place.engine, built_at=datetime(2026, 11, 6, tzinfo=UTC))
    data_map = _parsed(place, _map_text(place))
    return RunWorld(place, lake_parts(data_map), made.cast, storage, data_map, lake_parts)


def _map_text(place: Place) -> str:
    return map_text(root=place.root)


def _parsed(place: Place, text: str) -> DataMap:
    environment = {"CLEARLAKE_CATALOG_URI": place.catalog.uri}
    environment["CLEARLAKE_S3_ENDPOINT"] = place.io_properties.get("s3.endpoint", "")
    return parse_map(text, source="lake.yaml", environment=environment)


@contextmanager
def storage_of(place: Place, tmp_path: Path, servers: Servers) -> Iterator[Storage]:
    """The bytes of a place, read by code of its own."""
    if place.kind == "file":
        yield FolderStorage(Path(place.root.removeprefix("file://")), tmp_path / "catalog.db")
        return
    key = servers.s3.credentials["admin"]
    name = place.root.removeprefix("s3://").rstrip("/")
    bucket = Bucket(servers.s3.endpoint, key.access_key, key.secret_key, name)
    try:
        yield BucketStorage(bucket, place.catalog.uri)
    finally:
        bucket.client.close()


__all__ = ["ASKER", "OFFICER", "RunWorld", "made_run_world", "storage_of"]
