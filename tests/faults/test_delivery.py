"""Messages delivered once to five times, two workers racing for each step: one effect a step; and
a broker that is wiped, refused and black-holed for a while: it heals by itself.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import select

from app.audit.keys import KeyStore
from app.queue import CeleryBell
from app.servers import Servers, remove_state
from app.services.parts import Parts
from app.store.tables import audit_entry
from app.store.transaction import Database
from tests.faults.effort import Effort
from tests.faults.places import fresh_database
from tests.faults.proxy import HttpProxy, TcpProxy
from tests.faults.proxy import tcp as on_tcp
from tests.faults.stands import Stands
from tests.workers.entry_times import LEASE, RECONCILE
from tests.workers.worlds import WORKER, World

OWN = (40.0 - LEASE) + (15.0 - RECONCILE)
"""What the service's own lease and reconciler take longer than those of these workers."""


def finished_more_than_once(parts: Parts) -> list[str]:
    """Steps with more than one receipt."""
    with parts.database.transaction() as tx:
        entries = select(audit_entry.c.facts).where(audit_entry.c.verb == "step.finished")
        found = [json.loads(facts) for facts in tx.run(entries).scalars()]
    ended = Counter(f["step"] for f in found if f["state"] == "done")
    return [step for step, times in ended.items() if times > 1]


def test_of_two_workers_that_race_for_every_step_one_does_it(
    stands: Stands, servers: Servers, effort: Effort
) -> None:
    with (
        effort.measuring("G4", "two workers race for every step of a run") as measured,
        ExitStack() as closing,
    ):
        proxy = closing.enter_context(HttpProxy(servers.s3.endpoint))
        settings = {"CLEARLAKE_S3_ENDPOINT": proxy.endpoint}
        stand = closing.enter_context(stands.fresh("s3", env=settings))
        for n in measured.rounds(least=1, most=10, share=0.06):
            going = stand.begin()
            proxy.asked.clear()
            going.wait_over(stand.worker(), stand.worker(), seconds=120)
            puts = Counter(
                a.path.partition("?")[0]
                for a in list(proxy.asked)
                if a.method == "PUT" and a.conditional and a.status == 200
            )
            measured.figure.note("objects rewritten", len(puts))
            measured.figure.faults += [
                f"round {n}: {times} PUTs" for times in puts.values() if times > 1
            ]
            measured.figure.faults += finished_more_than_once(stand.world.parts)
            measured.figure.faults += going.wrong()


# --- the broker ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_valkey() -> Iterator[Servers]:
    folder = Path(tempfile.mkdtemp(prefix="clearlake-valkey-"))
    try:
        with Servers(folder, parts={"valkey"}) as servers:
            yield servers
    finally:
        remove_state(folder)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def proxy(own_valkey: Servers) -> Iterator[TcpProxy]:
    with Redis.from_url(own_valkey.valkey.url) as client:
        client.flushall()
    with TcpProxy(("127.0.0.1", own_valkey.valkey.port)) as proxy:
        yield proxy


@contextmanager
def behind_proxy(
    servers: Servers, template: str, url: str, proxy: TcpProxy, folder: Path
) -> Iterator[World]:
    """A ledger whose bell and workers reach the broker through the proxy."""
    broker = url.replace(f":{proxy.upstream[1]}/", f":{proxy.port}/")
    assert broker != url
    with ExitStack() as closing:
        _, database_url = closing.enter_context(fresh_database(servers, template))
        bell = CeleryBell(broker)
        closing.callback(bell.close)
        database = Database(database_url, ring=bell)
        closing.callback(database.close)
        parts = Parts(database=database, keys=KeyStore.open(folder / "keys"))
        world = World(parts, database_url, broker, folder)
        closing.callback(world.close)
        yield world


