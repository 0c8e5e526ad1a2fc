"""No broker at all: a case is still taken in at once, and a worker that looks by itself ends it."""

from __future__ import annotations

import time
from pathlib import Path

import httpx

from app.client import Client
from app.domain.dsars import State
from app.servers import Servers
from tests.e2e.installations import eventually, settings_of
from tests.e2e.worlds import World
from tests.service.processes import run, started

NOWHERE = "redis://:x@127.0.0.1:1/0"


def test_a_case_is_taken_and_carried_out_while_the_broker_is_away(
    s3_world: World, servers: Servers, empty_database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "installed"
    folder.mkdir()
    settings = settings_of(
        s3_world, servers=servers, owner_url=empty_database_url, folder=folder, broker=NOWHERE
    ) | {"CLEARLAKE_RUN_EVERY": "1s"}
    url = f"http://127.0.0.1:{settings['CLEARLAKE_PORT']}"
    assert run("migrate", settings=settings).returncode == 0
    support, officer = key(settings, "support"), key(settings, "officer")
    user = s3_world.cast.active_buyer
    person = s3_world.gone(users=(user,))
    with started("api", settings=settings, log=folder / "api.log"):
        eventually(lambda: is_degraded(url), seconds=30)
        with Client(url, support) as asks, Client(url, officer) as approves:
            before = time.monotonic()
            taken = asks.post(
                "/v1/dsars",
                {"type": "erasure", "regulation": "gdpr", "subject": {"user_id": user}},
            )
            assert time.monotonic() - before < 10, "the answer does not wait for the broker"
            assert taken["status"] == State.RECEIVED
            with started("worker", "--no-broker", settings=settings, log=folder / "worker.log"):
                case = f"/v1/dsars/{taken['id']}"
                until(approves, case, State.AWAITING_APPROVAL)
                preview = approves.get(f"{case}/preview")
                approves.post(f"{case}/approve", {"scope_digest": preview["scope_digest"]})
                until(approves, case, State.COMPLETED)
                assert approves.get(case)["verdict"] == "VERIFIED"
    assert s3_world.held(person) == []


def key(settings: dict[str, str], name: str) -> str:
    return run("keys", "create", "--name", name, settings=settings).stdout.split()[-1]


def is_degraded(url: str) -> bool:
    """Ready to take cases, and saying that something is away."""
    try:
        answer = httpx.get(f"{url}/readyz", timeout=5, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.json()["status"] == "degraded"


def until(client: Client, case: str, state: State) -> None:
    eventually(
        lambda: client.get(case)["status"] == state,
        seconds=90,
        otherwise=lambda: str(client.get(case)),
    )
