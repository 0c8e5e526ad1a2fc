"""Cases posted to an API whose database, broker and own process come and go: none is lost, none is
there twice. The log of answers is the client's own.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from sqlalchemy import func, select

from app.audit.keys import KeyStore
from app.client import Client
from app.domain.actors import ActorKind, Scope
from app.servers import Servers
from app.servers.state import free_ports
from app.services import actors
from app.services.parts import Parts
from app.store.tables import dsar
from app.store.transaction import Database
from tests.faults.effort import Effort
from tests.faults.places import behind, fresh_database
from tests.faults.proxy import TcpProxy
from tests.faults.proxy import tcp as on_tcp
from tests.service.processes import started

WANTED = 5000
CLIENTS = 6
BATCH = 60


class Api:
    """One, with proxies to its database and its broker."""

    def __init__(self, closing: ExitStack, servers: Servers, template: str, folder: Path) -> None:
        _, url = closing.enter_context(fresh_database(servers, template))
        address = "127.0.0.1"
        self.postgres = closing.enter_context(TcpProxy((address, servers.postgres.port)))
        self.valkey = closing.enter_context(TcpProxy((address, _port(servers.valkey.url))))
        self._folder, port = folder, free_ports(1)[0]
        self.url = f"http://127.0.0.1:{port}"
        self.settings = {
            "CLEARLAKE_DATABASE_URL": behind(url, self.postgres.port),
            "CLEARLAKE_BROKER_URL": f"redis://127.0.0.1:{self.valkey.port}/6",
            "CLEARLAKE_KEYS_URI": f"file://{folder / 'keys'}",
            "CLEARLAKE_PORT": str(port),
        }
        database = Database(url, ring=lambda _: False)
        closing.callback(database.close)
        self.parts = Parts(database=database, keys=KeyStore.open(folder / "keys"))
        with database.transaction() as tx:
            _, self.secret = actors.create(
                actors.OPERATOR,
                tx,
                parts=self.parts,
                name="support",
                kind=ActorKind.SERVICE,
                scopes=[Scope.DSARS_WRITE],
                expires_at=None,
            )

    @contextmanager
    def running(self) -> Iterator[None]:
        """Until the context ends: then it is killed."""
        log = self._folder / f"api-{time.monotonic_ns()}.log"
        with started("api", settings=self.settings, log=log):
            until = time.monotonic() + 60
            while not self._answers():
                assert time.monotonic() < until, log.read_text("utf-8")[-2000:]
                time.sleep(0.1)
            yield

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=2, trust_env=False).is_success
        except httpx.HTTPError:
            return False

    def post(self, person: int) -> str:
        """A case; as often as it takes, under one Idempotency-Key."""
        subject = {"user_id": f"usr_0ACCEPTED{person:017}"}
        body = {"type": "erasure", "regulation": "gdpr", "subject": subject}
        with Client(self.url, self.secret, patience=120) as client:
            return str(client.post("/v1/dsars", body)["id"])

    def rows(self) -> set[str]:
        with self.parts.database.transaction() as tx:
            return set(tx.run(select(dsar.c.id)).scalars())

    def trouble(self, luck: random.Random) -> str:
        """Something goes wrong, and is well again a moment later."""
        kind = luck.choice(["refuse", "cut", "swallow", "commits", "broker", "broker swallows"])
        if kind == "refuse":
            self.postgres.refuse()
            time.sleep(luck.uniform(0.1, 0.6))
            self.postgres.listen()
        elif kind == "swallow":
            self.postgres.fault = on_tcp.black_hole
            time.sleep(luck.uniform(0.1, 0.6))
            self.postgres.fault = on_tcp.passing
            self.postgres.cut()
        elif kind == "cut":
            self.postgres.cut()
        elif kind == "commits":
            turns = frozenset(n for n in range(1, 100) if luck.random() < 0.2)
            self.postgres.fault = on_tcp.LosingCommits(turns, reached=lambda n: n % 2 == 0)
            time.sleep(0.5)
            self.postgres.fault = on_tcp.passing
        elif kind == "broker":
            self.valkey.refuse()
            time.sleep(0.3)
            self.valkey.listen()
        else:
            self.valkey.fault = on_tcp.black_hole
            time.sleep(0.8)
            self.valkey.fault = on_tcp.passing
            self.valkey.cut()
        return kind


def _port(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


@contextmanager
def troubled(api: Api, luck: random.Random, seen: dict[str, int]) -> Iterator[None]:
    """One trouble after the other meanwhile."""
    over = threading.Event()

    def go() -> None:
        while not over.wait(luck.uniform(0.05, 0.3)):
            kind = api.trouble(luck)
            seen[kind] = seen.get(kind, 0) + 1

    thread = threading.Thread(target=go, name="trouble")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_an_accepted_case_is_never_lost(
    effort: Effort, servers: Servers, database_template: str, tmp_path: Path
) -> None:
    wanted = WANTED if effort.long else BATCH
    with (
        effort.measuring("G1", "cases posted while everything comes and goes", wanted=wanted) as m,
        ExitStack() as closing,
    ):
        api = Api(closing, servers, database_template, tmp_path)
        accepted: list[str] = []
        seen: dict[str, int] = {}
        until = time.monotonic() + 1.2 * effort.seconds
        while not accepted or (len(accepted) < wanted and time.monotonic() < until):
            luck = random.Random(effort.seed + len(accepted))
            # each batch on an API of its own, killed at the batch's end with the next under way
            size = BATCH if not effort.long else 10 * BATCH
            people = range(len(accepted), len(accepted) + size)
            with api.running(), troubled(api, luck, seen), ThreadPoolExecutor(CLIENTS) as pool:
                accepted += pool.map(api.post, people)
            rows = api.rows()
            m.figure.rounds = len(accepted)
            m.figure.faults = [f"lost: {i}" for i in accepted if i not in rows]
            m.figure.faults += [f"twice: {i}" for i in rows - set(accepted)]
            m.write()
        m.figure.notes.update(seen)
        with api.parts.database.transaction() as tx:
            assert tx.run(select(func.count()).select_from(dsar)).scalar_one() == len(accepted)
