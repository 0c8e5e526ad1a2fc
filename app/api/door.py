"""The door every request passes: its id, what of it is refused unread, headers, one log line.

Pure ASGI, around the application. Not here: who may come in (app.api.deps).
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any
from urllib.parse import unquote_to_bytes

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typeid import TypeID

from app.api.errors import RequestProblemError, internal, problem_of
from app.services.metrics import Metrics

MOST_BYTES = 64 * 1024
_DEEPEST = 32
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_log = structlog.get_logger("clearlake.http")

App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Door:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, https: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._headers = dict(_HEADERS)
        if https:
            self._headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["request_id"] = _request_id(Headers(scope=scope))
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=state["request_id"])
        passage = _Passage(send, self._headers | {"X-Request-Id": state["request_id"]})
        began = perf_counter()
        try:
            await self._through(scope, receive, passage)
        finally:
            self._told(scope, status=passage.status, seconds=perf_counter() - began)
            structlog.contextvars.clear_contextvars()

    async def _through(self, scope: Scope, receive: Receive, passage: _Passage) -> None:
        request_id = scope["state"]["request_id"]
        try:
            body = await _body(scope, receive)
        except RequestProblemError as error:
            answer = problem_of(error, request_id=request_id)
            answer.headers["Connection"] = "close"  # what is left of the body is not read
            await answer(scope, receive, passage)
            return
        try:
            await self._app(scope, _replayed(body, receive), passage)
        except Exception:
            # The edge (style 8): recorded here, and nothing of it leaves.
            _log.exception("http.failed")
            if passage.status:
                raise
            await internal(request_id)(scope, receive, passage)

    def _told(self, scope: Scope, *, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "none"
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.answered(method, route, status=status, seconds=seconds)
        _log.info(
            "http.answered",
            method=method,
            route=route,
            status=status,
            ms=round(seconds * 1000, 1),
            actor=scope["state"].get("actor"),
        )


class _Passage:
    """The way out: adds our headers, remembers the status."""

    def __init__(self, send: Send, headers: dict[str, str]) -> None:
        self._send = send
        self._headers = headers
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in self._headers.items():
                headers.setdefault(name, value)
        await self._send(message)


def _request_id(headers: Headers) -> str:
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else str(TypeID(prefix="req"))


async def _body(scope: Scope, receive: Receive) -> bytes:
    """The whole body. RequestProblemError for what no endpoint could take: in this order a NUL in
    the address, too many bytes, another type than JSON, bad JSON, a text that is none.
    """
    if "\0" in scope["path"] or b"\0" in unquote_to_bytes(scope["query_string"]):
        raise RequestProblemError("invalid_fields", "The address holds a NUL character.")
    headers = Headers(scope=scope)
    declared = headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > MOST_BYTES:
        raise _too_large()
    chunks, total, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        chunks.append(message.get("body", b""))
        total += len(chunks[-1])
        if total > MOST_BYTES:
            raise _too_large()
        more = message.get("more_body", False)
    body = b"".join(chunks)
    if body:
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RequestProblemError("unsupported_media_type", "Send application/json.")
        _require_plain_json(body)
    return body


def _too_large() -> RequestProblemError:
    return RequestProblemError("too_large", f"A body has at most {MOST_BYTES} bytes.")


def _require_plain_json(body: bytes) -> None:
    """JSON as RFC 8259 has it, and as every reader understands it alike: UTF-8, no name twice in
    an object, no NaN, not deeper than 32; its texts without NUL and lone surrogates, which no
    database takes.
    """
    try:
        value = json.loads(
            body.decode(), parse_constant=_refused_constant, object_pairs_hook=_unique
        )
        sound = _is_sound(value, depth=0)
    except (ValueError, RecursionError) as err:
        raise RequestProblemError("malformed_request", "The body is not plain JSON.") from err
    if not sound:
        raise RequestProblemError("invalid_fields", "A text holds NUL or half a character.")


def _refused_constant(name: str) -> None:
    raise ValueError("not JSON")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name twice")
    return found


def _is_sound(value: object, *, depth: int) -> bool:
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
    if isinstance(value, dict):
        return _is_sound(list(value), depth=depth) and _is_sound(list(value.values()), depth=depth)
    if isinstance(value, list):
        if depth == _DEEPEST:
            raise ValueError("too deep")
        return all(_is_sound(v, depth=depth + 1) for v in value)
    return True


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body once more, then whatever comes after it (a disconnect)."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
