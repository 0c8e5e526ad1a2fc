"""A step in hand: its lease is kept by a thread, and whoever acts asks it before each effect.

Not here: claiming and recording (app.services.ledger).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from app.domain.errors import DatabaseUnavailableError, LeaseLostError
from app.domain.failpoints import failpoint
from app.domain.steps import Step, Stop
from app.services.parts import Parts, Transaction
from app.store import leases
from app.store.leases import Pulse

Clock = Callable[[], float]
"""Seconds that never go back, counted also while this process is stopped."""


_LAST_BEAT = 2.0
LONGEST = 6 * 3600.0
"""Seconds after which the lease of an act is not kept any more: it hangs, and another may try."""


class Lease:
    """`with Lease(...) as lease:` keeps the step for that long, as far as anybody can."""

    def __init__(
        self, step: Step, parts: Parts, *, claimed_at: float, clock: Clock, draining: Stop
    ) -> None:
        """`claimed_at`: read before the claim. `draining`: whether this worker is to end."""
        self._step, self._parts = step, parts
        self._clock, self._draining = clock, draining
        self._claimed_at = self._beaten_at = claimed_at
        self._lost = self._stopped = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="heartbeat", daemon=True)

    def stop(self) -> bool:
        """True once the lease is lost or may be, the run was told to stop, or the worker is to
        end: act no further. What was done so far is kept or found again by the next attempt.
        """
        return self._stopped or self._draining() or self.lost()

    def lost(self) -> bool:
        """Whether somebody else may have the step by now."""
        silent_for = self._clock() - self._beaten_at
        return self._lost or silent_for >= self._parts.rules.lease.total_seconds()

    def guard(self, tx: Transaction) -> None:
        """Call it first in every transaction that records something of the step: nobody else gets
        the step before that transaction ends. LeaseLostError when somebody has it already.
        """
        if not leases.holds(tx, self._step):
            self._lost = True
            raise LeaseLostError("Another worker has this step now.")

    def pause(self, seconds: float) -> None:
        """Wait for something that is away."""
        self._over.wait(seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(_LAST_BEAT)  # one that hangs in a dead connection is left behind

    def _keep(self) -> None:
        while not self._lost and not self._over.wait(self._parts.rules.heartbeat.total_seconds()):
            failpoint("lease.before_heartbeat")
            beaten_at = self._clock()
            if beaten_at - self._claimed_at > LONGEST:
                break
            try:
                with self._parts.database.transaction() as tx:
                    pulse = leases.heartbeat(tx, self._step, lease=self._parts.rules.lease)
            except DatabaseUnavailableError:
                continue  # the clock decides: without a beat the lease ends by itself
            if pulse is Pulse.LOST:
                self._lost = True
            else:
                self._beaten_at = beaten_at
                self._stopped = pulse is Pulse.STOPPED
