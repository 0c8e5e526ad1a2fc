"""What is shown of a run: how far it is by layer, dataset and stage, what waits for a person, how
it ended for each case. No identifier, no key of an object.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from app.domain.actors import Actor
from app.domain.dsars import State
from app.domain.errors import NotReadyError
from app.domain.failpoints import failpoint
from app.domain.pace import WINDOW, Pace, pace_of
from app.domain.phases import BESIDE, kinds_at
from app.domain.runs import RunMove, Stage
from app.domain.steps import OPEN, StepKind, StepState
from app.services import entries, run_exits
from app.services.canaries import limit_in
from app.services.parts import Transaction
from app.services.run_exits import ExitView, StepView
from app.services.runs import legal_of
from app.store import run_reports, runs, steps
from app.store.run_reports import ReportRow, RunReport
from app.store.runs import Run
from app.store.steps import Progress

BESIDE_WORDS = "beside the datasets"


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in a list."""

    id: str
    stage: Stage
    stopped: bool
    undoing: bool
    started_by: str
    created_at: datetime
    ended_at: datetime | None
    dsars: int


@dataclass(frozen=True, slots=True)
class StageProgress:
    """The steps of one stage on one dataset."""

    layer: str | None
    dataset: str | None
    """Null: the stage is not about one dataset."""
    stage: str
    done: int
    total: int
    states: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LeftStep:
    """A step that is parked, held or deferred."""

    id: str
    stage: str
    target: str
    """The dataset, with the number of the group of objects."""
    state: StepState
    code: str | None
    reason: str | None
    until: datetime | None
    waits: str | None
    """Why: unparsable, failed, held, locked, ..."""
    exit: str | None
    """The best way out, and the command that takes it."""


@dataclass(frozen=True, slots=True)
class CaseInRun:
    """A case of the run, and how the run ended for it."""

    id: str
    status: State
    outcome: str | None
    verdict: str | None


@dataclass(frozen=True, slots=True)
class RunReportLink:
    """A signed report (or the object list) that the run made."""

    id: str
    kind: str
    """subject | run | objects"""
    dsar_id: str | None
    addendum: int
    verdict: str | None
    outcome: str | None
    sha256: str
    created_at: datetime
    href: str


@dataclass(frozen=True, slots=True)
class RunOverview:
    """A run, with what may be done with it."""

    id: str
    stage: Stage
    stopped: bool
    """It was told to stop: no step is begun."""
    undoing: bool
    legal_moves: tuple[RunMove, ...]
    exits: tuple[ExitView, ...]
    """The same in words, with the command that does it."""
    limit: str | None
    """The part of the lake that it is limited to: a dataset, or dataset/folder."""
    stuck_codes: tuple[str, ...]
    """STUCK: what went wrong, as codes."""
    started_by: str
    created_at: datetime
    reached: Mapping[str, datetime]
    """Stage to when it was reached."""
    undo_until: datetime | None
    """From here on superseded bytes are destroyed, and nothing can be put back."""
    ended_at: datetime | None
    addendum: int
    follow_up_of: str | None
    progress: tuple[StageProgress, ...]
    pace: Pace | None
    """Of the stage it is at; null where it is not at work."""
    left: tuple[LeftStep, ...]
    dsars: tuple[CaseInRun, ...]
    reports: tuple[RunReportLink, ...]
    version: int


def summaries(
    tx: Transaction, *, limit: int, after: tuple[datetime, str] | None
) -> list[RunSummary]:
    """Runs, the newest first."""
    return [
        RunSummary(
            id=run.id,
            stage=run.stage,
            stopped=run.stop_requested and run.ended_at is None,
            undoing=run.undo_requested,
            started_by=run.started_by,
            created_at=run.created_at,
            ended_at=run.ended_at,
            dsars=len(runs.dsars_of(tx, run.id)),
        )
        for run in runs.page(tx, limit=limit, after=after)
    ]


def overview(tx: Transaction, *, run_id: str) -> RunOverview:
    """Everything that is shown of a run. NotFoundError."""
    run = runs.get(tx, run_id)
    facts = runs.facts(tx, run_id)
    legal = legal_of(tx, run)
    limit = limit_in(facts)
    return RunOverview(
        id=run.id,
        stage=run.stage,
        stopped=run.stop_requested and run.ended_at is None,
        undoing=run.undo_requested,
        legal_moves=legal,
        exits=run_exits.of_run(run, legal),
        limit=None if limit is None else str(limit),
        stuck_codes=_stuck_codes(run, facts),
        started_by=run.started_by,
        created_at=run.created_at,
        reached=_reached(facts),
        undo_until=run.undo_until,
        ended_at=run.ended_at,
        addendum=run.addendum,
        follow_up_of=run.follow_up_of,
        progress=_progress(steps.progress(tx, run_id), json.loads(facts.get("layers", "{}"))),
        pace=_pace(tx, run),
        left=tuple(_left(s) for s in run_exits.waiting(tx, run)),
        dsars=tuple(
            CaseInRun(c.dsar_id, c.state, c.outcome, c.verdict) for c in runs.dsars_of(tx, run_id)
        ),
        reports=tuple(_link(run_id, r) for r in run_reports.of_run(tx, run_id)),
        version=run.version,
    )


