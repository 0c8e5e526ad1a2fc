"""Counts for /metrics: how many cases, runs and steps stand where. No ids, nothing personal."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, select

from app.domain.dsars import CLOSED
from app.domain.steps import OPEN, StepState
from app.store.tables import dsar, run, step
from app.store.transaction import Transaction

Counted = dict[tuple[str, ...], int]


@dataclass(frozen=True, slots=True)
class Figures:
    """What stands where now."""

    cases: Counted = field(default_factory=dict)
    """By state and regulation."""
    overdue: Counted = field(default_factory=dict)
    """Open cases past their date, by regulation."""
    oldest_due: datetime | None = None
    runs: Counted = field(default_factory=dict)
    """By stage."""
    open_steps: Counted = field(default_factory=dict)
    """By state and kind."""
    parked: Counted = field(default_factory=dict)
    """By kind: a person must look."""
    unheard: int = 0
    """Steps that are due and were never rung: the bell was not heard."""


def figures(tx: Transaction) -> Figures:
    """Read them all, in one transaction."""
    is_open = dsar.c.state.not_in([s.value for s in CLOSED])
    late = (is_open, dsar.c.due_at < func.now())
    unheard = (
        step.c.state == StepState.READY.value,
        step.c.last_enqueued_at.is_(None),
        func.coalesce(step.c.not_before, step.c.created_at) < func.now(),
    )
    return Figures(
        cases=_counted(tx, dsar.c.state, dsar.c.regulation),
        overdue=_counted(tx, dsar.c.regulation, where=late),
        oldest_due=tx.run(select(func.min(dsar.c.due_at)).where(is_open)).scalar_one(),
        runs=_counted(tx, run.c.stage),
        open_steps=_counted(
            tx, step.c.state, step.c.kind, where=(step.c.state.in_([s.value for s in OPEN]),)
        ),
        parked=_counted(tx, step.c.kind, where=(step.c.state == StepState.PARKED.value,)),
        unheard=tx.run(select(func.count()).select_from(step).where(*unheard)).scalar_one(),
    )


def _counted(tx: Transaction, *columns: object, where: tuple[object, ...] = ()) -> Counted:
    rows = tx.run(select(*columns, func.count()).where(*where).group_by(*columns))  # type: ignore[call-overload]  # columns of our own tables
    return {tuple(row[:-1]): row[-1] for row in rows}
