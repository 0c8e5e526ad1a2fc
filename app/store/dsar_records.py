"""What runs left about cases: which took them, how far they are, and the signed reports.

Reads only: runs and reports are written by the runs' own rooms (app.store.runs).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import case, func, select

from app.domain.steps import OPEN, StepKind, StepState
from app.store.audit import Entry
from app.store.tables import audit_entry, report, run, run_dsar, step
from app.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class RunOfCase:
    """A run that took the case, and what it came to."""

    id: str
    stage: str
    outcome: str | None
    verdict: str | None


@dataclass(frozen=True, slots=True)
class ReportOfCase:
    """A signed report without its bytes."""

    id: str
    run_id: str
    addendum: int
    verdict: str | None
    outcome: str | None
    sha256: str
    key_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class SignedReport:
    """A signed report, byte for byte as it was signed."""

    id: str
    addendum: int
    document: bytes = field(repr=False)
    signature: bytes | None = field(repr=False)
    sha256: str
    key_id: str


@dataclass(frozen=True, slots=True)
class StageProgress:
    """How many steps of one stage and dataset of a run have ended."""

    run_id: str
    stage: str
    dataset: str
    done: int
    total: int


def runs_of(tx: Transaction, dsar_ids: Sequence[str]) -> Mapping[str, tuple[RunOfCase, ...]]:
    """The runs that took each of these cases, the oldest first."""
    rows = tx.run(
        select(run_dsar.c.dsar_id, run.c.id, run.c.stage, run_dsar.c.outcome, run_dsar.c.verdict)
        .join(run, run.c.id == run_dsar.c.run_id)
        .where(run_dsar.c.dsar_id.in_(dsar_ids))
        .order_by(run.c.created_at, run.c.id)
    )
    found: dict[str, tuple[RunOfCase, ...]] = defaultdict(tuple)
    for r in rows:
        found[r.dsar_id] += (RunOfCase(r.id, r.stage, r.outcome, r.verdict),)
    return found


def entries_of(
    tx: Transaction, objects: Sequence[str], *, besides: Collection[str], after: int, limit: int
) -> list[Entry]:
    """The audit entries about these objects, the oldest first, without these verbs."""
    tx.settle()
    rows = tx.run(
        select(audit_entry)
        .where(
            audit_entry.c.object.in_(objects),
            audit_entry.c.verb.not_in(besides),
            audit_entry.c.seq > after,
        )
        .order_by(audit_entry.c.seq)
        .limit(limit)
    )
    return [Entry(r.seq, r.at, r.actor, r.verb, r.object, r.facts) for r in rows]


def scope_trouble(tx: Transaction, dsar_id: str) -> str | None:
    """The error code of the case's SCOPE step, when that waits for a person."""
    row = tx.run(
        select(step.c.error_code).where(
            step.c.run_id.is_(None),
            step.c.kind == StepKind.SCOPE,
            step.c.target == dsar_id,
            step.c.state == StepState.PARKED,
        )
    )
    code: str | None = row.scalar_one_or_none()
    return code


def reports_of(tx: Transaction, dsar_id: str) -> tuple[ReportOfCase, ...]:
    """The signed reports of a case, the oldest first."""
    columns = [report.c[name] for name in ReportOfCase.__slots__]
    rows = tx.run(
        select(*columns)
        .where(report.c.dsar_id == dsar_id, report.c.kind == "subject")
        .order_by(report.c.created_at, report.c.addendum)
    )
    return tuple(ReportOfCase(**row._mapping) for row in rows)


def signed_report(tx: Transaction, dsar_id: str, *, addendum: int | None) -> SignedReport | None:
    """The newest signed report of a case, or the newest with that addendum number."""
    columns = [report.c[name] for name in SignedReport.__slots__]
    query = select(*columns).where(report.c.dsar_id == dsar_id, report.c.kind == "subject")
    if addendum is not None:
        query = query.where(report.c.addendum == addendum)
    newest = query.order_by(report.c.created_at.desc(), report.c.addendum.desc()).limit(1)
    row = tx.run(newest).one_or_none()
    return None if row is None else SignedReport(**row._mapping)


def progress_of(tx: Transaction, run_ids: Sequence[str]) -> tuple[StageProgress, ...]:
    """Steps of these runs by stage and dataset, in the order in which they were put."""
    # The group of a step is `dataset/part`: people follow datasets, not parts.
    dataset = func.split_part(step.c.target, "/", 1)
    open_ = step.c.state.in_(sorted(OPEN))
    rows = tx.run(
        select(
            step.c.run_id,
            step.c.kind.label("stage"),
            dataset.label("dataset"),
            func.sum(case((open_, 0), else_=1)).label("done"),
            func.count().label("total"),
        )
        .where(step.c.run_id.in_(run_ids))
        .group_by(step.c.run_id, step.c.kind, dataset)
        .order_by(func.min(step.c.created_at), step.c.kind, dataset)
    )
    return tuple(StageProgress(**row._mapping) for row in rows)
