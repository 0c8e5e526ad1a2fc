"""Steps of a run over HTTP, a canary's limit, and the same from the command line."""

from __future__ import annotations

import json
from typing import Any

import httpx
import psycopg
import pytest

from app import cli
from app.domain.actors import Scope
from app.domain.runs import Stage
from app.domain.steps import NewStep, StepKind
from app.services.parts import Parts
from app.store import runs, steps
from tests.api.conftest import MakeKey
from tests.api.test_runs import Headers, queued, refused, shown, started

GROUPS = 5


@pytest.fixture
def operator(make_key: MakeKey) -> Headers:
    return make_key(Scope.RUNS_READ, Scope.RUNS_OPERATE)


@pytest.fixture
def stuck(http: httpx.Client, parts: Parts, operator: Headers, owner_database_url: str) -> str:
    """A run that stopped where its groups failed too often."""
    queued(parts)
    run_id = started(http, operator)
    targets = [f"raw_events/{n}" for n in range(GROUPS)]
    with parts.database.transaction() as tx:
        steps.put(tx, [NewStep(StepKind.CHECK, t, run_id=run_id) for t in targets])
        runs.put(tx, run_id, stage=Stage.STUCK)
        runs.put_facts(tx, run_id, {"stuck_from": "erased", "stuck_why": "unreachable"})
    with psycopg.connect(owner_database_url.replace("+psycopg", "", 1), autocommit=True) as link:
        link.execute(
            "update clearlake.step set state = 'parked', attempt = 5, error_code = 'unreachable',"
            " ended_at = now() where kind = 'check'"
        )
    return run_id


def test_steps_come_a_page_at_a_time_with_attempts_errors_and_exits(
    http: httpx.Client, operator: Headers, stuck: str
) -> None:
    url, found, cursor = f"/v1/runs/{stuck}/steps", list[dict[str, Any]](), ""
    while True:
        page = http.get(f"{url}?state=parked&limit=2{cursor}", headers=operator).json()
        found += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert sorted(s["group"] for s in found) == list(range(GROUPS))
    [first, *_] = found
    seen = {name: first[name] for name in ("stage", "dataset", "attempt", "max_attempts", "code")}
    assert seen == {
        "stage": "check",
        "dataset": "raw_events",
        "attempt": 5,
        "max_attempts": 5,
        "code": "unreachable",
    }
    assert [e["way"] for e in first["exits"]] == ["retry", "resume", "undo"]
    every = http.get(url, headers=operator).json()["items"]
    assert {s["state"] for s in every} == {"parked", "ready"}
    assert [s["exit"] for s in every if s["state"] == "ready"] == [None]
    assert http.get(f"{url}?state=nonsense", headers=operator).status_code == 422
    assert refused(http.get(f"{url}?cursor=eA", headers=operator)) == (422, "invalid_fields")
    assert refused(http.get("/v1/runs/run_x/steps", headers=operator)) == (404, "not_found")
    assert all(left["exit"] for left in shown(http, operator, stuck)["left"])


def test_one_step_is_tried_again_by_whoever_read_the_run_last(
    http: httpx.Client, operator: Headers, stuck: str
) -> None:
    [first, second, *_] = http.get(f"/v1/runs/{stuck}/steps?state=parked", headers=operator).json()[
        "items"
    ]
    url = f"/v1/runs/{stuck}/steps/{first['id']}/retry"
    assert refused(http.post(url, headers={**operator, "If-Match": '"99"'})) == (412, "stale")
    answer = http.post(url, headers=operator)
    assert (answer.status_code, answer.json()["stage"]) == (200, "erased")
    again = http.post(url, headers=operator)
    assert refused(again) == (409, "illegal_move")
    assert again.json()["legal"] == ["stop", "undo"]
    http.post(f"/v1/runs/{stuck}/stop", headers=operator)
    stopped = http.post(f"/v1/runs/{stuck}/steps/{second['id']}/retry", headers=operator)
    assert refused(stopped) == (409, "illegal_move")
    missing = http.post(f"/v1/runs/{stuck}/steps/step_x/retry", headers=operator)
    assert refused(missing) == (404, "not_found")


def test_a_limit_is_a_part_of_the_map_and_a_run_shows_it(
    http: httpx.Client, parts: Parts, operator: Headers
) -> None:
    queued(parts)
    wrongs: tuple[dict[str, Any], ...] = (
        {"limit": {"dataset": "nonsense"}},
        {"limit": {"dataset": "raw_events", "partition": "../x"}},
        {"limit": {"dataset": "raw_events", "partition": "x/"}},
        {"limit": {"table": "raw"}},
        {"limit": {}},
    )
    for wrong in wrongs:
        answer = http.post("/v1/runs", json=wrong, headers=operator)
        assert refused(answer) == (422, "invalid_fields"), wrong
    limit = {"dataset": "raw_events", "partition": "event_dt=2026-11-01"}
    answer = http.post("/v1/runs", json={"limit": limit}, headers=operator)
    assert answer.status_code == 202, answer.text
    url = f"/v1/runs/{answer.json()['id']}"
    found = http.get(url, headers=operator).json()
    assert (found["limit"], found["legal_moves"]) == (
        "raw_events/event_dt=2026-11-01",
        ["stop", "undo"],
    )
    assert [e["command"] for e in found["exits"]][1] == f"clearlake run undo {found['id']}"
    assert refused(http.post(f"{url}/widen", headers=operator)) == (409, "illegal_move")


def test_the_command_line_says_and_does_the_same(
    http: httpx.Client,
    operator: Headers,
    stuck: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CLEARLAKE_URL", str(http.base_url).rstrip("/"))
    monkeypatch.setenv("CLEARLAKE_API_KEY", operator["Authorization"].removeprefix("Bearer "))

    def said(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        assert cli.run(["run", *arguments]) == code
        return "".join(capsys.readouterr())

    everything = json.loads(said("steps", stuck, "--json"))["items"]
    assert len(everything) == GROUPS + 1
    parked = [s["id"] for s in everything if s["state"] == "parked"]
    told = said("show", stuck)
    assert f"clearlake run resume {stuck} --step {parked[0]}" in told
    assert f"clearlake run undo {stuck}" in told
    assert "unreachable" in said("show", stuck, "--watch", code=5)
    assert parked[0] in said("steps", stuck, "--state", "parked")
    assert "erased" in said("resume", stuck, "--step", parked[0])
    assert "[usage]" in said("resume", stuck, "--unparsable", "drop", code=2)
    assert "[usage]" in said("start", "--partition", "x", code=2)
    assert "[answer]" in said("start", "--dataset", "raw_events", code=2)
    assert json.loads(said("stop", stuck, "--json"))["stopped"] is True
    assert "[answer]" in said("widen", stuck, code=2)
    assert stuck in said("show", stuck, "--watch")
    assert stuck in said("list")
