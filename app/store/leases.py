"""Who holds a step: claims, heartbeats, and how a step is left, all by the database's clock.

Whoever claims raises the fence, and every later write names it: a stale holder writes nothing.
Not here: steps being put (app.store.steps), audit entries and retries (app.services.ledger).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, case, exists, func, or_, select, text, update

from app.domain.failpoints import failpoint
from app.domain.runs import ENDED, Stage
from app.domain.steps import EXCLUSIVE, OPEN, Step, StepEnd, StepKind, StepState
from app.store.holds import is_step_held
from app.store.steps import StepRow, step_row
from app.store.tables import run, step
from app.store.transaction import Transaction

_OPEN = sorted(OPEN)
_AWAY = tuple(s.value for s in (Stage.PENDING, *sorted(ENDED)))
"""Stages in which a run is not at work on the lake."""
_CHANGES = (StepKind.ERASE, StepKind.PURGE)
_SHARED = text("select pg_advisory_xact_lock_shared(4815162344)")
_ALONE = text("select pg_advisory_xact_lock(4815162344)")
_LEADER = text("select pg_try_advisory_xact_lock(4815162345)")


class Pulse(StrEnum):
    """What a heartbeat learned."""

    HELD = "held"
    STOPPED = "stopped"
    """Held, but the run was told to stop, or a legal hold forbids the step."""
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Claim:
    """A step in hand."""

    step: Step
    max_attempts: int
    lapsed: bool
    """Whoever held it before never came back."""


def claim(
    tx: Transaction, step_id: str, *, worker: str, lease: timedelta, kinds: Collection[StepKind]
) -> Claim | None:
    """Take a READY step that is due, or a RUNNING one whose lease has lapsed. None: it is not to
    be had now, and the bell may ring again for it. Kinds that this worker does not know are left
    to newer ones. Attempts are counted here and limited by the caller.
    """
    found = tx.run(select(step.c.kind).where(step.c.id == step_id)).scalar_one_or_none()
    if found is None or found not in {k.value for k in kinds}:
        return None
    kind = StepKind(found)
    if kind is not StepKind.SHRED:
        tx.run(_ALONE if kind in EXCLUSIVE else _SHARED)
    was = (
        select(step.c.id, step.c.state)
        .where(step.c.id == step_id)
        .with_for_update()
        .subquery("was")
    )
    row = tx.run(
        update(step)
        .where(step.c.id == was.c.id, or_(_due(), _lapsed()), ~_stopped(), *_alone(kind))
        .values(
            state=StepState.RUNNING.value,
            fence=step.c.fence + 1,
            attempt=step.c.attempt + 1,
            lease_owner=worker,
            lease_until=func.now() + lease,
            started_at=func.now(),
            error_code=None,
            reason=None,
        )
        .returning(*step.c, was.c.state.label("was_state"))
    ).one_or_none()
    if row is None:
        _ask_for_another_ring(tx, step_id)
        return None
    failpoint("steps.claimed")
    held = Step(row.id, row.run_id, kind, row.target, row.attempt, row.fence)
    return Claim(held, row.max_attempts, lapsed=row.was_state == StepState.RUNNING)


def _due() -> ColumnElement[bool]:
    due = or_(step.c.not_before.is_(None), step.c.not_before <= func.now())
    return and_(step.c.state == StepState.READY, due)


def _lapsed() -> ColumnElement[bool]:
    return and_(step.c.state == StepState.RUNNING, step.c.lease_until < func.now())


def _stopped() -> ColumnElement[bool]:
    """Its run was told to stop. An undo is what comes after that."""
    stopped = exists().where(run.c.id == step.c.run_id, run.c.stop_requested)
    return and_(step.c.kind != StepKind.UNDO, stopped)


def _alone(kind: StepKind) -> list[ColumnElement[bool]]:
    """Who keeps a step of this kind out. Holds under the lock taken by `claim` only."""
    other = step.alias("other")
    running = and_(other.c.state == StepState.RUNNING, other.c.id != step.c.id)
    out: list[ColumnElement[bool]] = []
    if kind in EXCLUSIVE:
        out.append(~exists().where(running, other.c.kind == kind))
    if kind is StepKind.STITCH:
        # a stitch that read before an erasure would write the person back
        out.append(~exists().where(run.c.stage.not_in(_AWAY)))
        out.append(~exists().where(running, other.c.run_id.is_not(None)))
    elif kind not in EXCLUSIVE:
        stitching = exists().where(running, other.c.kind == StepKind.STITCH)
        out.append(or_(step.c.run_id.is_(None), ~stitching))
    return out


def _ask_for_another_ring(tx: Transaction, step_id: str) -> None:
    """The message was answered in vain: unless told, the reconciler would count on it."""
    tx.run(
        update(step)
        .where(step.c.id == step_id, step.c.state == StepState.READY)
        .values(last_enqueued_at=None)
    )


def _held(held: Step) -> ColumnElement[bool]:
    return and_(step.c.id == held.id, step.c.fence == held.fence, step.c.state == StepState.RUNNING)


def heartbeat(tx: Transaction, held: Step, *, lease: timedelta) -> Pulse:
    """Prolong the lease, and learn whether the run was told to stop, or the step is forbidden."""
    forbidden = and_(step.c.kind.in_(_CHANGES), is_step_held())
    row = tx.run(
        update(step)
        .where(_held(held))
        .values(lease_until=func.now() + lease)
        .returning(or_(_stopped(), forbidden).label("stopped"))
    ).one_or_none()
    if row is None:
        return Pulse.LOST
    return Pulse.STOPPED if row.stopped else Pulse.HELD


def holds(tx: Transaction, held: Step) -> bool:
    """Whether the step is still in the hands of this fence; if so, nobody else gets it before
    this transaction ends.
    """
    row = tx.run(select(step.c.id).where(_held(held)).with_for_update(key_share=True))
    return row.first() is not None


def lock_run(tx: Transaction, run_id: str) -> None:
    """One at a time decides how a run goes on. Rows that refer to the run are not held up."""
    tx.run(select(run.c.id).where(run.c.id == run_id).with_for_update(key_share=True))


def finish(tx: Transaction, held: Step, end: StepEnd) -> bool:
    """How an act ended. READY: it is not done and waits until `end.until`; that is no failure.
    False: the step is somebody else's by now.
    """
    ready = end.state is StepState.READY
    return _leave(
        tx,
        held,
        state=end.state.value,
        receipt=dict(end.receipt),
        not_before=end.until,
        reason=end.reason,
        **({"attempt": 0} if ready else {"ended_at": func.now()}),
    )


def give_back(tx: Transaction, held: Step, *, error_code: str, pause: timedelta) -> bool:
    """After a failure: again, not before the pause is over. The attempt counts."""
    return _leave(
        tx, held, state=StepState.READY, error_code=error_code, not_before=func.now() + pause
    )


def release(tx: Transaction, held: Step) -> bool:
    """Put it back as it was: the worker ends, or the run stops. The attempt does not count."""
    return _leave(tx, held, state=StepState.READY, attempt=func.greatest(step.c.attempt - 1, 0))


def park(tx: Transaction, held: Step, *, error_code: str, reason: str | None = None) -> bool:
    """A person must look at it."""
    return _leave(
        tx,
        held,
        state=StepState.PARKED,
        error_code=error_code,
        reason=reason,
        ended_at=func.now(),
    )


def _leave(tx: Transaction, held: Step, **values: Any) -> bool:
    values = {"lease_owner": None, "lease_until": None, "last_enqueued_at": None, **values}
    left = tx.run(update(step).where(_held(held)).values(**values).returning(step.c.id)).first()
    failpoint("steps.left")
    return left is not None


def is_last(tx: Transaction, left: Step) -> bool:
    """Whether no other step of the same run, kind and dataset is open: what follows in the run can
    only then be something else than before. Of a run that is being undone every step counts as the
    last. Hold the run's lock: of two that are left at once, one sees that it is the last.
    """
    of_dataset = func.split_part(step.c.target, "/", 1) == left.target.partition("/")[0]
    other = exists().where(
        step.c.run_id == left.run_id,
        step.c.kind == left.kind,
        step.c.state.in_(_OPEN),
        step.c.id != left.id,
        of_dataset,
    )
    undoing = exists().where(run.c.id == left.run_id, run.c.undo_requested)
    return bool(tx.run(select(or_(~other, undoing))).scalar_one())


def one_more(tx: Transaction, run_id: str) -> list[str]:
    """A step of the run that is due and nobody was ever woken for: one at most. Who puts many wakes
    only for the first; each that ends wakes for another.
    """
    rows = tx.run(
        select(step.c.id)
        .where(step.c.run_id == run_id, _due(), step.c.last_enqueued_at.is_(None), ~_stopped())
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return list(rows.scalars())


# --- who should be woken, and what is seen ----------------------------------------------------


def lead(tx: Transaction) -> bool:
    """Whether this transaction is the one reconciler at work now."""
    return bool(tx.run(_LEADER).scalar_one())


def unheard(tx: Transaction, *, again: timedelta, limit: int) -> list[str]:
    """Steps that could be claimed and nobody was woken for: never rung, not rung since they fell
    due or their lease lapsed, or rung longer than `again` ago. The longest waiting first.
    """
    since = case((step.c.state == StepState.RUNNING, step.c.lease_until), else_=step.c.not_before)
    silent = or_(
        step.c.last_enqueued_at.is_(None),
        step.c.last_enqueued_at < func.greatest(since, func.now() - again),
    )
    rows = tx.run(_claimable().where(silent).limit(limit).with_for_update(skip_locked=True))
    return list(rows.scalars())


def claimable(tx: Transaction, *, kinds: Collection[StepKind], limit: int) -> list[str]:
    """Steps that could be claimed, for a worker that nobody wakes. The longest waiting first."""
    names = [k.value for k in kinds]
    return list(tx.run(_claimable().where(step.c.kind.in_(names)).limit(limit)).scalars())


def _claimable() -> Any:
    waiting = func.coalesce(step.c.lease_until, step.c.not_before, step.c.created_at)
    return (
        select(step.c.id)
        .where(step.c.state.in_(_OPEN), or_(_due(), _lapsed()), ~_stopped())
        .order_by(waiting, step.c.id)
    )


def let_go(tx: Transaction) -> list[StepRow]:
    """Steps of stopped runs whose holder never came back: READY, with another fence."""
    rows = tx.run(
        update(step)
        .where(_lapsed(), _stopped())
        .values(
            state=StepState.READY.value,
            fence=step.c.fence + 1,
            lease_owner=None,
            lease_until=None,
            last_enqueued_at=None,
        )
        .returning(*step.c)
    )
    return [step_row(r) for r in rows]
