"""One listening port, served by an event loop in a thread of its own.

Not here: what goes through it (tcp, http).
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

_T = TypeVar("_T")
CHUNK = 1 << 16


class Cut(Exception):  # an event, not an error
    """Reset both ends of this connection now."""


class Listening:
    """`with` it, it listens at `port`; every connection is served by `serve` of a subclass."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.upstream = upstream
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._listener: socket.socket | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it ends."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def refuse(self) -> None:
        """From now on nobody listens; who is connected is cut."""
        self._do(self._close())

    def listen(self) -> None:
        """At the same port again."""
        self._do(self._listen())

    def cut(self) -> None:
        """Reset every connection there is; new ones are taken."""
        self._do(self._reset())

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._loop.add_reader(self._listener, self._accept, self._listener)

    async def _close(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        await self._reset()

    async def _end(self) -> None:
        """Nothing is left that the loop would still have to close."""
        await self._close()
        for _ in range(3):
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0.01)

    async def _reset(self) -> None:
        tasks = list(self._open)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=10)

    def _accept(self, listener: socket.socket) -> None:
        """Known from its first moment: also one that is never served is closed.

        Not `asyncio.start_server`: a server of Python 3.11 that is closed while it takes a client
        neither serves nor closes it.
        """
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # went away again
        sock.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._serve(sock))
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        task.add_done_callback(lambda _: sock.close())

    async def _serve(self, sock: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            await self.serve(reader, writer)
        except (Cut, asyncio.CancelledError):
            _reset(sock, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # one of both ends went away
        finally:
            await closed(writer)


def _reset(sock: socket.socket, writer: asyncio.StreamWriter) -> None:
    """Close so that the other side sees a reset, not an end."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close, whatever the other side does."""
    writer.close()
    with suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()
