"""Consents over HTTP: recorded once, asked for, read; and everything that is refused."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from app.domain.actors import WORKER, Scope
from app.domain.identifiers import Identifier, Kind
from app.services import consents
from app.services.parts import Parts
from tests.api.conftest import MakeKey

URL = "/v1/consents"
USER = "usr_CANARY_8842913"
ANON = "anon_CANARY_77"


@pytest.fixture
def writer(make_key: MakeKey) -> dict[str, str]:
    return make_key(Scope.CONSENTS_WRITE, Scope.CONSENTS_READ)


@pytest.fixture
def reader(make_key: MakeKey) -> dict[str, str]:
    return make_key(Scope.CONSENTS_READ, Scope.SUBJECT_READ)


def new(**changes: Any) -> dict[str, Any]:
    return {
        "subject": {"user_id": USER},
        "purpose": "newsletter",
        "state": "given",
        "policy_version": "2026-11",
        "source": "web_banner",
        **changes,
    }


def post(http: httpx.Client, key: dict[str, str], *, more: dict[str, str] | None = None,
         **changes: Any) -> httpx.Response:  # fmt: skip
    return http.post(URL, json=new(**changes), headers={**key, **(more or {})})


def check(http: httpx.Client, key: dict[str, str], **asked: str) -> dict[str, Any]:
    answer = http.get(f"{URL}/check", params={"purpose": "newsletter", **asked}, headers=key)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_what_was_said_is_recorded_and_can_be_checked_as_of_any_time(
    http: httpx.Client, writer: dict[str, str]
) -> None:
    done = post(http, writer, at="2026-01-02T03:04:05+02:00")
    assert done.status_code == 201
    body = done.json()
    assert done.headers["location"] == f"{URL}/{body['id']}"
    assert body["at"] == "2026-01-02T01:04:05Z"
    assert (body["purpose"], body["state"], body["gpc"]) == ("newsletter", "given", False)
    post(http, writer, state="withdrawn")
    found = check(http, writer, user_id=USER)
    assert (found["given"], found["in_force"]["state"]) == (False, "withdrawn")
    found = check(http, writer, user_id=USER, at="2026-02-01T00:00:00Z")
    assert (found["given"], found["in_force"]["id"]) == (True, body["id"])
    found = check(http, writer, user_id=USER, at="0001-01-01T00:00:00+14:00")
    assert found == {"purpose": "newsletter", "given": False, "in_force": None}
    assert check(http, writer, user_id="usr_stranger")["in_force"] is None


def test_the_signal_of_a_browser_is_recorded_and_honoured(
    http: httpx.Client, writer: dict[str, str]
) -> None:
    sale = {"purpose": "sale_sharing"}
    done = post(http, writer, more={"Sec-GPC": "1"}, **sale).json()
    assert (done["state"], done["gpc"], len(done["opt_outs"])) == ("given", True, 1)
    found = check(http, writer, user_id=USER, **sale)
    assert not found["given"]
    assert found["in_force"]["id"] == done["opt_outs"][0]
    assert found["in_force"]["source"] == "gpc"
    for none in ("0", "true", "11"):
        other = post(http, writer, more={"Sec-GPC": none}).json()
        assert (other["gpc"], other["opt_outs"]) == (False, [])


def test_the_same_request_twice_is_one_entry(http: httpx.Client, writer: dict[str, str]) -> None:
    once = {"Idempotency-Key": "banner-1"}
    first, second = (post(http, writer, more=once) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert post(http, writer, more=once, state="refused").status_code == 422
    assert check(http, writer, user_id=USER)["in_force"]["id"] == first.json()["id"]


def test_everything_in_force_comes_in_pages(http: httpx.Client, writer: dict[str, str]) -> None:
    for purpose in ("b", "a", "c", "b"):
        post(http, writer, purpose=purpose, subject={"user_id": USER, "anon_ids": [ANON]})
    pages, cursor = [], None
    while True:
        asked = {"anon_id": ANON, "limit": "2", **({"cursor": cursor} if cursor else {})}
        page = http.get(URL, params=asked, headers=writer).json()
        pages.append([c["purpose"] for c in page["items"]])
        if not (cursor := page["next_cursor"]):
            break
    assert pages == [["a", "b"], ["c"]]
    none = http.get(URL, params={"user_id": "usr_stranger"}, headers=writer).json()
    assert none == {"items": [], "next_cursor": None}


def test_the_receipt_proves_the_entry_and_needs_a_right_of_its_own(
    http: httpx.Client, writer: dict[str, str], reader: dict[str, str]
) -> None:
    done = post(http, writer, evidence={"form": "CANARY form"}).json()
    plain = http.get(f"{URL}/{done['id']}", headers=writer).json()
    assert plain["receipt"] is None
    assert "CANARY" not in str(plain)
    receipt = http.get(f"{URL}/{done['id']}", headers=reader).json()["receipt"]
    document, salt = receipt["document"].encode(), bytes.fromhex(receipt["salt"])
    assert USER.encode() in document
    assert b"CANARY form" in document
    assert hmac.new(salt, document, hashlib.sha256).hexdigest() == done["proof"]


def test_after_an_erasure_the_entry_is_there_and_leads_nowhere(
    http: httpx.Client, writer: dict[str, str], reader: dict[str, str], parts: Parts
) -> None:
    done = post(http, writer).json()
    with parts.database.transaction() as tx:
        who = [Identifier(Kind.USER_ID, USER)]
        consents.erase_subject(WORKER, tx, parts=parts, identifiers=who)
    shown = http.get(f"{URL}/{done['id']}", headers=reader).json()
    assert (shown["erased"], shown["receipt"], shown["proof"]) == (True, None, done["proof"])
    assert check(http, writer, user_id=USER)["in_force"] is None


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"subject": {}}, "identifier_missing"),
    ({"subject": {"device_fps": ["fp_CANARY"]}}, "identifier_too_weak"),
    ({"subject": {"user_id": "CANARY with spaces"}}, "identifier_malformed"),
    ({"subject": {"user_id": "CANARY\x00"}}, "invalid_fields"),
    ({"subject": {"user_id": "CANARY\x7f"}}, "identifier_malformed"),
    ({"subject": {"user_id": "CANARY" * 50}}, "invalid_fields"),
    ({"subject": {"anon_ids": [f"a_CANARY{n}" for n in range(21)]}}, "invalid_fields"),
    ({"subject": {"user_id": USER, "email": "CANARY"}}, "invalid_fields"),
    ({"purpose": "sale"}, "invalid_fields"),
    ({"purpose": "CANARY purpose"}, "invalid_fields"),
    ({"purpose": "newsletter\n"}, "invalid_fields"),
    ({"state": "CANARY"}, "invalid_fields"),
    ({"policy_version": "CANARY \x00"}, "invalid_fields"),
    ({"source": ""}, "invalid_fields"),
    ({"evidence": {"CANARY key": "x"}}, "invalid_fields"),
    ({"evidence": {"form": "CANARY" * 1000}}, "invalid_fields"),
    ({"evidence": {f"k{n}": "x" for n in range(21)}}, "invalid_fields"),
    ({"at": "2026-01-01"}, "invalid_fields"),
    ({"at": 1_700_000_000}, "invalid_fields"),
    ({"at": "0001-01-01T00:00:00+14:00"}, "invalid_fields"),
    ({"at": (datetime.now(UTC) + timedelta(days=1)).isoformat()}, "invalid_fields"),
    ({"CANARY": 1}, "invalid_fields"),
]


def test_what_cannot_be_taken_is_refused_and_not_repeated(
    http: httpx.Client, writer: dict[str, str]
) -> None:
    for number, (changes, code) in enumerate(REFUSED):
        answer = post(http, writer, **changes)
        assert (answer.status_code, answer.json()["code"]) == (422, code), number
        assert "CANARY" not in answer.text, number
    assert check(http, writer, user_id=USER)["in_force"] is None


UNANSWERED: list[tuple[str, dict[str, str], int]] = [
    ("", {}, 422),
    ("", {"user_id": USER, "anon_id": ANON}, 422),
    ("", {"user_id": "CANARY x"}, 422),
    ("", {"user_id": USER, "at": "yesterday"}, 422),
    ("", {"user_id": USER, "cursor": "CANARY"}, 422),
    ("/check", {"user_id": USER}, 422),
    ("/check", {"user_id": USER, "purpose": "sharing"}, 422),
    ("/check", {"user_id": USER, "purpose": "CANARY!"}, 422),
    ("/con_CANARY", {}, 422),
    ("/con_00000000000000000000000000", {}, 404),
]


def test_what_cannot_be_asked_is_refused_and_not_repeated(
    http: httpx.Client, writer: dict[str, str]
) -> None:
    for number, (path, asked, status) in enumerate(UNANSWERED):
        answer = http.get(f"{URL}{path}", params=asked, headers=writer)
        assert answer.status_code == status, number
        assert "CANARY" not in answer.text, number


def test_each_call_needs_its_scope(http: httpx.Client, make_key: MakeKey) -> None:
    only_read, only_write = make_key(Scope.CONSENTS_READ), make_key(Scope.CONSENTS_WRITE)
    assert post(http, only_read).status_code == 403
    assert post(http, only_write).status_code == 201
    assert http.post(URL, json=new()).status_code == 401
    for path in ("", "/check", "/con_00000000000000000000000000"):
        asked = {"user_id": USER, "purpose": "newsletter"}
        assert http.get(URL + path, params=asked, headers=only_write).status_code == 403
        assert http.get(URL + path, params=asked).status_code == 401
