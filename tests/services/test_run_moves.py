"""A run that people stop, resume and undo, and what becomes of its cases and bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

import pytest

from app.domain.dsars import State
from app.domain.errors import IllegalMoveError, StaleError
from app.domain.runs import Stage
from app.domain.steps import Step, StepEnd, StepKind, StepState
from app.services import run_views, runs
from app.services.leases import Lease
from app.services.ledger import Performed, perform
from app.services.parts import Parts
from app.store import leases, suppression
from app.store.runs import Run
from tests.services.dsar_cases import OFFICER
from tests.services.run_worlds import EVERY_ACT, ON_FILE, ON_S3, RunWorld

WINDOW = "undo_window: PT0S", "undo_window: P1D"


def stop(world: RunWorld, run_id: str, *, version: int | None = None) -> Run:
    with world.parts.database.transaction() as tx:
        return runs.stop(OFFICER, tx, run_id=run_id, expected_version=version)


def resume(world: RunWorld, run_id: str) -> Run:
    with world.parts.database.transaction() as tx:
        return runs.resume(OFFICER, tx, parts=world.parts, run_id=run_id)


def undo(world: RunWorld, run_id: str) -> Run:
    with world.parts.database.transaction() as tx:
        return runs.undo(OFFICER, tx, parts=world.parts, run_id=run_id)


def legal(world: RunWorld, run_id: str) -> list[str]:
    with world.parts.database.transaction() as tx:
        return [m.value for m in run_views.overview(tx, run_id=run_id).legal_moves]


def end_window(world: RunWorld, owner_database_url: str) -> None:
    """A day passes."""
    world.execute(
        owner_database_url, "update step set not_before = now() where not_before is not null"
    )


@ON_S3
def test_within_the_undo_window_every_byte_comes_back(run_world: RunWorld) -> None:
    run_world.with_map(*WINDOW)
    before, current = run_world.records(), run_world.storage.current("raw/")
    cases = run_world.queued(run_world.cast.active_buyer, run_world.cast.tablet_user)
    run_id = run_world.start()
    run_world.work()
    waiting = run_world.run(run_id)
    assert waiting.stage is Stage.CHECKED
    assert waiting.undo_until is not None
    assert waiting.undo_until > waiting.created_at + timedelta(hours=23)
    assert run_world.storage.current("raw/") != current
    undo(run_world, run_id)
    run_world.work()
    assert run_world.stage(run_id) is Stage.UNDONE
    assert run_world.storage.current("raw/") == current
    assert not run_world.records().differences(before)
    assert [run_world.state(c) for c in cases] == [State.AWAITING_APPROVAL] * 2
    with run_world.parts.database.transaction() as tx:
        assert list(suppression.living_digests(tx)) == []
    assert legal(run_world, run_id) == []


@ON_FILE
def test_after_the_window_it_purges_and_nothing_can_be_undone(
    run_world: RunWorld, owner_database_url: str
) -> None:
    run_world.with_map(*WINDOW)
    user = run_world.cast.active_buyer
    before, gone = run_world.records(), run_world.gone(user)
    run_world.queued(user)
    run_id = run_world.start()
    run_world.work()
    assert legal(run_world, run_id) == ["stop", "undo"]
    end_window(run_world, owner_database_url)
    run_world.work(until=lambda: run_world.stage(run_id) is not Stage.CHECKED)
    assert run_world.stage(run_id) is Stage.PURGING
    with pytest.raises(IllegalMoveError) as refused:
        undo(run_world, run_id)
    assert refused.value.legal == ("stop",)
    run_world.work()
    assert run_world.stage(run_id) is Stage.CLOSED
    run_world.clean_of(gone, before=before)


@ON_FILE
def test_a_stopped_run_begins_no_step_and_goes_on_when_it_is_resumed(
    run_world: RunWorld,
) -> None:
    user = run_world.cast.active_buyer
    before, gone = run_world.records(), run_world.gone(user)
    run_world.queued(user)
    run_id = run_world.start()
    run_world.work_to(run_id, Stage.PLANNED)
    with pytest.raises(StaleError):
        stop(run_world, run_id, version=0)
    stop(run_world, run_id, version=run_world.run(run_id).version)
    assert legal(run_world, run_id) == ["resume", "undo"]
    versions = run_world.storage.versions()
    assert run_world.work() == []
    assert run_world.storage.versions() == versions
    resume(run_world, run_id)
    run_world.work()
    assert run_world.stage(run_id) is Stage.CLOSED
    run_world.clean_of(gone, before=before)


@ON_FILE
def test_a_step_at_work_ends_at_its_next_effect_and_an_undo_follows(
    run_world: RunWorld,
) -> None:
    """Stop and undo arrive while a step erases: it is given back, and nothing else begins."""
    world = run_world
    world.parts = replace(
        world.parts, rules=replace(world.parts.rules, heartbeat=timedelta(milliseconds=20))
    )
    before, current = world.records(), world.storage.current("raw/")
    cases = world.queued(world.cast.active_buyer)
    run_id = world.start()
    world.work_to(run_id, Stage.PLANNED)
    world.work(until=lambda: bool(_done(world, run_id, StepKind.ERASE)))

    def interrupted(step: Step, lease: Lease, parts: Parts) -> StepEnd:
        undo(world, run_id)
        while not lease.stop():
            pass
        return EVERY_ACT[step.kind](step, lease, parts)

    world.acts = MappingProxyType({**EVERY_ACT, StepKind.ERASE: interrupted})
    [step_id, *_] = world.ready(StepKind.ERASE)
    done = perform(step_id, worker=world.worker())
    assert done in (Performed.GIVEN_BACK, Performed.FINISHED)
    assert world.stage(run_id) is Stage.PLANNED
    with world.parts.database.transaction() as tx:
        runs.resume_due(OFFICER, tx, parts=world.parts)
    world.acts = EVERY_ACT
    world.work()
    assert world.stage(run_id) is Stage.UNDONE
    assert [world.state(c) for c in cases] == [State.AWAITING_APPROVAL]
    assert world.storage.current("raw/") == current
    assert not world.records().differences(before)


def _done(world: RunWorld, run_id: str, kind: StepKind) -> list[str]:
    return [s.target for s in world.steps(run_id) if s.kind is kind and s.state is StepState.DONE]


@ON_FILE
def test_an_undo_waits_until_a_silent_worker_has_lost_its_step(
    run_world: RunWorld, owner_database_url: str
) -> None:
    world = run_world
    cases = world.queued(world.cast.active_buyer)
    run_id = world.start()
    [step_id] = world.ready()
    with world.parts.database.transaction() as tx:
        claimed = leases.claim(
            tx,
            step_id,
            worker="silent",
            lease=timedelta(minutes=1),
            kinds=(StepKind.RESOLVE,),
        )
    assert claimed is not None
    undo(world, run_id)
    assert world.stage(run_id) is Stage.OPEN
    world.execute(owner_database_url, "update step set lease_until = now() - interval '1 s'")
    with world.parts.database.transaction() as tx:
        assert [r.id for r in leases.let_go(tx)] == [step_id]
    with world.parts.database.transaction() as tx:
        runs.resume_due(OFFICER, tx, parts=world.parts)
    assert world.stage(run_id) is Stage.UNDONE
    assert [world.state(c) for c in cases] == [State.AWAITING_APPROVAL]


@ON_FILE
def test_an_eraser_with_a_fault_is_stopped_and_a_person_undoes_it(
    run_world: RunWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.e2e.mutations import BRONZE

    before, current = run_world.records(), run_world.storage.current("raw/")
    cases = run_world.queued(run_world.cast.active_buyer)
    run_id = run_world.start()
    with monkeypatch.context() as faulty:
        BRONZE["changes another field"](faulty)
        run_world.work()
    assert run_world.stage(run_id) is Stage.STUCK
    assert run_world.parked(run_id) == [("check", "raw_events/0", "check_failed")]
    assert run_world.state(cases[0]) is State.STUCK
    assert legal(run_world, run_id) == ["undo"]
    with pytest.raises(IllegalMoveError):
        resume(run_world, run_id)
    undo(run_world, run_id)
    run_world.work()
    assert run_world.stage(run_id) is Stage.UNDONE
    assert run_world.state(cases[0]) is State.AWAITING_APPROVAL
    assert run_world.storage.current("raw/") == current
    assert not run_world.records().differences(before)


@ON_FILE
def test_an_undo_leaves_what_others_wrote_since_and_says_so(run_world: RunWorld) -> None:
    run_world.with_map(*WINDOW)
    user = run_world.cast.active_buyer
    run_world.queued(user)
    before = run_world.storage.current("raw/")
    run_id = run_world.start()
    run_world.work()
    now = run_world.storage.current("raw/")
    key = min(k for k in before if now[k] != before[k])
    line = json.dumps({"event_id": "evt_01JB0000000000000000000009", "name": "app.start"})
    body = line.encode() + b"\n"
    run_world.place.loader.load(run_world.place.root + key, body)
    undo(run_world, run_id)
    run_world.work()
    assert run_world.stage(run_id) is Stage.STUCK
    assert run_world.storage.current("raw/")[key] == body
    assert [(k, t) for k, t, _ in run_world.parked(run_id)] == [("undo", "raw_events")]
    assert legal(run_world, run_id) == ["undo"]
