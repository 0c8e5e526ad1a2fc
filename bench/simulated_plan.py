"""The child of W2-W4: a plan over so many objects that a store only lists, in a real ledger.

`python -m bench.simulated_plan OBJECTS FOLDER DATABASE_URL` prints what it saw. Nothing is read or
erased: the listing, the records, the groups, the steps and what is asked of them afterwards.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, text, update
from typeid import TypeID

from app.audit.keys import KeyStore
from app.domain.actors import WORKER
from app.domain.canary import Limit
from app.domain.datasets import DataMap
from app.domain.dsars import DsarType, Regulation, RequesterKind
from app.domain.identifiers import Identifier, Identity, Kind
from app.domain.runs import Stage
from app.domain.steps import NewStep, Step, StepEnd, StepKind, StepState
from app.lake.datamap import map_text, parse_map
from app.lake.ports import Doors, Version
from app.services import canaries, dsars, erasures, run_views, runs
from app.services.dsars import Asked
from app.services.journal import RunSeal
from app.services.leases import Lease
from app.services.ledger import Performed, Worker, perform
from app.services.parts import Lake, Parts
from app.services.run_stages import IDENTITIES, course_facts
from app.store import runs as run_rows
from app.store import steps, works
from app.store.tables import step as step_table
from app.store.transaction import Database

DATASET = "raw_events"
OBJECT_BYTES = 100_000_000
"""So that a million of them are 100 TB."""
ASKED, PERFORMED = 20, 200
USER = "usr_01J00000000000000000000000"


class OnlyListed:
    """An object store that lists so many objects, a version each, and holds none of them."""

    def __init__(self, count: int) -> None:
        self._count = count

    def now(self) -> datetime:
        return datetime.now(UTC)

    def versions(self, prefix: str) -> Iterator[Version]:
        modified = datetime(2026, 1, 1, tzinfo=UTC)
        for n in range(self._count):
            day, number = divmod(n, 40_000)
            uri = f"{prefix}event_dt=2026-{day // 28 + 1:02}-{day % 28 + 1:02}/{number:06}.ndjson"
            yield Version(uri, f"v{n:032x}", f'"{n:032x}"', OBJECT_BYTES, modified, is_latest=True)


@dataclass(frozen=True, slots=True)
class Planned:
    """A run with one person, at the stage where it is planned."""

    parts: Parts
    run_id: str

    def step(self, kind: StepKind, target: str) -> str:
        with self.parts.database.transaction() as tx:
            (step_id,) = steps.put(tx, [NewStep(kind, target, self.run_id)])
        return step_id

    def performs(self, step_id: str) -> None:
        done = perform(step_id, worker=Worker("bench", self.parts, erasures.ACTS, runs.advance))
        assert done is Performed.FINISHED, done


def data_map() -> DataMap:
    environment = {"CLEARLAKE_CATALOG_URI": "sqlite://"}
    return parse_map(map_text(root="file:///nowhere/"), source="bench", environment=environment)


def parts_of(count: int, folder: Path, url: str) -> Parts:
    store: Any = OnlyListed(count)

    @contextmanager
    def opened() -> Iterator[Doors]:
        yield Doors(store, store, store, store, None, None)

    database = Database(url, ring=lambda _: True)
    lake = Lake(data_map(), opened, folder)
    return Parts(database=database, keys=KeyStore.open(folder / "keys"), lake=lake)


def begun(parts: Parts) -> Planned:
    """A run over the objects alone, resolved."""
    assert parts.lake is not None
    run_id, limit = str(TypeID(prefix="run")), Limit(DATASET, None)
    parts.keys.create(run_id)
    asked = Asked(
        type=DsarType.ERASURE,
        regulation=Regulation.GDPR,
        requester_kind=RequesterKind.SELF,
        user_id=USER,
    )
    with parts.database.transaction() as tx:
        case = dsars.submit(WORKER, tx, parts=parts, asked=asked).dsar.id
        run_rows.insert_run(tx, run_id, started_by="bench", addendum=0, follow_up_of=None)
        run_rows.put(tx, run_id, stage=Stage.RESOLVED)
        run_rows.put_dsars(tx, run_id, [case])
        facts = course_facts(parts.lake.data_map, limit) | dict(canaries.limit_facts(limit))
        run_rows.put_facts(tx, run_id, facts)
        none: frozenset[Identifier] = frozenset()
        given = frozenset({Identifier(Kind.USER_ID, USER)})
        person = Identity(case, given=given, linked=none, derived=none, shared=())
        sealed = RunSeal.of(parts.keys, run_id).document(IDENTITIES, [person])
        run_rows.put_document(tx, run_id, IDENTITIES, sealed)
    return Planned(parts, run_id)


# --- what is measured --------------------------------------------------------------------------


def memory(name: str) -> int:
    """Bytes: VmRSS is what is held now, VmHWM the most since `forget_peak`."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", "ascii")


