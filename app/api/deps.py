"""What endpoints ask for: who acts, one transaction, the parts, a page, If-Match, once only.

Not here: what is done with them (services), and how errors are answered (app.api.errors).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPBearer

from app.api.idempotency import OnceOnly, begin
from app.api.pages import PageAsked, page_asked
from app.domain.actors import Actor, Scope
from app.domain.errors import InvalidFieldsError, NotAuthenticatedError
from app.services import actors
from app.services.parts import Parts, Transaction

__all__ = [
    "Glance", "IfMatch", "Once", "Page", "PartsOf", "Tx", "etag_of", "glances", "requires",
]  # fmt: skip

_T = TypeVar("_T")
_LONGEST_TOKEN = 200
_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    bearerFormat="clk_...",
    description="An API key. Each operation names the scope that the key must have.",
)


async def _parts(request: Request) -> Parts:
    found: Parts = request.app.state.parts
    return found


PartsOf = Annotated[Parts, Depends(_parts)]
"""The parts of the service."""

AT_ONCE = 10
"""Requests at work at the same time, as many as the pool keeps connections for. The others wait
without a thread: those that wait for a connection in one would leave none for those that have it.
"""


@dataclass(frozen=True, slots=True)
class _Visit:
    """One transaction, and whoever knocked."""

    tx: Transaction
    actor: Actor


def _visit(request: Request, parts: PartsOf) -> Iterator[_Visit]:
    """Both in one turn of a thread: each further turn is a wait for the others."""
    with parts.database.transaction() as tx:
        actor = _authenticated(request, tx, parts)
        yield _Visit(tx, actor)


_Visited = Annotated[_Visit, Depends(_visit, scope="function", max_concurrency=AT_ONCE)]


async def _transaction(visit: _Visited) -> Transaction:
    return visit.tx


Tx = Annotated[Transaction, Depends(_transaction)]
"""One transaction a request, committed before the answer leaves; an error rolls it back."""


def _authenticated(request: Request, tx: Transaction, parts: Parts) -> Actor:
    """The header is read here, not by the scheme (which only describes it): any form of it that is
    not exactly one key gets the same answer.
    """
    given = request.headers.getlist("authorization")
    kind, _, presented = (given[0] if len(given) == 1 else "").partition(" ")
    if kind.lower() != "bearer" or len(presented) > _LONGEST_TOKEN:
        raise NotAuthenticatedError("A valid API key is needed.")
    actor = actors.authenticate(tx, parts=parts, presented=presented)
    request.state.actor = actor.id
    return actor


def requires(scope: Scope) -> Any:
    """The actor, with this scope: 401 without a key that works, 403 without the scope. Used as
    `actor: Annotated[Actor, requires(Scope.ADMIN)]`; the document names the scope.
    """

    async def allowed(visit: _Visited, scheme: Annotated[object, Security(_bearer)]) -> Actor:
        visit.actor.must(scope)
        return visit.actor

    return Security(allowed, scopes=[scope.value])


GLANCES_AT_ONCE = 4
"""No more than the pool has connections beyond AT_ONCE; more would only wait for each other."""
_limiter: RunVar[CapacityLimiter] = RunVar("_limiter")


@dataclass(frozen=True, slots=True)
class Glance:
    """A look at what is in the database, without a transaction and in one turn of a thread: for
    what is asked very often, and only reads.
    """

    request: Request
    parts: Parts
    scope: Scope

    async def at(self, look: Callable[[Actor, Transaction], _T]) -> _T:
        """What `look` gives, for an actor with the scope: 401 without a key that works, 403
        without the scope.
        """
        limiter = _limiter.get(None)
        if limiter is None:
            _limiter.set(limiter := CapacityLimiter(GLANCES_AT_ONCE))
        return await to_thread.run_sync(self._look, look, limiter=limiter)

    async def knock(self) -> None:
        """Only find out who asks: before anything else is said to be wrong with what was asked."""
        await self.at(lambda _actor, _tx: None)

    def _look(self, look: Callable[[Actor, Transaction], _T]) -> _T:
        with self.parts.database.glance() as tx:
            actor = _authenticated(self.request, tx, self.parts)
            actor.must(self.scope)
            return look(actor, tx)


def glances(scope: Scope) -> Any:
    """The same for an endpoint that only looks, which is given its `Glance`."""

    async def glance(
        request: Request, parts: PartsOf, scheme: Annotated[object, Security(_bearer)]
    ) -> Glance:
        found = Glance(request, parts, scope)
        request.state.knock = found.knock
        return found

    return Security(glance, scopes=[scope.value])


Page = Annotated[PageAsked, Depends(page_asked)]
"""`limit` and `cursor` of a list."""


def etag_of(version: int) -> str:
    """The ETag of a version."""
    return f'"{version}"'


async def _if_match(
    if_match: Annotated[
        str | None,
        Header(
            max_length=64,
            description="The ETag that was read; with another version there now: 412.",
        ),
    ] = None,
) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    number = if_match.strip().strip('"')
    if not (number.isascii() and number.isdecimal() and len(number) <= 9):
        raise InvalidFieldsError(
            "If-Match is not an ETag of this service.",
            fields={"header.if-match": 'Give the ETag as it was read, such as "3".'},
        )
    return int(number)


IfMatch = Annotated[int | None, Depends(_if_match)]
"""The version that the caller believes in, for a service's `expected_version`; None: any."""


_SAYS_WHAT = ("if-match", "sec-gpc")
"""Headers that are part of what is asked for: with another one it is another request."""


async def _body(request: Request) -> bytes:
    return await request.body()


def _once(
    request: Request,
    visit: _Visited,
    parts: PartsOf,
    body: Annotated[bytes, Depends(_body)],
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            description="The same key and body get the same answer again for a day.",
        ),
    ] = None,
) -> OnceOnly:
    said = [f"{name}: {request.headers.get(name)}" for name in _SAYS_WHAT]
    route = "\n".join([f"{request.method} {request.url.path}?{request.url.query}", *said])
    return begin(visit.actor, visit.tx, parts=parts, key=idempotency_key, route=route, body=body)


Once = Annotated[OnceOnly, Depends(_once)]
"""For a POST that creates: `return once.answer(202, body, headers={"Location": ...})`. A replay
never reaches the endpoint.
"""
