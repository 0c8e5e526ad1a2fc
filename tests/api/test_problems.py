"""Every refusal is a problem with a stable code, and holds nothing of what came in."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Annotated

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, Field
from sqlalchemy import text

from app.api.bodies import Asked, Instant
from app.api.deps import IfMatch, PartsOf, Tx
from app.api.errors import STATUS
from app.domain import errors as domain_errors
from app.domain.errors import CheckFailedError, IllegalMoveError, StaleError
from app.main import build
from app.services.parts import Parts
from app.services.readiness import Health
from app.store.transaction import Database
from tests.api.conftest import serving

CANARY = "usr_01canarycanarycanarycanary"


class Inner(Asked):
    anon_ids: Annotated[list[Annotated[str, Field(max_length=5)]], Field(max_length=3)]


class Probe(Asked):
    user_id: Annotated[str, Field(max_length=5)] | None = None
    number: Annotated[int, Field(strict=True, le=9)] = 0
    at: Instant | None = None
    subject: Inner | None = None
    notes: dict[str, int] | None = None


class Said(BaseModel):
    said: str


@pytest.fixture
def app(app: FastAPI) -> FastAPI:
    """With a few routes more, that do what a test needs."""

    def take(body: Probe) -> Said:
        return Said(said="taken")

    def expect(version: IfMatch) -> Said:
        if version not in (None, 3):
            raise StaleError("It was changed since.")
        return Said(said=str(version))

    def illegal() -> Said:
        raise IllegalMoveError("It is queued already.", legal=("reject", "cancel"))

    def unknown() -> Said:
        raise CheckFailedError(CANARY)

    def broken(tx: Tx, parts: PartsOf) -> Said:
        tx.run(text("create temporary table half_done (n int)"))
        raise RuntimeError(CANARY)

    def cut(tx: Tx) -> Said:
        tx.run(text("select pg_terminate_backend(pg_backend_pid())"))
        return Said(said="never")

    app.add_api_route("/v1/probe", take, methods=["POST"], response_model=Said)
    app.add_api_route("/v1/versioned", expect, methods=["POST"], response_model=Said)
    for function in (illegal, unknown, broken, cut):
        app.add_api_route(f"/v1/{function.__name__}", function, response_model=Said)
    return app


def problem(answer: httpx.Response) -> dict[str, object]:
    assert answer.headers["Content-Type"] == "application/problem+json"
    found: dict[str, object] = answer.json()
    assert found["status"] == answer.status_code
    assert found["type"] == f"urn:clearlake:problem:{found['code']}"
    assert found["request_id"] == answer.headers["X-Request-Id"]
    assert CANARY not in answer.text
    return found


def errors_of(answer: httpx.Response) -> list[tuple[str, str]]:
    found = problem(answer)["errors"]
    assert isinstance(found, list)
    return [(e["field"], e["message"]) for e in found]


INTERNAL = {
    "clearlake_error", "usage", "data_map", "settings", "plan_changed", "journal_conflict", "lake",
    "unreachable", "object_missing", "precondition_failed", "object_conflict", "access_denied",
    "disk_full", "not_versioned", "unsupported_table", "commit_conflict", "purge_refused",
    "server_start", "stage", "check_failed", "report_invalid", "key_missing", "lease_lost",
    "stopped", "object_unreadable", "object_archived", "object_sealed",
}  # fmt: skip
"""Codes that no request should meet: if one does, it is 500 and nothing of it is shown."""


def test_every_error_has_its_status_or_is_known_to_be_internal() -> None:
    codes = {
        thing.code
        for thing in vars(domain_errors).values()
        if isinstance(thing, type) and issubclass(thing, domain_errors.ClearlakeError)
    }
    assert codes - set(STATUS) == INTERNAL


def test_an_unknown_path_is_a_problem(http: httpx.Client) -> None:
    answer = http.get(f"/v1/{CANARY}")
    assert problem(answer)["code"] == "not_found"


def test_a_wrong_method_names_all_the_right_ones(http: httpx.Client) -> None:
    answer = http.delete("/v1/api-keys")
    assert problem(answer)["code"] == "method_not_allowed"
    assert answer.headers["Allow"] == "GET, POST"


FIELDS = [
    ({"user_id": CANARY}, "body.user_id", "at most 5 characters"),
    ({CANARY: 1}, "body", "at position 1"),
    ({"number": 1, CANARY: 1}, "body", "at position 2"),
    ({"subject": {"anon_ids": [], CANARY: 1}}, "body.subject", "at position 2"),
    ({"subject": {"anon_ids": ["ok", CANARY]}}, "body.subject.anon_ids.1", "at most 5"),
    ({"subject": CANARY}, "body.subject", "dictionary"),
    ({"number": CANARY}, "body.number", "integer"),
    ({"number": 10}, "body.number", "less than or equal to 9"),
    ({"at": CANARY}, "body.at", "RFC 3339"),
    ({"at": 1700000000}, "body.at", "RFC 3339"),
    ({"notes": {CANARY: CANARY}}, "body.notes.*", "integer"),
    ([CANARY], "body", "dictionary"),
    (CANARY, "body", "dictionary"),
]


def test_a_field_that_cannot_be_taken_is_named_and_not_echoed(http: httpx.Client) -> None:
    for body, field, says in FIELDS:
        answer = http.post("/v1/probe", json=body)
        assert problem(answer)["code"] == "invalid_fields"
        ((named, message),) = errors_of(answer)
        assert named == field
        assert says in message


def test_an_absent_body_is_named(http: httpx.Client) -> None:
    assert errors_of(http.post("/v1/probe")) == [("body", "Field required.")]


BODIES = [
    (b'{"user_id": "' + CANARY.encode(), "malformed_request"),
    (b'{"user_id": "a", "user_id": "b"}', "malformed_request"),
    (b'{"number": NaN}', "malformed_request"),
    (b'{"number": Infinity}', "malformed_request"),
    (b'{"number": ' + b"9" * 5000 + b"}", "malformed_request"),
    (b'{"user_id": "\xff"}', "malformed_request"),
    (b"\xef\xbb\xbf{}", "malformed_request"),
    ("{}".encode("utf-16"), "malformed_request"),
    (b"[" * 33 + b"]" * 33, "malformed_request"),
    (b"[" * 30000 + b"]" * 30000, "malformed_request"),
    (b'{"user_id": "\\ud800"}', "invalid_fields"),
    (b'{"user_id": "a\\u0000b"}', "invalid_fields"),
    (b'{"subject": {"anon_ids": ["\\u0000"]}}', "invalid_fields"),
    (b'{"\\u0000": 1}', "invalid_fields"),
    (b"{}" + b" " * 65536, "too_large"),
]


def test_a_body_that_no_endpoint_could_take_is_refused_at_the_door(http: httpx.Client) -> None:
    for content, code in BODIES:
        answer = http.post(
            "/v1/probe", content=content, headers={"Content-Type": "application/json"}
        )
        assert problem(answer)["code"] == code


def test_a_body_as_large_as_allowed_is_taken(http: httpx.Client) -> None:
    content = b"{}" + b" " * 65534
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert http.post("/v1/probe", content=content, headers=headers).status_code == 200


def test_a_body_in_chunks_is_counted_too(http: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    answer = http.post("/v1/probe", content=chunks(), headers={"Content-Type": "application/json"})
    assert problem(answer)["code"] == "too_large"


TYPES = ["text/plain", "application/x-www-form-urlencoded", "", None]


def test_only_json_is_taken(http: httpx.Client) -> None:
    for kind in TYPES:
        headers = {} if kind is None else {"Content-Type": kind}
        answer = http.post("/v1/probe", content=b"{}", headers=headers)
        assert problem(answer)["code"] == "unsupported_media_type"


NULS = ["/v1/api-keys/%00", "/v1/api-keys?cursor=%00", "/%00"]


def test_no_nul_reaches_the_database(http: httpx.Client, as_admin: dict[str, str]) -> None:
    for address in NULS:
        assert http.get(address, headers=as_admin).status_code == 422


CURSORS = ["%%%", "bm8", "W10", "WzFd", "WyJcdTAwMDAiXQ", "a" * 1000]


def test_a_cursor_that_is_none_of_ours_is_refused(
    http: httpx.Client, as_admin: dict[str, str]
) -> None:
    for cursor in CURSORS:
        answer = http.get("/v1/api-keys", params={"cursor": cursor}, headers=as_admin)
        assert [field for field, _ in errors_of(answer)] == ["query.cursor"]


LIMITS = ["0", "201", "-1", "x", "1e2", ""]


def test_a_page_has_between_one_and_two_hundred_rows(
    http: httpx.Client, as_admin: dict[str, str]
) -> None:
    for limit in LIMITS:
        answer = http.get("/v1/api-keys", params={"limit": limit}, headers=as_admin)
        assert [field for field, _ in errors_of(answer)] == ["query.limit"]


VERSIONS = [('"3"', 200), ("*", 200), (None, 200), ('"2"', 412), ("W/x", 422), ("9" * 40, 422)]


def test_if_match_says_which_version_was_read(http: httpx.Client) -> None:
    for if_match, status in VERSIONS:
        headers = {} if if_match is None else {"If-Match": if_match}
        assert http.post("/v1/versioned", headers=headers).status_code == status


def test_an_illegal_move_names_the_legal_ones(http: httpx.Client) -> None:
    found = problem(http.get("/v1/illegal"))
    assert (found["status"], found["legal"]) == (409, ["reject", "cancel"])


BROKEN = ["/v1/broken", "/v1/unknown"]


def test_what_went_wrong_here_says_nothing_but_where_to_look(
    http: httpx.Client, as_admin: dict[str, str]
) -> None:
    for path in BROKEN:
        found = problem(http.get(path, headers=as_admin))
        assert (found["status"], found["detail"]) == (500, "The log has this request's id.")


def test_a_connection_that_is_cut_is_503_and_the_next_request_works(
    http: httpx.Client, as_admin: dict[str, str]
) -> None:
    answer = http.get("/v1/cut", headers=as_admin)
    assert problem(answer)["code"] == "database_unavailable"
    assert int(answer.headers["Retry-After"]) > 0
    assert http.get("/v1/api-keys", headers=as_admin).status_code == 200


@pytest.fixture
def away(parts: Parts) -> Iterator[httpx.Client]:
    """A caller of a service whose database does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"postgresql+psycopg://nobody:x@127.0.0.1:{port}/none"
    database = Database(url, ring=lambda _: True)
    lost = Parts(database=database, keys=parts.keys)
    app = build(lost, health=Health(), public_url="https://clearlake.example", env="production")
    with serving(app) as url, httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        yield client
    database.close()


