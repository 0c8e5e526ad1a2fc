"""A case as a stream of server-sent events: its timeline, and how far its runs are.

Holds a database connection only for a moment each second, and ends when the case is closed.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Header, Path
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.api.deps import PartsOf, Tx, requires
from app.api.errors import RequestProblemError
from app.domain.actors import Actor, Scope
from app.domain.errors import DatabaseUnavailableError
from app.services import actors, timeline
from app.services.parts import Parts
from app.services.timeline import Polled

router = APIRouter()

POLL_SECONDS = 1.0
LONGEST_POLLS = 3600
"""After about an hour the caller comes back with Last-Event-ID."""
_RETRY_MILLISECONDS = 2000
_THREADS = anyio.CapacityLimiter(4)
"""However many streams there are, other requests keep their threads and connections."""


class Streams:
    """How many streams this process has open."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.open = 0
        self._lock = threading.Lock()

    def take(self) -> None:
        """RequestProblemError (503) when all are taken."""
        with self._lock:
            if self.open >= self.most:
                raise RequestProblemError("busy", "Too many streams are open: try again soon.")
            self.open += 1

    def give_back(self) -> None:
        """One has ended."""
        with self._lock:
            self.open -= 1


STREAMS = Streams(most=100)

Reader = Annotated[Actor, requires(Scope.DSARS_READ)]


def _known_case(actor: Reader, dsar_id: Annotated[str, Path(max_length=64)], tx: Tx) -> str:
    """404 before the stream begins, and after the key was looked at."""
    timeline.timeline(tx, dsar_id=dsar_id, limit=1)
    return dsar_id


def _slot() -> Iterator[None]:
    STREAMS.take()
    try:
        yield
    finally:
        STREAMS.give_back()


LastEventId = Annotated[
    int,
    Header(
        alias="Last-Event-ID",
        ge=0,
        le=2**62,
        description="The `id` of the last event that was seen: the stream goes on behind it.",
    ),
]


@router.get("/dsars/{dsar_id}/stream", response_class=EventSourceResponse)
async def stream_dsar(
    actor: Reader,
    dsar_id: Annotated[str, Depends(_known_case)],
    parts: PartsOf,
    slot: Annotated[None, Depends(_slot)],
    last_event_id: LastEventId = 0,
) -> AsyncIterator[ServerSentEvent]:
    """`entry` events (the id is the entry's number), `progress` events without an id, and `end`
    once the case is closed. A stream that ends without `end` is opened again with Last-Event-ID.
    """
    yield ServerSentEvent(comment="open", retry=_RETRY_MILLISECONDS)
    seen = last_event_id
    progress: object = ()
    for _ in range(LONGEST_POLLS):
        try:
            polled = await run_sync(_poll, parts, actor, dsar_id, seen, limiter=_THREADS)
        except DatabaseUnavailableError:
            yield ServerSentEvent(comment="the database does not answer")
            await anyio.sleep(POLL_SECONDS)
            continue
        if polled is None:
            return
        for told in polled.told:
            seen = told.seq
            yield ServerSentEvent(event="entry", id=str(told.seq), data=told)
        if polled.progress != progress:
            progress = polled.progress
            yield ServerSentEvent(event="progress", data=progress)
        if polled.is_over:
            over = {"status": polled.status, "outcome": polled.outcome}
            yield ServerSentEvent(event="end", data=over)
            return
        if len(polled.told) < timeline.LIMIT:
            await anyio.sleep(POLL_SECONDS)


def _poll(parts: Parts, actor: Actor, dsar_id: str, seen: int) -> Polled | None:
    """What is new; None when the caller's key has ended meanwhile."""
    with parts.database.transaction() as tx:
        if not actors.get(actor, tx, key_id=actor.id).works_at(tx.now()):
            return None
        return timeline.poll(tx, dsar_id=dsar_id, after=seen)
