"""The OpenAPI document: every operation with its scope and the problems it may answer.

Also what is known from it: our own field names, and the methods of a path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import compile_path

from app.api.errors import MEDIA_TYPE, Problem

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_HERE = frozenset({"body", "query", "path", "header", "cookie"})
_METHODS = ("get", "post", "put", "patch", "delete")

Json = dict[str, Any]


def install(app: FastAPI, *, public_url: str) -> None:
    """Give the application its document, and the errors what they need of it."""

    @cache
    def document() -> Json:
        return _document(app, public_url=public_url)

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's own way to replace it
    app.state.known_names = cache(lambda: _HERE | frozenset(_names(document())))
    app.state.methods_of = _methods_of(document)


def _document(app: FastAPI, *, public_url: str) -> Json:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        servers=[{"url": public_url}],
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    template = "#/components/schemas/{model}"
    schema = Problem.model_json_schema(ref_template=template)
    schemas.update(schema.pop("$defs", {}))
    schemas["Problem"] = schema
    for path, operations in document["paths"].items():
        for method in set(operations) & set(_METHODS):
            _describe(operations[method], path=path)
    return document


def _describe(operation: Json, *, path: str) -> None:
    """Name the problems of one operation; one that the route describes itself stays as it is."""
    responses = operation.setdefault("responses", {})
    responses.pop("422", None)
    for status in _statuses(operation, path):
        described = responses.setdefault(status, {})
        described.setdefault("description", _WORDS.get(status, "A problem."))
        described.setdefault("content", {MEDIA_TYPE: {"schema": _PROBLEM}})


def _statuses(operation: Json, path: str) -> Iterator[str]:
    headers = {p["name"].lower() for p in operation.get("parameters", ()) if p["in"] == "header"}
    yield "400"
    if "security" in operation:
        yield from ("401", "403", "503")
    if "{" in path:
        yield "404"
    if "idempotency-key" in headers:
        yield "409"
    if "if-match" in headers:
        yield "412"
    if "requestBody" in operation:
        yield from ("413", "415")
    if "requestBody" in operation or operation.get("parameters"):
        yield "422"
    yield "default"


_WORDS: Mapping[str, str] = {
    "400": "Malformed: not plain JSON, or a NUL character in the address.",
    "401": "No API key, or one that is unknown, expired or revoked.",
    "403": "The key lacks the scope, or the rule of four eyes forbids it.",
    "404": "There is no such thing.",
    "409": "Not from this state, or the same Idempotency-Key is being answered.",
    "412": "It was changed since it was read.",
    "413": "The body is too large.",
    "415": "The body is not application/json.",
    "422": "Fields that cannot be taken, each named; nothing that came in is echoed.",
    "503": "The database does not answer: try again after `Retry-After` seconds.",
    "default": "Any other problem.",
}


def _names(document: Json) -> Iterator[str]:
    """Every name of a field or parameter that is ours."""
    for schema in document["components"]["schemas"].values():
        yield from schema.get("properties", ())
    for operations in document["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                yield parameter["name"]
                yield parameter["name"].lower()


def _methods_of(document: Callable[[], Json]) -> Callable[[str], list[str]]:
    """The methods that a path has, over all its routes (for the Allow header of a 405)."""

    @cache
    def patterns() -> list[tuple[Any, list[str]]]:
        return [
            (compile_path(path)[0], sorted(m.upper() for m in set(found) & set(_METHODS)))
            for path, found in document()["paths"].items()
        ]

    def methods(path: str) -> list[str]:
        found = {m for pattern, names in patterns() if pattern.match(path) for m in names}
        return sorted(found or {"GET"})

    return methods
