"""Idempotency-Key: the same request has the same answer, and is done once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import func, select, text

from app.api.idempotency import REPLAYED
from app.domain import failpoints
from app.domain.actors import Scope
from app.services import idempotency
from app.services.parts import Parts
from app.store.tables import api_key, audit_entry
from app.store.tables import idempotency as answers
from tests.api.conftest import MakeKey

NEW = {"name": "Ada Officer", "kind": "personal", "scopes": ["dsars:read"]}
KEY = {"Idempotency-Key": "4f1f-the-only"}
Headers = dict[str, str]


def counts(parts: Parts) -> tuple[int, ...]:
    with parts.database.transaction() as tx:
        return tuple(
            tx.run(select(func.count()).select_from(table)).scalar_one()
            for table in (api_key, audit_entry, answers)
        )


def post(http: httpx.Client, headers: Headers, **other: object) -> httpx.Response:
    return http.post("/v1/api-keys", json=NEW | other, headers=headers)


def test_a_repeat_gets_the_same_answer_and_does_nothing(
    http: httpx.Client, as_admin: Headers, parts: Parts
) -> None:
    first = post(http, as_admin | KEY)
    done = counts(parts)
    second = post(http, as_admin | KEY)
    assert counts(parts) == done
    assert (second.status_code, second.headers["Location"]) == (201, first.headers["Location"])
    assert second.json() == first.json() | {"secret": None}
    assert (REPLAYED in first.headers, second.headers[REPLAYED]) == (False, "true")


def test_without_a_key_each_request_is_done(
    http: httpx.Client, as_admin: Headers, parts: Parts
) -> None:
    assert post(http, as_admin).json()["id"] != post(http, as_admin).json()["id"]
    assert counts(parts)[2] == 0


def test_another_body_path_or_meaning_under_the_same_key_is_refused(
    http: httpx.Client, as_admin: Headers, parts: Parts
) -> None:
    post(http, as_admin | KEY).raise_for_status()
    done = counts(parts)
    others = [
        post(http, as_admin | KEY, name="Another"),
        http.post("/v1/api-keys?x=1", json=NEW, headers=as_admin | KEY),
        post(http, as_admin | KEY | {"Sec-GPC": "1"}),
    ]
    for answer in others:
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert counts(parts) == done


def test_the_same_key_of_another_actor_is_another_key(
    http: httpx.Client, make_key: MakeKey
) -> None:
    first, second = (post(http, make_key(Scope.ADMIN) | KEY) for _ in range(2))
    assert first.json()["id"] != second.json()["id"]
    assert second.json()["secret"]


def test_what_was_refused_is_not_remembered(http: httpx.Client, as_admin: Headers) -> None:
    assert post(http, as_admin | KEY, scopes=[]).status_code == 422
    assert post(http, as_admin | KEY).status_code == 201


def test_nobody_without_the_scope_gets_the_stored_answer(
    http: httpx.Client, as_admin: Headers, parts: Parts
) -> None:
    post(http, as_admin | KEY).raise_for_status()
    with parts.database.transaction() as tx:
        tx.run(text("update clearlake.api_key set scopes = array['dsars:read']"))
    assert post(http, as_admin | KEY).status_code == 403


def test_of_two_at_once_one_is_done_and_the_other_told_to_wait(
    http: httpx.Client, as_admin: Headers, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    failpoints._passed.clear()
    monkeypatch.setenv("CLEARLAKE_FAILPOINTS", "idempotency.before_put=sleep:1.5")
    before = counts(parts)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, http, as_admin | KEY)
        time.sleep(0.5)
        second = post(http, as_admin | KEY)
        assert (second.status_code, second.json()["code"]) == (409, "in_flight")
        assert second.headers["Retry-After"] == "1"
        assert first.result().status_code == 201
    assert post(http, as_admin | KEY).headers[REPLAYED] == "true"
    assert counts(parts)[0] == before[0] + 1


@pytest.mark.parametrize(
    "place", ["actors.after_put", "idempotency.before_put", "idempotency.after_put",
              "store.before_commit"],
)  # fmt: skip
def test_a_crash_before_the_commit_leaves_nothing_and_a_repeat_does_it(
    http: httpx.Client,
    as_admin: Headers,
    parts: Parts,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    before = counts(parts)
    failpoints._passed.clear()
    monkeypatch.setenv("CLEARLAKE_FAILPOINTS", f"{place}=raise")
    assert post(http, as_admin | KEY).status_code == 500
    monkeypatch.delenv("CLEARLAKE_FAILPOINTS")
    assert counts(parts) == before
    again = post(http, as_admin | KEY)
    assert (again.status_code, REPLAYED in again.headers) == (201, False)
    assert counts(parts) == tuple(n + 1 for n in before)


def test_a_crash_after_the_commit_is_answered_by_the_repeat(
    http: httpx.Client, as_admin: Headers, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = counts(parts)
    failpoints._passed.clear()
    monkeypatch.setenv("CLEARLAKE_FAILPOINTS", "store.before_ring=raise")
    assert post(http, as_admin | KEY).status_code == 500
    monkeypatch.delenv("CLEARLAKE_FAILPOINTS")
    assert counts(parts) == tuple(n + 1 for n in before)
    again = post(http, as_admin | KEY)
    assert (again.status_code, again.headers[REPLAYED]) == (201, "true")
    assert counts(parts) == tuple(n + 1 for n in before)


def test_neither_the_key_nor_the_body_stands_in_the_database(
    http: httpx.Client, as_admin: Headers, parts: Parts
) -> None:
    canary = "usr_01canarycanarycanarycanary"
    post(http, as_admin | {"Idempotency-Key": canary}, name="Plain").raise_for_status()
    with parts.database.transaction() as tx:
        row = tx.run(select(answers)).one()
    assert canary not in str(row)
    assert len(row.key_digest) == len(row.body_digest) == len(row.route) == 64


def test_answers_are_forgotten_after_a_day(
    http: httpx.Client, as_admin: Headers, parts: Parts
) -> None:
    post(http, as_admin | KEY).raise_for_status()
    older = (
        "insert into clearlake.idempotency select actor_id, 'older', route, body_digest, status,"
        " headers, answer, now() - interval '25 hours' from clearlake.idempotency"
    )
    with parts.database.transaction() as tx:
        tx.run(text(older))
        assert idempotency.forget_old(tx) == 1
        assert idempotency.forget_old(tx) == 0
    assert post(http, as_admin | KEY).headers[REPLAYED] == "true"
