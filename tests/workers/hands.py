"""What tests of the ledger do with a step: put it, act in a few ways, look at it, let it lapse."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from sqlalchemy import func, update

from app.domain.steps import NewStep, Step, StepEnd, StepKind
from app.services import ledger
from app.services.ledger import Lease, Worker
from app.services.parts import Parts, Transaction
from app.store import audit, steps
from app.store.steps import StepRow
from app.store.tables import step as table

Act = Callable[[Step, Lease, Parts], StepEnd]
SECRET = "usr_01HZZZZZZZZZZZZZZZZZZZZZZZ"


def seldom(tx: Transaction, parts: Parts, run_id: str) -> list[NewStep]:
    raise AssertionError("no run here")


def worker(parts: Parts, act: Act, *, advance: ledger.Advance = seldom) -> Worker:
    return Worker("w", parts, dict.fromkeys(StepKind, act), advance)


def put(parts: Parts, *new: NewStep) -> list[str]:
    with parts.database.transaction() as tx:
        return steps.put(tx, new or [NewStep(StepKind.SHRED, "case")])


def row(parts: Parts, step_id: str) -> StepRow:
    with parts.database.transaction() as tx:
        found = steps.get(tx, step_id)
    assert found is not None
    return found


def verbs(parts: Parts, about: str) -> list[str]:
    with parts.database.transaction() as tx:
        return [e.verb for e in audit.of_objects(tx, [about])]


def done(step: Step, lease: Lease, parts: Parts) -> StepEnd:
    return StepEnd(receipt={"rows": 3, "version": "v1"})


def raising(error: BaseException) -> Act:
    def act(step: Step, lease: Lease, parts: Parts) -> StepEnd:
        raise error

    return act


def wait_until(true: Callable[[], bool], *, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def lapse(parts: Parts, step_id: str) -> None:
    with parts.database.transaction() as tx:
        past = func.now() - timedelta(seconds=1)
        tx.run(update(table).where(table.c.id == step_id).values(lease_until=past))
