"""The people of a run as a process keeps them while it does the run's steps: opened once.

Decoding and indexing many identifiers costs more than a step on a small group. They are in memory
only, and no longer than the run has steps here. Not here: the sealed document they come from.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.domain.identifiers import Identity, Targets

IDLE_SECONDS = 120.0
"""After so long without a step of the run a process forgets its people."""

Open = Callable[[], Sequence[Identity]]


@dataclass(frozen=True, slots=True)
class RunTargets:
    """Who is erased, and what is looked for."""

    run_id: str
    stamp: bytes
    """Of the sealed document that they were opened from."""
    people: Sequence[Identity] = field(repr=False)
    targets: Targets = field(repr=False)


class OpenedTargets:
    """Those of the run that this process is at work on; of one run at a time."""

    def __init__(self, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._known: RunTargets | None = None
        self._users = 0
        self._timer: threading.Timer | None = None

    @contextmanager
    def held(self, run_id: str, stamp: bytes, open_: Open) -> Iterator[RunTargets]:
        """For one step. `stamp`: differs with every sealing of the document, so that people who
        left the run meanwhile are not erased from memory.
        """
        with self._lock:
            self._stop_waiting()
            known = self._known
            if known is None or (known.run_id, known.stamp) != (run_id, stamp):
                self._forget()
                people = open_()
                self._known = known = RunTargets(run_id, stamp, people, Targets.of(people))
            self._users += 1
        try:
            yield known
        finally:
            with self._lock:
                self._users -= 1
                if self._known is not known:
                    known.targets.forget_built()
                elif not self._users:
                    self._wait()

    def forget(self, run_id: str) -> None:
        """A run has ended: what is known of its people goes now."""
        with self._lock:
            if self.knows(run_id):
                self._stop_waiting()
                self._forget()

    def knows(self, run_id: str) -> bool:
        """Whether the people of this run are in memory."""
        return self._known is not None and self._known.run_id == run_id

    def _wait(self) -> None:
        self._timer = threading.Timer(self._idle_seconds, self._idle)
        self._timer.name, self._timer.daemon = "forget targets", True
        self._timer.start()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _idle(self) -> None:
        with self._lock:
            if not self._users:
                self._forget()

    def _forget(self) -> None:
        """What is built from the values refers back to them: it is let go of by name, so that
        nothing waits for the collector of cycles.
        """
        if self._known is not None and not self._users:
            self._known.targets.forget_built()
        self._known = None
