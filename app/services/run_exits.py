"""What is shown of the steps of a run, and of the ways out for those that wait. No value, no key.

Not here: taking a way out (app.services.runs, app.services.retries).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.domain.exits import LATER, RUN_WORDS, WAITS, Way, open_exits, wait_of
from app.domain.runs import RunMove, Stage
from app.domain.steps import StepKind, StepState
from app.services.parts import Transaction
from app.services.retries import WAITING, retry_of
from app.services.runs import legal_of, stuck_from
from app.store import runs, steps
from app.store.runs import Run
from app.store.steps import StepRow

_WAYS = {RunMove.RESUME: Way.RESUME, RunMove.UNDO: Way.UNDO}


@dataclass(frozen=True, slots=True)
class ExitView:
    """A way out that can be taken now."""

    way: str
    """retry | drop | stop | resume | widen | undo"""
    words: str
    command: str
    """What an operator types."""


@dataclass(frozen=True, slots=True)
class StepView:
    """A step of a run."""

    id: str
    stage: str
    dataset: str
    group: int | None
    """Of a dataset of objects: which group of them."""
    state: StepState
    attempt: int
    max_attempts: int
    code: str | None
    """Of the last error."""
    reason: str | None
    next_at: datetime | None
    """READY or DEFERRED: not before."""
    lease_owner: str | None
    """RUNNING: the worker that has it."""
    since: datetime | None
    waits: str | None
    """Why it waits for a person or a date: unparsable, failed, held, locked, ..."""
    exits: tuple[ExitView, ...]
    exit: str | None
    """The best way out in one line; null where it does not wait."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """What decides which ways are open."""

    run: Run
    legal: tuple[RunMove, ...]
    was_at: Stage


def page(
    tx: Transaction, *, run_id: str, states: Sequence[StepState], after: str | None, limit: int
) -> list[StepView]:
    """Steps of a run in these states, in a stable order, from behind one on. NotFoundError."""
    standing = _standing(tx, runs.get(tx, run_id))
    found = steps.page(tx, run_id, states=states, after=after, limit=limit)
    return [_view(standing, row) for row in found]


def waiting(tx: Transaction, run: Run) -> tuple[StepView, ...]:
    """Every step of a run that is parked, held or deferred."""
    standing = _standing(tx, run)
    return tuple(_view(standing, s) for s in steps.of_run(tx, run.id) if s.state in WAITING)


def of_run(run: Run, legal: Sequence[RunMove]) -> tuple[ExitView, ...]:
    """What a person may do with the run as a whole."""
    return tuple(
        ExitView(move.value, RUN_WORDS[move], f"clearlake run {move.value} {run.id}")
        for move in legal
    )


def _standing(tx: Transaction, run: Run) -> _Standing:
    return _Standing(run, legal_of(tx, run), stuck_from(tx, run))


def _view(standing: _Standing, row: StepRow) -> StepView:
    dataset, _, number = row.target.partition("/")
    wait = wait_of(row.kind, row.state, code=row.error_code, said=row.receipt.get(WAITS))
    exits: tuple[ExitView, ...] = ()
    if wait is not None:
        found = open_exits(wait, _ways(standing, row))
        exits = tuple(
            ExitView(e.way.value, e.words, _command(e.way, standing.run.id, row.id)) for e in found
        )
    said = None if wait is None else LATER
    has_date = row.state in (StepState.READY, StepState.DEFERRED)
    return StepView(
        id=row.id,
        stage=row.kind.value,
        dataset=dataset,
        group=int(number) if number.isdecimal() and row.kind is not StepKind.NEWER else None,
        state=row.state,
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        code=row.error_code,
        reason=row.reason,
        next_at=row.not_before if has_date else None,
        lease_owner=row.lease_owner,
        since=row.since,
        waits=None if wait is None else wait.value,
        exits=exits,
        exit=f"{exits[0].words}: {exits[0].command}" if exits else said,
    )


def _ways(standing: _Standing, row: StepRow) -> frozenset[Way]:
    run, legal = standing.run, standing.legal
    ways = {_WAYS[move] for move in legal if move in _WAYS}
    if retry_of(run, row, legal=legal, was_at=standing.was_at) is not None:
        ways.add(Way.RETRY)
    if run.stage is Stage.PENDING and Way.RESUME in ways:
        ways.add(Way.DROP)
    return frozenset(ways)


def _command(way: Way, run_id: str, step_id: str) -> str:
    if way is Way.RETRY:
        return f"clearlake run resume {run_id} --step {step_id}"
    if way is Way.DROP:
        return f"clearlake run resume {run_id} --step {step_id} --unparsable drop"
    return f"clearlake run {way.value} {run_id}"