def test_without_the_database_nothing_is_ever_2xx(away: httpx.Client) -> None:
    for method, path in (("GET", "/v1/api-keys"), ("POST", "/v1/api-keys")):
        answer = away.request(method, path, headers={"Authorization": "Bearer x"})
        assert problem(answer)["code"] == "database_unavailable"
        assert answer.headers["Retry-After"] == "5"


def test_without_the_database_the_process_lives_and_says_what_is_missing(
    away: httpx.Client,
) -> None:
    assert away.get("/healthz").status_code == 200
    ready = away.get("/readyz")
    assert ready.status_code == 503
    assert ready.json() == {"status": "down", "checks": [{"name": "database", "ok": False}]}
    assert "clearlake_database_up 0.0" in away.get("/metrics").text


REQUEST_IDS = [
    ("abc-1.2_Z", True),
    ("a" * 64, True),
    ("a" * 65, False),
    ("a b", False),
    ("\u00e9", False),
    ("", False),
]


def test_a_request_id_is_taken_when_it_is_plain_and_made_when_not(http: httpx.Client) -> None:
    for given, taken in REQUEST_IDS:
        answer = http.get("/healthz", headers={b"X-Request-Id": given.encode("latin-1")})
        echoed = answer.headers["X-Request-Id"]
        assert (echoed == given) is taken
        assert taken or echoed.startswith("req_")


def test_every_answer_carries_the_headers_that_keep_it_private(
    http: httpx.Client, away: httpx.Client
) -> None:
    for answer in (http.get("/v1/api-keys"), http.get("/nowhere"), http.get("/v1/broken")):
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "Server" not in answer.headers
        assert "Strict-Transport-Security" not in answer.headers
    assert "Strict-Transport-Security" in away.get("/healthz").headers
