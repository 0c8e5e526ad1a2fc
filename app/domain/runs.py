"""The stages of a run, in order, and what a person may do with a run at each: tables.

Not here: which steps a stage is made of (app.domain.phases), what a stage does (app.stages).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum


class Stage(StrEnum):
    """How far a run is. A stage is named by what has been finished."""

    OPEN = "open"
    RESOLVED = "resolved"
    PLANNED = "planned"
    ERASED = "erased"
    """New versions and files stand beside the old ones; nothing is destroyed."""
    CHECKED = "checked"
    """Other code has compared every pair. From here the undo window runs."""
    PURGING = "purging"
    """The point of no return has passed."""
    PURGED = "purged"
    VERIFIED = "verified"
    PENDING = "pending"
    """Reported, but something is deferred, held or parked: the same run goes on later."""
    CLOSED = "closed"
    STUCK = "stuck"
    """A check failed or rounds ran out: a person decides. Nothing unchecked was destroyed."""
    UNDONE = "undone"


UNDOABLE = frozenset(
    {Stage.OPEN, Stage.RESOLVED, Stage.PLANNED, Stage.ERASED, Stage.CHECKED, Stage.STUCK}
)
"""Stages from which every byte can still be put back."""
ENDED = frozenset({Stage.CLOSED, Stage.UNDONE})
AT_WORK = frozenset(Stage) - ENDED - {Stage.PENDING}
"""Stages that keep the lake to themselves: one such run at a time."""


class RunMove(StrEnum):
    """What a person may do with a run."""

    STOP = "stop"
    RESUME = "resume"
    UNDO = "undo"
    WIDEN = "widen"
    """A run that was limited to a part of the lake goes on over the whole."""


def legal_run_moves(
    stage: Stage,
    *,
    stopped: bool,
    undoing: bool,
    past_return: bool,
    differs: bool,
    limited: bool = False,
) -> tuple[RunMove, ...]:
    """The moves that are legal now, in a stable order.

    `undoing`: an undo has begun. `past_return`: the point of no return of this pass is behind it;
    what earlier passes destroyed no undo touches. `differs`: the check saw a replacement that is
    not its base without the person, so that only undoing is left. `limited`: to a part of the lake.
    """
    found = list(_legal(stage, stopped, undoing, past_return, differs))
    if limited and stage is Stage.PENDING and not undoing:
        found.append(RunMove.WIDEN)
    return tuple(found)


def _legal(
    stage: Stage, stopped: bool, undoing: bool, past_return: bool, differs: bool
) -> Iterator[RunMove]:
    if stage in AT_WORK and stage is not Stage.STUCK and not stopped:
        yield RunMove.STOP
    waits = stage is Stage.PENDING or (stage is Stage.STUCK and not differs)
    if not undoing and (waits or (stopped and stage in AT_WORK)):
        yield RunMove.RESUME
    if stage in UNDOABLE and not past_return and (not undoing or stage is Stage.STUCK):
        yield RunMove.UNDO


def waits_until(
    *, checked_at: datetime, window: timedelta, erased_at: datetime, readers: timedelta
) -> datetime:
    """When the purge may begin: after the undo window, and once readers that were under way when
    the tables changed are through (`readers` is 0 where none changed).
    """
    return max(checked_at + window, erased_at + readers)
