"""The whole service on a made lake: real processes, a database and a broker of its own.

Not here: what is asked of it (the tests).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from app.client import Client
from app.domain.dsars import State
from app.servers import Servers
from app.servers.state import free_ports
from app.up import TRIAL, Running, Service
from tests.e2e.worlds import World

OFFICER = (
    *("dsars:read", "dsars:approve", "subject:read", "runs:read", "runs:operate"),
    *("reports:read", "consents:read"),
)
SUPPORT = ("dsars:read", "dsars:write", "consents:write", "consents:read")


@dataclass
class Installation:
    """A running service, and two people with keys."""

    running: Running
    support: Client
    officer: Client
    told: list[str]
    """What was said of processes that ended."""

    @property
    def url(self) -> str:
        return self.running.url

    def open(self, **subject: Any) -> str:
        """A new erasure case."""
        body = {"type": "erasure", "regulation": "gdpr", "subject": subject}
        return str(self.support.post("/v1/dsars", body)["id"])

    def approved(self, *dsar_ids: str) -> None:
        """Wait for their scopes and approve them."""
        for dsar_id in dsar_ids:
            self.wait(dsar_id, State.AWAITING_APPROVAL)
            preview = self.officer.get(f"/v1/dsars/{dsar_id}/preview")
            body = {"scope_digest": preview["scope_digest"]}
            if preview["undecided"]:
                body["shared_review"] = "tombstone"
            self.officer.post(f"/v1/dsars/{dsar_id}/approve", body)

    def run(self) -> str:
        """Begin a run now."""
        return str(self.officer.post("/v1/runs")["id"])

    def case(self, dsar_id: str) -> dict[str, Any]:
        return self.officer.get(f"/v1/dsars/{dsar_id}")

    def wait(self, dsar_id: str, *states: State, seconds: float = 120) -> dict[str, Any]:
        """The case, once it is in one of these states."""
        found: list[dict[str, Any]] = []

        def reached() -> bool:
            found[:] = [self.case(dsar_id)]
            return found[0]["status"] in states

        eventually(reached, seconds=seconds, otherwise=lambda: f"{dsar_id}: {found}")
        return found[0]

    def wait_shredded(self, dsar_id: str) -> None:
        """Wait until the identifiers of the case were destroyed."""
        eventually(lambda: self.case(dsar_id)["identifiers_destroyed_at"], seconds=60)


def eventually(
    seen: Callable[[], object], *, seconds: float, otherwise: Callable[[], str] = lambda: "never"
) -> None:
    """Return once it is so."""
    until = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < until, otherwise()
        time.sleep(0.1)


def settings_of(
    world: World, *, servers: Servers, owner_url: str, folder: Path, broker: str | None = None
) -> dict[str, str]:
    """Everything that the service's processes read."""
    service = make_url(owner_url).set(username="clearlake_api", password="known-to-every-test")
    return {
        **world.environment,
        **TRIAL,
        "CLEARLAKE_RUN_EVERY": "1h",
        "CLEARLAKE_OWNER_DATABASE_URL": owner_url,
        "CLEARLAKE_DATABASE_URL": service.render_as_string(hide_password=False),
        "CLEARLAKE_BROKER_URL": broker or servers.valkey.url.removesuffix("0") + "5",
        "CLEARLAKE_LAKE_MAP": str(world.map_path),
        "CLEARLAKE_KEYS_URI": f"file://{folder / 'keys'}",
        "CLEARLAKE_SPOOL": str(folder / "spool"),
        "CLEARLAKE_PORT": str(free_ports(1)[0]),
        "CLEARLAKE_LEASE": "6s",
        "CLEARLAKE_HEARTBEAT": "1s",
        "CLEARLAKE_RETRY_AFTER": "200ms",
    }


@contextmanager
def installation(
    environment: Mapping[str, str], folder: Path, *, workers: int = 1
) -> Iterator[Installation]:
    """Start it; all of it ends with the context."""
    told: list[str] = []
    with Service(environment, folder / "service", workers=workers, tell=told.append) as running:
        assert running.admin_key is not None
        with Client(running.url, running.admin_key) as admin:
            keys = [
                admin.post("/v1/api-keys", {"name": name, "kind": kind, "scopes": scopes})
                for name, kind, scopes in (
                    ("support", "service", SUPPORT),
                    ("officer", "personal", OFFICER),
                )
            ]
        with (
            Client(running.url, keys[0]["secret"]) as support,
            Client(running.url, keys[1]["secret"]) as officer,
        ):
            yield Installation(running, support, officer, told)
