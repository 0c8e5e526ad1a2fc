"""The service's own processes: each behind a guard, started again when it ends, stopped together.

Not here: which processes there are (service).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.domain.failpoints import failpoint
from app.servers.process import Program, ServerProcess

LOOK_SECONDS = 0.25
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
STEADY_SECONDS = 60.0
"""Who lived for that long is not failing over and over: the next pause is the first one again."""

BEGIN_SECONDS = 3.0

Tell = Callable[[str], None]


@dataclass(slots=True)
class Member:
    """One process, and how it did so far."""

    program: Program
    process: ServerProcess
    started_at: float
    pause: float = FIRST_PAUSE
    again_at: float | None = None
    """When it is started again; None while it runs."""
    restarts: int = field(default=0)

    @property
    def pid(self) -> int | None:
        """The process itself, not its guard; None when it does not run."""
        guard = self.process.pid
        try:
            text = Path(f"/proc/{guard}/task/{guard}/children").read_text(encoding="ascii")
        except OSError:
            return None
        children = text.split()
        return int(children[0]) if children else None


class Crew:
    """`start` the members, `watch` over them, `stop` them all."""

    def __init__(self, *, keep: int, tell: Tell) -> None:
        """`keep`: a file descriptor that each holds while it lives. `tell`: news for people."""
        self._keep, self._tell = keep, tell
        self._members: list[Member] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="crew", daemon=True)

    def start(self, program: Program) -> ServerProcess:
        """Start one more."""
        process = ServerProcess(program, keep=self._keep)
        with self._lock:
            self._members.append(Member(program, process, time.monotonic()))
        return process

    def watch(self) -> None:
        """From now on, whoever ends is started again. Returns once each of them has begun."""
        self._watcher.start()
        until = time.monotonic() + BEGIN_SECONDS
        while time.monotonic() < until and not all(m.pid or m.restarts for m in self.members()):
            time.sleep(0.02)

    def members(self) -> Sequence[Member]:
        """All of them, in the order of their start."""
        with self._lock:
            return tuple(self._members)

    def stop(self) -> None:
        """Ask all to stop, and wait until they are gone."""
        self._stopping.set()
        if self._watcher.ident is not None:
            self._watcher.join()
        members = self.members()
        for member in members:
            member.process.ask_to_stop()
        for member in members:
            member.process.wait_stopped()

    @property
    def stopping(self) -> threading.Event:
        """Set once they are being stopped."""
        return self._stopping

    def _watch(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            for member in self.members():
                self._look_after(member, now=time.monotonic())

    def _look_after(self, member: Member, *, now: float) -> None:
        if member.again_at is None and not member.process.running:
            if now - member.started_at >= STEADY_SECONDS:
                member.pause = FIRST_PAUSE
            member.again_at = now + member.pause
            name, log = member.program.name, member.program.log
            self._tell(f"{name} ended; it is started again in {member.pause:g} s. Its log: {log}")
            member.pause = min(2 * member.pause, LONGEST_PAUSE)
        elif member.again_at is not None and now >= member.again_at:
            failpoint("up.before_restart")
            try:
                member.process = ServerProcess(member.program, keep=self._keep)
            except OSError as err:
                member.again_at = now + member.pause
                self._tell(f"{member.program.name} could not be started: {err.strerror}.")
                return
            member.started_at, member.again_at = now, None
            member.restarts += 1
