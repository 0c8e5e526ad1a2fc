"""Cases over HTTP: what a caller sends, and what comes back."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from app.api.dsar_stream import STREAMS
from app.domain.actors import ActorKind, Scope
from app.domain.dsars import Move
from app.services.parts import Parts
from tests.api.conftest import MakeKey
from tests.services.dsar_cases import (
    ANON,
    DEVICE,
    LINKED,
    NOTE,
    PERSONAL,
    REASON,
    REF,
    USER,
    identity,
    moved,
    put_scope,
)
from tests.services.test_dsar_timeline import put_report, put_run

Headers = dict[str, str]
SECRET = "CANARYcanary"
BODY: dict[str, Any] = {
    "type": "erasure",
    "subject": {"user_id": USER, "anon_ids": [ANON], "device_fps": [DEVICE]},
    "regulation": "gdpr",
    "region": "DE-BY",
    "language": "pt-BR",
    "channel": "web-form",
    "requester": {"kind": "agent", "proof_kind": "power_of_attorney"},
    "external_ref": REF,
    "note": NOTE,
}


@dataclass(frozen=True)
class Desk:
    """Two officers with keys of their own, and the service."""

    http: httpx.Client
    parts: Parts
    asker: Headers
    officer: Headers

    def post(self, **changes: Any) -> httpx.Response:
        return self.http.post("/v1/dsars", json={**BODY, **changes}, headers=self.asker)

    def submit(self, **changes: Any) -> str:
        answer = self.post(**changes)
        assert answer.status_code == 202, answer.text
        found: str = answer.json()["id"]
        return found

    def scoped(self) -> str:
        dsar_id = self.submit()
        put_scope(self.parts, identity(dsar_id))
        return dsar_id

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.http.get(path, headers=self.officer, params=query)

    def seen(self, dsar_id: str) -> dict[str, Any]:
        answer = self.get(f"/v1/dsars/{dsar_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def decide(self, dsar_id: str, what: str, headers: Headers, **body: Any) -> httpx.Response:
        return self.http.post(f"/v1/dsars/{dsar_id}/{what}", json=body, headers=headers)

    def search(self, **body: Any) -> list[str]:
        answer = self.http.post("/v1/dsars:search", json=body, headers=self.officer)
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]


@pytest.fixture
def desk(http: httpx.Client, parts: Parts, make_key: MakeKey) -> Desk:
    return Desk(http, parts, make_key(*Scope), make_key(*Scope))


def test_a_case_is_followed_from_its_post_to_its_end_by_one_get(desk: Desk) -> None:
    answer = desk.post()
    assert answer.status_code == 202
    taken = answer.json()
    assert set(taken) == {"id", "type", "status", "due_at", "days_left", "needs", "related"}
    assert answer.headers["location"] == f"/v1/dsars/{taken['id']}"
    seen = desk.seen(taken["id"])
    assert (seen["status"], seen["needs"]["whose"]) == ("received", "service")
    assert seen["legal_moves"] == ["reject", "cancel"]
    assert 25 <= seen["clock"]["days_left"] <= 40
    not_yet = desk.get(f"/v1/dsars/{taken['id']}/preview")
    assert (not_yet.status_code, not_yet.json()["code"]) == (404, "not_ready")

    put_scope(desk.parts, identity(taken["id"]))
    seen = desk.seen(taken["id"])
    assert (seen["status"], seen["undecided"], seen["shared_count"]) == ("awaiting_approval", 1, 1)
    assert seen["legal_moves"] == ["approve", "reject", "cancel"]
    preview = desk.get(f"/v1/dsars/{taken['id']}/preview").json()
    assert preview["undecided"] == 1
    approval = {"scope_digest": preview["scope_digest"], "shared_review": "tombstone"}

    own = desk.decide(taken["id"], "approve", desk.asker, **approval)
    assert (own.status_code, own.json()["code"]) == (403, "four_eyes")
    undecided = desk.decide(
        taken["id"], "approve", desk.officer, scope_digest=preview["scope_digest"]
    )
    assert (undecided.status_code, undecided.json()["errors"][0]["field"]) == (
        422,
        "body.shared_review",
    )
    other = desk.decide(taken["id"], "approve", desk.officer, scope_digest="0" * 64)
    assert (other.status_code, other.json()["code"]) == (409, "scope_changed")
    approved = desk.decide(taken["id"], "approve", desk.officer, **approval, reason=REASON)
    assert (approved.status_code, approved.json()["status"]) == (200, "queued")
    again = desk.decide(taken["id"], "approve", desk.officer, **approval)
    assert (again.status_code, again.json()["legal"]) == (409, ["reject", "cancel"])

    moved(desk.parts, taken["id"], Move.TAKE, Move.SETTLE, Move.COMPLETE)
    put_run(desk.parts, taken["id"])
    document = put_report(desk.parts, taken["id"])
    seen = desk.seen(taken["id"])
    assert (seen["status"], seen["clock"]["days_left"]) == ("completed", None)
    [link] = seen["reports"]
    report = desk.get(link["href"])
    assert report.content == document
    assert report.headers["etag"] == f'"{link["sha256"]}"'
    signature = desk.get(link["signature_href"]).content
    assert len(signature) == 64
    keys = desk.get("/v1/keys/public").json()["items"]
    assert link["key_id"] in {k["key_id"] for k in keys}
    told = desk.get(f"/v1/dsars/{taken['id']}/timeline").json()["items"]
    assert [t["verb"] for t in told][-1] == "report.read"
    everything = json.dumps([taken, seen, preview, told])
    assert not [v for v in PERSONAL if v in everything]


def test_the_same_idempotency_key_makes_one_case(desk: Desk) -> None:
    headers = {**desk.asker, "Idempotency-Key": "once"}
    answers = [desk.http.post("/v1/dsars", json=BODY, headers=headers) for _ in range(2)]
    assert [a.status_code for a in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
    assert len(desk.search()) == 1
    other = desk.http.post("/v1/dsars", json={**BODY, "type": "access"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


BAD: list[tuple[dict[str, Any], str | None]] = [
    ({"subject": {}}, None),
    ({"subject": {"device_fps": [DEVICE]}}, None),
    ({"subject": {"user_id": "null"}}, None),
    ({"subject": {"user_id": SECRET * 40}}, "body.subject.user_id"),
    ({"subject": {"user_id": USER, SECRET: "a@example.org"}}, "body.subject"),
    ({"subject": {"anon_ids": [f"{SECRET}{n:022}" for n in range(51)]}}, "body.subject.anon_ids"),
    ({"subject": {"anon_ids": SECRET}}, "body.subject.anon_ids"),
    ({"subject": {"anon_ids": ["ok_then", f"{SECRET} x"]}}, None),
    ({"type": SECRET}, "body.type"),
    ({"regulation": None}, "body.regulation"),
    ({"received_at": "2999-01-01T00:00:00Z"}, "body.received_at"),
    ({"received_at": "2001-01-01T00:00:00Z"}, "body.received_at"),
    ({"received_at": "2026-11-01"}, "body.received_at"),
    ({"received_at": 1}, "body.received_at"),
    ({"language": f"{SECRET}, bitte"}, "body.language"),
    ({"region": SECRET}, "body.region"),
    ({"channel": f"by mail to {SECRET}"}, "body.channel"),
    ({"controller_id": f"{SECRET}@example.org"}, "body.controller_id"),
    ({"account_closed": "yes"}, "body.account_closed"),
    ({"callback_urls": [SECRET]}, "body"),
    ({"note": SECRET * 400}, "body.note"),
    ({"requester": {"kind": SECRET}}, "body.requester.kind"),
    ({"requester": {"proof_kind": f"passport of {SECRET}"}}, "body.requester.proof_kind"),
]


def test_a_body_that_cannot_be_taken_is_refused_by_its_place_and_not_repeated(
    desk: Desk,
) -> None:
    for changes, place in BAD:
        answer = desk.post(**changes)
        assert answer.status_code == 422, changes
        if place is not None:
            assert place in {e["field"] for e in answer.json()["errors"]}, changes
        assert SECRET not in answer.text
    assert desk.search() == []


def test_lists_have_filters_and_pages_and_never_a_person_in_their_address(desk: Desk) -> None:
    first = desk.submit()
    second = desk.submit(type="access", external_ref="other")
    third = desk.submit(subject={"user_id": "usr_0SOMEBODYELSE0000000000000"})
    assert desk.get("/v1/dsars").json()["items"][0]["id"] == third
    page = desk.get("/v1/dsars", limit=2).json()
    assert [i["id"] for i in page["items"]] == [third, second]
    rest = desk.get("/v1/dsars", limit=2, cursor=page["next_cursor"]).json()
    assert ([i["id"] for i in rest["items"]], rest["next_cursor"]) == ([first], None)

    def listed(**query: Any) -> list[str]:
        return [i["id"] for i in desk.get("/v1/dsars", **query).json()["items"]]

    assert listed(type="access") == [second]
    assert listed(status=["received", "queued"]) == [third, second, first]
    assert listed(status="queued") == []
    assert listed(external_ref="other") == [second]
    assert listed(due_before="2001-01-01T00:00:00Z") == []
    for name in ("subject", "user_id", "anon_id", "offset"):
        refused = desk.get("/v1/dsars", **{name: USER})
        assert (refused.status_code, USER in refused.text) == (422, False)
    assert desk.search(subject={"kind": "user_id", "value": USER}) == [second, first]
    assert desk.search(subject={"kind": "user_id", "value": USER}, type="access") == [second]
    assert desk.search(subject={"kind": "user_id", "value": USER.lower()}) == []
    assert desk.search(external_ref=REF) == [third, first]
    for cursor in ("!", "WyJ4Il0", "WyJ4IiwieSJd"):
        assert desk.get("/v1/dsars", cursor=cursor).status_code == 422
        assert desk.get(f"/v1/dsars/{first}/timeline", cursor=cursor).status_code == 422


def test_identifiers_are_shown_to_a_scope_of_their_own(desk: Desk, make_key: MakeKey) -> None:
    dsar_id = desk.scoped()
    path = f"/v1/dsars/{dsar_id}/subject"
    without = make_key(*(s for s in Scope if s is not Scope.SUBJECT_READ))
    assert desk.http.get(path, headers=without).status_code == 403
    found = desk.http.get(path, headers=make_key(Scope.SUBJECT_READ)).json()
    values = {i["value"] for i in (*found["given"], *found["linked"])}
    assert {USER, ANON, DEVICE, LINKED} <= values
    assert (found["external_ref"], found["note"]) == (REF, NOTE)
    desk.parts.keys.shred(dsar_id)
    gone = desk.http.get(path, headers=desk.officer)
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")
    verbs = [t["verb"] for t in desk.get(f"/v1/dsars/{dsar_id}/timeline").json()["items"]]
    assert verbs.count("dsar.subject_read") == 1


def test_whoever_decides_on_what_they_did_not_read_is_told_so(desk: Desk) -> None:
    dsar_id = desk.submit()
    etag = desk.get(f"/v1/dsars/{dsar_id}").headers["etag"]
    put_scope(desk.parts, identity(dsar_id))
    stale = desk.decide(dsar_id, "reject", {**desk.officer, "If-Match": etag}, reason=REASON)
    assert (stale.status_code, stale.json()["code"]) == (412, "stale")
    fresh = desk.get(f"/v1/dsars/{dsar_id}").headers["etag"]
    done = desk.decide(dsar_id, "reject", {**desk.officer, "If-Match": fresh}, reason=REASON)
    assert (done.status_code, done.json()["status"]) == (200, "rejected")
    assert done.headers["etag"] not in (etag, fresh)
    assert done.json()["retain_until"]
    closed = desk.decide(dsar_id, "cancel", desk.asker, reason=REASON)
    assert (closed.status_code, closed.json().get("legal")) == (409, None)


def test_a_service_key_requests_and_does_not_approve(desk: Desk, make_key: MakeKey) -> None:
    dsar_id = desk.scoped()
    digest = desk.get(f"/v1/dsars/{dsar_id}/preview").json()["scope_digest"]
    body = {"scope_digest": digest, "shared_review": "keep"}
    service = make_key(*Scope, kind=ActorKind.SERVICE)
    answer = desk.decide(dsar_id, "approve", service, **body)
    assert (answer.status_code, answer.json()["code"]) == (403, "four_eyes")
    assert desk.decide(dsar_id, "approve", desk.officer, **body).status_code == 200


def test_what_is_not_there_is_not_there_for_any_route(desk: Desk) -> None:
    for rest in ("", "/preview", "/subject", "/timeline", "/stream", "/report.json", "/report.sig"):
        answer = desk.get(f"/v1/dsars/dsar_nobody{rest}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), rest
    dsar_id = desk.submit()
    for rest in ("/report.json", "/report.sig"):
        answer = desk.get(f"/v1/dsars/{dsar_id}{rest}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_ready")
        assert "resolves who this is" in answer.json()["detail"]


# --- the stream ------------------------------------------------------------------------------


@dataclass
class Event:
    """One server-sent event."""

    name: str = ""
    id: str = ""
    data: str = ""


def events(answer: httpx.Response) -> Iterator[Event]:
    event = Event()
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if not line:
            if event.name:
                yield event
            event = Event()
        elif name in ("event", "id", "data"):
            setattr(event, {"event": "name"}.get(name, name), value)


def test_a_stream_tells_what_is_new_behind_the_last_event_seen_and_ends_with_the_case(
    desk: Desk,
) -> None:
    dsar_id = desk.scoped()
    path = f"/v1/dsars/{dsar_id}/stream"
    with desk.http.stream("GET", path, headers=desk.officer) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        coming = events(answer)
        seen = [next(coming), next(coming)]
        assert [json.loads(e.data)["verb"] for e in seen] == ["dsar.received", "dsar.scoped"]
        # nothing waits in a transaction: another request changes the case meanwhile
        assert desk.decide(dsar_id, "cancel", desk.asker, reason=REASON).status_code == 200
        rest = list(coming)
    assert [e.name for e in rest] == ["entry", "end"]
    assert json.loads(rest[0].data)["text"] == "The case was cancelled."
    assert json.loads(rest[1].data) == {"status": "cancelled", "outcome": None}
    assert rest[1].id == ""
    with desk.http.stream(
        "GET", path, headers={**desk.officer, "Last-Event-ID": seen[1].id}
    ) as again:
        assert [e.id for e in events(again)] == [rest[0].id, ""]
    wrong = desk.http.get(path, headers={**desk.officer, "Last-Event-ID": "x"})
    assert wrong.status_code == 422


def test_a_stream_ends_when_its_key_does(desk: Desk, make_key: MakeKey) -> None:
    dsar_id = desk.submit()
    admin = make_key(Scope.ADMIN)
    made = desk.http.post(
        "/v1/api-keys",
        headers=admin,
        json={"name": "A watcher", "kind": "personal", "scopes": ["dsars:read"]},
    ).json()
    watcher = {"Authorization": f"Bearer {made['secret']}"}
    with desk.http.stream("GET", f"/v1/dsars/{dsar_id}/stream", headers=watcher) as answer:
        coming = events(answer)
        assert next(coming).name == "entry"
        desk.http.post(f"/v1/api-keys/{made['id']}/revoke", headers=admin)
        assert list(coming) == []


def test_streams_are_bounded_and_one_that_ends_makes_room(desk: Desk) -> None:
    dsar_id = desk.submit()
    path = f"/v1/dsars/{dsar_id}/stream"
    for _ in range(STREAMS.most):
        STREAMS.take()
    full = desk.get(path)
    assert (full.status_code, full.headers["retry-after"]) == (503, "5")
    assert desk.get(f"/v1/dsars/{dsar_id}").status_code == 200
    for _ in range(STREAMS.most):
        STREAMS.give_back()
    # one that its caller leaves, and one that comes to its end
    with desk.http.stream("GET", path, headers=desk.officer) as answer:
        assert next(events(answer)).name == "entry"
        assert STREAMS.open >= 1
    desk.decide(dsar_id, "cancel", desk.asker, reason=REASON)
    assert desk.get(path).status_code == 200
    deadline = time.monotonic() + 10
    while STREAMS.open:
        assert time.monotonic() < deadline
        time.sleep(0.02)
