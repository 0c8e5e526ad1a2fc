"""Exits of steps that wait, taken: a step retried, a killed undo, a later pass undone."""

from __future__ import annotations

import json

import pytest

from app.domain.dsars import State
from app.domain.errors import IllegalMoveError, NotFoundError, UnreachableError
from app.domain.runs import Stage
from app.domain.steps import Step, StepEnd, StepKind, StepState
from app.services import retries, run_exits, runs
from app.services.leases import Lease
from app.services.ledger import Acts, perform
from app.services.parts import Parts
from app.services.run_exits import StepView
from app.store import audit
from tests.e2e.mutations import BRONZE
from tests.services.dsar_cases import OFFICER
from tests.services.run_worlds import EVERY_ACT, ON_FILE, ON_S3, RunWorld


def waiting(world: RunWorld, run_id: str) -> StepView:
    """The one step that waits."""
    [found] = all_waiting(world, run_id)
    return found


def all_waiting(world: RunWorld, run_id: str) -> list[StepView]:
    with world.parts.database.transaction() as tx:
        every = run_exits.page(tx, run_id=run_id, states=(), after=None, limit=200)
    return [s for s in every if s.waits is not None]


def retry(world: RunWorld, run_id: str, step_id: str) -> None:
    with world.parts.database.transaction() as tx:
        retries.retry(OFFICER, tx, parts=world.parts, run_id=run_id, step_id=step_id)


def undo(world: RunWorld, run_id: str) -> None:
    with world.parts.database.transaction() as tx:
        runs.undo(OFFICER, tx, parts=world.parts, run_id=run_id)


def failing(kind: StepKind, *, dataset: str) -> Acts:
    """A worker whose steps of this kind on that dataset fail each time."""

    def act(step: Step, lease: Lease, parts: Parts) -> StepEnd:
        if step.target.partition("/")[0] == dataset:
            raise UnreachableError("the store is away")
        return EVERY_ACT[kind](step, lease, parts)

    return {**EVERY_ACT, kind: act}


def exhausted(world: RunWorld, owner_database_url: str) -> None:
    """Work until every attempt is used up; pauses between them pass at once."""
    for _ in range(6):
        world.work()
        world.execute(
            owner_database_url, "update step set not_before = null where error_code is not null"
        )


@ON_FILE
@pytest.mark.parametrize("kind", [StepKind.PLAN, StepKind.VERIFY])
def test_a_step_whose_attempts_ran_out_is_retried_alone_and_the_run_goes_on(
    run_world: RunWorld, owner_database_url: str, kind: StepKind
) -> None:
    world = run_world
    user = world.cast.active_buyer
    before, gone = world.records(), world.gone(user)
    [case] = world.queued(user)
    run_id = world.start()
    world.acts = failing(kind, dataset="fact_orders")
    exhausted(world, owner_database_url)
    assert (world.stage(run_id), world.state(case)) == (Stage.STUCK, State.STUCK)
    step = waiting(world, run_id)
    assert (step.waits, step.attempt, step.code) == ("failed", step.max_attempts, "unreachable")
    assert step.exit is not None
    assert step.exit.endswith(f"clearlake run resume {run_id} --step {step.id}")
    world.acts = EVERY_ACT
    retry(world, run_id, step.id)
    with pytest.raises(IllegalMoveError):
        retry(world, run_id, step.id)
    with pytest.raises(NotFoundError):
        retry(world, run_id, "step_unknown")
    world.work()
    assert (world.stage(run_id), world.state(case)) == (Stage.CLOSED, State.SETTLING)
    world.clean_of(gone, before=before)
    with world.parts.database.transaction() as tx:
        entries = [e for e in audit.of_objects(tx, [run_id]) if e.verb == "step.retried"]
    assert [json.loads(e.facts)["code"] for e in entries] == ["unreachable"]


