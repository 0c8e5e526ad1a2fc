"""What recurs: each thing is taken and done in one transaction, so it happens once, whoever ticks,
and what was missed happens at the next tick. Not here: when somebody ticks (workers).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from app.domain.actors import WORKER
from app.domain.deadlines import days_left
from app.domain.errors import ClearlakeError
from app.domain.failpoints import failpoint
from app.domain.steps import NewStep, StepKind
from app.services import entries
from app.services.parts import Parts, Transaction
from app.store import schedule, steps

__all__ = ["Job", "put_step", "remind", "tick"]

log = structlog.get_logger(__name__)

DUE_SOON = timedelta(days=5)
WHOLE_LAKE = "lake"
"""The target of a step that there is one of: put again while it waits, it stays one."""


@dataclass(frozen=True, slots=True)
class Job:
    """Something that recurs. `do` is given the transaction that took it."""

    name: str
    every: timedelta
    do: Callable[[Transaction, Parts], object]
    first: timedelta = timedelta(0)
    """How long after the first start of all."""


def tick(parts: Parts, jobs: Sequence[Job]) -> list[str]:
    """Do what is due; the names of what was done. One that cannot be done now is due again at the
    next tick, and keeps no other from being done.
    """
    with parts.database.transaction() as tx:
        schedule.ensure(tx, {job.name: job.first for job in jobs})
    with parts.database.transaction() as tx:
        names = schedule.due(tx, {job.name: job.every for job in jobs})
    return [job.name for job in jobs if job.name in names and _done(parts, job)]


def _done(parts: Parts, job: Job) -> bool:
    try:
        with parts.database.transaction() as tx:
            if not schedule.take(tx, job.name, every=job.every):
                return False
            job.do(tx, parts)
            failpoint("schedule.done")
    except ClearlakeError as err:
        log.warning("schedule.postponed", target=job.name, code=err.code)
        return False
    return True


def put_step(kind: StepKind) -> Callable[[Transaction, Parts], None]:
    """A job that puts the one step of this kind, unless it still waits."""

    def put(tx: Transaction, _: Parts) -> None:
        tx.ring(steps.put(tx, [NewStep(kind, WHOLE_LAKE)]))

    return put


def remind(tx: Transaction, _: Parts) -> None:
    """An entry for each open case that is due soon, or overdue."""
    now = tx.now()
    for case in schedule.cases_due(tx, within=DUE_SOON):
        left = days_left(case.due_at, now)
        log.warning("dsar.due_soon", dsar_id=case.id, due_at=case.due_at.isoformat(), count=left)
        entries.record(WORKER, tx, verb="dsar.due_soon", about=case.id, days_left=left)
