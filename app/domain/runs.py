"""The stages of a run, in order, and which follows which: one table.

Not here: what a stage does (app.offline; later the workers).
"""

from __future__ import annotations

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
