"""One step of a run that waits for a person, tried again.

Not here: what else a person can do (app.domain.exits), whole runs (app.services.runs).
"""

from __future__ import annotations

from app.domain.actors import Actor
from app.domain.errors import IllegalMoveError, NotFoundError
from app.domain.failpoints import failpoint
from app.domain.phases import kinds_at
from app.domain.runs import RunMove, Stage
from app.domain.steps import NewStep, StepKind, StepState
from app.services import entries
from app.services.parts import Parts, Transaction
from app.services.run_stages import retake
from app.services.runs import as_read, legal_of, resume, stuck_from
from app.store import runs, steps
from app.store.runs import Run
from app.store.steps import StepRow

WAITING = frozenset({StepState.PARKED, StepState.HELD, StepState.DEFERRED})


def retry(
    actor: Actor,
    tx: Transaction,
    *,
    parts: Parts,
    run_id: str,
    step_id: str,
    expected_version: int | None = None,
) -> Run:
    """Try one step again that waits for a person. Of a pending run it takes another pass, which
    tries everything that was left. NotFoundError; IllegalMoveError; LakeBusyError.
    """
    run = as_read(tx, run_id, expected_version)
    step = steps.get(tx, step_id)
    if step is None or step.run_id != run_id:
        raise NotFoundError("The run has no such step.")
    how = retry_of(run, step, legal=legal_of(tx, run), was_at=stuck_from(tx, run))
    if how is None:
        raise IllegalMoveError(
            f"A step of {step.kind.value} that is {step.state.value} is not retried while its run "
            f"is {run.stage.value}.",
            legal=tuple(m.value for m in legal_of(tx, run)),
        )
    if how is Stage.PENDING:
        resume(actor, tx, parts=parts, run_id=run_id)
    else:
        _put_one_again(tx, run, step, at=how)
    entries.record(
        actor,
        tx,
        verb="step.retried",
        about=run_id,
        step=step_id,
        kind=step.kind.value,
        target=step.target.partition("/")[0],
        was=step.state.value,
        code=step.error_code,
    )
    return runs.get(tx, run_id)


def retry_of(run: Run, step: StepRow, *, legal: tuple[RunMove, ...], was_at: Stage) -> Stage | None:
    """The stage in which the step is tried again: the one that the run is at or was stuck at, or
    PENDING for another pass. None: not now.

    What an act itself left open in the erase stage is planned again by another pass only.
    """
    if step.state not in WAITING or run.stop_requested or run.undo_requested:
        return None
    failed = step.state is StepState.PARKED and step.error_code is not None
    if run.stage is Stage.PENDING:
        return Stage.PENDING if RunMove.RESUME in legal else None
    if run.stage is Stage.STUCK:
        fits = failed and RunMove.RESUME in legal and step.kind in kinds_at(was_at)
        return was_at if fits else None
    again = failed or step.kind is StepKind.PURGE
    return run.stage if again and step.kind in kinds_at(run.stage) else None


def _put_one_again(tx: Transaction, run: Run, step: StepRow, *, at: Stage) -> None:
    if run.stage is Stage.STUCK:
        runs.put(tx, run.id, stage=at)
        retake(tx, run.id)
    not_before = run.undo_until if at is Stage.CHECKED else None
    again = NewStep(step.kind, step.target, run_id=run.id, not_before=not_before)
    failpoint("runs.before_retried")
    tx.ring(steps.put(tx, [again]))
