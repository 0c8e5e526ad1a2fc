"""Postgres that fails in the middle of a run: commits whose answers are lost, cuts, deadlocks.

Both databases are behind one proxy: the ledger and the catalog of the tables (compare and swap).
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from app.servers import Servers
from tests.faults.effort import Effort
from tests.faults.places import behind
from tests.faults.proxy import TcpProxy
from tests.faults.proxy import tcp as on_tcp
from tests.faults.stands import Stand, Stands


@contextmanager
def stand_behind(proxy: TcpProxy, stands: Stands) -> Iterator[Stand]:
    """Its workers reach every database through the proxy; the test reaches them directly."""
    with stands.fresh("s3") as stand:
        for name in ("CLEARLAKE_DATABASE_URL", "CLEARLAKE_CATALOG_URI"):
            stand.environment[name] = behind(stand.environment[name], proxy.port)
        yield stand


def test_commits_whose_answers_are_lost_are_settled_by_asking_again(
    stands: Stands, servers: Servers, effort: Effort
) -> None:
    """One in twelve, of the ledger or of the catalog; the server has every other one of them."""
    with (
        effort.measuring("G4", "answers of COMMIT are lost") as measured,
        ExitStack() as closing,
    ):
        address = ("127.0.0.1", servers.postgres.port)
        proxy = closing.enter_context(TcpProxy(address))
        stand = closing.enter_context(stand_behind(proxy, stands))
        for n in measured.rounds(least=1, most=30, share=0.06):
            if len(stand.people) < 3:
                stand = closing.enter_context(stand_behind(proxy, stands))
            luck = random.Random(effort.seed + n)
            lost = frozenset(t for t in range(1, 400) if luck.random() < 1 / 12)
            going = stand.begin()
            losing = on_tcp.LosingCommits(lost, reached=lambda turn: turn % 2 == 0)
            proxy.fault = losing
            worker = stand.worker()
            stand.wait(going.settled, seconds=120)
            proxy.fault = on_tcp.passing
            measured.figure.note("times that a person resumed", going.see_through(worker))
            measured.figure.note("commits lost", losing.lost)
            measured.figure.faults += [f"round {n}: {w}" for w in going.wrong()]


@pytest.mark.long
def test_a_database_that_comes_and_goes_costs_nothing_but_time(
    stands: Stands, servers: Servers, effort: Effort
) -> None:
    """Refused, cut, and swallowed for a while, at moments of the seed's. Its short form
    is tests/workers/test_leases.py.
    """
    with effort.measuring("G3", "Postgres comes and goes") as measured, ExitStack() as closing:
        proxy = closing.enter_context(TcpProxy(("127.0.0.1", servers.postgres.port)))
        stand = closing.enter_context(stand_behind(proxy, stands))
        for n in measured.rounds(least=1, most=12, share=0.05):
            if len(stand.people) < 3:
                stand = closing.enter_context(stand_behind(proxy, stands))
            luck = random.Random(effort.seed + n)
            going = stand.begin()
            worker = stand.worker()
            until = time.monotonic() + 120
            while not going.settled():
                assert time.monotonic() < until, stand.told()
                _trouble(proxy, luck)
                time.sleep(luck.uniform(1.0, 5.0))
            measured.figure.note("times that a person resumed", going.see_through(worker))
            measured.figure.faults += [f"round {n}: {w}" for w in going.wrong()]


def _trouble(proxy: TcpProxy, luck: random.Random) -> None:
    """One of three, for less than a lease."""
    kind = luck.choice(["refuse", "cut", "swallow"])
    if kind == "refuse":
        proxy.refuse()
        time.sleep(0.5)
        proxy.listen()
    elif kind == "swallow":
        proxy.fault = on_tcp.black_hole
        time.sleep(0.5)
        proxy.cut()
        proxy.fault = on_tcp.passing
    else:
        proxy.cut()
