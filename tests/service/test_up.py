"""`clearlake up`: everything from one command, mended when killed, gone when it is gone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from app import cli
from app.domain.errors import ServerStartError, SettingsError
from app.servers import remove_state
from app.up import Size, complete
from app.up.service import Service, with_address
from tests.server_family import gone, runs
from tests.service.processes import CLEARLAKE, ROOT, clean_environment, eventually


@dataclass
class Up:
    """A running `clearlake up`, and the document it printed."""

    process: subprocess.Popen[str]
    document: dict[str, Any]
    log: Path

    def get(self, path: str, key: str | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.get(
            self.document["api"]["url"] + path, headers=headers, timeout=5, trust_env=False
        )

    def is_ready(self) -> bool:
        try:
            return bool(self.get("/readyz").json()["status"] == "ready")
        except httpx.HTTPError:
            return False

    def family(self) -> list[int]:
        """Guards, servers and parts."""
        return [p.pid for p in psutil.Process(self.process.pid).children(recursive=True)]

    def said(self) -> str:
        return self.log.read_text("utf-8")


@pytest.fixture
def state() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="clearlake-up-"))
    folder.chmod(0o711)
    yield folder / "state"
    if (folder / "state").exists():
        remove_state(folder / "state" / "servers")
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def up(state: Path) -> Iterator[Up]:
    log = state.with_name("up.log")
    with log.open("w") as err:
        process = subprocess.Popen(
            [*CLEARLAKE, "up", "--state", state, "--events", "1000", "--workers", "1", "--json"],
            env=clean_environment({}),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
        )
        try:
            assert process.stdout is not None
            text = ""
            while not text.endswith("\n}\n"):
                line = process.stdout.readline()
                assert line, log.read_text("utf-8")
                text += line
            yield Up(process, json.loads(text), log)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def test_it_comes_up_mends_itself_and_goes_on_where_it_ended(state: Path) -> None:
    with up(state) as first:
        worker = psutil.Process(first.document["processes"]["worker-1"])
        eventually(worker.children)
        key = first.document["api"]["key"]
        assert first.is_ready()
        assert first.get("/v1/api-keys", key).status_code == 200
        assert set(first.document["processes"]) == {"api", "beat", "worker-1"}
        settings = Path(first.document["environment"])
        assert stat.S_IMODE(settings.stat().st_mode) == 0o600
        assert "clearlake:" not in first.said(), "the owner's URL"

        pids = first.document["processes"]
        pool = [child.pid for child in worker.children()]
        for name in ("api", "worker-1"):
            os.kill(pids[name], signal.SIGKILL)
        eventually(lambda: "api ended; it is started again" in first.said())
        eventually(lambda: "worker-1 ended; it is started again" in first.said())
        eventually(first.is_ready)
        assert gone([pids["api"], pids["worker-1"], *pool])

        family = first.family()
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(40) == 0
        assert gone(family)

    with up(state) as second:
        assert second.document["api"]["key"] is None
        assert second.is_ready()
        assert second.get("/v1/api-keys", key).status_code == 200
        family = second.family()
        second.process.kill()
        second.process.wait()
        eventually(lambda: not any(runs(pid) for pid in family), seconds=40)


def test_production_gets_no_servers_from_wheels(state: Path) -> None:
    settings = {"CLEARLAKE_ENV": "production", "CLEARLAKE_BROKER_URL": "redis://host:1/0"}
    with (
        pytest.raises(SettingsError, match="CLEARLAKE_DATABASE_URL, CLEARLAKE_LAKE_MAP") as refusal,
        complete(settings, state, size=Size(), say=lambda *_: None),
    ):
        pass
    assert "BROKER_URL" not in str(refusal.value)
    assert not (state / "servers").exists()


def test_two_on_one_folder_do_not_meet(
    state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {
        "CLEARLAKE_DATABASE_URL": "postgresql+psycopg://a:b@127.0.0.1:1/c",
        "CLEARLAKE_BROKER_URL": "redis://127.0.0.1:1/0",
        "CLEARLAKE_LAKE_MAP": str(ROOT / "app/lake/default_lake.yaml"),
    }
    monkeypatch.setattr("app.servers.state.STOPPING_SECONDS", 0.2)
    with (
        complete(given, state, size=Size(), say=lambda *_: None) as completed,
        pytest.raises(ServerStartError, match="in use by process"),
        complete(given, state, size=Size(), say=lambda *_: None),
    ):
        pass
    assert completed["CLEARLAKE_KEYS_URI"] == f"file://{state}/keys"
    assert cli.run(["up", "--workers", "0"]) == 2
    assert "--workers" in capsys.readouterr().err


def test_a_second_service_that_starts_now_gets_another_port() -> None:
    found = [with_address({}) for _ in range(3)]
    turns = [turn for _, turn in found if turn is not None]
    try:
        ports = [environment["CLEARLAKE_PORT"] for environment, _ in found]
        assert len(set(ports)) == 3
        assert len(turns) <= 1
        assert all(
            e["CLEARLAKE_PUBLIC_URL"].endswith(p) for (e, _), p in zip(found, ports, strict=True)
        )
    finally:
        for turn in turns:
            turn.close()


def test_a_port_that_somebody_has_is_named_and_not_taken_for_ours(state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        given = {"CLEARLAKE_PORT": str(port), "CLEARLAKE_KEYS_URI": f"file://{state}/keys"}
        with pytest.raises(ServerStartError, match=str(port)), Service(given, state):
            pass
