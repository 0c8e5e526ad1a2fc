"""What a step waits for, and every way out of it, as tables: whatever waits has an exit.

Not here: what a person may do with a run (app.domain.runs), carrying an exit out (app.services).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from app.domain.runs import RunMove
from app.domain.steps import StepKind, StepState


class Wait(StrEnum):
    """Why a step is not done."""

    UNPARSABLE = "unparsable"
    """Lines that cannot be parsed hold an identifier. The object's other lines are erased."""
    RESTLESS = "restless"
    """Others kept writing to the objects: the rounds ran out."""
    UNFINISHED = "unfinished"
    """Others kept changing an object, the outcome of a write is unknown, or bytes are unreadable.
    """
    TABLE = "table"
    """The table's shape is refused, or its rows kept coming; the step's reason says which."""
    FAILED = "failed"
    """Every attempt failed."""
    DIFFERS = "differs"
    """A replacement is not its base without the person."""
    MAP = "map"
    """The data map is not the one that the run began with, or does not fit the lake."""
    HELD = "held"
    """A legal hold, or a right that is missing."""
    LOCKED = "locked"
    """A lock that nobody may lift, until a date."""
    UNDO_LEFT = "undo_left"
    """Others have changed since what an undo would put back."""


class Way(StrEnum):
    """What a person can do about it."""

    RETRY = "retry"
    DROP = "drop"
    RESUME = "resume"
    UNDO = "undo"


@dataclass(frozen=True, slots=True)
class Exit:
    """A way out, and what must be done before it is taken."""

    way: Way
    words: str


_AGAIN = Exit(Way.RESUME, "mend the cause, then resume the run: all that was left is tried again")
_BACK = Exit(Way.UNDO, "or undo the run: every replaced byte is put back")

EXITS: Mapping[Wait, tuple[Exit, ...]] = MappingProxyType(
    {
        Wait.UNPARSABLE: (
            Exit(Way.DROP, "have the lines dropped that could not be parsed"),
            Exit(Way.RESUME, "or mend the lines in the lake, then resume the run"),
            _BACK,
        ),
        Wait.RESTLESS: (
            Exit(Way.RESUME, "once others write less there, resume the run"),
            _BACK,
        ),
        Wait.UNFINISHED: (_AGAIN, _BACK),
        Wait.TABLE: (
            Exit(Way.RESUME, "do what the reason says, then resume the run"),
            _BACK,
        ),
        Wait.FAILED: (
            Exit(Way.RETRY, "mend the cause that the code names, then retry the step"),
            _AGAIN,
            _BACK,
        ),
        Wait.DIFFERS: (
            Exit(Way.UNDO, "undo the run; nothing was destroyed. The eraser has a fault"),
        ),
        Wait.MAP: (
            Exit(Way.RETRY, "put the map back as it was, then retry the step"),
            Exit(Way.RESUME, "put the map back as it was, then resume the run"),
            _BACK,
        ),
        Wait.HELD: (
            Exit(Way.RETRY, "give the right, or have the hold lifted; then retry the step"),
            Exit(Way.RESUME, "give the right, or have the hold lifted; then resume the run"),
            _BACK,
        ),
        Wait.LOCKED: (
            Exit(Way.RESUME, "nothing to do: it goes on when the lock has ended; or resume now"),
            _BACK,
        ),
        Wait.UNDO_LEFT: (
            Exit(Way.UNDO, "look at what others changed, put it aside, then undo again"),
        ),
    }
)
"""Why a step waits -> its ways out, the best first. Which of them is open now, the run decides."""

LATER = "nothing now: the run goes on without it; once it has reported, the run can be resumed"
"""Where no way is open yet: the run is at work, and comes to a state in which one is."""

_BY_CODE: Mapping[str, Wait] = MappingProxyType(
    {"check_failed": Wait.DIFFERS, "data_map": Wait.MAP, "unsupported_table": Wait.TABLE}
)
_BY_STATE: Mapping[StepState, Wait] = MappingProxyType(
    {StepState.HELD: Wait.HELD, StepState.DEFERRED: Wait.LOCKED}
)
_BY_KIND: Mapping[StepKind, Wait] = MappingProxyType(
    {StepKind.NEWER: Wait.RESTLESS, StepKind.UNDO: Wait.UNDO_LEFT}
)
WAITS = "waits"
"""In a receipt: which of several waits it is."""


def wait_of(
    kind: StepKind, state: StepState, *, code: str | None, said: int | str | None
) -> Wait | None:
    """Why a step waits; None where it does not. `said`: its receipt's word, where it has one."""
    if state in _BY_STATE:
        return _BY_STATE[state]
    if state is not StepState.PARKED:
        return None
    if kind is StepKind.UNDO:
        return Wait.UNDO_LEFT
    if code is not None:
        return _BY_CODE.get(code, Wait.FAILED)
    return Wait(said) if isinstance(said, str) else _BY_KIND.get(kind, Wait.UNFINISHED)


def open_exits(wait: Wait, ways: frozenset[Way]) -> tuple[Exit, ...]:
    """The exits that can be taken now, given the ways that are legal now."""
    return tuple(e for e in EXITS[wait] if e.way in ways)


RUN_WORDS: Mapping[RunMove, str] = MappingProxyType(
    {
        RunMove.STOP: "begin no further step",
        RunMove.RESUME: "go on, and try again what was left",
        RunMove.UNDO: "put every byte back that this pass replaced; its cases wait for approval",
        RunMove.WIDEN: "go on from the part that the run was limited to, over the whole lake",
    }
)
"""What a person may do with a run, in words."""
