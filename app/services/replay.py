"""After a restore: every erasure since the backup is done again, by the digests that still live.

Whoever carries it out is a worker (app.services.late.replay): here it is asked for, and looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.domain.actors import Actor
from app.domain.errors import NotFoundError, UsageError
from app.domain.failpoints import failpoint
from app.domain.runs import Stage
from app.domain.steps import NewStep, StepKind, StepState
from app.services import entries
from app.services.late_cases import DONE, WAITING
from app.services.parts import Transaction
from app.store import runs, steps
from app.store import suppression as store

_ENDED = frozenset({StepState.DONE, StepState.PARKED})
_RESTING = frozenset({Stage.CLOSED, Stage.UNDONE, Stage.PENDING, Stage.STUCK})


@dataclass(frozen=True, slots=True)
class Requested:
    """A replay that a worker will carry out."""

    step_id: str
    erased: int
    """Cases erased since then: their people may be back."""
    lost: tuple[str, ...]
    """Of these, the cases of which no digest lives: nobody can find them again by this service."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a replay is."""

    state: StepState
    error_code: str | None
    unreadable: int
    """Objects and files that could not be read: nobody knows who is in them."""
    found: int
    """Cases whose people were back."""
    active_again: int
    """Values that were left: they are active since, and a new case must erase all of them."""
    run_id: str | None
    """The run that erases them again."""
    stage: Stage | None

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes by itself."""
        rests = self.run_id is None or self.stage in _RESTING
        return self.state in _ENDED and rests


def request(actor: Actor, tx: Transaction, *, since: datetime) -> Requested:
    """Ask for a replay: read the whole lake for whoever is suppressed, and erase again whom it
    finds. The reports are addenda. Asked again for the same time, it is done again.

    `since`: when the backup was made, at the latest. It decides who is counted and who is named as
    lost; the look is for everybody whose digests live, so that too late a time lets nobody back.
    UsageError for a time to come.
    """
    if since > tx.now():
        raise UsageError("--since: expected when the backup was made, a time that is past.")
    cases = store.erased_since(tx, since, DONE | WAITING)
    lost = tuple(dsar_id for dsar_id, lives in cases.items() if not lives)
    (step_id,) = steps.put(tx, [NewStep(StepKind.REPLAY, since.isoformat())])
    failpoint("replay.put")
    entries.record(
        actor,
        tx,
        verb="replay.requested",
        about=step_id,
        since=since.isoformat(),
        erased=len(cases),
        lost=list(lost),
    )
    tx.ring([step_id])
    return Requested(step_id, len(cases), lost)


def standing(tx: Transaction, *, step_id: str) -> Standing:
    """How far it is. NotFoundError."""
    step = steps.get(tx, step_id)
    if step is None or step.kind is not StepKind.REPLAY:
        raise NotFoundError("There is no such replay.")
    run_id = step.receipt.get("run_id")
    stage = None if run_id is None else runs.get(tx, str(run_id)).stage
    return Standing(
        state=step.state,
        error_code=step.error_code,
        unreadable=int(step.receipt.get("unreadable", 0)),
        found=int(step.receipt.get("cases", 0)),
        active_again=int(step.receipt.get("active_again", 0)),
        run_id=None if run_id is None else str(run_id),
        stage=stage,
    )