def read_report(
    actor: Actor, tx: Transaction, *, run_id: str, addendum: int | None = None
) -> RunReport:
    """The run's newest signed report, or the one with that number; the download is an entry.
    NotReadyError before there is one.
    """
    return _read(actor, tx, run_id, kind="run", addendum=addendum)


def read_objects(
    actor: Actor, tx: Transaction, *, run_id: str, addendum: int | None = None
) -> RunReport:
    """The object list that the reports name by its digest; sealed where few people were in the
    run. The download is an entry.
    """
    return _read(actor, tx, run_id, kind="objects", addendum=addendum)


def _read(
    actor: Actor, tx: Transaction, run_id: str, *, kind: str, addendum: int | None
) -> RunReport:
    found = _found(tx, run_id, kind=kind, addendum=addendum)
    failpoint("runs.before_read_entry")
    entries.record(
        actor,
        tx,
        verb="report.read",
        about=run_id,
        report=found.id,
        addendum=found.addendum,
        sha256=found.sha256,
    )
    return found


def signature_of(tx: Transaction, *, run_id: str, addendum: int | None = None) -> RunReport:
    """The same report for its signature, which says nothing of anybody and is no entry."""
    return _found(tx, run_id, kind="run", addendum=addendum)


def _found(tx: Transaction, run_id: str, *, kind: str, addendum: int | None) -> RunReport:
    stage = runs.get(tx, run_id).stage
    found = run_reports.run_report(tx, run_id, kind=kind, addendum=addendum)
    if found is None:
        raise NotReadyError(f"There is no such report: the run is {stage.value}.")
    return found


def _stuck_codes(run: Run, facts: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(facts.get("stuck_why", "").split()) if run.stage is Stage.STUCK else ()


def _reached(facts: Mapping[str, str]) -> dict[str, datetime]:
    names = {f"{stage.value}_at": stage.value for stage in Stage}
    found = {names[n]: datetime.fromisoformat(at) for n, at in facts.items() if n in names}
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


def _progress(found: Iterable[Progress], layers: Mapping[str, str]) -> tuple[StageProgress, ...]:
    states: dict[tuple[str, str], dict[str, int]] = {}
    for p in found:
        states.setdefault((p.target, p.kind.value), {})[p.state.value] = p.count
    return tuple(
        StageProgress(
            layer=layers.get(target),
            dataset=target if target in layers else BESIDE_WORDS if target == BESIDE else None,
            stage=kind,
            done=sum(n for state, n in counts.items() if StepState(state) not in OPEN),
            total=sum(counts.values()),
            states=counts,
        )
        for (target, kind), counts in sorted(states.items())
    )


def _pace(tx: Transaction, run: Run) -> Pace | None:
    kinds = frozenset({StepKind.UNDO}) if run.undo_requested else kinds_at(run.stage)
    if not kinds or run.ended_at is not None:
        return None
    worked = steps.worked(tx, run.id, kinds=kinds, window=WINDOW)
    if worked is None:
        return None
    pace = pace_of(worked, now=tx.now())
    is_stopped = run.stop_requested and not run.undo_requested
    return replace(pace, ends_at=None) if is_stopped else pace


def _left(step: StepView) -> LeftStep:
    return LeftStep(
        id=step.id,
        stage=step.stage,
        target=step.dataset if step.group is None else f"{step.dataset}/{step.group}",
        state=step.state,
        code=step.code,
        reason=step.reason,
        until=step.next_at,
        waits=step.waits,
        exit=step.exit,
    )


def _link(run_id: str, row: ReportRow) -> RunReportLink:
    if row.dsar_id is not None:
        href = f"/v1/dsars/{row.dsar_id}/report.json?addendum={row.addendum}"
    elif row.kind == "run":
        href = f"/v1/runs/{run_id}/report.json?addendum={row.addendum}"
    else:
        href = f"/v1/runs/{run_id}/objects?addendum={row.addendum}"
    return RunReportLink(
        id=row.id,
        kind=row.kind,
        dsar_id=row.dsar_id,
        addendum=row.addendum,
        verdict=row.verdict,
        outcome=row.outcome,
        sha256=row.sha256,
        created_at=row.created_at,
        href=href,
    )
