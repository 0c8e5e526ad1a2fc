"""The proxy for S3. Requests are read whole and passed on byte for byte, the Host header too: it is
part of the signature. A fault decides request by request. Not here: anything but HTTP/1.1.

A fault gets the request and `forward`, which asks the server (as often as it is called); it gives
back the answer for the client, or raises Cut.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from tests.faults.proxy.loop import Cut, Listening, closed


@dataclass(frozen=True)
class Message:
    """A request or an answer."""

    head: bytes = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def words(self) -> list[str]:
        """Those of the first line."""
        return self.head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)

    def header(self, name: str) -> str:
        """A header's value; '' when it is not there."""
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.strip().lower() == name.encode():
                return value.strip().decode("latin-1")
        return ""


@dataclass(frozen=True)
class Asked:
    """What the server was asked, and what it said."""

    method: str
    path: str
    conditional: bool
    status: int


Forward = Callable[[], Awaitable[Message]]
Fault = Callable[[Message, Forward], Awaitable[Message]]


class HttpProxy(Listening):
    """Set `fault` at any time. `asked` is what came to the server, in order."""

    def __init__(self, endpoint: str) -> None:
        where = urlsplit(endpoint)
        assert where.hostname is not None
        assert where.port is not None
        super().__init__((where.hostname, where.port))
        self.fault: Fault = passing
        self.asked: list[Asked] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far = _Far(self.upstream)
        try:
            while (request := await _request(reader, writer)) is not None:

                async def forward(request: Message = request) -> Message:
                    answer = await far.ask(request)
                    self._note(request, answer)
                    return answer

                answer = await self.fault(request, forward)
                writer.write(answer.head + answer.body)
                await writer.drain()
                if "close" in (answer.header("connection"), request.header("connection")):
                    return
        finally:
            await far.close()

    def _note(self, request: Message, answer: Message) -> None:
        method, path, _ = request.words
        conditional = bool(request.header("if-match"))
        self.asked.append(Asked(method, path, conditional, int(answer.words[1])))


class _Far:
    """The connection to the server, opened again when it has ended."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self._upstream = upstream
        self._link: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Message) -> Message:
        if self._link is None:
            self._link = await asyncio.open_connection(*self._upstream)
        reader, writer = self._link
        writer.write(request.head + request.body)
        await writer.drain()
        answer = await _answer(reader, method=request.words[0])
        if answer.header("connection") == "close" or reader.at_eof():
            await self.close()
        return answer

    async def close(self) -> None:
        if self._link is not None:
            await closed(self._link[1])
            self._link = None


async def _request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Message | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    request = Message(head, b"")
    if request.header("expect"):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
    return replace(request, body=await _body(reader, request))


async def _answer(reader: asyncio.StreamReader, *, method: str) -> Message:
    while True:
        answer = Message(await reader.readuntil(b"\r\n\r\n"), b"")
        status = int(answer.words[1])
        if status >= 200:
            break
    if method == "HEAD" or status in (204, 304):
        return answer
    return replace(answer, body=await _body(reader, answer))


async def _body(reader: asyncio.StreamReader, message: Message) -> bytes:
    """As it stands on the wire: chunked stays chunked."""
    if message.header("transfer-encoding") != "chunked":
        return await reader.readexactly(int(message.header("content-length") or "0"))
    pieces = []
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        pieces += [line, await reader.readexactly(size + 2) if size else b""]
        if not size:
            while (trailer := await reader.readuntil(b"\r\n")) != b"\r\n":
                pieces.append(trailer)
            return b"".join([*pieces, b"\r\n"])


# --- faults --------------------------------------------------------------------------------------


async def passing(request: Message, forward: Forward) -> Message:
    """No fault."""
    return await forward()


def answering(status: int, code: str) -> Fault:
    """The server never hears of it."""
    body = f"<Error><Code>{code}</Code><Message>by a fault</Message></Error>".encode()

    async def fault(request: Message, forward: Forward) -> Message:
        shown = b"" if request.words[0] == "HEAD" else body
        head = f"HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\n"
        return Message(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body), shown)

    return fault


async def losing_answer(request: Message, forward: Forward) -> Message:
    """The server does it; the client is never told."""
    await forward()
    raise Cut


async def meeting_itself(request: Message, forward: Forward) -> Message:
    """The request arrives twice, as when something on the way repeats it; the second answer is
    given: 412 on one's own success.
    """
    await forward()
    return await forward()


async def corrupting(request: Message, forward: Forward) -> Message:
    """One bit of the body is another one."""
    answer = await forward()
    if not answer.body or answer.header("transfer-encoding"):
        return answer
    at = len(answer.body) // 2
    changed = bytes([answer.body[at] ^ 1])
    return replace(answer, body=answer.body[:at] + changed + answer.body[at + 1 :])


async def breaking_off(request: Message, forward: Forward) -> Message:
    """Half of the body, then nothing: as long as was said, it is not."""
    answer = await forward()
    if len(answer.body) < 2:
        raise Cut
    head = answer.head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    return Message(head, answer.body[: len(answer.body) // 2])


def slowing(seconds: float) -> Fault:
    """The answer takes its time."""

    async def fault(request: Message, forward: Forward) -> Message:
        answer = await forward()
        await asyncio.sleep(seconds)
        return answer

    return fault


class Sometimes:
    """A fault for a share of the requests, drawn from a seed: of some methods, maybe of the
    conditional ones alone; `hits` counts them.
    """

    def __init__(
        self,
        fault: Fault,
        *,
        seed: int,
        share: float = 1.0,
        methods: Collection[str] = ("GET", "HEAD", "PUT", "POST", "DELETE"),
        only: Callable[[Message], bool] = lambda _: True,
        at_most: int | None = None,
    ) -> None:
        self._fault, self._luck, self._share = fault, random.Random(seed), share
        self._methods, self._only, self._left = methods, only, at_most
        self.hits = 0

    async def __call__(self, request: Message, forward: Forward) -> Message:
        wanted = request.words[0] in self._methods and self._only(request)
        if not wanted or self._left == self.hits or self._luck.random() >= self._share:
            return await forward()
        self.hits += 1
        return await self._fault(request, forward)


def conditional(request: Message) -> bool:
    """Whether it is one that a repeat would not change twice."""
    return bool(request.header("if-match"))


async def unreachable(request: Message, forward: Forward) -> Message:
    """Nobody is there, though somebody listens."""
    raise Cut
