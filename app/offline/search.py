"""The verifier over a whole lake: after a run (`look_again`), and on its own (`search_lake`).

Gathers what the verifier needs; what it looks for and how is app.lake.verify.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.domain.datasets import DataMap
from app.domain.findings import Finding, Seen
from app.domain.identifiers import Subject, Targets
from app.domain.receipts import ObjectWork, TableWork
from app.lake.identities import resolve
from app.lake.mapcheck import check_map
from app.lake.ports import Doors
from app.lake.verify import Verified, find_person, verify_lake

Say = Callable[[str, str, int, int], None]
"""Stage, dataset, done, of how many."""


@dataclass(frozen=True, slots=True)
class Seeing:
    """What the verify stage journals: all that a report says of the second look."""

    findings: tuple[Finding, ...]
    seen: dict[str, Seen]
    undeclared: tuple[str, ...]
    horizons: dict[str, str]
    """By dataset, in words."""
    horizon_at: datetime
    """The earliest of them: up to here everything was looked at."""


def look_again(
    targets: Targets,
    *,
    data_map: DataMap,
    doors: Doors,
    objects: Mapping[str, Sequence[ObjectWork]],
    tables: Mapping[str, TableWork],
    horizons: Mapping[str, datetime],
    committed_at: datetime,
    say: Say,
) -> Seeing:
    """Verify a run with the read-only credential. `horizons`: H of the Bronze datasets;
    `committed_at`: when the tables' own horizons were reached.
    """
    verified = verify_lake(
        data_map,
        targets=targets,
        store=doors.verifier,
        metadata_location=_metadata_location(doors),
        objects=objects,
        tables=tables,
        horizons=horizons,
        progress=lambda dataset, done, of: say("verify", dataset, done, of),
    )
    words = {name: at.isoformat(timespec="milliseconds") for name, at in horizons.items()}
    words |= {name: f"snapshot {work.horizon}" for name, work in tables.items()}
    return Seeing(
        findings=verified.findings,
        seen=dict(verified.seen),
        undeclared=verified.undeclared,
        horizons=words,
        horizon_at=min([*horizons.values(), committed_at]),
    )


def search_lake(
    subjects: Sequence[Subject], *, data_map: DataMap, doors: Doors, say: Say
) -> Verified:
    """Where these people, and everything linked to them, stand in the lake now."""
    check_map(data_map, store=doors.reader, engine=doors.engine)
    identities = resolve(
        subjects, data_map=data_map, store=doors.reader, engine=doors.engine, shared_review="keep"
    )
    return find_person(
        data_map,
        targets=Targets.of(identities),
        store=doors.verifier,
        metadata_location=_metadata_location(doors),
        progress=lambda dataset, done, of: say("check", dataset, done, of),
    )


def _metadata_location(doors: Doors) -> Callable[[str], str]:
    def current(table: str) -> str:
        assert doors.verify_engine is not None
        return doors.verify_engine.head(table).metadata_location

    return current
