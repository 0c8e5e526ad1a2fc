"""Idempotency-Key over HTTP: a replay is answered before the endpoint runs.

What is the same request, and what is stored of it, is app.services.idempotency.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi import FastAPI, Request
from fastapi.responses import Response
from pydantic import BaseModel

from app.domain.actors import Actor
from app.services import idempotency
from app.services.idempotency import Claim, StoredAnswer
from app.services.parts import Parts, Transaction

REPLAYED = "Idempotency-Replayed"


class ReplayError(Exception):
    """Not an error: the answer that was given before, on its way around the endpoint."""

    def __init__(self, stored: StoredAnswer) -> None:
        super().__init__("replay")
        self.stored = stored


@dataclass(frozen=True, slots=True)
class OnceOnly:
    """Answers a creating POST, and stores the answer beside what was done."""

    claim: Claim | None
    tx: Transaction = field(repr=False)

    def answer(
        self,
        status: int,
        body: BaseModel,
        *,
        headers: Mapping[str, str] | None = None,
        kept: BaseModel | None = None,
    ) -> Response:
        """Answer with `body`; a replay shows `kept` instead where one is given (a body with a
        secret is never stored). What is stored holds ids and states only.
        """
        sent = dict(headers or {})
        if self.claim is not None:
            stored = (kept or body).model_dump_json()
            idempotency.finish(self.tx, self.claim, status=status, headers=sent, answer=stored)
        return Response(body.model_dump_json(), status, headers=sent, media_type="application/json")


def begin(
    actor: Actor, tx: Transaction, *, parts: Parts, key: str | None, route: str, body: bytes
) -> OnceOnly:
    """Claim the key for this request. ReplayError when it was answered before."""
    if key is None:
        return OnceOnly(None, tx)
    found = idempotency.begin(actor, tx, parts=parts, key=key, route=route, body=body)
    if isinstance(found, StoredAnswer):
        raise ReplayError(found)
    return OnceOnly(found, tx)


def install(app: FastAPI) -> None:
    """Answer replays."""
    app.add_exception_handler(ReplayError, _replay)


def _replay(request: Request, error: Exception) -> Response:
    assert isinstance(error, ReplayError)
    stored = error.stored
    headers = {**stored.headers, REPLAYED: "true"}
    return Response(stored.answer, stored.status, headers=headers, media_type="application/json")
