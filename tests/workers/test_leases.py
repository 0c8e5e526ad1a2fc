"""When the holder of a step must stop, and that a stale one records nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import insert, make_url, update

from app.domain.errors import (
    DatabaseUnavailableError,
    LeaseLostError,
    StoppedError,
)
from app.domain.steps import NewStep, Step, StepEnd, StepKind, StepState
from app.services.ledger import Lease, Performed, perform
from app.services.parts import Parts, Transaction
from app.store import leases
from app.store.tables import run
from app.store.transaction import Database
from tests.workers.hands import done, lapse, put, row, verbs, wait_until, worker


def test_a_holder_that_ends_gives_the_step_back_without_losing_an_attempt(quick: Parts) -> None:
    (step_id,) = put(quick)
    draining = threading.Event()

    def act(step: Step, lease: Lease, parts: Parts) -> StepEnd:
        assert not lease.stop()
        draining.set()
        assert lease.stop()
        raise StoppedError("The worker is to end.")

    one = replace(worker(quick, act), draining=draining.is_set)
    assert perform(step_id, worker=one) is Performed.GIVEN_BACK
    assert perform(step_id, worker=one) is Performed.NOTHING
    found = row(quick, step_id)
    assert (found.state, found.attempt) == (StepState.READY, 0)


def test_a_stop_of_the_run_is_heard_within_a_heartbeat(quick: Parts) -> None:
    with quick.database.transaction() as tx:
        tx.run(insert(run).values(id="run_c", stage="erased", started_by="worker"))
    (step_id,) = put(quick, NewStep(StepKind.ERASE, "raw/1", "run_c"))

    def act(step: Step, lease: Lease, parts: Parts) -> StepEnd:
        with parts.database.transaction() as tx:
            tx.run(update(run).values(stop_requested=True))
        wait_until(lease.stop)
        raise StoppedError("The run was told to stop.")

    assert perform(step_id, worker=worker(quick, act)) is Performed.GIVEN_BACK
    assert perform(step_id, worker=worker(quick, done)) is Performed.NOTHING


def test_a_long_act_keeps_its_lease(quick: Parts) -> None:
    (step_id,) = put(quick)

    def act(step: Step, lease: Lease, parts: Parts) -> StepEnd:
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            assert not lease.stop()
            assert perform(step.id, worker=worker(parts, done)) is Performed.NOTHING
            time.sleep(0.1)
        return StepEnd()

    assert perform(step_id, worker=worker(quick, act)) is Performed.FINISHED


def test_a_holder_that_lost_the_step_stops_and_nothing_of_it_is_recorded(quick: Parts) -> None:
    (step_id,) = put(quick)

    def act(step: Step, lease: Lease, parts: Parts) -> StepEnd:
        lapse(parts, step.id)
        with parts.database.transaction() as tx:
            other = leases.claim(
                tx, step.id, worker="other", lease=timedelta(hours=1), kinds=tuple(StepKind)
            )
        assert other is not None
        wait_until(lease.stop)
        with pytest.raises(LeaseLostError), parts.database.transaction() as tx:
            lease.guard(tx)
        return StepEnd(receipt={"stale": 1})

    assert perform(step_id, worker=worker(quick, act)) is Performed.LOST
    found = row(quick, step_id)
    assert (found.state, found.receipt) == (StepState.RUNNING, {})


def test_an_act_that_hangs_for_hours_loses_its_lease(quick: Parts) -> None:
    (step_id,) = put(quick)
    hours = [0.0]

    def act(step: Step, lease: Lease, parts: Parts) -> StepEnd:
        time.sleep(0.8)
        assert not lease.stop()
        hours[0] = 7.0
        wait_until(lambda: perform(step.id, worker=worker(parts, done)) is Performed.FINISHED)
        assert lease.stop()
        return StepEnd(receipt={"stale": 1})

    one = replace(worker(quick, act), clock=lambda: time.monotonic() + hours[0] * 3600)
    assert perform(step_id, worker=one) is Performed.LOST
    assert row(quick, step_id).receipt == {"rows": 3, "version": "v1"}


@contextmanager
def shut(parts: Parts, url: str) -> Iterator[None]:
    """The database takes no connection and has none."""
    name = make_url(url).database
    at = make_url(url).set(database="postgres", drivername="postgresql")
    with psycopg.connect(at.render_as_string(hide_password=False), autocommit=True) as link:
        link.execute(f'alter database "{name}" allow_connections false')
        try:
            link.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s",
                [name],
            )
            yield
        finally:
            link.execute(f'alter database "{name}" allow_connections true')


def test_a_database_that_is_away_for_a_moment_costs_nothing(
    quick: Parts, owner_database_url: str
) -> None:
    (step_id,) = put(quick)

    def act(step: Step, lease: Lease, parts: Parts) -> StepEnd:
        with shut(parts, owner_database_url):
            time.sleep(0.25)
            assert not lease.stop()
        return StepEnd(receipt={"rows": 1})

    assert perform(step_id, worker=worker(quick, act)) is Performed.FINISHED
    assert row(quick, step_id).attempt == 1


def test_a_database_that_is_away_for_longer_than_the_lease_stops_the_holder(
    quick: Parts, owner_database_url: str
) -> None:
    (step_id,) = put(quick)

    def act(step: Step, lease: Lease, parts: Parts) -> StepEnd:
        with shut(parts, owner_database_url):
            wait_until(lease.stop)
        raise StoppedError("The lease is over.")

    assert perform(step_id, worker=worker(quick, act)) is Performed.GIVEN_BACK


def test_a_lost_answer_of_the_last_commit_is_settled_by_asking_again(quick: Parts) -> None:
    (step_id,) = put(quick)

    class Deaf(Database):
        """The commit of a finish happens, and its answer is lost, once."""

        lost = 0

        @contextmanager
        def transaction(self) -> Iterator[Transaction]:
            with super().transaction() as tx:
                yield tx
            if Deaf.lost == 0 and row(quick, step_id).state is StepState.DONE:
                Deaf.lost += 1
                raise DatabaseUnavailableError("The database does not answer now.")

    url = quick.database._engine.url.render_as_string(hide_password=False)
    database = Deaf(url, ring=lambda _: True)
    done_by = perform(step_id, worker=worker(replace(quick, database=database), done))
    database.close()
    assert (done_by, Deaf.lost) == (Performed.LOST, 1)
    assert row(quick, step_id).receipt == {"rows": 3, "version": "v1"}
    assert verbs(quick, step_id) == ["step.started", "step.finished"]
