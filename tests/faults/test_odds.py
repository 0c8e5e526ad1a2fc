"""What else can go wrong around a run: a full disk, a wrong clock, a missing key, deadlocks, two
reconcilers, old and new workers together. Each has its stated answer (docs/reliability.md).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from app.domain.errors import DatabaseUnavailableError
from app.domain.steps import NewStep, Step, StepEnd, StepKind, StepState
from app.services.ledger import Lease, Performed, Worker, perform, reconcile
from app.services.parts import Parts
from app.store import steps
from app.store.transaction import Database
from tests.faults.effort import Effort
from tests.faults.stands import Going, Stands
from tests.workers.hands import done, put, row, worker


def test_a_run_ends_right_on_a_full_disk_with_a_wrong_clock_and_another_worker(
    stands: Stands, effort: Effort
) -> None:
    """One worker after the other: its disk is full; its clock is a day off, either way. What one
    could not do, the next one does.
    """
    with effort.measuring("G6", "full disk, clock a day off") as measured:
        for n in measured.rounds(least=1, most=10, share=0.05):
            with stands.fresh("file") as stand:
                going = stand.begin()
                full = stand.worker(limit=2000)
                stand.wait(partial(failed_once, going))
                full.kill()
                measured.figure.note("runs that a person resumed", int(going.stuck()))
                if going.stuck():
                    going.resume()
                ahead, behind = stand.worker(days_off=1), stand.worker(days_off=-1)
                going.wait_over(ahead, behind, seconds=120)
                measured.figure.faults += [f"round {n}: {w}" for w in going.wrong()]


def failed_once(going: Going) -> bool:
    """Whether a step of the run could not be done, and says so."""
    return any(s.error_code for s in going.stand.world.steps(going.run_id))


def test_without_the_signing_key_no_report_says_anything_and_with_it_the_run_ends(
    stands: Stands,
) -> None:
    with stands.fresh("file") as stand:
        keys = Path(stand.environment["CLEARLAKE_KEYS_URI"].removeprefix("file://"))
        stand.world.parts.keys.signer()
        away = {p: p.read_bytes() for p in keys.glob("signing-*") if p.suffix != ".pem"}
        assert away
        for path in away:
            path.write_bytes(b"")
        going = stand.begin()
        stand.people.clear()
        first = stand.worker()
        stand.wait(lambda: going.settled() or bool(stand.world.parked(going.run_id)))
        assert not going.over()
        assert stand.world.reports(going.run_id) == []
        first.kill()
        for path, was in away.items():
            path.write_bytes(was)
        if stand.world.parked(going.run_id):
            going.resume()
        going.finish()
        assert going.wrong() == []


def test_a_worker_that_sleeps_in_a_transaction_does_not_hold_up_the_others(
    database_url: str,
) -> None:
    locks = text("select pg_advisory_xact_lock(7)")
    asleep = Database(database_url, ring=lambda _: True, asleep=timedelta(seconds=0.3))
    awake = Database(database_url, ring=lambda _: True)

    def sleep_with_the_lock() -> None:
        with asleep.transaction() as tx:
            tx.run(locks)
            with awake.transaction() as other:
                other.run(locks)
            tx.run(locks)

    with pytest.raises(DatabaseUnavailableError):
        sleep_with_the_lock()
    with asleep.transaction() as tx:
        tx.run(locks)
    asleep.close()
    awake.close()


def test_a_deadlock_costs_a_second_and_the_step_nothing(
    parts: Parts, owner_database_url: str
) -> None:
    """A stranger has the step's row and wants the lock of the entries; the one that finishes the
    step has that lock and wants the row. Postgres ends one of them: ours, which tries again.
    """
    (step_id,) = put(parts)
    url = owner_database_url.replace("+psycopg", "", 1)
    stranger = psycopg.connect(url, options="-cdeadlock_timeout=20s")
    begun = threading.Event()

    def want(_: object) -> None:
        begun.wait(10)
        time.sleep(0.3)
        stranger.execute("select pg_advisory_xact_lock(98)")
        stranger.rollback()

    tries = []

    def act(step: Step, lease: Lease, given: Parts) -> StepEnd:
        with suppress(DatabaseUnavailableError), given.database.transaction() as tx:
            stranger.execute("select from clearlake.step where id = %s for update", [step_id])
            tx.run(text("select pg_advisory_xact_lock(98)"))
            begun.set()
            tries.append(pool.submit(want, None))
            tx.run(text("select from clearlake.step where id = :id for update"), {"id": step_id})
            raise AssertionError("no deadlock")
        return StepEnd(receipt={"rows": 3})

    with closing(stranger), ThreadPoolExecutor(1) as pool:
        assert perform(step_id, worker=worker(parts, act)) is Performed.FINISHED
    assert len(tries) == 1
    assert (row(parts, step_id).state, row(parts, step_id).attempt) == (StepState.DONE, 1)


def test_of_reconcilers_one_works_at_a_time_and_every_step_is_rung_for(
    parts: Parts, rung: list[str]
) -> None:
    with parts.database.transaction() as tx:
        ids = steps.put(tx, [NewStep(StepKind.SHRED, f"{n}") for n in range(40)])
    both = threading.Barrier(4)

    def go(_: int) -> int:
        both.wait()
        return sum(reconcile(parts, room=15) for _ in range(4))

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(go, range(4)))
    # who comes while another leads does nothing, so some may be left to those who come after
    while more := reconcile(parts, room=15):
        counts.append(more)
    # one that leads between the other's commit and its note rings again: claims see to that
    assert sum(counts) == len(rung)
    assert set(rung) == set(ids)


def test_a_step_that_an_old_worker_does_not_know_waits_for_a_new_one(parts: Parts) -> None:
    (known,) = put(parts, NewStep(StepKind.SHRED, "known"))
    (unknown,) = put(parts, NewStep(StepKind.SWEEP, "lake"))
    new = worker(parts, done)
    old = replace(new, name="old", acts={StepKind.SHRED: done})
    order: Sequence[tuple[Worker, str, Performed]] = (
        (old, unknown, Performed.NOTHING),
        (old, known, Performed.FINISHED),
        (new, unknown, Performed.FINISHED),
    )
    for who, step_id, expected in order:
        assert perform(step_id, worker=who) is expected
    assert row(parts, unknown).state is StepState.DONE
