"""`keys`, `dsar` and `run` on a real API: what they tell, and with which exit code they refuse."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from app import cli
from app.servers.state import free_ports
from tests.service.processes import eventually, started

USER = "usr_01HZX3M9Q2W8E7R6T5Y4N3B2V1"


@dataclass
class Desk:
    """An officer's shell."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> tuple[int, str]:
        """Exit code, and all that was said."""
        self.capsys.readouterr()
        code = cli.run(list(arguments))
        return code, "".join(self.capsys.readouterr())

    def told(self, *arguments: str) -> Any:
        """The document of a command that succeeds."""
        code, said = self.run(*arguments, "--json")
        assert code == 0, said
        return json.loads(said)

    def use(self, **settings: str) -> None:
        for name, value in settings.items():
            self.monkeypatch.setenv(f"CLEARLAKE_{name}", value)


@pytest.fixture
def desk(
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Desk:
    found = Desk(monkeypatch, capsys)
    found.use(DATABASE_URL=database_url, KEYS_URI=f"file://{tmp_path / 'keys'}")
    return found


@pytest.fixture
def served(desk: Desk, database_url: str, tmp_path: Path) -> Iterator[Desk]:
    """With the API up, and a key of every scope in the shell."""
    port = free_ports(1)[0]
    settings: Mapping[str, str] = {
        "CLEARLAKE_DATABASE_URL": database_url,
        "CLEARLAKE_KEYS_URI": f"file://{tmp_path / 'keys'}",
        "CLEARLAKE_PORT": str(port),
    }
    url = f"http://127.0.0.1:{port}"
    with started("api", settings=settings, log=tmp_path / "api.log") as api:
        desk.use(URL=url, API_KEY=desk.told("keys", "create", "--name", "officer")["key"])
        eventually(lambda: is_up(url))
        yield desk
        api.send_signal(signal.SIGTERM)
        assert api.wait(20) == 0


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def test_a_key_is_shown_once_listed_without_its_secret_and_revoked_twice(desk: Desk) -> None:
    made = desk.told(
        *("keys", "create", "--name", "robot", "--service", "--expires", "90d"),
        *("--scope", "dsars:write", "--scope", "dsars:read"),
    )
    assert made["kind"] == "service"
    assert made["scopes"] == ["dsars:read", "dsars:write"]
    assert made["expires_at"] > made["created_at"]
    listed = desk.told("keys", "list")
    assert [key["id"] for key in listed["keys"]] == [made["id"]]
    assert made["key"] not in json.dumps(listed)
    assert made["id"] in desk.run("keys", "list")[1]
    for _ in range(2):
        assert desk.told("keys", "revoke", made["id"])["revoked_at"]
    assert desk.run("keys", "revoke", "key_nobody")[0] == 6
    assert desk.run("keys", "create", "--name", "x", "--expires", "soon")[0] == 2


def test_a_case_is_opened_found_and_refused_by_the_same_hand(served: Desk) -> None:
    taken = served.told("dsar", "submit", "--regulation", "gdpr", "--user-id", USER)
    assert taken["status"] == "received"
    shown = served.told("dsar", "show", taken["id"])
    assert shown["regulation"] == "gdpr"
    assert USER not in json.dumps(shown)
    listed = served.told("dsar", "list", "--status", "received")
    assert [case["id"] for case in listed["items"]] == [taken["id"]]
    assert taken["id"] in served.run("dsar", "list")[1]

    code, said = served.run("dsar", "approve", taken["id"], "--confirm", "0" * 64)
    assert code == 2
    assert "[answer]" in said
    assert served.run("dsar", "preview", taken["id"])[0] == 2


def test_what_the_service_refuses_is_told_without_what_was_sent(served: Desk) -> None:
    code, said = served.run("dsar", "submit", "--regulation", "gdpr", "--device-fp", "fp-of-many")
    assert code == 2
    assert "fp-of-many" not in said
    code, said = served.run("dsar", "show", "../api-keys")
    assert (code, "key_" in said) == (2, False)
    assert served.run("run", "start")[0] == 2
    assert served.told("run", "list")["items"] == []


def test_without_an_address_or_a_key_nothing_is_asked(desk: Desk) -> None:
    assert "CLEARLAKE_URL" in desk.run("dsar", "list")[1]
    desk.use(URL="http://127.0.0.1:9")
    code, said = desk.run("dsar", "list")
    assert code == 2
    assert "CLEARLAKE_API_KEY" in said


def test_a_part_says_which_setting_it_lacks_and_never_starts(desk: Desk) -> None:
    for command, missing in (
        ("migrate", "CLEARLAKE_OWNER_DATABASE_URL"),
        ("worker", "CLEARLAKE_LAKE_MAP"),
        ("beat", "CLEARLAKE_BROKER_URL"),
    ):
        code, said = desk.run(command)
        assert code == 2
        assert missing in said
