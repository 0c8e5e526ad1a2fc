"""The bell never raises and never makes anybody wait; what it did not ring, the reconciler does."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import psutil
import pytest
from redis import Redis
from sqlalchemy import update

from app.domain.steps import NewStep, StepKind
from app.queue import QUEUE, STEP, CeleryBell
from app.servers import Servers
from app.services.ledger import reconcile
from app.services.parts import Parts
from app.store import steps
from app.store.tables import step as table


@contextmanager
def ringing(url: str) -> Iterator[CeleryBell]:
    bell = CeleryBell(url)
    try:
        yield bell
    finally:
        bell.close()


def timed(call: Callable[[], object]) -> tuple[object, float]:
    begun = time.monotonic()
    return call(), time.monotonic() - begun


def test_a_message_is_a_task_name_and_one_step_id(own_valkey: Servers, redis: Redis) -> None:
    with ringing(own_valkey.valkey.url) as bell:
        assert bell(["step_a", "step_b"])
        assert bell.tick()
        assert bell.waiting() == 3
    found = [repr(m) for m in redis.lrange(QUEUE, 0, -1)]
    assert [STEP in m for m in found] == [False, True, True]


def test_a_wiped_broker_hears_the_next_ring(own_valkey: Servers, redis: Redis) -> None:
    with ringing(own_valkey.valkey.url) as bell:
        assert bell(["step_a"])
        redis.flushall()
        assert bell(["step_a"])
        assert redis.llen(QUEUE) == bell.waiting() == 1


def test_no_broker_is_noticed_at_once_and_then_not_asked_for_a_second() -> None:
    with ringing("redis://:secret@127.0.0.1:1/0") as bell:
        rung, took = timed(lambda: bell(["step_a"]))
        assert (rung, took < 1) == (False, True)
        again, took = timed(lambda: [bell(["step_a"]) for _ in range(200)])
        assert (again, took < 0.1) == ([False] * 200, True)
        assert bell.waiting() is None


def test_a_broker_that_swallows_everything_costs_one_caller_half_a_second() -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen()
        with ringing(f"redis://:secret@127.0.0.1:{hole.getsockname()[1]}/0") as bell:
            rung, took = timed(lambda: bell([f"step_{n}" for n in range(100)]))
            assert (rung, took < 1.5) == (False, True)
            rung, took = timed(lambda: bell(["step_a"]))
            assert (rung, took < 0.1) == (False, True)


def test_it_is_heard_again_after_the_broker_slept_or_was_killed(
    own_valkey: Servers, redis: Redis
) -> None:
    with ringing(own_valkey.valkey.url) as bell:
        assert bell(["step_a"])
        (server,) = psutil.Process(own_valkey.guards()[0]).children()
        os.kill(server.pid, signal.SIGSTOP)
        try:
            rung, took = timed(lambda: bell(["step_b"]))
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert (rung, took < 1.5) == (False, True)
        heard_again(bell)
        guard = psutil.Process(own_valkey.guards()[0])
        server.kill()
        with suppress(psutil.NoSuchProcess):
            psutil.wait_procs([server], 10)
        assert not bell(["step_c"])
        wait_gone(guard)
        own_valkey.revive(lambda _: None)
        heard_again(bell)


def heard_again(bell: CeleryBell) -> None:
    end = time.monotonic() + 5
    while not bell(["step_d"]):
        assert time.monotonic() < end
        time.sleep(0.05)


def wait_gone(guard: psutil.Process) -> None:
    while guard.is_running() and guard.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.02)


def test_a_full_broker_is_a_broker_that_did_not_hear(redis: Redis, own_valkey: Servers) -> None:
    redis.config_set("maxmemory", "1mb")
    try:
        with ringing(own_valkey.valkey.url) as bell:
            assert not bell(["step_a"])
    finally:
        redis.config_set("maxmemory", "0")


@pytest.mark.parametrize(("room", "rings"), [(0, [0, 0]), (6, [6, 4]), (100, [10, 0])])
def test_the_reconciler_rings_for_what_was_not_heard_as_far_as_there_is_room(
    parts: Parts, rung: list[str], room: int, rings: list[int]
) -> None:
    with parts.database.transaction() as tx:
        ids = steps.put(tx, [NewStep(StepKind.SHRED, f"{n}") for n in range(10)])
    assert [reconcile(parts, room=room) for _ in rings] == rings
    assert sorted(rung) == sorted(ids)[: sum(rings)]


def test_a_ring_in_vain_is_repeated_when_the_lease_is_over(parts: Parts, rung: list[str]) -> None:
    with parts.database.transaction() as tx:
        ids = steps.put(tx, [NewStep(StepKind.SHRED, "case")])
        tx.ring(ids)
    assert reconcile(parts, room=10) == 0
    with parts.database.transaction() as tx:
        tx.run(update(table).values(last_enqueued_at=tx.now() - timedelta(seconds=41)))
    assert reconcile(parts, room=10) == 1
    assert rung == ids * 2
