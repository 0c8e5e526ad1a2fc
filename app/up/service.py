"""The service as processes of its own: migrated, API, workers and beat up, watched, ended together.

Not here: the servers it needs (local), and how a process is watched (crew).

1. Look whether the port is free, and hold the state folder, so that nobody else runs the same one.
2. Migrate, where the owner's URL is given. 3. Make the first admin key, if there is no key yet.
4. Start API, beat and workers. 5. Wait until /readyz says that every part answers.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import httpx

from app import wiring
from app.domain.actors import ActorKind, Scope
from app.domain.failpoints import failpoint
from app.servers.process import PortTakenError, Program
from app.servers.state import State, free_ports
from app.services import actors
from app.settings import Settings
from app.store.migrate import migrate
from app.up.crew import Crew, Member, Tell

USUAL_PORT = 8000
STOP_SECONDS = 25.0
"""A worker gives its step back within this; the API ends its last answers."""


@dataclass(frozen=True, slots=True)
class Running:
    """A service that runs. `admin_key`: of the first start only; nobody can be told it again."""

    url: str
    admin_key: str | None = field(repr=False)
    members: Callable[[], Sequence[Member]] = field(repr=False)

    @property
    def processes(self) -> dict[str, int]:
        """Name -> process id of those that run now: `api`, `beat`, `worker-1`, ..."""
        return {m.program.name: pid for m in self.members() if (pid := m.pid) is not None}


class Service:
    """`with Service(environment, state) as running:`; all of it ends with the context, and by
    itself when this process is killed. SettingsError, ServerStartError.
    """

    def __init__(
        self, environment: Mapping[str, str], state: Path, *, workers: int = 2, tell: Tell = print
    ) -> None:
        """`environment`: a whole one, with every CLEARLAKE_ setting. `state`: keeps the logs."""
        self._environment, self._turn = with_address(environment)
        self._settings = wiring.settings_of(self._environment)
        self._state = state.absolute()
        self._workers = workers
        self._tell = tell
        self._home: State | None = None
        self._crew: Crew | None = None

    def __enter__(self) -> Running:
        try:
            self._require_free_port()
            self._home = State(self._state)
            self._crew = Crew(keep=self._home.lock, tell=self._tell)
            self._migrate()
            admin_key = self._first_key()
            self._start(self._crew)
            self._crew.watch()
        except BaseException:
            self._end()
            raise
        return Running(self._settings.public_url, admin_key, self._crew.members)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self._crew is not None:
            self._crew.stop()
            self._crew = None
        if self._home is not None:
            self._home.release()
            self._home = None
        if self._turn is not None:
            self._turn.close()

    def _require_free_port(self) -> None:
        """PortTakenError: who answers there is somebody else, and would be taken for our API."""
        if not _is_free(self._settings.port):
            raise PortTakenError(
                f"Port {self._settings.port} is in use. End what uses it, or set CLEARLAKE_PORT."
            )

    def _migrate(self) -> None:
        owner, service = self._settings.owner_database_url, self._settings.database_url
        if owner is not None and service is not None:
            migrate(owner.get_secret_value(), service.get_secret_value())
            failpoint("up.migrated")

    def _first_key(self) -> str | None:
        """The secret of a key with every scope, made only where there is no key at all."""
        parts = wiring.service_parts(self._settings, ring=wiring.no_bell)
        try:
            with parts.database.transaction() as tx:
                if actors.newest_first(actors.OPERATOR, tx, limit=1, before=None):
                    return None
                _, secret = actors.create(
                    actors.OPERATOR,
                    tx,
                    parts=parts,
                    name="first",
                    kind=ActorKind.PERSONAL,
                    scopes=list(Scope),
                    expires_at=None,
                )
            return secret
        finally:
            parts.database.close()

    def _start(self, crew: Crew) -> None:
        """All at once; whether the API comes up says whether the settings are right."""
        api = crew.start(self._program("api", "api"))
        crew.start(self._program("beat", "beat"))
        for number in range(1, self._workers + 1):
            crew.start(self._program(f"worker-{number}", "worker"))
        api.wait_ready(self._is_ready, stopping=crew.stopping)
        failpoint("up.api_ready")

    def _program(self, name: str, command: str) -> Program:
        return Program(
            name=name,
            argv=(sys.executable, "-m", "app.cli", command),
            log=self._state / f"{name}.log",
            cwd=Path.cwd(),
            env=self._environment,
            grace=STOP_SECONDS,
        )

    def _is_ready(self) -> bool:
        where = f"http://{_reached_at(self._settings)}:{self._settings.port}/readyz"
        try:
            answer = httpx.get(where, timeout=3, trust_env=False)
            return bool(answer.json()["status"] == "ready")
        except (httpx.HTTPError, ValueError):
            return False


def with_address(environment: Mapping[str, str]) -> tuple[dict[str, str], socket.socket | None]:
    """A port, where none is given: the usual one if nobody has it, else any that is free. The
    socket keeps the usual one for us until our API listens: another service that starts now must
    not take ours for its own.
    """
    given, turn = dict(environment), None
    if "CLEARLAKE_PORT" not in given:
        turn = _turn_of(USUAL_PORT) if _is_free(USUAL_PORT) else None
        given["CLEARLAKE_PORT"] = str(USUAL_PORT if turn else free_ports(1)[0])
    settings = wiring.settings_of(given)
    given.setdefault("CLEARLAKE_PUBLIC_URL", f"http://{_reached_at(settings)}:{settings.port}")
    return given, turn


def _turn_of(port: int) -> socket.socket | None:
    """Ours until it is closed, or None while another service has it: a name in Linux's abstract
    space, which the kernel takes back from whoever ends.
    """
    turn = socket.socket(socket.AF_UNIX)
    try:
        turn.bind(f"\0clearlake-port-{port}")
    except OSError:
        turn.close()
        return None
    return turn


def _reached_at(settings: Settings) -> str:
    """Where we ourselves reach the API: listening everywhere includes the loopback."""
    return "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
