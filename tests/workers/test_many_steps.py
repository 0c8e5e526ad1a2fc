"""A plan of very many steps: the queue stays short, and a run is asked how it goes on once a group
of steps, not once a step.
"""

from __future__ import annotations

import pytest
from sqlalchemy import func, insert, select, update

from app.domain.steps import NewStep, StepKind, StepState
from app.services.ledger import Performed, Worker, perform, reconcile
from app.services.parts import Parts, Transaction
from app.store import steps, transaction
from app.store.tables import run
from app.store.tables import step as table
from tests.workers.hands import done, worker

RUN = "run_m"


def put_run(parts: Parts, *targets: str, kind: StepKind = StepKind.ERASE) -> list[str]:
    """A run with these steps, rung for as a planner rings."""
    with parts.database.transaction() as tx:
        tx.run(insert(run).values(id=RUN, stage="planned", started_by="worker"))
        ids = steps.put(tx, [NewStep(kind, t, RUN) for t in targets])
        tx.ring(ids)
    return ids


class Asked:
    """A worker, and how often its run was asked how it goes on."""

    def __init__(self, parts: Parts) -> None:
        self.times = 0
        self.worker: Worker = worker(parts, done, advance=self._advance)

    def _advance(self, tx: Transaction, parts: Parts, run_id: str) -> list[NewStep]:
        self.times += 1
        return []

    def performs(self, step_id: str) -> None:
        assert perform(step_id, worker=self.worker) is Performed.FINISHED


def test_of_many_steps_some_are_rung_for_and_each_that_ends_rings_for_another(
    parts: Parts, rung: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "RUNG_AT_ONCE", 5)
    ids = put_run(parts, *(f"raw/{n}" for n in range(20)))
    assert len(rung) == 5
    asked = Asked(parts)
    ended = 0
    while ended < len(rung):
        asked.performs(rung[ended])
        ended += 1
        assert len(rung) == min(5 + ended, 20), "as many in the queue as before"
    assert sorted(rung) == sorted(ids), "nobody was rung for twice"
    with parts.database.transaction() as tx:
        open_ = select(func.count()).where(table.c.state != StepState.DONE)
        assert tx.run(open_).scalar_one() == 0


def test_what_no_step_rang_for_the_reconciler_does_as_far_as_there_is_room(
    parts: Parts, rung: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "RUNG_AT_ONCE", 5)
    put_run(parts, *(f"raw/{n}" for n in range(20)))
    assert reconcile(parts, room=3) == 3
    assert len({*rung}) == 8


def test_steps_that_wait_for_a_date_are_not_rung_for_by_those_that_end(
    parts: Parts, rung: list[str]
) -> None:
    first, second = put_run(parts, "raw/0", "raw/1")
    with parts.database.transaction() as tx:
        later = func.now() + func.make_interval(0, 0, 0, 1)
        values = {"not_before": later, "last_enqueued_at": None}
        tx.run(update(table).where(table.c.id == second).values(**values))
    Asked(parts).performs(first)
    assert rung == [first, second]


def test_a_run_is_asked_how_it_goes_on_when_the_last_of_a_kind_and_dataset_ends(
    parts: Parts,
) -> None:
    raw = put_run(parts, *(f"raw/{n}" for n in range(4)), "sessions", "sessions/7")
    asked = Asked(parts)
    times = []
    for step_id in raw:
        asked.performs(step_id)
        times.append(asked.times)
    assert times == [0, 0, 0, 1, 1, 2]


def test_a_step_that_was_given_back_is_still_open(parts: Parts) -> None:
    first, second = put_run(parts, "raw/0", "raw/1")
    asked = Asked(parts)
    asked.performs(first)
    assert asked.times == 0
    with parts.database.transaction() as tx:
        again = steps.put(tx, [NewStep(StepKind.ERASE, "raw/0", RUN)])
    asked.performs(second)
    assert asked.times == 0
    asked.performs(again[0])
    assert asked.times == 1


def test_a_run_that_is_being_undone_is_asked_after_every_step(parts: Parts) -> None:
    first, _ = put_run(parts, "raw/0", "raw/1")
    with parts.database.transaction() as tx:
        tx.run(update(run).where(run.c.id == RUN).values(undo_requested=True))
    asked = Asked(parts)
    asked.performs(first)
    assert asked.times == 1
