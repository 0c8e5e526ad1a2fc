"""How fast a run goes, and when its stage will have ended if it goes on like that. Pure.

Of the stage, not of the run: how much the next one has to do is known once this one has ended. Not
here: where the numbers come from (app.store.steps).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

WINDOW = timedelta(minutes=15)
"""The rate is that of so long: a run that gets more workers is faster from then on."""


@dataclass(frozen=True, slots=True)
class Worked:
    """The groups of the stage a run is at, as the ledger counts them now; its steps, where it has
    no groups.
    """

    total: int
    done: int
    at_work: int
    """Those that somebody has in hand."""
    since: datetime | None
    """When the first of them was begun."""
    lately: int = 0
    """Those that ended within the window."""
    bytes_planned: int = 0
    """0: the stage's steps do not tell bytes."""
    bytes_done: int = 0
    bytes_lately: int = 0


@dataclass(frozen=True, slots=True)
class Pace:
    """What is shown of it."""

    done: int
    total: int
    at_work: int
    bytes_done: int | None
    """As read: of an object with older versions that hold nobody, less than was planned."""
    bytes_planned: int | None
    per_minute: float | None
    """Null until one has ended lately."""
    bytes_per_second: int | None
    ends_at: datetime | None
    """Null where nobody can know: nothing ended lately, or nothing is left."""


def pace_of(worked: Worked, *, now: datetime, window: timedelta = WINDOW) -> Pace:
    """1. The rate is what ended within the window, by its length, or by the time since the first
    step began. 2. What is left, at that rate, is how long it takes: groups are about as large as
    each other, so they are what is counted.
    """
    begun = timedelta(0) if worked.since is None else now - worked.since
    seconds = min(window, begun).total_seconds()
    rate = worked.lately / seconds if seconds > 0 else 0.0
    left = worked.total - worked.done
    has_bytes = worked.bytes_planned > 0
    return Pace(
        done=worked.done,
        total=worked.total,
        at_work=worked.at_work,
        bytes_done=worked.bytes_done if has_bytes else None,
        bytes_planned=worked.bytes_planned if has_bytes else None,
        per_minute=round(rate * 60, 2) if rate else None,
        bytes_per_second=round(worked.bytes_lately / seconds) if has_bytes and rate else None,
        ends_at=now + timedelta(seconds=round(left / rate)) if rate and left else None,
    )
