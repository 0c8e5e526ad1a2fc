"""Runs as people ask for them: started, stopped, resumed, undone; and follow-ups of late data.

Not here: how a run goes on by itself (run_stages), and what is shown of it (run_views).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from typeid import TypeID

from app.domain.actors import Actor
from app.domain.canary import Limit
from app.domain.dsars import Move, State
from app.domain.errors import IllegalMoveError, LakeBusyError, StaleError
from app.domain.failpoints import failpoint
from app.domain.identifiers import Identifier, Identity
from app.domain.phases import EVERYBODY, kinds_at
from app.domain.runs import RunMove, Stage, legal_run_moves
from app.domain.steps import NewStep, StepKind, StepState
from app.services import canaries, dsars, entries, held_runs, holds
from app.services.journal import RunSeal
from app.services.parts import Parts, Transaction
from app.services.run_stages import IDENTITIES, LATE_DATA, advance, go_on, retake
from app.stages.anew import begun_anew
from app.store import dsars as cases
from app.store import runs, steps
from app.store.runs import LIMIT, Run

__all__ = [
    "DROP",
    "Exit",
    "advance",
    "follow_up",
    "legal_of",
    "resume",
    "resume_due",
    "start",
    "stop",
    "undo",
    "widen",
]

DROP = "drop"
"""What becomes of parked lines at the one exit there is."""


@dataclass(frozen=True, slots=True)
class Exit:
    """The way out for lines that could not be parsed: those of one parked step are dropped."""

    step_id: str


def start(actor: Actor, tx: Transaction, *, parts: Parts, limit: Limit | None = None) -> str | None:
    """Begin a run for every queued case whose grace period is over. None: there is none. `limit`:
    a canary, whose first pass goes over that part of the lake alone (`widen` goes on).

    LakeBusyError: another run is at work on the lake. InvalidFieldsError: no such part.
    """
    runs.one_at_a_time(tx)
    waiting = runs.ready_dsars(tx, grace=parts.rules.approval_grace)
    if not waiting:
        return None
    if limit is not None:
        canaries.require_known(tx, waiting[0], limit)
    _require_free_lake(tx)
    waiting = held_runs.ready_cases(tx, waiting)
    if not waiting:
        return None
    run_id = _begun(actor, tx, parts, follow_up_of=None)
    runs.put_dsars(tx, run_id, waiting)
    runs.put_facts(tx, run_id, canaries.limit_facts(limit))
    tx.ring(steps.put(tx, [NewStep(StepKind.RESOLVE, EVERYBODY, run_id=run_id)]))
    for dsar_id in waiting:
        dsars.move(actor, tx, dsar_id, Move.TAKE, verb="dsar.taken", run_id=run_id)
    facts = {} if limit is None else {"limit": str(limit)}
    entries.record(actor, tx, verb="run.started", about=run_id, dsars=len(waiting), **facts)
    return run_id


def follow_up(
    actor: Actor, tx: Transaction, *, parts: Parts, found: Mapping[str, Sequence[Identifier]]
) -> str | None:
    """Begin a run that erases exactly these values of late data, by case; its reports are addenda.
    Nobody approves it again: the cases were approved. None: the lake is busy, come again.
    """
    runs.one_at_a_time(tx)
    if not found or runs.at_work(tx) is not None:
        return None
    people = sorted(found)
    run_id = _begun(actor, tx, parts, follow_up_of=runs.last_run_of(tx, people))
    runs.put_dsars(tx, run_id, people)
    none: frozenset[Identifier] = frozenset()
    identities = [
        Identity(
            dsar_id,
            given=frozenset(found[dsar_id]),
            linked=none,
            derived=none,
            shared=(),
            sources=LATE_DATA,
        )
        for dsar_id in people
    ]
    sealed = RunSeal.of(parts.keys, run_id).document(IDENTITIES, identities)
    runs.put_document(tx, run_id, IDENTITIES, sealed)
    for identity in identities:
        holds.add_protected(tx, parts, identity)
    tx.ring(steps.put(tx, [NewStep(StepKind.RESOLVE, EVERYBODY, run_id=run_id)]))
    for dsar_id in people:
        dsars.move(actor, tx, dsar_id, Move.RETAKE, verb="dsar.followed_up", run_id=run_id)
    entries.record(actor, tx, verb="run.started", about=run_id, dsars=len(people), follow_up=True)
    return run_id


def stop(actor: Actor, tx: Transaction, *, run_id: str, expected_version: int | None = None) -> Run:
    """Begin no further step, and end those at work at their next effect. IllegalMoveError."""
    _legal(tx, run_id, RunMove.STOP, expected_version=expected_version)
    runs.put(tx, run_id, stop_requested=True)
    entries.record(actor, tx, verb="run.stopped", about=run_id)
    return runs.get(tx, run_id)


def resume(
    actor: Actor,
    tx: Transaction,
    *,
    parts: Parts,
    run_id: str,
    exit_: Exit | None = None,
    expected_version: int | None = None,
) -> Run:
    """Go on with a run that was stopped, is stuck, or is pending. `exit_`: with parked lines of a
    pending run. IllegalMoveError; LakeBusyError and OnHoldError for a pending one.
    """
    run = _legal(tx, run_id, RunMove.RESUME, expected_version=expected_version)
    held_runs.require_free(tx, run)
    if exit_ is not None:
        _take_exit(tx, run, exit_)
    runs.put(tx, run_id, stop_requested=False)
    if run.stage is Stage.PENDING:
        _again(tx, run)
    elif run.stage is Stage.STUCK:
        _unstick(tx, run)
    entries.record(
        actor, tx, verb="run.resumed", about=run_id, stage=run.stage.value, drop=exit_ is not None
    )
    go_on(tx, parts, run_id)
    tx.ring(runs.ready_steps(tx, run_id))
    return runs.get(tx, run_id)


def widen(
    actor: Actor,
    tx: Transaction,
    *,
    parts: Parts,
    run_id: str,
    expected_version: int | None = None,
) -> Run:
    """Go on with a pending run that was limited, over the whole lake: the same people, the same
    tombstones, an undo window of its own. Its reports are addenda. IllegalMoveError; LakeBusyError.
    """
    run = _legal(tx, run_id, RunMove.WIDEN, expected_version=expected_version)
    limit = canaries.limit_in(runs.facts(tx, run_id))
    assert limit is not None
    runs.put(tx, run_id, stop_requested=False)
    # What others wrote to that part since is looked at again too.
    runs.put_facts(tx, run_id, {LIMIT: "", begun_anew(limit.dataset): "1"})
    _again(tx, run)
    failpoint("runs.before_widened")
    entries.record(actor, tx, verb="run.widened", about=run_id, limit=str(limit))
    go_on(tx, parts, run_id)
    return runs.get(tx, run_id)


def undo(
    actor: Actor,
    tx: Transaction,
    *,
    parts: Parts,
    run_id: str,
    expected_version: int | None = None,
) -> Run:
    """Put every superseded byte back; the cases wait for approval again. Steps at work are told to
    stop first. IllegalMoveError once the point of no return has passed.
    """
    run = _legal(tx, run_id, RunMove.UNDO, expected_version=expected_version)
    runs.put(tx, run_id, undo_requested=True, stop_requested=True)
    # Before the first entry: entries queue, and whoever claims one of these may be waiting there.
    runs.forget_ready(tx, run_id)
    runs.lock_dsars(tx, run_id)
    if run.undo_requested:
        _put_again(tx, run_id, kinds=frozenset({StepKind.UNDO}))
    entries.record(actor, tx, verb="run.undo_requested", about=run_id)
    go_on(tx, parts, run_id)
    return runs.get(tx, run_id)


def resume_due(actor: Actor, tx: Transaction, *, parts: Parts) -> list[str]:
    """Go on with pending runs of which a retention lock has ended or a legal hold of ours was
    released, while the lake is free; and with undoing where the last step at work was given back.
    For the clock. The runs that go on.
    """
    runs.one_at_a_time(tx)
    for run_id in runs.undoing(tx):
        runs.locked(tx, run_id)
        go_on(tx, parts, run_id)
    deferred = [r for r in steps.deferred_runs(tx) if held_runs.is_free(tx, r)]
    due = [r for r in deferred if runs.get(tx, r).stage is Stage.PENDING] + held_runs.lifted(tx)
    if not due or runs.at_work(tx) is not None:
        return []
    resume(actor, tx, parts=parts, run_id=due[0])
    return due[:1]


def legal_of(tx: Transaction, run: Run) -> tuple[RunMove, ...]:
    """What may be done with a run now."""
    facts = runs.facts(tx, run.id)
    return legal_run_moves(
        run.stage,
        stopped=run.stop_requested,
        undoing=run.undo_requested,
        past_return=facts.get("past_return") == "1",
        differs="check_failed" in facts.get("stuck_why", "").split(),
        limited=canaries.limit_in(facts) is not None,
    )


def as_read(tx: Transaction, run_id: str, expected_version: int | None) -> Run:
    """A run, locked. StaleError: it has changed since this version was read."""
    runs.one_at_a_time(tx)
    run = runs.locked(tx, run_id)
    if expected_version is not None and expected_version != run.version:
        raise StaleError("The run has changed since it was read.")
    return run


def stuck_from(tx: Transaction, run: Run) -> Stage:
    """The stage at which a stuck run stopped."""
    return Stage(runs.fact(tx, run.id, "stuck_from") or Stage.OPEN)


# --- the insides -------------------------------------------------------------------------------


def _begun(actor: Actor, tx: Transaction, parts: Parts, *, follow_up_of: str | None) -> str:
    run_id = str(TypeID(prefix="run"))
    # The key is there before the row: a key without a row seals nothing.
    parts.keys.create(run_id)
    failpoint("runs.after_key")
    runs.insert_run(tx, run_id, started_by=actor.id, addendum=0, follow_up_of=follow_up_of)
    return run_id


def _require_free_lake(tx: Transaction) -> None:
    busy = runs.at_work(tx)
    if busy is not None:
        raise LakeBusyError(f"The run {busy} is at work on this lake: wait for it, or stop it.")


def _legal(tx: Transaction, run_id: str, move: RunMove, *, expected_version: int | None) -> Run:
    run = as_read(tx, run_id, expected_version)
    legal = legal_of(tx, run)
    if move not in legal:
        stage = "stopped" if run.stop_requested else run.stage.value
        raise IllegalMoveError(
            f"A run that is {stage} cannot be moved by {move.value}.",
            legal=tuple(m.value for m in legal),
        )
    return run


def _again(tx: Transaction, run: Run) -> None:
    """A pending run begins another pass, for what is open."""
    _require_free_lake(tx)
    runs.forget_ended(tx, run.id)
    runs.put(tx, run.id, stage=Stage.OPEN, addendum=run.addendum + 1, undo_until=None)
    # A pass has a point of no return of its own: what earlier ones destroyed no undo touches.
    runs.put_facts(tx, run.id, {"left": "0", "past_return": "0", "stuck_why": ""})
    held_runs.forget(tx, run.id)
    for case in runs.lock_dsars(tx, run.id):
        if case.state is State.RUNNING:
            cases.put(tx, case.dsar_id, outcome=None, verdict=None)
    retake(tx, run.id)


def _unstick(tx: Transaction, run: Run) -> None:
    """Try again what stopped the run, from the stage at which it did."""
    stage = stuck_from(tx, run)
    runs.put(tx, run.id, stage=stage)
    _put_again(tx, run.id, kinds=kinds_at(stage))
    retake(tx, run.id)


def _put_again(tx: Transaction, run_id: str, *, kinds: frozenset[StepKind]) -> None:
    """Failed steps of these kinds, that a person looked at meanwhile; and undos that left
    something. What an act itself left open is for a later pass.
    """
    again = [
        NewStep(s.kind, s.target, run_id=run_id)
        for s in steps.of_run(tx, run_id)
        if s.state is StepState.PARKED
        and s.kind in kinds
        and (s.error_code is not None or s.kind is StepKind.UNDO)
    ]
    tx.ring(steps.put(tx, again))


def _take_exit(tx: Transaction, run: Run, exit_: Exit) -> None:
    step = steps.get(tx, exit_.step_id)
    fits = (
        run.stage is Stage.PENDING
        and step is not None
        and (step.run_id, step.kind, step.state) == (run.id, StepKind.ERASE, StepState.PARKED)
        and "/" in step.target
    )
    if step is None or not fits:
        raise IllegalMoveError(
            "Only a parked erase step of objects of a pending run has lines that can be dropped.",
            legal=(RunMove.RESUME.value,),
        )
    runs.put_facts(tx, run.id, {f"unparsable:{step.target}": DROP})
