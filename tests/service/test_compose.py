"""docker-compose.yml: valid, without a secret in it, and every command of ours runs as written."""

from __future__ import annotations

import json
import re
import signal
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import psycopg
import pytest
import yaml
from sqlalchemy import make_url

from app import cli
from app.servers import Servers
from app.servers.state import free_ports
from tests.service.processes import ROOT, eventually, run, started

COMPOSE: Mapping[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: Mapping[str, Any] = COMPOSE["services"]
OURS = {name for name, service in SERVICES.items() if "clearlake:" in service["image"]}


def test_it_is_a_valid_compose_document() -> None:
    schema = json.loads(Path(__file__).with_name("compose_spec.json").read_text("utf-8"))
    assert not [e.message for e in jsonschema_rs.validator_for(schema).iter_errors(COMPOSE)]


def test_every_part_of_the_service_is_there() -> None:
    assert {"migrate", "api", "worker", "beat"} <= OURS
    assert {"postgres", "valkey", "s3"} <= set(SERVICES) - OURS


def test_only_the_api_is_open_and_only_to_this_machine() -> None:
    assert {name for name, s in SERVICES.items() if s.get("ports")} == {"api"}
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["api"]["ports"])
    assert COMPOSE["networks"]["inside"]["internal"] is True
    assert all(s["networks"] == ["inside"] for name, s in SERVICES.items() if name != "api")


def test_images_are_pinned() -> None:
    for name, service in SERVICES.items():
        tag = service["image"].rpartition(":")[2]
        assert re.match(r"\d+\.\d+", tag), name


def test_whoever_needs_another_waits_until_it_is_there() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert SERVICES[needed]["healthcheck"]["test"], (name, needed)
    for name in ("api", "worker", "beat"):
        needs = SERVICES[name]["depends_on"]
        assert needs["migrate"]["condition"] == "service_completed_successfully"
        assert {"valkey", "s3"} <= set(needs)


def test_our_containers_may_do_little() -> None:
    for name in OURS:
        service = SERVICES[name]
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name


def test_secrets_are_files_and_only_who_needs_one_gets_it() -> None:
    for name, service in SERVICES.items():
        given = set(service.get("secrets", []))
        assert given <= set(COMPOSE["secrets"]), name
        for variable, value in (service.get("environment") or {}).items():
            if re.search(r"SECRET|PASSWORD|_URL_FILE|_URI_FILE", variable):
                assert variable.endswith("_FILE"), variable
                assert Path(value).name in given, (name, variable)
    owners = {n for n, s in SERVICES.items() if "owner_database_url" in s.get("secrets", [])}
    assert owners == {"migrate"}
    purgers = {n for n, s in SERVICES.items() if "s3_purger" in s.get("secrets", [])}
    assert purgers == {"worker"}


def test_the_secrets_are_made_once_and_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert cli.run(["secrets", str(folder)]) == 0
    named = {Path(s["file"]).name for s in COMPOSE["secrets"].values()} | {"s3.env"}
    assert {path.name for path in folder.iterdir()} == named
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    before = (folder / "database_url").read_text("utf-8")
    assert cli.run(["secrets", str(folder)]) == 2
    assert (folder / "database_url").read_text("utf-8") == before


class Native:
    """The settings of a service as the container would see them, here."""

    def __init__(self, servers: Servers, owner_url: str, tmp_path: Path) -> None:
        self.folder = tmp_path / "secrets"
        assert cli.run(["secrets", str(self.folder)]) == 0
        self.keys = tmp_path / "keys"
        self.spool = tmp_path / "spool"
        self.port = free_ports(1)[0]
        self._here(servers, make_url(owner_url))
        self.s3 = servers.s3

    def _here(self, servers: Servers, owner: Any) -> None:
        """The same logins and roles, at the addresses of the servers of this session."""
        self._write("owner_database_url", owner)
        for name in ("database_url", "catalog_uri"):
            made = make_url((self.folder / name).read_text("utf-8"))
            here = owner.set(username=f"{made.username}_compose", password=made.password)
            self._write(name, here)
        (self.folder / "broker_url").write_text(servers.valkey.url.removesuffix("0") + "7", "utf-8")
        for role in ("admin", "reader", "eraser", "purger", "verifier"):
            key = servers.s3.credentials[role]
            (self.folder / f"s3_{role}").write_text(key.secret_key, "utf-8")

    def _write(self, name: str, url: Any) -> None:
        (self.folder / name).write_text(url.render_as_string(hide_password=False), "utf-8")

    def settings(self, service: str) -> dict[str, str]:
        found = {}
        for name, value in SERVICES[service]["environment"].items():
            filled = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)
            found[name] = filled.replace("/run/secrets", str(self.folder))
            role = re.fullmatch(r"clearlake-(\w+)", filled)
            if role:
                found[name] = self.s3.credentials[role[1]].access_key
        map_file = ROOT / "app/lake/default_lake.yaml"
        return found | {
            "CLEARLAKE_LAKE_MAP": str(map_file),
            "CLEARLAKE_LAKE_ROOT": self.root,
            "CLEARLAKE_S3_ENDPOINT": self.s3.endpoint,
            "CLEARLAKE_KEYS_URI": f"file://{self.keys}",
            "CLEARLAKE_SPOOL": str(self.spool),
            "CLEARLAKE_PORT": str(self.port),
            "CLEARLAKE_RECONCILE_EVERY": "1s",
        }

    root = "s3://compose/"


@pytest.fixture
def native(servers: Servers, empty_database_url: str, tmp_path: Path) -> Native:
    return Native(servers, empty_database_url, tmp_path)


def test_every_command_of_ours_runs_as_written(
    native: Native, empty_database_url: str, tmp_path: Path
) -> None:
    def command(service: str) -> list[str]:
        small = {"50000": "1000", "400": "20", "s3://analytics/": native.root}
        return [small.get(word, word) for word in SERVICES[service]["command"]]

    for service in ("migrate", "lake"):
        done = run(*command(service), settings=native.settings(service))
        assert done.returncode == 0, done.stderr
    with ExitStack() as running:
        parts = {
            name: running.enter_context(
                started(
                    *command(name), settings=native.settings(name), log=tmp_path / f"{name}.log"
                )
            )
            for name in ("api", "worker", "beat")
        }
        where = f"http://127.0.0.1:{native.port}"
        eventually(lambda: answers(f"{where}/healthz") == "ok")
        eventually(lambda: answers(f"{where}/readyz") == "ready")
        # beat rings, a worker hears it and looks at what recurs
        eventually(lambda: ticked(empty_database_url))
        for process in parts.values():
            process.send_signal(signal.SIGTERM)
        ends = {name: process.wait(30) for name, process in parts.items()}
        assert ends == dict.fromkeys(parts, 0)


def answers(url: str) -> object:
    try:
        return httpx.get(url, timeout=3, trust_env=False).json()["status"]
    except httpx.HTTPError:
        return None


def ticked(url: str) -> bool:
    with psycopg.connect(url.replace("+psycopg", "", 1)) as link:
        row = link.execute("select count(*) from clearlake.schedule").fetchone()
        return row is not None and row[0] > 0
