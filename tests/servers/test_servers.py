"""Servers from wheels: they keep their data, and never outlive whoever started them."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from app.domain.errors import ServerStartError
from app.lake.s3 import S3Loader, S3Store
from app.servers import PARTS, ROLES, AccessKey, Servers
from tests.server_family import family, gone, runs

# --- what they are ----------------------------------------------------------------------------


def write_everywhere(servers: Servers, root: str) -> str:
    key = servers.s3.credentials["writer"]
    loader = S3Loader(servers.s3.endpoint, servers.s3.region, key.access_key, key.secret_key)
    loader.ensure_bucket(root, object_lock=True)
    version = loader.load(root + "a", b"kept")
    loader.close()
    with psycopg.connect(servers.postgres.url.replace("+psycopg", "", 1)) as link:
        link.execute("create table kept as select 42 as answer")
    with redis.Redis.from_url(servers.valkey.url) as client:
        client.set("kept", "yes")
    return version


def test_a_second_start_finds_the_same_data_and_secrets(state: Path) -> None:
    root = "s3://kept/"
    with Servers(state) as servers:
        version = write_everywhere(servers, root)
        credentials = dict(servers.s3.credentials)
        first = [process.pid for process in family(servers)]
    assert gone(first)
    with Servers(state) as servers:
        assert servers.s3.credentials == credentials
        key = servers.s3.credentials["reader"]
        store = S3Store(servers.s3.endpoint, servers.s3.region, key.access_key, key.secret_key)
        with store.open(root + "a", version_id=version) as stream:
            assert stream.read() == b"kept"
        store.close()
        with psycopg.connect(servers.postgres.url.replace("+psycopg", "", 1)) as link:
            assert link.execute("select answer from kept").fetchone() == (42,)
        with redis.Redis.from_url(servers.valkey.url) as client:
            assert client.get("kept") == b"yes"


def test_they_listen_on_the_loopback_only_and_show_no_secret(state: Path) -> None:
    with Servers(state) as servers:
        known = json.loads((state / "state.json").read_text())
        secrets = [v for k, v in known.items() if "secret" in k or "password" in k]
        assert len(secrets) == len(ROLES) + 2
        listening = set()
        for process in family(servers):
            shown = " ".join(process.cmdline()) + str(servers.s3) + str(servers.postgres)
            assert not [s for s in secrets if s in shown + repr(servers.valkey)]
            for link in process.net_connections("inet"):
                if link.status == psutil.CONN_LISTEN:
                    listening.add(link.laddr.ip)
        assert listening == {"127.0.0.1"}
    for name in ("state.json", "s3.json", "valkey/valkey.conf"):
        assert stat.S_IMODE((state / name).stat().st_mode) == 0o600, name
    for log in state.glob("*.log"):
        assert not [s for s in secrets if s in log.read_text("utf-8", "replace")]
    assert len({key.secret_key for key in servers_keys(known)}) == len(ROLES)


def servers_keys(known: dict[str, str]) -> list[AccessKey]:
    return [AccessKey(known[f"s3.{r}.access_key"], known[f"s3.{r}.secret_key"]) for r in ROLES]


def test_only_the_parts_that_were_asked_for_run(state: Path) -> None:
    with Servers(state, parts={"valkey"}) as servers:
        assert len(servers.guards()) == 1
        with pytest.raises(ServerStartError):
            _ = servers.s3
    with pytest.raises(ServerStartError):
        _ = servers.valkey
    with pytest.raises(ServerStartError):
        Servers(state, parts={"mysql"})


def test_no_socket_is_left_behind(state: Path) -> None:
    with Servers(state, parts={"s3"}) as servers:
        sockets = {
            link.laddr
            for process in family(servers)
            for link in process.net_connections("unix")
            if str(link.laddr).startswith("/tmp/")
        }
        assert sockets
    assert [path for path in sockets if os.path.exists(str(path))] == []


def test_production_refuses_them(state: Path) -> None:
    with pytest.raises(ServerStartError, match="production"):
        Servers(state, env="production")
    assert not state.exists()


# --- how they end -----------------------------------------------------------------------------

OWNER = """
import os, sys, threading, time
from pathlib import Path
from app.servers import Servers
servers = Servers(Path(sys.argv[1]), parts=set(sys.argv[2].split(",")))
starter = threading.Thread(target=servers.__enter__)  # a thread that ends, as pools' threads do
starter.start()
starter.join()
if os.fork() == 0:  # a child that outlives its parent must not keep the servers
    time.sleep(30)
    os._exit(0)
