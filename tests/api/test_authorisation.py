"""Who may call what: every route of the document against every kind of key."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from sqlalchemy import text

from app.domain.actors import Scope
from app.services.parts import Parts
from tests.api.conftest import MakeKey
from tests.api.matrix import OPEN, SCOPES

UNLISTED = {"/docs", "/docs/{name}", "/openapi.json"}
"""Routes that are not in the document: the document itself and its page."""
METHODS = {"get", "post", "put", "patch", "delete", "head", "options", "trace"}

Route = tuple[str, str]


def operations(app: FastAPI) -> Iterator[tuple[Route, list[dict[str, list[str]]]]]:
    for path, found in app.openapi()["paths"].items():
        for method in set(found) & METHODS:
            yield (method.upper(), path), found[method].get("security", [])


def call(http: httpx.Client, route: Route, headers: dict[str, str]) -> httpx.Response:
    """A call that no rule of a form can refuse before the key is looked at."""
    method, path = route
    return http.request(method, re.sub(r"\{\w+\}", "x", path), headers=headers)


def test_every_route_names_one_scope_and_has_its_row(app: FastAPI) -> None:
    found = dict(operations(app))
    assert {route for route, security in found.items() if not security} == OPEN
    named = {route: security for route, security in found.items() if security}
    assert named == {route: [{"ApiKey": [scope.value]}] for route, scope in SCOPES.items()}


def test_no_route_hides_from_the_document(app: FastAPI) -> None:
    listed = set(app.openapi()["paths"])
    served = {context.path for context in iter_route_contexts(app.routes)}
    assert served - listed == UNLISTED


@pytest.fixture
def ended(parts: Parts, make_key: MakeKey) -> dict[str, dict[str, str]]:
    """Headers with which nobody comes in: by what is wrong with them."""
    keys = {name: make_key(*Scope, name=name) for name in ("revoked", "expired")}
    with parts.database.transaction() as tx:
        tx.run(text("update clearlake.api_key set revoked_at = now() where name = 'revoked'"))
        tx.run(text("update clearlake.api_key set expires_at = now() where name = 'expired'"))
    unknown = {"Authorization": f"Bearer clk_{'1' * 26}_{'b' * 43}"}
    return keys | {"absent": {}, "malformed": {"Authorization": "Bearer x"}, "unknown": unknown}


def test_nobody_comes_in_without_a_key_that_works(
    http: httpx.Client, ended: dict[str, dict[str, str]]
) -> None:
    wrong = [
        (route, name, status)
        for route in SCOPES
        for name, headers in ended.items()
        if (status := call(http, route, headers).status_code) != 401
    ]
    assert wrong == []


def test_every_scope_but_the_right_one_opens_nothing(http: httpx.Client, make_key: MakeKey) -> None:
    others = {scope: make_key(*(set(Scope) - {scope})) for scope in set(SCOPES.values())}
    wrong = [
        (route, scope, answer.status_code)
        for route, scope in SCOPES.items()
        if (answer := call(http, route, others[scope])).status_code != 403
        or answer.json()["code"] != "not_allowed"
    ]
    assert wrong == []


def test_the_right_scope_alone_opens_the_route(http: httpx.Client, make_key: MakeKey) -> None:
    keys = {scope: make_key(scope) for scope in set(SCOPES.values())}
    wrong = [
        (route, scope, status)
        for route, scope in SCOPES.items()
        if (status := call(http, route, keys[scope]).status_code) in (401, 403) or status >= 500
    ]
    assert wrong == []


def test_what_is_open_needs_no_key(http: httpx.Client) -> None:
    for route in OPEN:
        assert call(http, route, {}).status_code == 200
