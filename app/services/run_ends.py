"""How a step on objects or on a table ended: its state, a reason from our own lists, counts. Pure.

Not here: how it ended for a person (app.domain.reports).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from app.domain.exits import WAITS, Wait
from app.domain.receipts import Counts, ObjectWork, TableWork, WorkState
from app.domain.steps import TOGETHER, StepEnd, StepState

_WORST = (
    (WorkState.PARKED, StepState.PARKED),
    (WorkState.HELD, StepState.HELD),
    (WorkState.DEFERRED, StepState.DEFERRED),
)
_REASONS = {
    StepState.PARKED: "a person must look: others kept writing, or something could not be read",
    StepState.HELD: "a legal hold, or a right that is missing",
    StepState.DEFERRED: "a COMPLIANCE lock",
}
_UNPARSABLE = "lines that cannot be parsed hold an identifier"
LEEWAY = timedelta(seconds=2)
"""By which the store's clock may be behind the database's."""


def objects_erased(works: Sequence[ObjectWork]) -> StepEnd:
    """An ERASE step on a group."""
    counts = sum((w.counts for w in works), Counts())
    receipt: dict[str, int | str] = {
        "objects": len(works),
        "changed": sum(w.new_version is not None for w in works),
        "bytes": sum(w.bytes_before for w in works),
        **_counted(counts),
        "parked": sum(len(w.parked) for w in works),
    }
    state = _worst({w.state for w in works})
    if any(w.parked for w in works):
        receipt[WAITS] = Wait.UNPARSABLE.value
        if state is StepState.DONE:
            return StepEnd(StepState.PARKED, receipt, reason=_UNPARSABLE)
    return StepEnd(state, receipt, reason=_REASONS.get(state))


def table_erased(work: TableWork) -> StepEnd:
    """An ERASE step on a table."""
    receipt: dict[str, int | str] = {
        "files": work.files_read,
        "changed": len(work.files),
        "snapshots": len(work.commits),
        **_counted(work.counts),
    }
    if work.state is WorkState.PARKED:
        receipt[WAITS] = Wait.TABLE.value
    return StepEnd(_worst({work.state}), receipt, reason=work.reason)


def objects_purged(works: Sequence[ObjectWork]) -> StepEnd:
    """A PURGE step on a group."""
    versions = [s for w in works for s in w.superseded]
    return _purged(
        {w.state for w in works if w.new_version is not None or w.superseded},
        reason=None,
        purged=sum(s.state is WorkState.PURGED for s in versions),
        dates=[s.until for s in versions if s.state is WorkState.DEFERRED],
    )


def table_purged(work: TableWork) -> StepEnd:
    """A PURGE step on a table."""
    return _purged(
        {work.state, *(c.state for c in work.condemned)},
        reason=work.reason,
        purged=sum(c.state is WorkState.PURGED for c in work.condemned),
        dates=[c.until for c in work.condemned if c.state is WorkState.DEFERRED],
        waits=Wait.TABLE,
    )


def _purged(
    states: set[WorkState],
    *,
    reason: str | None,
    purged: int,
    dates: Sequence[datetime | None],
    waits: Wait = Wait.UNFINISHED,
) -> StepEnd:
    known = sorted(d for d in dates if d is not None)
    state = _worst(states)
    receipt: dict[str, int | str] = {"purged": purged, "deferred": len(dates)}
    if known:
        receipt["last_until"] = known[-1].isoformat()
    if state is StepState.PARKED:
        receipt[WAITS] = waits.value
    until = None
    if state in (StepState.DEFERRED, StepState.HELD) and known:
        until = max(d for d in known if d <= known[0] + TOGETHER) + LEEWAY
    return StepEnd(state, receipt, until=until, reason=reason or _REASONS.get(state))


def _worst(states: set[WorkState]) -> StepState:
    return next((step for work, step in _WORST if work in states), StepState.DONE)


def _counted(counts: Counts) -> dict[str, int]:
    return {
        "before": counts.before,
        "deleted": counts.deleted,
        "tombstoned": counts.tombstoned,
        "co_owned": counts.co_owned,
        "kept": counts.kept,
    }
