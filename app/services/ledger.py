"""Performing a step: claim, act, record; and what becomes of one that failed.

1. Claim: one transaction, with the entry `step.started`. Whoever gets nothing leaves.
2. Act, with no transaction open, while a thread keeps the lease.
3. Record: one transaction with the receipt, the entry and whatever becomes READY by it, guarded by
   the fence. A step that was taken by another meanwhile: what this one knows is discarded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

import structlog

from app.domain.actors import WORKER
from app.domain.errors import (
    ClearlakeError,
    DatabaseUnavailableError,
    LeaseLostError,
    StoppedError,
)
from app.domain.failpoints import failpoint
from app.domain.steps import NewStep, Step, StepEnd, StepKind, StepState, Stop
from app.services import entries
from app.services.leases import Clock, Lease
from app.services.parts import Parts, Transaction
from app.store import leases, steps
from app.store.leases import Claim

__all__ = ["Act", "Acts", "Advance", "Lease", "Performed", "Worker", "perform", "reconcile"]

log = structlog.get_logger(__name__)

Act = Callable[[Step, Lease, Parts], StepEnd]
Acts = Mapping[StepKind, Act]
Advance = Callable[[Transaction, Parts, str], list[NewStep]]
"""Called when a step of a run has ended, under a lock on the run: what becomes READY by it."""

MAX_PAUSE = timedelta(minutes=10)
"""Between two attempts, at most."""
_RECORD_AGAIN = 0.5
"""Seconds between two tries to record while the database is away."""
POISON = "lease_lapsed"
"""The code of a step whose every holder died or went silent."""


class Performed(StrEnum):
    """What came of it."""

    NOTHING = "nothing"
    """It was not to be had: done, held by another, not due, or kept out by others."""
    FINISHED = "finished"
    RETRIED = "retried"
    PARKED = "parked"
    GIVEN_BACK = "given_back"
    LOST = "lost"
    """Somebody else has it; nothing was recorded."""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Worker:
    """Who performs, and what it can do."""

    name: str
    parts: Parts
    acts: Acts
    advance: Advance
    draining: Stop = _never
    """True once this worker is to end: steps are given back soon."""
    clock: Clock = time.monotonic


def perform(step_id: str, *, worker: Worker) -> Performed:
    """Do one step, if it is to be had. Raises DatabaseUnavailableError only before the claim."""
    claimed_at = worker.clock()
    claim = _claimed(step_id, worker)
    if claim is None:
        return Performed.NOTHING
    with Lease(
        claim.step,
        worker.parts,
        claimed_at=claimed_at,
        clock=worker.clock,
        draining=worker.draining,
    ) as lease:
        hand = _Hand(claim, lease, worker)
        try:
            done = hand.done()
        except LeaseLostError:
            done = Performed.LOST
        log.info("step.left", **hand.ids, state=done.value)
        return done


def _claimed(step_id: str, worker: Worker) -> Claim | None:
    rules = worker.parts.rules
    with worker.parts.database.transaction() as tx:
        if worker.draining():
            return None
        claim = leases.claim(
            tx, step_id, worker=worker.name, lease=rules.lease, kinds=tuple(worker.acts)
        )
        if claim is not None:
            if claim.lapsed:
                _entry(tx, claim.step, "step.timed_out")
            _entry(tx, claim.step, "step.started", attempt=claim.step.attempt)
    return claim


@dataclass(frozen=True, slots=True)
class _Hand:
    """A claimed step while it is worked on."""

    claim: Claim
    lease: Lease
    worker: Worker

    @property
    def step(self) -> Step:
        return self.claim.step

    @property
    def ids(self) -> dict[str, str | int | None]:
        """What log lines name it by."""
        step = self.step
        return {
            "step_id": step.id,
            "run_id": step.run_id,
            "kind": step.kind.value,
            "attempt": step.attempt,
        }

    def done(self) -> Performed:
        """Act and record; of an error, what it calls for."""
        if self.step.attempt > self.claim.max_attempts:
            return self._parked(POISON)
        try:
            failpoint("ledger.before_act")
            end = self.worker.acts[self.step.kind](self.step, self.lease, self.worker.parts)
            failpoint("ledger.after_act")
            return self._record(lambda tx: self._finish(tx, end), Performed.FINISHED)
        except LeaseLostError:
            raise
        except StoppedError:
            return self._record(self._release, Performed.GIVEN_BACK)
        except ClearlakeError as err:
            code, again = err.code, err.retryable
        except Exception as err:
            # the edge: whatever went wrong, the ledger says so; the text may hold a person's values
            code, again = type(err).__name__, True
        if again and self.step.attempt < self.claim.max_attempts:
            log.warning("step.failed", **self.ids, code=code)
            return self._record(lambda tx: self._give_back(tx, code), Performed.RETRIED)
        return self._parked(code)

    def _parked(self, code: str) -> Performed:
        log.error("step.parked", **self.ids, code=code)
        return self._record(lambda tx: self._park(tx, code), Performed.PARKED)

    def _record(self, write: Callable[[Transaction], bool], done: Performed) -> Performed:
        """One transaction; again while the database is away and the lease still holds. A commit
        whose answer was lost is found by the second try: the step is not in hand any more.
        """
        while True:
            try:
                with self.worker.parts.database.transaction() as tx:
                    written = write(tx)
                return done if written else Performed.LOST
            except DatabaseUnavailableError:
                if self.lease.lost():
                    return Performed.LOST
                self.lease.pause(_RECORD_AGAIN)

    def _finish(self, tx: Transaction, end: StepEnd) -> bool:
        self._lock(tx)
        if not leases.finish(tx, self.step, end):
            return False
        if end.state is not StepState.READY:
            self._advance(tx)
        counts = {k: v for k, v in end.receipt.items() if isinstance(v, int)}
        _entry(tx, self.step, "step.finished", state=end.state.value, counts=counts)
        return True

    def _park(self, tx: Transaction, code: str) -> bool:
        self._lock(tx)
        if not leases.park(tx, self.step, error_code=code):
            return False
        self._advance(tx)
        _entry(tx, self.step, "step.parked", code=code, attempt=self.step.attempt)
        return True

    def _give_back(self, tx: Transaction, code: str) -> bool:
        pause = pause_after(self.step.attempt, first=self.worker.parts.rules.retry_after)
        if not leases.give_back(tx, self.step, error_code=code, pause=pause):
            return False
        _entry(tx, self.step, "step.failed", code=code, attempt=self.step.attempt)
        return True

    def _release(self, tx: Transaction) -> bool:
        if not leases.release(tx, self.step):
            return False
        _entry(tx, self.step, "step.given_back")
        return True

    def _lock(self, tx: Transaction) -> None:
        if self.step.run_id is not None:
            leases.lock_run(tx, self.step.run_id)

    def _advance(self, tx: Transaction) -> None:
        """What follows in the run is asked for once a group of steps, not once a step."""
        if self.step.run_id is None:
            return
        if leases.is_last(tx, self.step):
            new = self.worker.advance(tx, self.worker.parts, self.step.run_id)
            tx.ring(steps.put(tx, new))
        else:
            tx.ring(leases.one_more(tx, self.step.run_id))


def pause_after(attempt: int, *, first: timedelta) -> timedelta:
    """Between a failed attempt and the next: it doubles with each, up to MAX_PAUSE."""
    return min(first * (1 << min(attempt - 1, 30)), MAX_PAUSE)


def _entry(tx: Transaction, step: Step, verb: str, **facts: entries.Fact) -> None:
    """About the run it belongs to, or about the step itself. Of a target only the dataset."""
    entries.record(
        WORKER,
        tx,
        verb=verb,
        about=step.run_id or step.id,
        step=step.id,
        kind=step.kind.value,
        target=step.target.partition("/")[0],
        **facts,
    )


def reconcile(parts: Parts, *, room: int) -> int:
    """Wake workers for steps that nobody was woken for, `room` at most; how many. Steps whose
    holder never came back are among them; those of stopped runs are made READY instead. Of several
    that reconcile at once one works. It needs nothing of the broker but that it takes messages.
    """
    with parts.database.transaction() as tx:
        if not leases.lead(tx):
            return 0
        for row in leases.let_go(tx):
            held = Step(row.id, row.run_id, row.kind, row.target, row.attempt, fence=0)
            _entry(tx, held, "step.timed_out")
        waiting = leases.unheard(tx, again=parts.rules.lease, limit=room)
        tx.ring(waiting)
    return len(waiting)
