"""When each recurring thing is due. Taking it moves the date, so that it happens once, whoever
looks. Not here: what is done then (app.services.schedule).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from app.domain.dsars import CLOSED
from app.store.tables import dsar, schedule
from app.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class DueCase:
    """An open case and its legal date."""

    id: str
    due_at: datetime


def ensure(tx: Transaction, firsts: Mapping[str, timedelta]) -> None:
    """Names not known yet are due after that long."""
    rows = [{"name": n, "due_at": func.now() + first} for n, first in sorted(firsts.items())]
    tx.run(insert(schedule).values(rows).on_conflict_do_nothing())


def due(tx: Transaction, every: Mapping[str, timedelta]) -> list[str]:
    """Which of these are due."""
    found = [tx.run(select(schedule.c.name).where(_due(n, e))).scalar() for n, e in every.items()]
    return [name for name in found if name is not None]


def take(tx: Transaction, name: str, *, every: timedelta) -> bool:
    """Take what is due; it is due again after that long. False: another took it, or it is not."""
    taken = tx.run(
        update(schedule)
        .where(_due(name, every))
        .values(due_at=func.now() + every)
        .returning(schedule.c.name)
    )
    return taken.first() is not None


def _due(name: str, every: timedelta) -> ColumnElement[bool]:
    """Also when a setting was shortened since: nobody waits for the old date."""
    # By the clock and not by when this transaction began: whoever took it while we waited for the
    # row may have begun later, and what is due after theirs would seem too far away.
    far = schedule.c.due_at > func.clock_timestamp() + every
    return (schedule.c.name == name) & or_(schedule.c.due_at <= func.now(), far)


def cases_due(tx: Transaction, *, within: timedelta) -> list[DueCase]:
    """Open cases whose date is that near, or past; the most pressing first."""
    rows = tx.run(
        select(dsar.c.id, dsar.c.due_at)
        .where(dsar.c.state.not_in(sorted(CLOSED)), dsar.c.due_at <= func.now() + within)
        .order_by(dsar.c.due_at, dsar.c.id)
    )
    return [DueCase(r.id, r.due_at) for r in rows]
