"""The signed reports of runs: written once, byte for byte as they were signed.

Not here: a case's own reports, as they are handed out (app.store.dsar_records).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, insert, select
from typeid import TypeID

from app.store.tables import report
from app.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class NewReport:
    """A report to be written. `kind`: subject | run | objects."""

    run_id: str
    kind: str
    document: bytes = field(repr=False)
    key_id: str
    dsar_id: str | None = None
    addendum: int = 0
    signature: bytes | None = field(default=None, repr=False)
    verdict: str | None = None
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A report without its bytes."""

    id: str
    kind: str
    dsar_id: str | None
    addendum: int
    verdict: str | None
    outcome: str | None
    sha256: str
    key_id: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RunReport:
    """A run's own report (or its object list), byte for byte."""

    id: str
    addendum: int
    document: bytes = field(repr=False)
    signature: bytes | None = field(repr=False)
    sha256: str
    key_id: str


def insert_reports(tx: Transaction, reports: Iterable[NewReport]) -> None:
    """Write reports. None of them is ever changed."""
    for new in reports:
        tx.run(
            insert(report).values(
                id=str(TypeID(prefix="rep")),
                sha256=hashlib.sha256(new.document).hexdigest(),
                **{name: getattr(new, name) for name in NewReport.__slots__},
            )
        )


def of_run(tx: Transaction, run_id: str) -> list[ReportRow]:
    """Every report of a run, the oldest first."""
    columns = [report.c[name] for name in ReportRow.__slots__]
    rows = tx.run(
        select(*columns)
        .where(report.c.run_id == run_id)
        .order_by(report.c.created_at, report.c.kind, report.c.id)
    )
    return [ReportRow(**row._mapping) for row in rows]


def run_report(
    tx: Transaction, run_id: str, *, kind: str, addendum: int | None
) -> RunReport | None:
    """A run's own report (`kind` run) or object list (objects): the newest, or the one with that
    number.
    """
    columns = [report.c[name] for name in RunReport.__slots__]
    query = select(*columns).where(report.c.run_id == run_id, report.c.kind == kind)
    if addendum is not None:
        query = query.where(report.c.addendum == addendum)
    row = tx.run(query.order_by(report.c.addendum.desc()).limit(1)).one_or_none()
    return None if row is None else RunReport(**row._mapping)


def numbers_of(tx: Transaction, dsar_ids: Sequence[str]) -> dict[str, int]:
    """How many reports each of these cases has: the number of its next addendum."""
    rows = tx.run(
        select(report.c.dsar_id, func.count().label("number"))
        .where(report.c.dsar_id.in_(dsar_ids), report.c.kind == "subject")
        .group_by(report.c.dsar_id)
    )
    return {row.dsar_id: row.number for row in rows}