@pytest.mark.long
def test_every_message_once_to_five_times_is_one_effect(
    servers: Servers,
    database_template: str,
    own_valkey: Servers,
    proxy: TcpProxy,
    effort: Effort,
    tmp_path: Path,
) -> None:
    """Its short form is in tests/workers/test_processes.py."""
    luck = random.Random(effort.seed)
    with (
        effort.measuring("G4", "each message delivered 1-5 times to two workers") as measured,
        behind_proxy(servers, database_template, own_valkey.valkey.url, proxy, tmp_path) as world,
    ):
        for _ in range(2):
            world.start(WORKER)
        bell = CeleryBell(world.broker_url)
        for n in measured.rounds(least=1, most=40, share=0.05):
            targets = [f"quick/{n}-{i}" for i in range(50)]
            ids = world.put(*targets)
            again = [i for i in ids for _ in range(luck.randint(0, 4))]
            luck.shuffle(again)
            bell(again)
            world.wait_for(lambda ids=ids: world.is_done(*ids), seconds=120)  # type: ignore[misc]  # a default
            times = Counter(t.target for t in world.told("done"))
            measured.figure.note("messages", len(ids) + len(again))
            measured.figure.faults += [f"{t} {times[t]} times" for t in targets if times[t] != 1]
        bell.close()


def unanswered(servers: Servers) -> int:
    """How many messages somebody has taken and not answered."""
    with Redis.from_url(servers.valkey.url) as client:
        return int(client.hlen("unacked"))


def test_a_worker_whose_answer_was_lost_takes_the_next_message(
    servers: Servers,
    database_template: str,
    own_valkey: Servers,
    proxy: TcpProxy,
    tmp_path: Path,
) -> None:
    with behind_proxy(servers, database_template, own_valkey.valkey.url, proxy, tmp_path) as world:
        world.start(WORKER)
        before = world.put("quick/before")
        world.wait_for(lambda: world.is_done(*before), seconds=60)
        world.wait_for(lambda: not unanswered(own_valkey), seconds=10)
        proxy.fault = silent = on_tcp.SilentFrom(b"HDEL")
        world.put("quick/answer")
        assert silent.heard.wait(30)
        time.sleep(12)  # longer than the worker waits for the broker
        proxy.fault = on_tcp.passing
        after = world.put("quick/after")
        world.wait_for(lambda: world.is_done(*after), seconds=60)
        lost = [
            line
            for line in world.logs(10**6).splitlines()
            if "consumer.py" in line and "warning" in line
        ]
        assert len(lost) == 1, lost


@pytest.mark.long
@pytest.mark.parametrize("trouble", ["wiped", "refused", "black-holed"])
def test_after_the_broker_was_away_the_first_step_goes_on_soon(
    servers: Servers,
    database_template: str,
    own_valkey: Servers,
    proxy: TcpProxy,
    effort: Effort,
    tmp_path: Path,
    trouble: str,
) -> None:
    """Its short form is in tests/workers/test_processes.py."""
    away = 300.0 if effort.seconds >= 1200 else 10.0
    with (
        effort.measuring("G2", f"the broker is {trouble}", limit=75) as measured,
        behind_proxy(servers, database_template, own_valkey.valkey.url, proxy, tmp_path) as world,
    ):
        for _ in range(2):
            world.start(WORKER)
        ids = world.put(*(f"quick/before-{n}" for n in range(5)))
        world.wait_for(lambda: world.is_done(*ids))
        if trouble == "wiped":
            later = world.put(*(f"stubborn/{n}" for n in range(6)))
            with Redis.from_url(own_valkey.valkey.url) as client:
                client.flushall()
        else:
            if trouble == "refused":
                proxy.refuse()
            else:
                proxy.fault = on_tcp.black_hole
            later = world.put(*(f"stubborn/{n}" for n in range(6)))
            time.sleep(away)
            if trouble == "refused":
                proxy.listen()
            else:
                proxy.fault = on_tcp.passing
                proxy.cut()
        back_at = time.time()
        world.wait_for(lambda: world.is_done(*later), seconds=180)
        first = min(t.at for t in world.told("begun") if t.at > back_at)
        measured.figure.rounds = len(later)
        measured.figure.took(first - back_at + OWN)
        done = Counter(t.target for t in world.told("done"))
        measured.figure.faults += [f"{t} {n} times" for t, n in done.items() if n != 1]
        measured.figure.notes["seconds away"] = 0 if trouble == "wiped" else int(away)
