"""Whatever waits has an exit: every way a step, a case or a run can come to wait, as tables."""

from __future__ import annotations

from itertools import product

import pytest

from app.domain.dsars import CLOSED, DsarType, State, needs
from app.domain.exits import EXITS, RUN_WORDS, Wait, Way, open_exits, wait_of
from app.domain.runs import AT_WORK, ENDED, RunMove, Stage, legal_run_moves
from app.domain.steps import StepKind, StepState

WAYS = {RunMove.RESUME: Way.RESUME, RunMove.UNDO: Way.UNDO}


@pytest.mark.parametrize(
    ("kind", "state", "code", "said", "wait"),
    [
        (StepKind.ERASE, StepState.PARKED, None, "unparsable", Wait.UNPARSABLE),
        (StepKind.NEWER, StepState.PARKED, None, None, Wait.RESTLESS),
        (StepKind.ERASE, StepState.PARKED, "unreachable", None, Wait.FAILED),
        (StepKind.ERASE, StepState.PARKED, "attempts_exhausted", None, Wait.FAILED),
        (StepKind.ERASE, StepState.PARKED, None, None, Wait.UNFINISHED),
        (StepKind.ERASE, StepState.PARKED, None, "table", Wait.TABLE),
        (StepKind.PLAN, StepState.PARKED, "unsupported_table", None, Wait.TABLE),
        (StepKind.CHECK, StepState.PARKED, "check_failed", None, Wait.DIFFERS),
        (StepKind.PLAN, StepState.PARKED, "data_map", None, Wait.MAP),
        (StepKind.PURGE, StepState.HELD, None, None, Wait.HELD),
        (StepKind.PURGE, StepState.DEFERRED, None, None, Wait.LOCKED),
        (StepKind.UNDO, StepState.PARKED, None, None, Wait.UNDO_LEFT),
        (StepKind.UNDO, StepState.PARKED, "unreachable", None, Wait.UNDO_LEFT),
        (StepKind.ERASE, StepState.DONE, None, "unparsable", None),
        (StepKind.ERASE, StepState.RUNNING, "unreachable", None, None),
    ],
)
def test_why_a_step_waits(
    kind: StepKind, state: StepState, code: str | None, said: str | None, wait: Wait | None
) -> None:
    assert wait_of(kind, state, code=code, said=said) is wait


def test_every_step_that_is_not_done_and_not_open_waits_for_something() -> None:
    for kind, state, code in product(StepKind, StepState, (None, "unreachable", "data_map")):
        waits = wait_of(kind, state, code=code, said=None) is not None
        assert waits == (state in {StepState.PARKED, StepState.HELD, StepState.DEFERRED})


def ways(stage: Stage, *, differs: bool = False, undoing: bool = False) -> frozenset[Way]:
    """What is legal at a stage at which a run waits, without a retry."""
    legal = legal_run_moves(
        stage, stopped=undoing, undoing=undoing, past_return=False, differs=differs
    )
    found = {WAYS[m] for m in legal if m in WAYS}
    return frozenset(found | ({Way.DROP} if stage is Stage.PENDING else set()))


def test_whatever_a_step_waits_for_the_run_that_waits_with_it_has_an_exit() -> None:
    """A run comes to wait in two ways: reported with something left, or stuck before the purge."""
    assert set(EXITS) == set(Wait)
    after_a_report = set(Wait) - {Wait.DIFFERS, Wait.UNDO_LEFT}
    for wait in after_a_report:
        assert open_exits(wait, ways(Stage.PENDING)), wait
    for wait in set(Wait) - {Wait.UNDO_LEFT}:
        found = open_exits(wait, ways(Stage.STUCK, differs=wait is Wait.DIFFERS))
        assert Way.UNDO in {e.way for e in found}, wait
    assert open_exits(Wait.UNDO_LEFT, ways(Stage.STUCK, undoing=True))
    [drop, *_] = open_exits(Wait.UNPARSABLE, ways(Stage.PENDING))
    assert drop.way is Way.DROP


def test_a_run_that_has_not_ended_goes_on_by_itself_or_a_person_can_move_it() -> None:
    flags = ("stopped", "undoing", "past_return", "differs", "limited")
    every = product(*(((False, True),) * len(flags)))
    for stage, values in product(Stage, every):
        said = dict(zip(flags, values, strict=True))
        # Each pass checks before it purges, and nobody undoes after the point of no return.
        if said["past_return"] and (said["differs"] or said["undoing"]):
            continue
        # An undo ends in UNDONE or STUCK; it begins before the purge, and nothing is pending then.
        if said["undoing"] and stage not in AT_WORK:
            continue
        moves = legal_run_moves(stage, **said)
        at_work = stage in AT_WORK and stage is not Stage.STUCK
        by_itself = at_work and (not said["stopped"] or said["undoing"])
        assert moves or by_itself or stage in ENDED, (stage, said)
        assert (RunMove.WIDEN in moves) == (said["limited"] and stage is Stage.PENDING)
    assert set(RUN_WORDS) == set(RunMove)


def test_every_case_that_is_not_closed_says_what_it_needs_and_how_it_gets_on() -> None:
    for state, type_ in product(State, DsarType):
        found = needs(state, type_)
        settles = state is State.SETTLING and type_ is DsarType.ERASURE
        assert bool(found.exit) == (state not in CLOSED and not settles), (state, type_)
    assert needs(State.RUNNING, DsarType.ERASURE, outcome="limited").exit == "run widen RUN"