print(*servers.guards(), flush=True)
try:
    time.sleep(30)
finally:
    servers.__exit__(None, None, None)
"""


def owner_of(state: Path, *parts: str) -> tuple[subprocess.Popen[str], list[int]]:
    """Another process with servers: itself, and the ids of its guards and servers."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(state), ",".join(parts)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert owner.stdout is not None
    guards = [psutil.Process(int(pid)) for pid in owner.stdout.readline().split()]
    children = [child for guard in guards for child in guard.children(recursive=True)]
    assert len(guards) == len(parts)
    assert len(children) >= len(parts)
    return owner, [process.pid for process in guards + children]


def end(owner: subprocess.Popen[str]) -> None:
    for child in psutil.Process(owner.pid).children() if owner.poll() is None else []:
        child.kill()
    owner.kill()
    owner.wait()
    assert owner.stdout is not None
    owner.stdout.close()


@pytest.mark.parametrize(
    ("number", "parts"),
    [(signal.SIGKILL, sorted(PARTS)), (signal.SIGTERM, ["valkey"]), (signal.SIGINT, ["valkey"])],
)
def test_nothing_outlives_its_owner_however_it_ends(
    state: Path, number: int, parts: list[str]
) -> None:
    owner, pids = owner_of(state, *parts)
    forked = [p for p in psutil.Process(owner.pid).children() if p.pid not in pids]
    owner.send_signal(number)
    assert gone(pids)
    owner.wait(10)
    end(owner)
    assert len(forked) == 1
    forked[0].kill()


def test_a_start_right_after_a_kill_waits_for_the_old_servers(state: Path) -> None:
    owner, pids = owner_of(state, "postgres")
    forked = [p for p in psutil.Process(owner.pid).children() if p.pid not in pids]
    owner.kill()
    owner.wait()
    with Servers(state, parts={"postgres"}):
        assert not [pid for pid in pids if runs(pid)]
    end(owner)
    forked[0].kill()


def test_a_server_whose_guard_is_killed_ends_too(state: Path) -> None:
    with Servers(state, parts={"postgres", "valkey"}) as servers:
        guards = [psutil.Process(pid) for pid in servers.guards()]
        pids = [process.pid for process in family(servers)]
        for guard in guards:
            guard.kill()
        assert gone([pid for pid in pids if pid not in servers.guards()])
        with pytest.raises(ServerStartError, match="ended by itself"):
            servers.check()


def test_a_server_that_dies_is_noticed(state: Path) -> None:
    with Servers(state, parts={"valkey"}) as servers:
        servers.check()
        [server] = psutil.Process(servers.guards()[0]).children()
        server.kill()
        assert gone([*servers.guards(), server.pid])
        with pytest.raises(ServerStartError, match="valkey ended by itself"):
            servers.check()


def test_a_server_that_ignores_the_stop_is_killed(state: Path) -> None:
    with Servers(state, parts={"s3"}) as servers:
        [server] = psutil.Process(servers.guards()[0]).children()
        server.suspend()  # it cannot even hear the signal
        before = time.monotonic()
    assert gone([server.pid])
    assert time.monotonic() - before < 10


def test_servers_that_were_killed_are_revived_at_their_ports_with_their_data(state: Path) -> None:
    root = "s3://kept/"
    with Servers(state) as servers:
        version = write_everywhere(servers, root)
        ports = servers.postgres.port, servers.valkey.port, servers.s3.endpoint
        for guard in servers.guards():
            for server in psutil.Process(guard).children():
                server.kill()
        assert gone(list(servers.guards()))
        assert sorted(revived(servers)) == ["postgres", "s3", "valkey"]
        servers.check()
        assert ports == (servers.postgres.port, servers.valkey.port, servers.s3.endpoint)
        key = servers.s3.credentials["reader"]
        store = S3Store(servers.s3.endpoint, servers.s3.region, key.access_key, key.secret_key)
        with store.open(root + "a", version_id=version) as stream:
            assert stream.read() == b"kept"
        store.close()
        with psycopg.connect(servers.postgres.url.replace("+psycopg", "", 1)) as link:
            assert link.execute("select answer from kept").fetchone() == (42,)
        with redis.Redis.from_url(servers.valkey.url) as client:
            assert client.get("kept") == b"yes"
        assert revived(servers) == []


def revived(servers: Servers) -> list[str]:
    """What came back; Postgres first waits for what the killed one left behind."""
    names: list[str] = []
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            servers.revive(names.append)
        except ServerStartError:
            time.sleep(0.5)
        else:
            return names
    raise AssertionError
