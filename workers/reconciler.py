"""The thread that rings again for steps nobody heard of: one in each worker, one at work at a time.

What the broker lost, the ledger still knows. Not here: which steps those are (app.store.leases).
"""

from __future__ import annotations

import os
import signal
import threading

import structlog

from app.domain.errors import ClearlakeError
from app.queue import CeleryBell
from app.services.ledger import reconcile
from app.services.parts import Parts

log = structlog.get_logger(__name__)

QUEUE_ROOM = 500
"""Messages in the queue beyond which it only rings for what is new: they would be duplicates."""


class Reconciler:
    """Reconciles every so often until it is told to end."""

    def __init__(self, parts: Parts, bell: CeleryBell) -> None:
        self._parts, self._bell = parts, bell
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Begin; a second call does nothing."""
        if not self._thread.is_alive():
            self._thread.start()

    def end(self) -> None:
        """Ring no more."""
        self._over.set()

    def _run(self) -> None:
        try:
            while not self._over.wait(self._parts.rules.reconcile_every.total_seconds()):
                self._once()
        finally:
            if not self._over.is_set():
                # a worker whose reconciler has ended must not live on: somebody starts it again
                os.kill(os.getpid(), signal.SIGTERM)

    def _once(self) -> None:
        waiting = self._bell.waiting()
        room = 0 if waiting is None else max(0, QUEUE_ROOM - waiting)
        try:
            rung = reconcile(self._parts, room=room)
        except ClearlakeError as err:
            log.warning("reconciler.failed", code=err.code)
        else:
            if rung:
                log.info("reconciler.rang", count=rung)
