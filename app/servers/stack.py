"""The servers together: started side by side, watched, stopped together, never left behind.

Not here: how one server is run (postgres, valkey, seaweed) and guarded (process, guard).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, cast

from app.domain.errors import ServerStartError
from app.servers.postgres import Postgres, PostgresServer
from app.servers.process import PortTakenError, Program, ServerProcess
from app.servers.seaweed import ROLES, AccessKey, S3Server, Seaweed
from app.servers.state import State, free_ports, remove_folder
from app.servers.valkey import Valkey, ValkeyServer

__all__ = [
    "PARTS",
    "ROLES",
    "AccessKey",
    "PostgresServer",
    "S3Server",
    "Servers",
    "ValkeyServer",
    "remove_state",
]

PORT_TRIES = 5


class Part(Protocol):
    """One kind of server: what to run, when it is up, and what a client needs."""

    name: str
    ports: int

    def program(self, ports: list[int]) -> Program: ...

    def ready(self, ports: list[int]) -> bool: ...

    def server(self, ports: list[int]) -> object: ...


_KINDS: dict[str, type[Seaweed | Postgres | Valkey]] = {
    "s3": Seaweed,
    "postgres": Postgres,
    "valkey": Valkey,
}
PARTS = frozenset(_KINDS)


class Servers:
    """`with Servers(folder, parts={"s3", "postgres"}) as servers:` runs them for that long.

    A second start on the same folder finds the same data and secrets. When the process that
    started them dies in any way, they stop. ServerStartError says why one did not come up.
    """

    def __init__(
        self, state_dir: Path, *, parts: Collection[str] = PARTS, env: str = "development"
    ) -> None:
        if env == "production":
            raise ServerStartError(
                "Servers from wheels never run in production: set the URLs of real ones."
            )
        if unknown := set(parts) - PARTS:
            raise ServerStartError(f"No such server: {', '.join(sorted(unknown))}.")
        self.state_dir = state_dir.absolute()
        self._parts = sorted(parts)
        self._state: State | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._running: list[ServerProcess] = []
        self._servers: dict[str, object] = {}
        self._places: dict[ServerProcess, tuple[Part, list[int]]] = {}

    @property
    def s3(self) -> S3Server:
        """SeaweedFS. ServerStartError when it does not run."""
        return cast("S3Server", self._server("s3"))

    @property
    def postgres(self) -> PostgresServer:
        """Postgres. ServerStartError when it does not run."""
        return cast("PostgresServer", self._server("postgres"))

    @property
    def valkey(self) -> ValkeyServer:
        """Valkey. ServerStartError when it does not run."""
        return cast("ValkeyServer", self._server("valkey"))

    def __enter__(self) -> Self:
        self._stopping.clear()
        self._state = State(self.state_dir)
        try:
            with ThreadPoolExecutor(len(self._parts) or 1) as pool:
                try:
                    starts = {name: pool.submit(self._start, name) for name in self._parts}
                    done, _ = wait(starts.values(), return_when=FIRST_EXCEPTION)
                    for start in done:
                        start.result()
                    self._servers = {name: start.result() for name, start in starts.items()}
                except BaseException:
                    self._stopping.set()
                    raise
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def check(self) -> None:
        """ServerStartError when a server has ended by itself, with the last lines of its log."""
        for process in self._running:
            if not process.running:
                raise process.failure("ended by itself")

    def revive(self, say: Callable[[str], None]) -> None:
        """Start again, at the same ports and on the same data, what has ended by itself; `say`
        gets the name of each. ServerStartError when one does not come up now: call again later.
        """
        for process in [p for p in self._running if not p.running]:
            part, ports = self._places[process]
            again = self._run(part.program(ports))
            try:
                again.wait_ready(partial(part.ready, ports), stopping=self._stopping)
            except ServerStartError:
                self._forget(again)  # the one that ended stays in the list, for the next call
                raise
            self._places[again] = (part, ports)
            self._forget(process)
            say(process.name)

    def guards(self) -> tuple[int, ...]:
        """Process ids of the guards; each server is the only child of one."""
        return tuple(process.pid for process in self._running)

    def _server(self, name: str) -> object:
        if name not in self._servers:
            raise ServerStartError(f"{name} was not started here.")
        return self._servers[name]

    def _start(self, name: str) -> object:
        try:
            return self._start_part(_KINDS[name](self._held()))
        except OSError as err:
            raise ServerStartError(f"{name} could not be started: {err.strerror}.") from err

    def _start_part(self, part: Part) -> object:
        for _ in range(PORT_TRIES - 1):
            with suppress(PortTakenError):
                return self._start_once(part)
        return self._start_once(part)

    def _start_once(self, part: Part) -> object:
        ports = free_ports(part.ports)
        process = self._run(part.program(ports))
        try:
            process.wait_ready(partial(part.ready, ports), stopping=self._stopping)
        except PortTakenError:
            self._forget(process)
            raise
        self._places[process] = (part, ports)
        return part.server(ports)

    def _run(self, program: Program) -> ServerProcess:
        with self._lock:  # once stopping, nothing new may start
            if self._stopping.is_set():
                raise ServerStartError(f"{program.name}: the start was given up.")
            process = ServerProcess(program, keep=self._held().lock)
            self._running.append(process)
        return process

    def _forget(self, process: ServerProcess) -> None:
        process.ask_to_stop()
        process.wait_stopped()
        with self._lock:
            self._places.pop(process, None)
            if process in self._running:
                self._running.remove(process)

    def _held(self) -> State:
        if self._state is None:
            raise ServerStartError("The servers are not running.")
        return self._state

    def _stop(self) -> None:
        self._stopping.set()
        with self._lock:
            running, self._running = self._running, []
        for process in running:
            process.ask_to_stop()
        for process in running:
            process.wait_stopped()
        self._servers = {}
        if self._state is not None:
            self._state.release()
            self._state = None


def remove_state(state_dir: Path) -> None:
    """Delete a state folder and what it keeps elsewhere. ServerStartError when it is in use."""
    if not state_dir.exists():
        return
    state = State(state_dir.absolute())
    try:
        home = state.known("postgres.home")
        if home is not None:
            remove_folder(Path(home))
        remove_folder(state.folder)
    finally:
        state.release()
