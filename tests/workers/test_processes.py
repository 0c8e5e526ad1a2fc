"""Real workers, really killed, stopped and robbed of their broker: every step is done, once.

The settings are seconds: lease 2, heartbeat 0.4, reconciler 0.5.
"""

from __future__ import annotations

import os
import signal
import time

import psutil
import psycopg
import pytest
from redis import Redis
from sqlalchemy import make_url

from app.domain.steps import StepState
from app.queue import CeleryBell
from app.servers import Servers
from app.store import audit
from tests.workers.entry_times import LEASE, RESUMED
from tests.workers.worlds import BEAT, POLLER, WORKER, World, parent, signal_all


def test_a_step_outlives_its_pool_process_and_its_whole_worker(world: World) -> None:
    world.start(WORKER)
    (step_id,) = world.put("slow/1")
    first = world.begun("slow/1")
    os.kill(first.pid, signal.SIGKILL)
    second = world.begun("slow/1", attempt=2)
    assert second.at - first.at < RESUMED
    world.start(WORKER)
    other_main = parent(second.pid)
    killed_at = time.time()
    os.kill(other_main, signal.SIGKILL)
    third = world.begun("slow/1", attempt=3)
    assert parent(third.pid) != other_main
    assert third.at - killed_at < RESUMED
    world.wait_for(lambda: world.is_done(step_id))
    assert len(world.told("done")) == 1


def test_one_that_slept_for_three_leases_writes_nothing(world: World) -> None:
    world.start(WORKER)
    (step_id,) = world.put("stubborn/1")
    first = world.begun("stubborn/1")
    sleeping = [parent(first.pid), first.pid]
    signal_all(sleeping, signal.SIGSTOP)
    world.start(WORKER)
    world.wait_for(lambda: world.is_done(step_id))
    time.sleep(max(0.0, first.at + 3 * LEASE - time.time()))
    before = world.row(step_id)
    signal_all(sleeping, signal.SIGCONT)
    (next_id,) = world.put("quick/1")
    world.wait_for(lambda: world.is_done(next_id))
    world.wait_for(lambda: '"lost"' in (world.folder / "log0").read_text())
    assert [t.pid != first.pid for t in world.told("done", "stubborn/1")] == [True]
    assert world.row(step_id) == before


def test_a_poison_step_is_parked_and_the_others_go_on(world: World) -> None:
    world.start(WORKER)
    (poison,) = world.put("poison/1", max_attempts=2)
    mortal, quick = world.put("mortal/1", "quick/1")
    world.wait_for(lambda: world.row(poison).state is StepState.PARKED)
    world.wait_for(lambda: world.is_done(mortal, quick))
    assert world.row(poison).error_code == "lease_lapsed"
    assert len(world.told("begun", "poison/1")) == 2
    assert len(world.told("done", "mortal/1")) == 1


def test_a_run_survives_a_wiped_broker_a_killed_one_and_messages_five_times(
    world: World, redis: Redis, own_valkey: Servers
) -> None:
    for _ in range(2):
        world.start(WORKER)
    targets = [f"stubborn/{n}" for n in range(12)]
    ids = world.put_run(targets)
    bell = CeleryBell(world.broker_url)
    assert bell(ids * 4)
    bell.close()
    world.wait_for(lambda: len(world.told("done")) >= 3)
    redis.flushall()
    wiped_at = time.time()
    world.wait_for(lambda: any(t.at > wiped_at + 0.7 for t in world.told("begun")))
    resumed = min(t.at for t in world.told("begun") if t.at > wiped_at + 0.7)
    assert resumed - wiped_at < RESUMED
    guard = psutil.Process(own_valkey.guards()[0])
    guard.children()[0].kill()
    world.wait_for(lambda: guard.status() == psutil.STATUS_ZOMBIE)
    own_valkey.revive(lambda _: None)
    world.wait_for(lambda: world.is_done(*ids))
    world.wait_for(lambda: len(world.told("done", "quick/all")) == 2)
    done = [t.target for t in world.told("done")]
    assert sorted(done) == sorted([*targets, "quick/all", "quick/all"])


def test_a_lost_connection_to_postgres_costs_no_attempt(
    world: World, owner_database_url: str
) -> None:
    world.start(WORKER)
    (step_id,) = world.put("slow/1")
    world.begun("slow/1")
    url = make_url(owner_database_url).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as link:
        link.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
    world.wait_for(lambda: world.is_done(step_id))
    assert world.row(step_id).attempt == 1
    assert len(world.told("done")) == 1


@pytest.mark.parametrize("arguments", [WORKER, POLLER], ids=["worker", "no broker"])
def test_one_that_is_told_to_end_gives_its_step_back(
    world: World, arguments: tuple[str, ...]
) -> None:
    process = world.start(arguments)
    (step_id,) = world.put("slow/1")
    world.begun("slow/1")
    process.terminate()
    world.wait_for(lambda: process.poll() is not None)
    assert process.returncode == 0
    row = world.row(step_id)
    assert (row.state, row.attempt) == (StepState.READY, 0)
    with world.parts.database.transaction() as tx:
        verbs = [e.verb for e in audit.of_objects(tx, [step_id])]
    assert verbs == ["step.started", "step.given_back"]


def test_a_process_group_that_is_told_to_end_gives_its_step_back(world: World) -> None:
    process = world.start(WORKER)
    (step_id,) = world.put("slow/1")
    world.begun("slow/1")
    os.killpg(process.pid, signal.SIGTERM)
    world.wait_for(lambda: process.poll() is not None)
    assert world.row(step_id).state is StepState.READY


def test_without_a_broker_a_run_ends_and_what_recurs_is_done(world: World, redis: Redis) -> None:
    for _ in range(2):
        world.start(POLLER)
    ids = world.put_run([f"quick/{n}" for n in range(20)])
    (mortal,) = world.put("mortal/1")
    world.wait_for(lambda: world.is_done(*ids))
    world.wait_for(lambda: len(world.told("done", "quick/night")) == 1)
    world.wait_for(lambda: len(world.told("done", "quick/all")) == 2)
    world.start(POLLER)
    world.wait_for(lambda: world.is_done(mortal))
    assert len(world.told("done")) == 20 + 2 + 1 + 1


def test_beat_has_what_recurs_done_once_by_two_workers(world: World) -> None:
    world.start(BEAT)
    for _ in range(2):
        world.start(WORKER)
    world.wait_for(lambda: len(world.told("done", "quick/night")) == 1)
    time.sleep(1.5)
    assert len(world.told("done")) == 1
