"""One server process behind its guard: started, watched until ready, stopped; its log kept.

Not here: which program with which settings (postgres, valkey, seaweed).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.domain.errors import ServerStartError

GUARD = Path(__file__).with_name("guard.py")
START_SECONDS = 60.0
LOG_LINES = 12
LOG_TAIL_BYTES = 16384
PORT_TAKEN = ("address already in use", "address in use", "could not bind", "not available on")
DISK_FULL = ("no space left on device", "disk quota exceeded")


class PortTakenError(ServerStartError):
    """Somebody took the port between the look and the start. Another one may be free."""


@dataclass(frozen=True, slots=True)
class Account:
    """The user a server runs as, where it is not our own."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `secrets` are cut out of every log line that is shown."""

    name: str
    argv: Sequence[str | Path]
    log: Path
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    stop_signal: int = signal.SIGTERM
    grace: float = 15.0
    """Seconds from the stop signal to the kill."""
    account: Account | None = None
    leaves: Sequence[str] = ()
    """Patterns of files outside the state folder that it makes and forgets."""
    secrets: Sequence[str] = field(default=(), repr=False)


class ServerProcess:
    """A running server. `keep` is a file descriptor held for as long as the server lives."""

    def __init__(self, program: Program, *, keep: int) -> None:
        self._program = program
        self._log_start = program.log.stat().st_size if program.log.exists() else 0
        account = program.account
        order = {
            "argv": [str(a) for a in program.argv],
            "owner": os.getpid(),
            "stop_signal": int(program.stop_signal),
            "grace": program.grace,
            "uid": account.uid if account else None,
            "gid": account.gid if account else None,
            "leaves": list(program.leaves),
        }
        with program.log.open("ab") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD), json.dumps(order)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**plain_environment(), **program.env},
                cwd=program.cwd,
                start_new_session=True,  # Ctrl-C in a terminal is for us; we stop the servers
                pass_fds=(keep,),
            )

    @property
    def name(self) -> str:
        """The server's name, for people."""
        return self._program.name

    @property
    def pid(self) -> int:
        """The guard's process id; the server is its only child."""
        return self._guard.pid

    @property
    def running(self) -> bool:
        """Whether the server (and so its guard) lives."""
        return self._guard.poll() is None

    def wait_ready(self, probe: Callable[[], bool], *, stopping: threading.Event) -> None:
        """Return once `probe` says yes. ServerStartError when the server ends or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while not probe():
            if not self.running:
                raise self.failure("ended while it was starting")
            if stopping.is_set():
                raise ServerStartError(f"{self.name}: the start was given up.")
            if time.monotonic() > deadline:
                raise self.failure(f"was not ready after {START_SECONDS:.0f} s")
            time.sleep(0.02)

    def failure(self, what: str) -> ServerStartError:
        """The error that says what happened, with the last lines that this start logged."""
        program = self._program
        lines = last_lines(program.log, start=self._log_start, secrets=program.secrets)
        return start_error(self.name, what, log=program.log, lines=lines)

    def ask_to_stop(self) -> None:
        """Begin the stop; `wait_stopped` ends it."""
        if self.running:
            self._guard.terminate()

    def wait_stopped(self) -> None:
        """Return when the server is gone."""
        try:
            self._guard.wait(self._program.grace + 4)
        except subprocess.TimeoutExpired:
            self._guard.kill()  # the kernel then tells the server to stop
            self._guard.wait()


def plain_environment() -> dict[str, str]:
    """What a server inherits: nothing that could carry a setting or a secret of ours."""
    kept = {k: v for k, v in os.environ.items() if k in {"LD_LIBRARY_PATH", "TMPDIR"}}
    return {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC", **kept}


def start_error(
    name: str, what: str, *, log: Path | None = None, lines: Sequence[str] = ()
) -> ServerStartError:
    """ServerStartError with its reason read from the log, where the log says it."""
    text = "\n".join(lines).lower()
    reason, kind = "", ServerStartError
    if any(sign in text for sign in DISK_FULL):
        reason = " The disk is full."
    elif any(sign in text for sign in PORT_TAKEN):
        reason, kind = " Its port is in use.", PortTakenError
    shown = "".join(f"\n  | {line}" for line in lines)
    where = f" Its log, {log}, ends:{shown}" if lines else ""
    return kind(f"{name} {what}.{reason}{where}")


def last_lines(log: Path, *, start: int, secrets: Iterable[str]) -> list[str]:
    """The last lines written since `start`, without the secrets."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(start, end - LOG_TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    for secret in secrets:
        text = text.replace(secret, "[secret]")
    return [line[:300] for line in text.splitlines() if line.strip()][-LOG_LINES:]
