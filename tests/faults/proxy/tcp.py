"""The proxy for anything on TCP: Postgres, Valkey. A fault sees every piece on its way.

A fault gets the link, the side it came from and the bytes; it gives back what goes on (nothing:
they are swallowed) or raises Cut. Not here: HTTP, which is read request by request (http).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum

from tests.faults.proxy.loop import CHUNK, Cut, Listening, closed


class Side(Enum):
    CLIENT = "client"
    SERVER = "server"


@dataclass
class Link:
    """One connection, as long as it lives."""

    given: int = 0
    """Bytes that the client was given."""
    marks: set[str] = field(default_factory=set)


Fault = Callable[[Link, Side, bytes], Awaitable[bytes]]


class TcpProxy(Listening):
    """Set `fault` at any time: it holds for every piece from then on, old connections too."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        super().__init__(upstream)
        self.fault: Fault = passing

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link()
        far_reader, far_writer = await asyncio.open_connection(*self.upstream)
        ways = [
            asyncio.ensure_future(self._pump(link, Side.CLIENT, reader, far_writer)),
            asyncio.ensure_future(self._pump(link, Side.SERVER, far_reader, writer)),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in done:
                way.result()
        finally:
            far_writer.close()  # at once: whoever waits here may be cancelled once more
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            await closed(far_writer)

    async def _pump(
        self, link: Link, side: Side, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        while piece := await source.read(CHUNK):
            passed = await self.fault(link, side, piece)
            if passed:
                sink.write(passed)
                await sink.drain()
                link.given += len(passed) * (side is Side.SERVER)


async def passing(link: Link, side: Side, piece: bytes) -> bytes:
    """No fault."""
    return piece


async def black_hole(link: Link, side: Side, piece: bytes) -> bytes:
    """Everything is taken, nothing is said."""
    return b""


def delaying(seconds: float) -> Fault:
    """Every piece comes later."""

    async def fault(link: Link, side: Side, piece: bytes) -> bytes:
        await asyncio.sleep(seconds)
        return piece

    return fault


def cutting_after(size: int) -> Fault:
    """The client is given that many bytes, then reset."""

    async def fault(link: Link, side: Side, piece: bytes) -> bytes:
        if side is Side.SERVER and link.given + len(piece) > size:
            raise Cut
        return piece

    return fault


class SilentFrom:
    """Passing until a client says a word; from then on a black hole, for everybody."""

    def __init__(self, word: bytes) -> None:
        self._word = word
        self.heard = threading.Event()

    async def __call__(self, link: Link, side: Side, piece: bytes) -> bytes:
        if side is Side.CLIENT and self._word in piece:
            self.heard.set()
        return b"" if self.heard.is_set() else piece


class LosingCommits:
    """Commits of Postgres: the server has it and has answered, the client is reset instead of
    told (`reached`); or it never came to the server. `turns`: which commits, counted from 1.
    """

    def __init__(self, turns: frozenset[int], *, reached: Callable[[int], bool]) -> None:
        self._turns, self._reached = turns, reached
        self._lock = threading.Lock()
        self._seen = 0
        self.lost = 0

    async def __call__(self, link: Link, side: Side, piece: bytes) -> bytes:
        if side is Side.SERVER:
            if "lose" in link.marks:
                raise Cut
            return piece
        if b"COMMIT" not in piece:
            return piece
        with self._lock:
            self._seen += 1
            turn = self._seen
        if turn in self._turns:
            self.lost += 1
            if not self._reached(turn):
                raise Cut
            link.marks.add("lose")
        return piece
