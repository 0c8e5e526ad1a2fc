"""Legal holds over HTTP, and breakers that the approver accepts by name."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI

from app.domain.actors import ActorKind, Scope
from app.domain.breakers import Limits
from app.services.parts import Parts
from tests.api.conftest import MakeKey
from tests.services.dsar_cases import (
    PERSONAL,
    REASON,
    USER,
    digest_of,
    entries_of,
    get,
    identity,
    put_scope,
    scoped,
    somebody,
    submit,
)

Headers = dict[str, str]
ON_ME: dict[str, object] = {"subject": {"kind": "user_id", "value": USER}, "reason": REASON}


@pytest.fixture
def counsel(make_key: MakeKey) -> Headers:
    return make_key(Scope.DSARS_READ, Scope.DSARS_APPROVE)


@pytest.fixture
def officer(make_key: MakeKey) -> Headers:
    return make_key(Scope.DSARS_READ, Scope.DSARS_APPROVE, Scope.SUBJECT_READ)


def placed(http: httpx.Client, counsel: Headers, body: dict[str, object]) -> str:
    answer = http.post("/v1/holds", json=body, headers={**counsel, "Idempotency-Key": str(body)})
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == f"/v1/holds/{answer.json()['id']}"
    again = http.post("/v1/holds", json=body, headers={**counsel, "Idempotency-Key": str(body)})
    assert again.json() == answer.json()
    return str(answer.json()["id"])


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_a_hold_is_placed_by_one_and_released_by_another_and_says_nothing_personal(
    http: httpx.Client, parts: Parts, make_key: MakeKey, counsel: Headers, officer: Headers
) -> None:
    case = scoped(parts)
    hold_id = placed(http, counsel, ON_ME)
    seen = http.get(f"/v1/dsars/{case.id}", headers=officer).json()
    assert (seen["status"], seen["holds"], seen["legal_moves"]) == (
        "on_hold",
        [hold_id],
        ["reject", "cancel"],
    )
    approval = {"scope_digest": digest_of(parts, case.id), "shared_review": "keep"}
    approve = f"/v1/dsars/{case.id}/approve"
    assert refused(http.post(approve, json=approval, headers=officer)) == (409, "illegal_move")
    bare = http.get(f"/v1/holds/{hold_id}", headers=counsel).json()
    assert (bare["hold"]["cases"], bare["opened"]) == (1, None)
    assert http.get(f"/v1/holds/{hold_id}", headers=officer).json()["opened"] == {
        "value": USER,
        "reasons": {"place": REASON},
    }
    release = f"/v1/holds/{hold_id}/release"
    why = {"reason": REASON}
    service = make_key(Scope.DSARS_APPROVE, kind=ActorKind.SERVICE)
    for wrong in (counsel, service):
        assert refused(http.post(release, json=why, headers=wrong)) == (403, "four_eyes")
    assert http.post(release, headers=officer, json={}).status_code == 422
    ended = http.post(release, json=why, headers=officer).json()
    assert ended["released_at"] is not None
    assert http.post(approve, json=approval, headers=officer).json()["status"] == "queued"
    told = http.get(f"/v1/dsars/{case.id}/timeline", headers=officer).text
    listed = http.get("/v1/holds", headers=officer).text
    assert "released: it goes on" in told
    assert not [v for v in PERSONAL for text in (told, listed, str(bare), str(ended)) if v in text]
    assert [v for v, _ in entries_of(parts, hold_id)] == [
        "hold.placed",
        "hold.read",
        "hold.released",
    ]


def test_holds_are_listed_a_page_at_a_time_and_a_wrong_one_is_refused(
    http: httpx.Client, counsel: Headers, officer: Headers
) -> None:
    made = [placed(http, counsel, {"dataset": f"d{n}", "reason": REASON}) for n in range(3)]
    released = http.post(f"/v1/holds/{made[0]}/release", json={"reason": REASON}, headers=officer)
    assert released.status_code == 200
    first = http.get("/v1/holds?limit=2", headers=officer).json()
    rest = http.get(f"/v1/holds?limit=2&cursor={first['next_cursor']}", headers=officer).json()
    assert [h["id"] for h in first["items"] + rest["items"]] == made[::-1]
    for asked, ids in (("true", made[:0:-1]), ("false", made[:1])):
        found = http.get(f"/v1/holds?in_force={asked}", headers=officer).json()
        assert [h["id"] for h in found["items"]] == ids
    for wrong in ({**ON_ME, "dataset": "events"}, {"reason": REASON}, {"dataset": "events"}):
        assert refused(http.post("/v1/holds", json=wrong, headers=counsel)) == (
            422,
            "invalid_fields",
        )
    assert refused(http.get("/v1/holds?cursor=eA", headers=officer)) == (422, "invalid_fields")
    assert refused(http.get("/v1/holds/hold_x", headers=officer)) == (404, "not_found")


def test_what_looks_like_a_mistake_is_approved_only_by_who_names_it(
    http: httpx.Client, app: FastAPI, parts: Parts, counsel: Headers
) -> None:
    strict = replace(parts.rules, breakers=Limits(linked=1, dsars_a_day=1))
    app.state.parts = parts = replace(parts, rules=strict)
    submit(parts, somebody(1))
    case = submit(parts).dsar
    put_scope(parts, identity(case.id, users=2, decision="tombstone"))
    seen = http.get(f"/v1/dsars/{case.id}", headers=counsel).json()
    assert "too_many_linked, too_many_today" in seen["needs"]["what"]
    preview = http.get(f"/v1/dsars/{case.id}/preview", headers=counsel).json()
    assert [(b["kind"], b["found"], b["limit"]) for b in preview["breakers"]] == [
        ("too_many_today", 2, 1),
        ("too_many_linked", 2, 1),
    ]
    approve = f"/v1/dsars/{case.id}/approve"
    both = ["too_many_linked", "too_many_today"]
    for accept in ([], both[:1], [*both, "too_many_rows"]):
        body = {"scope_digest": preview["scope_digest"], "accept": accept}
        answer = http.post(approve, json=body, headers=counsel)
        assert refused(answer) == (422, "invalid_fields")
        assert answer.json()["errors"][0]["field"] == "body.accept"
    body = {"scope_digest": preview["scope_digest"], "accept": both}
    assert http.post(approve, json=body, headers=counsel).json()["accepted"] == both
    accepted = [f for v, f in entries_of(parts, case.id) if v == "dsar.breaker_accepted"]
    assert len(accepted) == 2
    assert get(parts, case.id).accepted == tuple(both)
