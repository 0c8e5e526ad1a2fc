"""Legal holds on a lake: who leaves a run, what is left as it is, and what goes on once released."""

from __future__ import annotations

import pytest

from app.domain.dsars import State
from app.domain.errors import OnHoldError
from app.domain.holds import BY_HOLD
from app.domain.identifiers import Identifier, Kind
from app.domain.runs import Stage
from app.domain.steps import StepKind, StepState
from app.services import holds, runs
from app.services.holds import HoldAsked
from tests.services.dsar_cases import ASKER, OFFICER, get
from tests.services.run_worlds import ON_FILE, ON_S3, RunWorld


def place(world: RunWorld, user: str | None = None, *, dataset: str | None = None) -> str:
    subject = None if user is None else Identifier(Kind.USER_ID, user)
    asked = HoldAsked("a claim", subject=subject, dataset=dataset)
    with world.parts.database.transaction() as tx:
        return holds.place(ASKER, tx, parts=world.parts, asked=asked).id


def release(world: RunWorld, hold_id: str) -> None:
    with world.parts.database.transaction() as tx:
        holds.release(OFFICER, tx, parts=world.parts, hold_id=hold_id, reason="settled")


def tick(world: RunWorld) -> list[str]:
    """What the clock does."""
    with world.parts.database.transaction() as tx:
        return runs.resume_due(OFFICER, tx, parts=world.parts)


def held_steps(world: RunWorld, run_id: str) -> set[tuple[StepKind, str]]:
    return {
        (s.kind, s.target.partition("/")[0])
        for s in world.steps(run_id)
        if (s.state, s.reason) == (StepState.HELD, BY_HOLD)
    }


@ON_FILE
@pytest.mark.parametrize("stage", [None, Stage.OPEN, Stage.RESOLVED], ids=str)
def test_who_is_hit_before_anything_is_changed_stays_out_and_the_others_go_on(
    run_world: RunWorld, stage: Stage | None
) -> None:
    cast = run_world.cast
    held, other = run_world.queued(cast.active_buyer, cast.tablet_user)
    before, gone = run_world.records(), run_world.gone(cast.tablet_user)
    if stage is None:
        hold_id = place(run_world, cast.active_buyer)
    run_id = run_world.start()
    if stage is not None:
        run_world.work(until=lambda: run_world.stage(run_id) is stage)
        hold_id = place(run_world, cast.active_buyer)
    run_world.work()
    assert run_world.stage(run_id) is Stage.CLOSED
    assert run_world.state(other) in (State.SETTLING, State.COMPLETED)
    assert (run_world.state(held), get(run_world.parts, held).waiting_reason) == (
        State.ON_HOLD,
        BY_HOLD,
    )
    run_world.clean_of(gone, before=before)
    release(run_world, hold_id)
    assert run_world.state(held) is State.QUEUED
    both = run_world.gone(cast.active_buyer)
    run_world.start()
    run_world.work()
    run_world.clean_of(both, before=before.without(gone))


@ON_FILE
def test_a_run_that_everybody_leaves_ends_and_has_changed_nothing(run_world: RunWorld) -> None:
    user = run_world.cast.active_buyer
    versions = run_world.storage.versions()
    (case,) = run_world.queued(user)
    run_id = run_world.start()
    run_world.work_to(run_id, Stage.RESOLVED)
    place(run_world, user)
    run_world.work()
    assert (run_world.stage(run_id), run_world.state(case)) == (Stage.CLOSED, State.ON_HOLD)
    assert run_world.storage.versions() == versions


@ON_S3
@pytest.mark.parametrize("dataset", ["raw_events", "events"])
def test_steps_of_a_held_dataset_wait_and_everything_else_goes_on(
    run_world: RunWorld, dataset: str
) -> None:
    user = run_world.cast.active_buyer
    before, gone = run_world.records(), run_world.gone(user)
    hold_id = place(run_world, dataset=dataset)
    (case,) = run_world.queued(user)
    run_id = run_world.start()
    current = run_world.storage.current("raw/")
    run_world.work()
    assert run_world.stage(run_id) is Stage.PENDING
    assert run_world.state(case) is State.ON_HOLD
    steps = {d for _, d in held_steps(run_world, run_id)}
    assert steps == {dataset}
    assert (run_world.storage.current("raw/") == current) is (dataset == "raw_events")
    assert run_world.verdicts(run_id)[case] == ("PARTIAL", "on_hold")
    assert tick(run_world) == []
    release(run_world, hold_id)
    assert tick(run_world) == [run_id]
    run_world.work()
    assert run_world.stage(run_id) is Stage.CLOSED
    assert run_world.verdicts(run_id)[case] == ("VERIFIED", "fulfilled")
    run_world.clean_of(gone, before=before)


@ON_S3
@pytest.mark.parametrize("stage", [Stage.PLANNED, Stage.CHECKED], ids=str)
def test_from_the_erase_stage_on_nothing_more_is_changed_or_destroyed(
    run_world: RunWorld, stage: Stage
) -> None:
    user = run_world.cast.active_buyer
    before, gone = run_world.records(), run_world.gone(user)
    (case,) = run_world.queued(user)
    run_id = run_world.start()
    run_world.work_to(run_id, stage)
    versions = run_world.storage.versions()
    hold_id = place(run_world, user)
    run_world.work()
    assert set(versions) <= set(run_world.storage.versions())
    assert (run_world.stage(run_id), run_world.state(case)) == (Stage.PENDING, State.ON_HOLD)
    with pytest.raises(OnHoldError, match=hold_id), run_world.parts.database.transaction() as tx:
        runs.resume(OFFICER, tx, parts=run_world.parts, run_id=run_id)
    assert tick(run_world) == []
    release(run_world, hold_id)
    assert tick(run_world) == [run_id]
    run_world.work()
    assert run_world.stage(run_id) is Stage.CLOSED
    run_world.clean_of(gone, before=before)
