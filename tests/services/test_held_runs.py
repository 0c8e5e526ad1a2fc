"""Legal holds on a lake: who leaves a run, what stays as it is, what goes on once released."""

from __future__ import annotations

from collections import Counter

import pytest

from app.domain import failpoints
from app.domain.dsars import State
from app.domain.errors import OnHoldError
from app.domain.failpoints import FailpointError
from app.domain.holds import BY_HOLD
from app.domain.identifiers import Identifier, Kind
from app.domain.runs import Stage
from app.domain.steps import StepKind, StepState
from app.services import holds, runs
from app.services.holds import HoldAsked
from app.services.ledger import Performed, perform
from tests.services.dsar_cases import ASKER, OFFICER, get
from tests.services.run_worlds import ON_FILE, RunWorld


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
@pytest.mark.parametrize("stage", [None, Stage.RESOLVED], ids=str)
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


@ON_FILE
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


@ON_FILE
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


@ON_FILE
def test_an_order_holds_everybody_whom_its_rows_name_and_nobody_else(
    run_world: RunWorld, owner_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failpoints, "_passed", Counter())
    user = run_world.cast.active_buyer
    order_id = order_of(run_world, user)
    named, other = run_world.queued(user, run_world.cast.tablet_user)
    with run_world.parts.database.transaction() as tx:
        asked = HoldAsked("a claim", order_id=order_id)
        hold_id = holds.place(ASKER, tx, parts=run_world.parts, asked=asked).id
    # until it is known whom it names it may be anybody
    with run_world.parts.database.transaction() as tx:
        assert runs.start(OFFICER, tx, parts=run_world.parts) is None
    (look,) = run_world.ready(StepKind.LOOK)
    for point in ("order_holds.looked", "order_holds.before_entry"):
        monkeypatch.setenv("CLEARLAKE_FAILPOINTS", f"{point}=raise")
        with pytest.raises(FailpointError):
            perform(look, worker=run_world.worker())
        lapsed = "update step set lease_until = now() where state = 'running'"
        run_world.execute(owner_database_url, lapsed)
    monkeypatch.delenv("CLEARLAKE_FAILPOINTS")
    assert perform(look, worker=run_world.worker()) is Performed.FINISHED
    assert (run_world.state(named), run_world.state(other)) == (State.ON_HOLD, State.QUEUED)
    run_id = run_world.start()
    run_world.work()
    assert run_world.stage(run_id) is Stage.CLOSED
    release(run_world, hold_id)
    assert run_world.state(named) is State.QUEUED


def order_of(world: RunWorld, user: str) -> str:
    """An order that a table knows of the user."""
    engine = world.place.engine
    for batch in engine.batches("gold.fact_orders", columns=["user_id", "order_id"]):
        for row in batch.to_pylist():
            if row["user_id"] == user:
                return str(row["order_id"])
    raise AssertionError("the user has no order")
