"""How far the groups of a stage are, as the ledger counts them."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, insert, update

from app.domain.pace import WINDOW, Worked
from app.domain.phases import kinds_at
from app.domain.runs import Stage
from app.domain.steps import NewStep, StepKind, StepState
from app.services import run_views
from app.services.parts import Parts, Transaction
from app.store import runs, steps
from app.store.tables import run
from app.store.tables import step as table

RUN = "run_p"
LARGE = 3 << 40
"""More than an integer of four bytes holds."""


def put(tx: Transaction, kind: StepKind, *targets: str) -> None:
    steps.put(tx, [NewStep(kind, t, RUN) for t in targets])


def ended(tx: Transaction, kind: StepKind, target: str, *, ago: timedelta, size: int = 0) -> None:
    at = func.now() - ago
    tx.run(
        update(table)
        .where(table.c.kind == kind, table.c.target == target)
        .values(state=StepState.DONE, started_at=at, ended_at=at, receipt={"bytes": size})
    )


def worked(tx: Transaction, stage: Stage) -> Worked | None:
    return steps.worked(tx, RUN, kinds=kinds_at(stage), window=WINDOW)


def test_groups_are_counted_with_their_bytes_and_what_ended_lately(parts: Parts) -> None:
    minute, long_ago = timedelta(minutes=1), timedelta(days=1)
    with parts.database.transaction() as tx:
        tx.run(insert(run).values(id=RUN, stage=Stage.PLANNED, started_by="worker"))
        put(tx, StepKind.PLAN, "raw", "events")
        ended(tx, StepKind.PLAN, "raw", ago=long_ago, size=LARGE)
        put(tx, StepKind.ERASE, *(f"raw/{n}" for n in range(5)), "events")
        ended(tx, StepKind.ERASE, "raw/0", ago=long_ago, size=LARGE // 5)
        ended(tx, StepKind.ERASE, "raw/1", ago=minute, size=LARGE // 4)
        put(tx, StepKind.NEWER, "raw/1")
        ended(tx, StepKind.NEWER, "raw/1", ago=minute, size=7)
        found = worked(tx, Stage.PLANNED)
        assert found is not None
        assert found.since == tx.now() - long_ago
        assert (found.total, found.done, found.at_work, found.lately) == (5, 2, 0, 1)
        assert found.bytes_planned == LARGE + 7
        assert found.bytes_done == LARGE // 5 + LARGE // 4
        assert found.bytes_lately == LARGE // 4
        assert worked(tx, Stage.ERASED) is None
        shown = run_views.overview(tx, run_id=RUN).pace
        assert shown is not None
        assert shown.ends_at is not None
        runs.put(tx, RUN, stop_requested=True)
        stopped = run_views.overview(tx, run_id=RUN).pace
        assert stopped is not None
        assert stopped.ends_at is None, "nothing is begun any more"


def test_a_stage_without_groups_counts_its_steps_and_an_ended_run_has_no_pace(
    parts: Parts,
) -> None:
    with parts.database.transaction() as tx:
        tx.run(insert(run).values(id=RUN, stage=Stage.PURGED, started_by="worker"))
        put(tx, StepKind.VERIFY, "raw", "events", "*")
        ended(tx, StepKind.VERIFY, "raw", ago=timedelta(minutes=3))
        found = worked(tx, Stage.PURGED)
        assert found is not None
        assert (found.total, found.done, found.lately) == (3, 1, 1)
        assert found.bytes_planned == 0
        runs.put(tx, RUN, stage=Stage.CLOSED, ended_at=tx.now())
        assert run_views.overview(tx, run_id=RUN).pace is None