@ON_FILE
def test_an_erase_step_that_failed_is_retried_while_the_others_work(
    run_world: RunWorld, owner_database_url: str
) -> None:
    world = run_world
    world.queued(world.cast.active_buyer)
    run_id = world.start()
    world.acts = failing(StepKind.ERASE, dataset="events")
    world.work(until=lambda: any(s.error_code for s in world.steps(run_id)))
    with world.parts.database.transaction() as tx:
        failed = [
            s
            for s in run_exits.page(tx, run_id=run_id, states=(), after=None, limit=200)
            if s.code is not None
        ]
    assert [(s.dataset, s.state, s.attempt) for s in failed] == [("events", StepState.READY, 1)]
    assert failed[0].next_at is not None, "when it is tried again"
    [step_id] = [s.id for s in failed]
    while (state := _state(world, run_id, step_id)) is StepState.READY:
        world.execute(owner_database_url, "update step set not_before = null")
        perform(step_id, worker=world.worker())
    assert (state, world.stage(run_id)) == (StepState.PARKED, Stage.PLANNED)
    world.acts = EVERY_ACT
    retry(world, run_id, step_id)
    world.work()
    assert world.stage(run_id) is Stage.CLOSED


def _state(world: RunWorld, run_id: str, step_id: str) -> StepState:
    return next(s.state for s in world.steps(run_id) if s.id == step_id)


@ON_S3
def test_an_undo_killed_in_the_middle_is_gone_on_with(
    run_world: RunWorld, owner_database_url: str
) -> None:
    world = run_world
    world.with_map("undo_window: PT0S", "undo_window: P1D")
    before, current = world.records(), world.storage.current("raw/")
    [case] = world.queued(world.cast.active_buyer)
    run_id = world.start()
    world.work()
    undo(world, run_id)
    [step_id] = [
        s.id for s in world.steps(run_id) if (s.kind, s.target) == (StepKind.UNDO, "raw_events")
    ]

    class Killed(BaseException):
        """As a kill: nothing is recorded."""

    def act(step: Step, lease: Lease, parts: Parts) -> StepEnd:
        EVERY_ACT[StepKind.UNDO](step, lease, parts)
        raise Killed

    world.acts = {**EVERY_ACT, StepKind.UNDO: act}
    with pytest.raises(Killed):
        perform(step_id, worker=world.worker())
    world.acts = EVERY_ACT
    world.execute(owner_database_url, "update step set lease_until = now() - interval '1 s'")
    world.work()
    assert (world.stage(run_id), world.state(case)) == (Stage.UNDONE, State.AWAITING_APPROVAL)
    assert world.storage.current("raw/") == current
    assert not world.records().differences(before)


@ON_FILE
def test_a_later_pass_that_differs_is_undone_and_leaves_alone_what_was_finished(
    run_world: RunWorld,
) -> None:
    """A faulty eraser leaves a line in the second pass: its exit is an undo, though the
    first pass has long purged.
    """
    world = run_world
    user, other = world.cast.active_buyer, world.cast.provider
    world.load(b'{"user": {"user_id": "' + user.encode() + b'"\n')
    cases = world.queued(user, other)
    run_id = world.start()
    world.work()
    assert world.stage(run_id) is Stage.PENDING
    step = waiting(world, run_id)
    assert step.exit is not None
    assert step.exit.endswith("--unparsable drop")
    after_first = world.records()
    event = {"event_id": "evt_01JB0000000000000000000007", "name": "app.start"}
    lines = [
        {**event, "user": {"user_id": user}},
        {**event, "event_id": "evt_01JB000000000000000000000B"},
    ]
    world.load("".join(json.dumps(line) + "\n" for line in lines).encode(), name="again")
    late = world.records()
    with world.parts.database.transaction() as tx:
        runs.resume(OFFICER, tx, parts=world.parts, run_id=run_id, exit_=runs.Exit(step.id))
    with pytest.MonkeyPatch.context() as faulty:
        BRONZE["skips the person's line"](faulty)
        world.work()
    assert world.stage(run_id) is Stage.STUCK
    assert {s.waits for s in all_waiting(world, run_id)} == {"differs"}
    undo(world, run_id)
    world.work()
    assert world.stage(run_id) is Stage.UNDONE
    assert [world.state(c) for c in cases] == [State.AWAITING_APPROVAL, State.SETTLING]
    assert not world.records().differences(late)
    assert late.count() == after_first.count() + 2
