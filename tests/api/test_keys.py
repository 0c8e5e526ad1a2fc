"""API keys: made, shown once, checked at every request, rotated, ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import select, text

from app.domain.actors import Actor, ActorKind, Scope
from app.domain.errors import InvalidFieldsError, NotAllowedError
from app.services import actors
from app.services.parts import Parts
from app.store import audit
from app.store.tables import api_key
from tests.api.conftest import MakeKey

NEW = {"name": "Ada Officer", "kind": "personal", "scopes": ["dsars:read"]}
Headers = dict[str, str]


def made(http: httpx.Client, as_admin: Headers, **other: object) -> dict[str, str]:
    answer = http.post("/v1/api-keys", json=NEW | other, headers=as_admin)
    assert answer.status_code == 201, answer.text
    found: dict[str, str] = answer.json()
    return found


def bearer(secret: str) -> Headers:
    return {"Authorization": f"Bearer {secret}"}


def refused_with_every_form(key: dict[str, str]) -> Iterator[Headers]:
    """Headers that must all get the same answer. `key` must not work any more."""
    secret = key["secret"]
    for presented in (
        secret,
        secret[:-1] + ("a" if secret[-1] != "a" else "b"),
        secret.upper(),
        "clk_" + "0" * 26 + "_" + "a" * 43,
        "clk_",
        secret + " x",
        "x" * 5000,
        "' or 1=1 --",
    ):
        yield bearer(presented)
    yield {}
    yield {"Authorization": secret}
    yield {"Authorization": "Basic " + secret}
    yield {"Authorization": "Bearer"}
    yield {"X-Api-Key": secret}
    yield {"Cookie": f"Authorization=Bearer {secret}"}


def test_a_new_key_works_at_once_and_is_shown_once(http: httpx.Client, as_admin: Headers) -> None:
    answer = http.post("/v1/api-keys", json=NEW, headers=as_admin)
    key = answer.json()
    shown = http.get(answer.headers["Location"], headers=as_admin).json()
    assert shown == {k: v for k, v in key.items() if k != "secret"}
    assert http.get("/v1/dsars", headers=bearer(key["secret"])).status_code != 401


def test_the_database_holds_no_secret(http: httpx.Client, as_admin: Headers, parts: Parts) -> None:
    secret = made(http, as_admin)["secret"]
    kept = http.post("/v1/api-keys", json=NEW, headers=as_admin | {"Idempotency-Key": "one"})
    with parts.database.transaction() as tx:
        rows = [
            str(row)
            for table in ("api_key", "idempotency", "audit_entry")
            for row in tx.run(text(f"select * from clearlake.{table}"))
        ]
    assert len(rows) > 4
    for shown in (secret, kept.json()["secret"], as_admin["Authorization"].split()[1]):
        assert not [row for row in rows if shown.rpartition("_")[2] in row or shown in row]


def test_a_key_says_nothing_of_itself_when_printed(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        key, _ = actors.create(
            actors.OPERATOR, tx, parts=parts, name="Ada Officer", kind=ActorKind.PERSONAL,
            scopes=[Scope.ADMIN], expires_at=None,
        )  # fmt: skip
    assert "Ada" not in repr(key)


@pytest.mark.parametrize("end", ["revoked", "expired", "rotated", "never there"])
def test_every_key_that_does_not_work_gets_the_same_answer(
    http: httpx.Client, as_admin: Headers, parts: Parts, end: str
) -> None:
    key = made(http, as_admin, kind="service")
    if end in ("revoked", "rotated"):
        move = end.removesuffix("d").removesuffix("e") + "e"
        http.post(f"/v1/api-keys/{key['id']}/{move}", headers=as_admin).raise_for_status()
    elif end == "expired":
        with parts.database.transaction() as tx:
            tx.run(
                text("update clearlake.api_key set expires_at = now() where name <> 'A. Officer'")
            )
    else:
        key["secret"] = f"clk_{'1' * 26}_{'b' * 43}"
    answers = [http.get("/v1/api-keys", headers=h) for h in refused_with_every_form(key)]
    bodies = {json.dumps(a.json() | {"request_id": ""}) for a in answers}
    assert {a.status_code for a in answers} == {401}
    assert len(bodies) == 1
    assert {a.headers["WWW-Authenticate"] for a in answers} == {'Bearer realm="clearlake"'}


def test_two_authorization_headers_are_nobody(http: httpx.Client, as_admin: Headers) -> None:
    twice = [("Authorization", as_admin["Authorization"])] * 2
    assert http.get("/v1/api-keys", headers=twice).status_code == 401


def test_a_rotated_key_is_the_same_actor_with_another_secret(
    http: httpx.Client, as_admin: Headers
) -> None:
    key = made(http, as_admin, kind="service", scopes=["admin"])
    rotated = http.post(f"/v1/api-keys/{key['id']}/rotate", headers=as_admin).json()
    assert rotated["id"] == key["id"]
    assert rotated["secret"] != key["secret"]
    assert http.get("/v1/api-keys", headers=bearer(rotated["secret"])).status_code == 200
    assert http.get("/v1/api-keys", headers=bearer(key["secret"])).status_code == 401


def test_nobody_gets_a_new_secret_of_somebody_elses_personal_key(
    http: httpx.Client, as_admin: Headers
) -> None:
    key = made(http, as_admin, scopes=["admin"])
    answer = http.post(f"/v1/api-keys/{key['id']}/rotate", headers=as_admin)
    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")
    own = http.post(f"/v1/api-keys/{key['id']}/rotate", headers=bearer(key["secret"]))
    assert own.status_code == 200


def test_a_key_that_has_ended_is_not_rotated(http: httpx.Client, as_admin: Headers) -> None:
    key = made(http, as_admin, kind="service")
    http.post(f"/v1/api-keys/{key['id']}/revoke", headers=as_admin).raise_for_status()
    answer = http.post(f"/v1/api-keys/{key['id']}/rotate", headers=as_admin)
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_move")


def test_revoking_twice_is_a_success_with_the_first_time(
    http: httpx.Client, as_admin: Headers
) -> None:
    key = made(http, as_admin)
    first, second = (
        http.post(f"/v1/api-keys/{key['id']}/revoke", headers=as_admin).json() for _ in range(2)
    )
    assert first == second
    assert first["revoked_at"]


def test_a_key_ends_in_a_year_unless_said_otherwise(http: httpx.Client, as_admin: Headers) -> None:
    key = made(http, as_admin)
    lives = datetime.fromisoformat(key["expires_at"]) - datetime.fromisoformat(key["created_at"])
    assert lives == timedelta(days=365)
    past = http.post("/v1/api-keys", json=NEW | {"expires_at": "2020-01-01T00:00:00Z"},
                     headers=as_admin)  # fmt: skip
    assert past.status_code == 422
    assert past.json()["errors"][0]["field"] == "body.expires_at"


def test_the_use_of_a_key_is_written_down_once_a_minute(
    http: httpx.Client, as_admin: Headers, parts: Parts
) -> None:
    def used() -> datetime:
        with parts.database.transaction() as tx:
            found: datetime = tx.run(select(api_key.c.last_used_at)).scalar_one()
            return found

    http.get("/v1/api-keys", headers=as_admin).raise_for_status()
    first = used()
    http.get("/v1/api-keys", headers=as_admin).raise_for_status()
    assert used() == first
    with parts.database.transaction() as tx:
        tx.run(text("update clearlake.api_key set last_used_at = now() - interval '61 seconds'"))
    http.get("/v1/api-keys", headers=as_admin).raise_for_status()
    assert used() > first


def test_a_request_does_not_wait_for_who_holds_the_row_of_its_key(
    http: httpx.Client, as_admin: Headers, parts: Parts
) -> None:
    with parts.database.transaction() as tx:
        tx.run(select(api_key).with_for_update())
        assert http.get("/v1/api-keys", headers=as_admin, timeout=5).status_code == 200


def test_lists_come_in_pages_newest_first(http: httpx.Client, as_admin: Headers) -> None:
    ids = [made(http, as_admin, name=f"Key {n}")["id"] for n in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = http.get("/v1/api-keys", params=params, headers=as_admin).json()
        assert len(page["items"]) <= 2
        seen += [k["id"] for k in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen[:5] == ids[::-1]
    assert len(seen) == len(set(seen)) == 6


def test_each_change_is_an_entry_without_names_or_secrets(
    http: httpx.Client, as_admin: Headers, parts: Parts
) -> None:
    key = made(http, as_admin, kind="service")
    for move in ("rotate", "revoke"):
        http.post(f"/v1/api-keys/{key['id']}/{move}", headers=as_admin).raise_for_status()
    with parts.database.transaction() as tx:
        entries = audit.of_objects(tx, [key["id"]])
    verbs = [e.verb for e in entries]
    assert verbs == ["api_key.created", "api_key.rotated", "api_key.revoked"]
    assert entries[0].facts == '{"kind":"service","scopes":["dsars:read"]}'
    assert {e.actor for e in entries} != {"operator"}


def test_whoever_is_no_admin_grants_only_what_it_has(parts: Parts) -> None:
    maker = Actor("key_x", ActorKind.PERSONAL, frozenset({Scope.DSARS_READ}))
    with parts.database.transaction() as tx, pytest.raises(NotAllowedError):
        actors.create(
            maker, tx, parts=parts, name="x", kind=ActorKind.SERVICE,
            scopes=[Scope.DSARS_READ, Scope.DSARS_APPROVE], expires_at=None,
        )  # fmt: skip


@pytest.mark.parametrize("kind", [ActorKind.WORKER])
def test_nobody_gets_the_key_of_a_worker_or_one_without_scopes(
    parts: Parts, kind: ActorKind
) -> None:
    with parts.database.transaction() as tx, pytest.raises(InvalidFieldsError) as caught:
        actors.create(
            actors.OPERATOR, tx, parts=parts, name="x", kind=kind, scopes=[],
            expires_at=datetime(2020, 1, 1, tzinfo=UTC),
        )  # fmt: skip
    assert set(caught.value.fields) == {"body.kind", "body.scopes", "body.expires_at"}


def test_a_stolen_database_verifies_nothing(
    parts: Parts, make_key: MakeKey, http: httpx.Client
) -> None:
    headers = make_key(Scope.ADMIN)
    parts.keys.shred("pepper")
    assert http.get("/v1/api-keys", headers=headers).status_code == 500
