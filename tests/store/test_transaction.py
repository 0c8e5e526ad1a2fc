"""One transaction: connections that ended meanwhile, and what is put off to its end."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DisconnectionError

from app.domain.actors import WORKER
from app.domain.errors import DatabaseUnavailableError
from app.services import entries
from app.services.parts import Parts
from app.store import audit


def verbs(parts: Parts, about: str) -> list[str]:
    with parts.database.transaction() as tx:
        return [e.verb for e in audit.of_objects(tx, [about])]


def test_connections_that_the_server_ended_are_replaced_before_anybody_gets_them(
    parts: Parts, owner_database_url: str
) -> None:
    def together(barrier: threading.Barrier) -> None:
        with parts.database.transaction() as tx:
            tx.now()
            barrier.wait(timeout=30)

    with ThreadPoolExecutor(4) as pool:
        barrier = threading.Barrier(4)
        list(pool.map(together, [barrier] * 4))
    with psycopg.connect(owner_database_url.replace("+psycopg", "", 1), autocommit=True) as link:
        ended = link.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        ).fetchall()
    assert len(ended) >= 4
    with ThreadPoolExecutor(4) as pool:
        barrier = threading.Barrier(4)
        list(pool.map(together, [barrier] * 4))


def test_connections_that_are_dead_before_they_are_used_are_a_database_that_does_not_answer(
    parts: Parts,
) -> None:
    def dead(*_: object) -> None:
        raise DisconnectionError("As the pool is told of each connection that it takes.")

    engine = parts.database._engine
    event.listen(engine, "checkout", dead)
    try:
        with pytest.raises(DatabaseUnavailableError), parts.database.transaction():
            pass
    finally:
        event.remove(engine, "checkout", dead)
    with parts.database.transaction() as tx:
        tx.now()


def test_a_glance_holds_no_transaction_and_nothing_can_be_put_off_in_it(parts: Parts) -> None:
    with parts.database.glance() as tx, parts.database.transaction() as other:
        pid = tx.run(text("select pg_backend_pid()")).scalar_one()
        asked = text("select state from pg_stat_activity where pid = :pid")
        assert other.run(asked, {"pid": pid}).scalar_one() == "idle"

    def writes() -> None:
        with parts.database.glance() as tx:
            entries.record(WORKER, tx, verb="test.one", about="run_x")

    with pytest.raises(AssertionError, match="no end"):
        writes()


def test_who_has_recorded_and_goes_on_keeps_nobody_waiting(parts: Parts) -> None:
    def other() -> None:
        with parts.database.transaction() as tx:
            entries.record(WORKER, tx, verb="test.second", about="run_x")

    with parts.database.transaction() as tx:
        entries.record(WORKER, tx, verb="test.first", about="run_x")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(other).result(timeout=30)
    assert verbs(parts, "run_x") == ["test.second", "test.first"]
    with parts.database.transaction() as tx:
        assert [e.seq for e in audit.of_objects(tx, ["run_x"])] == [1, 2]


def test_what_was_recorded_is_read_in_the_same_transaction(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        entries.record(WORKER, tx, verb="test.one", about="run_x")
        entries.record(WORKER, tx, verb="test.two", about="run_x")
        assert [e.verb for e in audit.of_objects(tx, ["run_x"])] == ["test.one", "test.two"]
        entries.record(WORKER, tx, verb="test.three", about="run_x")
    assert verbs(parts, "run_x") == ["test.one", "test.two", "test.three"]


def test_what_is_rolled_back_was_never_recorded(parts: Parts) -> None:
    def fails() -> None:
        with parts.database.transaction() as tx:
            entries.record(WORKER, tx, verb="test.one", about="run_x")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fails()
    assert verbs(parts, "run_x") == []
