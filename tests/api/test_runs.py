"""Runs over HTTP: begun, watched, stopped, resumed, undone; refusals name what is legal."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from app.domain.actors import Scope
from app.domain.phases import EVERYBODY
from app.domain.runs import Stage
from app.domain.steps import NewStep, StepKind
from app.services.parts import Parts
from app.store import audit, run_reports, runs, steps
from app.store.run_reports import NewReport
from tests.api.conftest import MakeKey
from tests.services.dsar_cases import approve, get, scoped, somebody

Headers = dict[str, str]


@pytest.fixture
def operator(make_key: MakeKey) -> Headers:
    return make_key(Scope.RUNS_READ, Scope.RUNS_OPERATE, Scope.REPORTS_READ)


def queued(parts: Parts, number: int = 1) -> str:
    return approve(parts, scoped(parts, somebody(number))).id


def started(http: httpx.Client, operator: Headers) -> str:
    answer = http.post("/v1/runs", headers=operator)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def shown(http: httpx.Client, operator: Headers, run_id: str) -> dict[str, Any]:
    answer = http.get(f"/v1/runs/{run_id}", headers=operator)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_a_run_takes_every_approved_case_and_tells_how_far_it_is(
    http: httpx.Client, parts: Parts, operator: Headers, rung: list[str]
) -> None:
    assert refused(http.post("/v1/runs", headers=operator)) == (409, "nothing_to_do")
    cases = [queued(parts, n) for n in range(2)]
    rung.clear()
    answer = http.post("/v1/runs", headers={**operator, "Idempotency-Key": "once"})
    run_id = answer.json()["id"]
    assert answer.headers["Location"] == f"/v1/runs/{run_id}"
    assert len(rung) == 1
    replayed = http.post("/v1/runs", headers={**operator, "Idempotency-Key": "once"})
    assert (replayed.status_code, replayed.json()) == (202, answer.json())
    found = shown(http, operator, run_id)
    assert (found["stage"], found["legal_moves"]) == ("open", ["stop", "undo"])
    assert [(c["id"], c["status"]) for c in found["dsars"]] == [(c, "running") for c in cases]
    assert found["progress"] == [
        {"layer": None, "dataset": None, "stage": "resolve", "done": 0, "total": 1,
         "states": {"ready": 1}}
    ]  # fmt: skip
    queued(parts, 3)
    busy = http.post("/v1/runs", headers=operator)
    assert refused(busy) == (409, "lake_busy")
    assert run_id in busy.json()["detail"]


def test_runs_are_listed_a_page_at_a_time_the_newest_first(
    http: httpx.Client, parts: Parts, operator: Headers
) -> None:
    made = []
    for number in range(3):
        queued(parts, number)
        made.append(started(http, operator))
        assert http.post(f"/v1/runs/{made[-1]}/undo", headers=operator).json()["stage"] == "undone"
    first = http.get("/v1/runs?limit=2", headers=operator).json()
    rest = http.get(f"/v1/runs?limit=2&cursor={first['next_cursor']}", headers=operator).json()
    assert [r["id"] for r in first["items"] + rest["items"]] == made[::-1]
    assert rest["next_cursor"] is None
    assert refused(http.get("/v1/runs?cursor=eA", headers=operator)) == (422, "invalid_fields")


def test_a_run_is_stopped_resumed_and_undone_by_whoever_read_it_last(
    http: httpx.Client, parts: Parts, operator: Headers
) -> None:
    case = queued(parts)
    run_id = started(http, operator)
    etag = http.get(f"/v1/runs/{run_id}", headers=operator).headers["ETag"]
    stale = http.post(f"/v1/runs/{run_id}/stop", headers={**operator, "If-Match": '"99"'})
    assert refused(stale) == (412, "stale")
    stopped = http.post(f"/v1/runs/{run_id}/stop", headers={**operator, "If-Match": etag})
    assert (stopped.status_code, stopped.json()["stopped"]) == (200, True)
    assert stopped.headers["ETag"] != etag
    again = http.post(f"/v1/runs/{run_id}/stop", headers=operator)
    assert refused(again) == (409, "illegal_move")
    assert again.json()["legal"] == ["resume", "undo"]
    assert http.post(f"/v1/runs/{run_id}/resume", headers=operator).json()["stopped"] is False
    undone = http.post(f"/v1/runs/{run_id}/undo", headers=operator).json()
    assert (undone["stage"], undone["legal_moves"]) == ("undone", [])
    assert get(parts, case).state.value == "awaiting_approval"
    with parts.database.transaction() as tx:
        verbs = [e.verb for e in audit.of_objects(tx, [run_id])]
    assert [v for v in verbs if v != "run.stage_reached"] == [
        "run.started", "run.stopped", "run.resumed", "run.undo_requested", "run.undone",
    ]  # fmt: skip


def test_a_parked_step_is_shown_with_its_code_and_the_way_out_is_checked(
    http: httpx.Client, parts: Parts, operator: Headers, owner_database_url: str
) -> None:
    queued(parts)
    run_id = started(http, operator)
    with parts.database.transaction() as tx:
        [step_id] = steps.put(tx, [NewStep(StepKind.ERASE, "raw_events/0", run_id=run_id)])
        runs.put(tx, run_id, stage=Stage.PENDING)
    _park(owner_database_url, step_id)
    [left] = shown(http, operator, run_id)["left"]
    assert (left["id"], left["stage"], left["target"]) == (step_id, "erase", "raw_events/0")
    assert (left["state"], left["reason"]) == ("parked", "because")
    url = f"/v1/runs/{run_id}/resume"
    for body in ({"step": step_id}, {"step": step_id, "unparsable": "keep"}, {"x": 1}):
        assert http.post(url, json=body, headers=operator).status_code == 422
    other = {"step": "step_unknown", "unparsable": "drop"}
    assert refused(http.post(url, json=other, headers=operator)) == (409, "illegal_move")
    right = {"step": step_id, "unparsable": "drop"}
    assert http.post(url, json=right, headers=operator).json()["stage"] == "open"
    found = shown(http, operator, run_id)
    assert [(p["stage"], p["states"]) for p in found["progress"]] == [("resolve", {"ready": 1})]
    with parts.database.transaction() as tx:
        assert runs.fact(tx, run_id, "unparsable:raw_events/0") == "drop"
        assert [s.target for s in steps.of_run(tx, run_id)] == [EVERYBODY]


def _park(url: str, step_id: str) -> None:
    import psycopg

    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as link:
        link.execute("update clearlake.step set state = 'done' where kind = 'resolve'")
        link.execute(
            "update clearlake.step set state = 'parked', reason = 'because' where id = %s",
            (step_id,),
        )


def test_a_runs_report_is_handed_out_as_it_was_signed_and_that_is_an_entry(
    http: httpx.Client, parts: Parts, operator: Headers
) -> None:
    queued(parts)
    run_id = started(http, operator)
    url = f"/v1/runs/{run_id}"
    for end in ("report.json", "report.sig", "objects"):
        assert refused(http.get(f"{url}/{end}", headers=operator)) == (404, "not_ready")
        assert refused(http.get(f"/v1/runs/run_x/{end}", headers=operator)) == (404, "not_found")
    report = NewReport(
        run_id=run_id,
        kind="run",
        document=b'{"a":1}',
        key_id="k",
        signature=b"s" * 64,
        verdict="VERIFIED",
        outcome="fulfilled",
    )
    objects = NewReport(run_id=run_id, kind="objects", document=b"\x01\x02", key_id="k")
    with parts.database.transaction() as tx:
        run_reports.insert_reports(tx, [report, objects])
    answer = http.get(f"{url}/report.json", headers=operator)
    assert answer.content == b'{"a":1}'
    assert http.get(f"{url}/report.sig", headers=operator).content == b"s" * 64
    assert http.get(f"{url}/objects", headers=operator).content == b"\x01\x02"
    links = {r["kind"]: r for r in shown(http, operator, run_id)["reports"]}
    assert answer.headers["ETag"] == f'"{links["run"]["sha256"]}"'
    for link in links.values():
        assert http.get(link["href"], headers=operator).status_code == 200
    with parts.database.transaction() as tx:
        verbs = [e.verb for e in audit.of_objects(tx, [run_id])]
    assert verbs.count("report.read") == 4
