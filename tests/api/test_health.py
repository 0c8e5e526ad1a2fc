"""Liveness, readiness and figures: what does not answer is named, and nobody waits for it long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
from sqlalchemy import text

from app.main import build
from app.services.parts import Parts
from app.services.readiness import Check, Health
from tests.api.conftest import MakeKey, serving


@contextmanager
def leaning_on(parts: Parts, **probes: Callable[[], object]) -> Iterator[httpx.Client]:
    health = Health(tuple(Check(name, probe) for name, probe in probes.items()))
    app = build(parts, health=health, public_url="http://127.0.0.1", env="test")
    with serving(app) as url, httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        yield client


def refuses() -> None:
    raise ConnectionRefusedError("usr_01canary")


def test_all_that_answers_is_ready(parts: Parts) -> None:
    with leaning_on(parts, broker=lambda: True, bucket=lambda: None) as http:
        answer = http.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "checks": [{"name": n, "ok": True} for n in ("database", "broker", "bucket")],
    }


def test_what_does_not_answer_is_named_and_cases_are_still_taken(parts: Parts) -> None:
    with leaning_on(parts, broker=refuses, bucket=lambda: None) as http:
        answer = http.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "degraded"
    assert {"name": "broker", "ok": False} in answer.json()["checks"]
    assert "canary" not in answer.text


def test_what_hangs_is_given_up_after_two_seconds_and_all_are_asked_at_once(parts: Parts) -> None:
    hanging = dict.fromkeys(("broker", "bucket", "catalog"), lambda: time.sleep(3))
    with leaning_on(parts, **hanging) as http:
        began = time.monotonic()
        answer = http.get("/readyz")
        seconds = time.monotonic() - began
        assert http.get("/healthz").status_code == 200
    assert seconds < 2.9
    assert answer.json()["status"] == "degraded"
    assert [c["ok"] for c in answer.json()["checks"]] == [True, False, False, False]


def test_figures_count_what_stands_where(parts: Parts, http: httpx.Client) -> None:
    case = (
        "insert into clearlake.dsar (id, type, state, regulation, role, requester_kind,"
        " received_at, due_at, regime, calendar, requested_by)"
        " values (:id, 'erasure', :state, 'gdpr', 'controller', 'self',"
        " now(), now() + :due * interval '1 day', 'gdpr', 'x', 'key_x')"
    )
    step = (
        "insert into clearlake.step (id, kind, target, state, last_enqueued_at)"
        " values (:id, 'scope', :id, :state, null)"
    )
    with parts.database.transaction() as tx:
        for number, (state, due) in enumerate(
            [("received", -1), ("received", 5), ("completed", -9), ("stuck", 30)]
        ):
            tx.run(text(case), {"id": f"dsar_{number}", "state": state, "due": due})
        for number, state in enumerate(["ready", "ready", "parked", "done", "running"]):
            tx.run(text(step), {"id": f"step_{number}", "state": state})
    time.sleep(0.01)
    lines = set(http.get("/metrics").text.splitlines())
    assert {
        'clearlake_cases{regulation="gdpr",state="received"} 2.0',
        'clearlake_cases{regulation="gdpr",state="completed"} 1.0',
        'clearlake_cases_overdue{regulation="gdpr"} 1.0',
        'clearlake_steps_open{kind="scope",state="ready"} 2.0',
        'clearlake_steps_open{kind="scope",state="running"} 1.0',
        'clearlake_steps_parked{kind="scope"} 1.0',
        "clearlake_steps_unheard 2.0",
        "clearlake_database_up 1.0",
    } <= lines


def test_requests_are_counted_by_template_never_by_path(
    http: httpx.Client, make_key: MakeKey
) -> None:
    canary = "usr_01canarycanarycanarycanary"
    for path in (f"/v1/api-keys/{canary}", f"/{canary}", f"/healthz?user={canary}"):
        http.get(path)
    http.request(canary.upper(), "/healthz")
    figures = http.get("/metrics")
    assert figures.headers["Content-Type"].startswith("text/plain")
    assert canary not in figures.text.lower()
    for labels in (
        'method="GET",route="/v1/api-keys/{key_id}",status="401"',
        'method="GET",route="none",status="404"',
        'method="GET",route="/healthz",status="200"',
        'method="other",route="/healthz",status="405"',
    ):
        assert f"clearlake_http_requests_total{{{labels}}} 1.0" in figures.text
