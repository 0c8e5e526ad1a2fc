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
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

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
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
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
        """Whoever serves them sees it, and ends by itself."""
        tasks = list(self._open)
        for task in tasks:
            reset(self._open[task])
        if tasks:
            await asyncio.wait(tasks, timeout=10)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Known from its first moment: also one that is never served is closed."""
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._open[task] = writer
        task.add_done_callback(lambda t: self._open.pop(t).transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self.serve(reader, writer)
        except (Cut, asyncio.CancelledError):
            reset(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # one of both ends went away
        finally:
            await closed(writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side sees a reset, not an end."""
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close, whatever the other side does."""
    writer.close()
    with suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()
