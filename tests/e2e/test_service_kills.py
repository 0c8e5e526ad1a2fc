"""Whatever is killed while a run goes on, it ends as if nothing had happened."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import redis

from app.domain.dsars import State
from app.domain.errors import ServerStartError
from app.servers import Servers, remove_state
from app.store.migrate import login_url
from app.up import TRIAL, Made, Size, lake_settings, make_lake_of, write_map
from app.up.lake import ROOT
from tests.e2e.installations import Installation, eventually, installation
from tests.e2e.reader import Bucket, in_bucket, in_postgres

SMALL = Size(events=2000, users=60, days=2)
SLOWLY = "ledger.before_act=sleep:0.7@*"
"""So that there is a run to be killed in: two workers, about thirty steps."""


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="clearlake-kills-"))
    made.chmod(0o711)
    yield made
    remove_state(made / "servers")
    shutil.rmtree(made, ignore_errors=True)


@contextmanager
def kept_up(servers: Servers) -> Iterator[None]:
    """What `clearlake up` does for its servers."""
    ending = threading.Event()

    def look() -> None:
        while not ending.wait(0.2):
            with suppress(ServerStartError):
                servers.revive(lambda _: None)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        ending.set()
        watcher.join()


def made_lake(servers: Servers, folder: Path) -> tuple[dict[str, str], Made]:
    map_path = folder / "lake.yaml"
    write_map(map_path)
    url = servers.postgres.url
    environment = {
        **TRIAL,
        **lake_settings(servers, catalog_uri=url),
        "CLEARLAKE_RUN_EVERY": "1h",
        "CLEARLAKE_OWNER_DATABASE_URL": url,
        "CLEARLAKE_DATABASE_URL": login_url(url, "clearlake_api", "known-to-every-test"),
        "CLEARLAKE_BROKER_URL": servers.valkey.url,
        "CLEARLAKE_LAKE_MAP": str(map_path),
        "CLEARLAKE_KEYS_URI": f"file://{folder / 'keys'}",
        "CLEARLAKE_SPOOL": str(folder / "spool"),
        "CLEARLAKE_LEASE": "3s",
        "CLEARLAKE_HEARTBEAT": "500ms",
        "CLEARLAKE_RETRY_AFTER": "200ms",
        "CLEARLAKE_FAILPOINTS": SLOWLY,
    }
    made = make_lake_of(environment, map_path, servers=servers, size=SMALL, say=lambda *_: None)
    made.engine.close()
    return environment, made


def test_killing_anything_during_a_run_does_not_change_its_end(folder: Path) -> None:
    with Servers(folder / "servers") as servers:
        environment, made = made_lake(servers, folder)
        user = made.lake.cast.active_buyer
        stranger = made.lake.cast.provider
        with kept_up(servers), installation(environment, folder, workers=2) as service:
            dsar_id = service.open(user_id=user)
            service.approved(dsar_id)
            run_id = service.run()
            with redis.Redis.from_url(servers.valkey.url) as client:
                client.flushall()
            killed = kill_in_turn(service, servers, run_id)
            ended = service.wait(dsar_id, State.COMPLETED, State.STUCK, seconds=150)
            assert (ended["status"], ended["outcome"], ended["verdict"]) == (
                "completed",
                "fulfilled",
                "VERIFIED",
            ), ended
            assert killed >= {"api", "worker-1", "worker-2", "valkey", "postgres", "s3"}
            assert left_of(servers, user) == []
            assert left_of(servers, stranger) != [], "the search sees others"


def kill_in_turn(service: Installation, servers: Servers, run_id: str) -> set[str]:
    """One after the other, while the run is at work."""
    killed = set()
    for name in ("worker-1", "api", "valkey", "worker-2", "postgres", "s3", "worker-1"):
        if service.officer.get(f"/v1/runs/{run_id}")["stage"] == "closed":
            break
        kill(name, service, servers)
        killed.add(name)
        time.sleep(1.0)
    return killed


def kill(name: str, service: Installation, servers: Servers) -> None:
    def gone() -> bool:
        found = processes(name, service, servers)
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return bool(found)

    eventually(gone, seconds=30, otherwise=lambda: f"{name} was never there")


def processes(name: str, service: Installation, servers: Servers) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        if name in ("valkey", "postgres", "s3"):
            binary = {"valkey": "valkey-server", "postgres": "postgres", "s3": "weed"}[name]
            children = [c for g in servers.guards() for c in psutil.Process(g).children()]
            return [c for c in children if c.name() == binary]
        pid = service.running.processes.get(name)
        return [] if pid is None else [psutil.Process(pid)]
    return []


def left_of(servers: Servers, user: str) -> list[str]:
    key = servers.s3.credentials["admin"]
    name = ROOT.removeprefix("s3://").rstrip("/")
    bucket = Bucket(servers.s3.endpoint, key.access_key, key.secret_key, name)
    with closing(bucket.client):
        return [
            str(h) for h in (*in_bucket(bucket, [user]), *in_postgres(servers.postgres.url, [user]))
        ]
