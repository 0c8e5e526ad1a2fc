"""The ledger: who gets a step, who keeps it, and what a stale holder can still write: nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select, update

from app.domain.runs import Stage
from app.domain.steps import NewStep, StepEnd, StepKind, StepState
from app.services.parts import Parts, Transaction
from app.store import leases, steps
from app.store.leases import Claim, Pulse
from app.store.tables import run
from app.store.tables import step as table

LEASE = timedelta(seconds=30)
LAPSED = timedelta(seconds=-1)


def put(tx: Transaction, kind: StepKind, target: str = "a", run_id: str | None = None) -> str:
    (step_id,) = steps.put(tx, [NewStep(kind, target, run_id)])
    return step_id


def claim(tx: Transaction, step_id: str, *, lease: timedelta = LEASE) -> Claim | None:
    return leases.claim(tx, step_id, worker="w", lease=lease, kinds=tuple(StepKind))


def taken(parts: Parts, step_id: str, *, lease: timedelta = LEASE) -> Claim:
    with parts.database.transaction() as tx:
        found = claim(tx, step_id, lease=lease)
    assert found is not None
    return found


def make_run(tx: Transaction, run_id: str, stage: Stage = Stage.ERASED) -> str:
    tx.run(insert(run).values(id=run_id, stage=stage, started_by="worker"))
    return run_id


def set_run(parts: Parts, run_id: str, **values: object) -> None:
    with parts.database.transaction() as tx:
        tx.run(update(run).where(run.c.id == run_id).values(**values))


def is_free(parts: Parts, step_id: str) -> bool:
    """Whether somebody could claim it now; it is put back at once."""
    with parts.database.transaction() as tx:
        found = claim(tx, step_id)
        return found is not None and leases.release(tx, found.step)


def test_of_twenty_claims_at_once_one_is_granted(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        step_id = put(tx, StepKind.SHRED)

    def once(_: int) -> bool:
        with parts.database.transaction() as tx:
            return claim(tx, step_id) is not None

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(once, range(20))) == 1


def test_a_lapsed_lease_is_taken_over_and_the_old_holder_writes_nothing(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        step_id = put(tx, StepKind.SHRED)
    old = taken(parts, step_id, lease=LAPSED)
    new = taken(parts, step_id)
    assert (old.lapsed, new.lapsed) == (False, True)
    assert new.step.fence > old.step.fence
    assert new.step.attempt == 2
    with parts.database.transaction() as tx:
        assert leases.heartbeat(tx, old.step, lease=LEASE) is Pulse.LOST
        assert not leases.holds(tx, old.step)
        assert not leases.finish(tx, old.step, StepEnd(receipt={"stale": 1}))
        assert not leases.give_back(tx, old.step, error_code="x", pause=LEASE)
        assert not leases.release(tx, old.step)
        assert not leases.park(tx, old.step, error_code="x")
        assert leases.heartbeat(tx, new.step, lease=LEASE) is Pulse.HELD
        assert leases.finish(tx, new.step, StepEnd(receipt={"fresh": 1}))
        row = steps.get(tx, step_id)
    assert row is not None
    assert (row.state, row.receipt) == (StepState.DONE, {"fresh": 1})


def test_a_guard_holds_others_off_until_the_transaction_ends(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        step_id = put(tx, StepKind.SHRED)
    old = taken(parts, step_id, lease=LAPSED)

    def take_over() -> Claim:
        return taken(parts, step_id)

    with ThreadPoolExecutor(1) as pool:
        with parts.database.transaction() as tx:
            assert leases.holds(tx, old.step)
            other = pool.submit(take_over)
            with pytest.raises(TimeoutError):
                other.result(timeout=0.3)
        assert other.result(timeout=10).step.fence == old.step.fence + 1


def test_a_step_is_not_to_be_had_before_its_time(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        later = tx.now() + timedelta(hours=1)
        (step_id,) = steps.put(tx, [NewStep(StepKind.SHRED, "a", not_before=later)])
    assert not is_free(parts, step_id)


def test_after_a_failure_it_waits_and_the_attempt_counts(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        step_id = put(tx, StepKind.SHRED)
    held = taken(parts, step_id)
    with parts.database.transaction() as tx:
        assert leases.give_back(tx, held.step, error_code="unreachable", pause=timedelta(hours=1))
        row = steps.get(tx, step_id)
        assert row is not None
        assert (row.state, row.attempt, row.error_code) == (StepState.READY, 1, "unreachable")
    assert not is_free(parts, step_id)


def test_a_step_given_back_at_a_shutdown_does_not_count_the_attempt(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        step_id = put(tx, StepKind.SHRED)
    for _ in range(9):
        held = taken(parts, step_id)
        assert held.step.attempt == 1
        with parts.database.transaction() as tx:
            assert leases.release(tx, held.step)


def test_a_worker_leaves_kinds_that_it_does_not_know_to_others(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        step_id = put(tx, StepKind.SHRED)
        found = leases.claim(
            tx, step_id, worker="old", lease=LEASE, kinds=(StepKind.SCOPE, StepKind.ERASE)
        )
        assert found is None
    assert is_free(parts, step_id)


# --- putting ----------------------------------------------------------------------------------


def test_put_again_leaves_an_open_step_and_reopens_an_ended_one(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        step_id = put(tx, StepKind.SHRED)
        assert put(tx, StepKind.SHRED) == step_id
    held = taken(parts, step_id)
    with parts.database.transaction() as tx:
        assert put(tx, StepKind.SHRED) == step_id
        assert leases.park(tx, held.step, error_code="x")
        assert put(tx, StepKind.SHRED) == step_id
        row = steps.get(tx, step_id)
        assert row is not None
        assert (row.state, row.attempt, row.error_code) == (StepState.READY, 0, None)
    assert taken(parts, step_id).step.fence > held.step.fence


def test_many_are_put_at_once_in_the_order_given(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        run_id = make_run(tx, "run_many")
        wanted = [NewStep(StepKind.ERASE, f"raw/{n}", run_id) for n in range(2500)]
        first = steps.put(tx, wanted)
        assert steps.put(tx, list(reversed(wanted))) == list(reversed(first))
        assert [s.count for s in steps.progress(tx, run_id)] == [2500]
    assert len(set(first)) == 2500


def test_putting_does_not_wait_for_a_step_that_is_at_work(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        step_id = put(tx, StepKind.SHRED)
    held = taken(parts, step_id)
    with parts.database.transaction() as tx, parts.database.transaction() as other:
        assert leases.holds(tx, held.step)
        assert put(other, StepKind.SHRED) == step_id


def test_two_that_put_the_same_at_once_get_the_same_step(parts: Parts) -> None:
    def once(_: int) -> list[str]:
        with parts.database.transaction() as tx:
            return steps.put(tx, [NewStep(StepKind.SHRED, f"{n}") for n in range(50)])

    with ThreadPoolExecutor(8) as pool:
        assert len({tuple(ids) for ids in pool.map(once, range(8))}) == 1


def test_progress_is_by_kind_dataset_and_state(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        run_id = make_run(tx, "run_p")
        targets = ("raw/1", "raw/2", "events")
        ids = steps.put(tx, [NewStep(StepKind.ERASE, t, run_id) for t in targets])
    held = taken(parts, ids[0])
    with parts.database.transaction() as tx:
        assert leases.finish(tx, held.step, StepEnd())
        seen = [(p.kind, p.target, p.state, p.count) for p in steps.progress(tx, run_id)]
    assert seen == [
        (StepKind.ERASE, "events", StepState.READY, 1),
        (StepKind.ERASE, "raw", StepState.DONE, 1),
        (StepKind.ERASE, "raw", StepState.READY, 1),
    ]


def test_deferred_runs_are_found_when_their_date_has_come(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        now = tx.now()
        run_id = make_run(tx, "run_d")
        ids = steps.put(tx, [NewStep(StepKind.PURGE, t, run_id) for t in ("a", "b")])
    for step_id, days in zip(ids, (-1, 1), strict=True):
        held = taken(parts, step_id)
        with parts.database.transaction() as tx:
            end = StepEnd(StepState.DEFERRED, until=now + timedelta(days=days))
            assert leases.finish(tx, held.step, end)
            assert steps.deferred_runs(tx) == [run_id]


# --- who keeps whom out -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [StepKind.SCOPE, StepKind.STITCH, StepKind.SWEEP])
def test_of_an_exclusive_kind_one_runs_at_a_time(parts: Parts, kind: StepKind) -> None:
    with parts.database.transaction() as tx:
        ids = [put(tx, kind, f"{n}") for n in range(8)]

    def once(step_id: str) -> bool:
        with parts.database.transaction() as tx:
            return claim(tx, step_id) is not None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(once, ids)) == 1


@pytest.mark.parametrize("stage", sorted(Stage))
def test_a_stitch_waits_while_a_run_is_at_work(parts: Parts, stage: Stage) -> None:
    with parts.database.transaction() as tx:
        make_run(tx, "run_s", stage)
        step_id = put(tx, StepKind.STITCH)
    at_work = stage not in (Stage.PENDING, Stage.CLOSED, Stage.UNDONE)
    assert is_free(parts, step_id) is not at_work


def test_a_run_waits_while_a_stitch_is_at_work_and_other_things_do_not(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        stitch = put(tx, StepKind.STITCH)
    held = taken(parts, stitch)
    with parts.database.transaction() as tx:
        run_id = make_run(tx, "run_w", Stage.OPEN)
        of_run = [put(tx, k, run_id=run_id) for k in (StepKind.RESOLVE, StepKind.ERASE)]
        others = [put(tx, k) for k in (StepKind.SCOPE, StepKind.SHRED)]
    assert [is_free(parts, s) for s in of_run + others] == [False, False, True, True]
    with parts.database.transaction() as tx:
        assert leases.finish(tx, held.step, StepEnd())
    assert [is_free(parts, s) for s in of_run] == [True, True]


def test_a_step_of_a_stopped_run_stays_ready_but_an_undo_goes_on(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        run_id = make_run(tx, "run_x")
        erase, check, undo = (
            put(tx, k, run_id=run_id) for k in (StepKind.ERASE, StepKind.CHECK, StepKind.UNDO)
        )
    held = taken(parts, erase)
    set_run(parts, run_id, stop_requested=True)
    assert not is_free(parts, check)
    assert is_free(parts, undo)
    with parts.database.transaction() as tx:
        assert leases.heartbeat(tx, held.step, lease=LEASE) is Pulse.STOPPED
    set_run(parts, run_id, stop_requested=False)
    assert is_free(parts, check)


def test_a_stopped_run_gets_back_the_steps_of_dead_workers(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        run_id = make_run(tx, "run_l")
        step_id = put(tx, StepKind.ERASE, run_id=run_id)
    held = taken(parts, step_id, lease=LAPSED)
    set_run(parts, run_id, stop_requested=True)
    with parts.database.transaction() as tx:
        assert [s.id for s in leases.let_go(tx)] == [step_id]
        assert leases.let_go(tx) == []
        assert not leases.finish(tx, held.step, StepEnd())
        assert [s.state for s in steps.of_run(tx, run_id)] == [StepState.READY]


# --- who must be woken ------------------------------------------------------------------------


def rung(parts: Parts, step_id: str, *, ago: float = 0) -> None:
    with parts.database.transaction() as tx:
        at = func.now() - timedelta(seconds=ago)
        tx.run(update(table).where(table.c.id == step_id).values(last_enqueued_at=at))


def unheard(parts: Parts) -> list[str]:
    with parts.database.transaction() as tx:
        return leases.unheard(tx, again=LEASE, limit=100)


def test_who_was_rung_lately_is_left_and_rung_again_after_a_while(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        step_id = put(tx, StepKind.SHRED)
    assert unheard(parts) == [step_id]
    rung(parts, step_id)
    assert unheard(parts) == []
    rung(parts, step_id, ago=31)
    assert unheard(parts) == [step_id]


def test_who_fell_due_or_lapsed_since_the_bell_is_rung_again(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        past = tx.now() - timedelta(seconds=5)
        (due,) = steps.put(tx, [NewStep(StepKind.SHRED, "due", not_before=past)])
        lapsed = put(tx, StepKind.SHRED, "lapsed")
    taken(parts, lapsed, lease=timedelta(seconds=-5))
    for step_id in (due, lapsed):
        rung(parts, step_id, ago=10)
    assert sorted(unheard(parts)) == sorted([due, lapsed])
    for step_id in (due, lapsed):
        rung(parts, step_id, ago=1)
    assert unheard(parts) == []


def test_a_claim_in_vain_asks_for_another_ring(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        first, second = (put(tx, StepKind.SCOPE, t) for t in ("a", "b"))
    held = taken(parts, first)
    rung(parts, second)
    with parts.database.transaction() as tx:
        assert claim(tx, second) is None
        asked = select(table.c.last_enqueued_at).where(table.c.id == second)
        assert tx.run(asked).scalar_one() is None
        assert leases.finish(tx, held.step, StepEnd())
    assert unheard(parts) == [second]


def test_two_reconcilers_never_work_at_once(parts: Parts) -> None:
    with parts.database.transaction() as one, parts.database.transaction() as two:
        assert leases.lead(one)
        assert not leases.lead(two)
    with parts.database.transaction() as tx:
        assert leases.lead(tx)