@contextmanager
def noted(seen: dict[str, float], name: str) -> Iterator[None]:
    forget_peak()
    cpu, wall, before = time.process_time(), time.perf_counter(), memory("VmRSS")
    yield
    seen[f"{name}_seconds"] = round(time.perf_counter() - wall, 2)
    seen[f"{name}_cpu_seconds"] = round(time.process_time() - cpu, 2)
    seen[f"{name}_grown"] = memory("VmHWM") - before


def per_second(act: Callable[[], object], times: int) -> float:
    wall = time.perf_counter()
    for _ in range(times):
        act()
    return round(times / (time.perf_counter() - wall), 1)


def stored(planned: Planned, count: int) -> dict[str, float]:
    """That the plan is right, and how large it is in Postgres."""
    with planned.parts.database.transaction() as tx:
        assert run_rows.get(tx, planned.run_id).stage is Stage.PLANNED
        parts = works.parts_of(tx, planned.run_id, DATASET)
        members = [p.number for p in parts]
        assert members == list(range(len(parts)))
        size = tx.run(text("select pg_total_relation_size('clearlake.work')")).scalar_one()
        number = tx.run(text("select count(*) from clearlake.work where part >= 0")).scalar_one()
        assert number == count
    return {"groups": len(parts), "database_bytes": int(size)}


def questions(planned: Planned) -> dict[str, float]:
    """What is asked while a run is at work, each so often a second."""
    database, run_id = planned.parts.database, planned.run_id

    def asking(ask: Callable[[Any], object]) -> float:
        def once() -> None:
            with database.transaction() as tx:
                assert ask(tx)

        return per_second(once, ASKED)

    return {
        "overviews_a_second": asking(lambda tx: run_views.overview(tx, run_id=run_id)),
        "step_pages_a_second": asking(
            lambda tx: steps.page(tx, run_id, states=(), after=None, limit=200)
        ),
        "groups_a_second": asking(
            lambda tx: works.page(tx, run_id, DATASET, part=0, after=-1, limit=1000)
        ),
        "looks_at_all_groups_a_second": asking(lambda tx: works.parts_of(tx, run_id, DATASET)),
    }


def ledger(planned: Planned) -> float:
    """Steps a second that the ledger claims and finishes for one process, when they do nothing."""

    def nothing(step: Step, lease: Lease, parts: Parts) -> StepEnd:
        return StepEnd(receipt={"bytes": OBJECT_BYTES})

    with planned.parts.database.transaction() as tx:
        ready = run_rows.ready_steps(tx, planned.run_id)[:-1]
    some = iter(ready)
    idle = Worker("bench", planned.parts, {StepKind.ERASE: nothing}, runs.advance)
    return per_second(lambda: perform(next(some), worker=idle), min(PERFORMED, len(ready)))


def newer(planned: Planned, seen: dict[str, float]) -> None:
    """Every group is done: the second listing, each key compared with its record."""
    with planned.parts.database.transaction() as tx:
        tx.run(
            update(step_table)
            .where(step_table.c.run_id == planned.run_id, step_table.c.kind == StepKind.ERASE)
            .values(state=StepState.DONE, ended_at=func.now())
        )
    step_id = planned.step(StepKind.NEWER, f"{DATASET}/1")
    with noted(seen, "newer"):
        planned.performs(step_id)
    with planned.parts.database.transaction() as tx:
        found = tx.run(select(step_table.c.receipt).where(step_table.c.id == step_id)).scalar_one()
        assert found["found"] == 0, "nobody wrote meanwhile"


def main(count: int, folder: Path, url: str) -> dict[str, float]:
    """Plan, store, ask."""
    planned = begun(parts_of(count, folder, url))
    seen: dict[str, float] = {"objects": count}
    step_id = planned.step(StepKind.PLAN, DATASET)
    with noted(seen, "plan"):
        planned.performs(step_id)
    seen |= stored(planned, count) | questions(planned)
    seen["steps_a_second"] = ledger(planned)
    newer(planned, seen)
    planned.parts.database.close()
    return seen


if __name__ == "__main__":
    from app import logs

    logs.configure("bench")
    logging.getLogger().setLevel(logging.WARNING)
    print(json.dumps(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])))
