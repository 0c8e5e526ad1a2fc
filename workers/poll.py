"""`python -m workers.poll`: a worker that nobody wakes. It looks into the ledger itself, performs
the same steps in the same way, and ticks. Not here: what a step does (workers.pipeline).
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

import structlog

from app import logs
from app.domain.errors import DatabaseUnavailableError, SettingsError
from app.services.ledger import Performed, reconcile
from app.store import leases
from workers.draining import Draining
from workers.pipeline import Pipeline, pipeline_of

log = structlog.get_logger(__name__)

LOOK_AT = 100
"""Steps looked at in one go: the first may be kept out by others."""
IDLE_SECONDS = 1.0


class Poller:
    """Performs what is due until it is told to end."""

    def __init__(self, pipeline: Pipeline, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pipeline, self._clock = pipeline, clock
        self._over = threading.Event()
        self._every = pipeline.worker.parts.rules.reconcile_every.total_seconds()
        self._ticked_at: float | None = None

    def end(self) -> None:
        """Begin no step any more, and give back the one at hand."""
        self._pipeline.draining.begin()
        self._over.set()

    def run(self) -> None:
        """Until `end`."""
        while not self._over.is_set():
            try:
                self._tick()
                worked = self._work()
            except DatabaseUnavailableError as err:
                log.warning("poll.unreachable", code=err.code)
                worked = False
            if not worked:
                self._over.wait(min(IDLE_SECONDS, self._every))

    def _tick(self) -> None:
        now = self._clock()
        if self._ticked_at is None or now - self._ticked_at >= self._every:
            self._ticked_at = now
            self._pipeline.tick()
            reconcile(self._pipeline.worker.parts, room=0)

    def _work(self) -> bool:
        """Perform the first step that is to be had; whether there was one."""
        worker = self._pipeline.worker
        with worker.parts.database.transaction() as tx:
            found = leases.claimable(tx, kinds=tuple(worker.acts), limit=LOOK_AT)
        return any(self._pipeline.step(step_id) is not Performed.NOTHING for step_id in found)


def serve(pipeline: Pipeline) -> None:
    """Poll until SIGTERM or SIGINT."""
    poller = Poller(pipeline)

    def end(number: int, frame: FrameType | None) -> None:
        poller.end()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    poller.run()


def main() -> None:
    """With the settings of the environment."""
    from app.wiring import no_bell, settings_of

    logs.configure("worker")
    try:
        pipeline = pipeline_of(settings_of(), no_bell, Draining())
    except SettingsError as err:
        raise SystemExit(str(err)) from err
    serve(pipeline)


if __name__ == "__main__":
    main()
