"""Errors as RFC 9457 problems, and the only table from error codes to HTTP status.

A problem never holds what came in: not a value, not a body, not the name of an unknown field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from app.domain.errors import ClearlakeError, IllegalMoveError, InvalidFieldsError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = {"database_unavailable": "5", "in_flight": "1", "lake_busy": "30", "busy": "5"}
"""Seconds."""


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: Annotated[str, Field(description="Its place, such as body.subject.user_id.")]
    message: Annotated[str, Field(description="What it must be; never what it was.")]


class Problem(BaseModel):
    """RFC 9457. `code` is stable; `request_id` finds the log lines."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    errors: list[FieldProblem] | None = None
    legal: Annotated[
        list[str] | None, Field(description="The moves that are legal from this state.")
    ] = None


STATUS: Mapping[str, tuple[int, str]] = {
    "malformed_request": (400, "The request is malformed"),
    "not_authenticated": (401, "A valid API key is needed"),
    "not_allowed": (403, "Not allowed"),
    "four_eyes": (403, "Another person must do this"),
    "not_found": (404, "Not found"),
    "not_ready": (404, "Not there yet"),
    "method_not_allowed": (405, "Method not allowed"),
    "not_acceptable": (406, "Not acceptable"),
    "illegal_move": (409, "Not from this state"),
    "on_hold": (409, "A legal hold forbids it"),
    "scope_changed": (409, "The scope has changed"),
    "lake_busy": (409, "Another run is at work"),
    "nothing_to_do": (409, "Nothing waits for this"),
    "not_undoable": (409, "It cannot be undone any more"),
    "in_flight": (409, "The same request is being answered"),
    "stale": (412, "It was changed since it was read"),
    "too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "Send application/json"),
    "invalid_fields": (422, "Fields cannot be taken"),
    "identifier_missing": (422, "Nobody was named"),
    "identifier_malformed": (422, "An identifier is malformed"),
    "identifier_too_weak": (422, "An identifier is too weak"),
    "idempotency_key_reused": (422, "The Idempotency-Key was used for another request"),
    "internal": (500, "Something went wrong here"),
    "database_unavailable": (503, "The database does not answer"),
    "busy": (503, "Too many of these at once"),
}
"""Code -> status and title. A code that is not here is our own fault: 500, and nothing of it is
shown.
"""

_OF_STATUS = {
    400: "malformed_request",
    401: "not_authenticated",
    403: "not_allowed",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "too_large",
    415: "unsupported_media_type",
}


class RequestProblemError(ClearlakeError):
    """What the HTTP edge itself refuses. `code` is a key of STATUS."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.problem = code


def problem(
    code: str,
    detail: str,
    *,
    request_id: str,
    errors: Sequence[FieldProblem] = (),
    legal: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem as an answer."""
    status, title = STATUS[code]
    body = Problem(
        type=f"urn:clearlake:problem:{code}",
        title=title,
        status=status,
        code=code,
        detail=detail,
        request_id=request_id,
        errors=list(errors) or None,
        legal=list(legal) or None,
    )
    more = dict(headers or {})
    if code in RETRY_AFTER:
        more["Retry-After"] = RETRY_AFTER[code]
    if status == 401:
        more["WWW-Authenticate"] = 'Bearer realm="clearlake"'
    text = body.model_dump_json(exclude_none=True)
    return Response(text, status_code=status, media_type=MEDIA_TYPE, headers=more)


def internal(request_id: str) -> Response:
    """500, with nothing inside but the id that finds the log line."""
    return problem("internal", "The log has this request's id.", request_id=request_id)


def problem_of(error: ClearlakeError, *, request_id: str) -> Response:
    """The answer to one of our own errors."""
    code = error.problem if isinstance(error, RequestProblemError) else error.code
    if code not in STATUS:
        return internal(request_id)
    fields = error.fields if isinstance(error, InvalidFieldsError) else {}
    return problem(
        code,
        str(error),
        request_id=request_id,
        errors=[FieldProblem(field=name, message=text) for name, text in fields.items()],
        legal=error.legal if isinstance(error, IllegalMoveError) else (),
    )


def install(app: FastAPI) -> None:
    """Make every error of this application a problem."""
    app.add_exception_handler(ClearlakeError, _clearlake)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)


def _clearlake(request: Request, error: Exception) -> Response:
    assert isinstance(error, ClearlakeError)
    answer = problem_of(error, request_id=request.state.request_id)
    if answer.status_code == 500:
        raise error  # the door logs it
    return answer


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _OF_STATUS.get(error.status_code, "malformed_request")
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(request.app.state.methods_of(request.url.path))
    title = STATUS[code][1]
    request_id = request.state.request_id
    return problem(code, f"{title}.", request_id=request_id, headers=headers)


async def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    knock = getattr(request.state, "knock", None)
    if knock is not None:  # of an endpoint that has not looked yet who asks
        try:
            await knock()
        except ClearlakeError as refused:
            return _clearlake(request, refused)
    known = request.app.state.known_names()
    found = [_field(e, body=error.body, known=known) for e in error.errors()]
    return problem(
        "invalid_fields",
        "Some fields cannot be taken: see errors.",
        request_id=request.state.request_id,
        errors=list({f.field + f.message: f for f in found}.values()),
    )


_SAFE = (
    "missing", "string_", "int_", "bool_", "list_", "dict_", "too_", "greater_", "less_", "enum",
    "literal_", "datetime_", "date_", "timezone_", "model_", "value_error", "frozen_set", "set_",
    "finite_", "multiple_of",
)  # fmt: skip
"""Kinds of pydantic's errors whose message says what is expected and nothing of what came."""


def _field(error: Mapping[str, Any], *, body: object, known: frozenset[str]) -> FieldProblem:
    kind, loc = str(error["type"]), tuple(error["loc"])
    if kind == "extra_forbidden":
        return FieldProblem(field=_place(loc[:-1], known), message=_unknown(loc, body))
    if kind.startswith(_SAFE):
        message = str(error["msg"]).removeprefix("Value error, ")
    else:
        message = "It cannot be taken."
    return FieldProblem(field=_place(loc, known), message=message.rstrip(".") + ".")


def _place(loc: Sequence[str | int], known: frozenset[str]) -> str:
    """Names of our own and positions; any other name is somebody's input."""
    return ".".join(str(p) if isinstance(p, int) or p in known else "*" for p in loc)


def _unknown(loc: Sequence[str | int], body: object) -> str:
    """An unknown field by its position: its very name may be personal."""
    holder: Any = body
    for part in loc[1:-1]:
        # A part that leads nowhere is pydantic's own (the branch of a union): passed over.
        is_there = (
            part in holder
            if isinstance(holder, dict)
            else isinstance(holder, list) and isinstance(part, int) and part < len(holder)
        )
        holder = holder[part] if is_there else holder
    if loc[0] == "body" and isinstance(holder, dict) and loc[-1] in holder:
        return f"Unknown field: the one at position {list(holder).index(loc[-1]) + 1}."
    return "Unknown field."
