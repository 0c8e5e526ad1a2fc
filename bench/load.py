"""A client that sends whole HTTP requests as they were written, in a process of its own.

Open loop: a request is due when the rate says so, whether or not earlier ones were answered, and
its time runs from there. Not here: what is asked (api).
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_HEAD_END = b"\r\n\r\n"
_LATE = 0.0005
"""How far ahead of its time a request may be sent."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back, in the order of the requests."""

    statuses: Sequence[int]
    """0: the connection ended before the answer."""
    seconds: Sequence[float]
    """From when it was due to the last byte of its answer."""
    bodies: Sequence[str] = field(repr=False)
    took: float
    """From the first request to the last answer."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.statuses) / self.took

    def percentile(self, share: float) -> float:
        """Seconds within which that share of the answers came."""
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def request(method: str, path: str, *, key: str, body: object = None, once: str = "") -> str:
    """One request as it goes over the wire."""
    lines = [f"{method} {path} HTTP/1.1", "Host: clearlake", f"Authorization: Bearer {key}"]
    if once:
        lines.append(f"Idempotency-Key: {once}")
    text = "" if body is None else json.dumps(body, separators=(",", ":"))
    if text:
        lines += ["Content-Type: application/json", f"Content-Length: {len(text.encode())}"]
    return "\r\n".join([*lines, "", text])


def send(port: int, requests: Sequence[str], *, connections: int, rate: float | None) -> Answers:
    """Send them over so many connections from another process. `rate`: a second; None: each
    connection sends its next one when it has its answer.
    """
    job = {"port": port, "requests": requests, "connections": connections, "rate": rate}
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        input=json.dumps(job).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    return Answers(**json.loads(done.stdout))


class _Line(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._number = -1
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._load.free(self)

    def ask(self, number: int, text: bytes) -> None:
        self._number, self._got = number, b""
        self._transport.write(text)

    def data_received(self, data: bytes) -> None:
        self._got += data
        end = self._got.find(_HEAD_END)
        if end < 0 or len(self._got) < end + len(_HEAD_END) + _length(self._got[:end]):
            return
        number, self._number = self._number, -1
        status, body = int(self._got[9:12]), self._got[end + len(_HEAD_END) :].decode()
        self._load.answered(number, status, body)
        self._load.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._number >= 0:
            self._load.answered(self._number, 0, "")


def _length(head: bytes) -> int:
    at = head.lower().find(b"content-length:")
    return int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


class _Load:
    """Requests on their way."""

    def __init__(self, requests: Sequence[str]) -> None:
        self._texts = [text.encode() for text in requests]
        self._due = [0.0] * len(requests)
        self._seconds = [0.0] * len(requests)
        self._statuses = [0] * len(requests)
        self._bodies = [""] * len(requests)
        self._waiting: deque[int] = deque()
        self._free: deque[_Line] = deque()
        self._left = len(requests)
        self._all_answered = asyncio.Event()

    async def run(self, port: int, connections: int, rate: float | None) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            await loop.create_connection(lambda: _Line(self), "127.0.0.1", port)
        began = time.perf_counter()
        if rate is None:
            self._now_due(range(len(self._texts)), 0.0)
        else:
            await self._in_time(began, rate)
        await asyncio.wait_for(self._all_answered.wait(), timeout=120)
        took = time.perf_counter() - began
        return {
            "statuses": self._statuses,
            "seconds": self._seconds,
            "bodies": self._bodies,
            "took": took,
        }

    async def _in_time(self, began: float, rate: float) -> None:
        sent, total = 0, len(self._texts)
        while sent < total:
            upto = min(total, int((time.perf_counter() + _LATE - began) * rate) + 1)
            for number in range(sent, upto):
                self._now_due([number], began + number / rate)
            sent = max(sent, upto)
            await asyncio.sleep(max(0.0, began + sent / rate - time.perf_counter()))

    def _now_due(self, numbers: Sequence[int], at: float) -> None:
        """`at`: when their time begins; 0: when they are sent."""
        for number in numbers:
            self._due[number] = at
            self._waiting.append(number)
        self._go()

    def free(self, line: _Line) -> None:
        self._free.append(line)
        self._go()

    def _go(self) -> None:
        while self._waiting and self._free:
            number = self._waiting.popleft()
            if not self._due[number]:
                self._due[number] = time.perf_counter()
            self._free.popleft().ask(number, self._texts[number])

    def answered(self, number: int, status: int, body: str) -> None:
        self._seconds[number] = time.perf_counter() - self._due[number]
        self._statuses[number] = status
        self._bodies[number] = body
        self._left -= 1
        if not self._left:
            self._all_answered.set()


def _main() -> None:
    job = json.load(sys.stdin)

    async def go() -> dict[str, Any]:
        return await _Load(job["requests"]).run(job["port"], job["connections"], job["rate"])

    json.dump(asyncio.run(go()), sys.stdout)


if __name__ == "__main__":
    _main()
