"""The rows of runs: the run itself, its cases, its facts and sealed documents, its findings.

Not here: records of objects (app.store.works), reports (app.store.run_reports), what is legal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Integer,
    Row,
    Select,
    and_,
    delete,
    func,
    insert,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import aggregate_order_by

from app.domain.dsars import DsarType, State
from app.domain.errors import NotFoundError
from app.domain.findings import Finding
from app.domain.phases import Tally
from app.domain.runs import AT_WORK, Stage
from app.domain.steps import OPEN, StepKind, StepState
from app.store.tables import dsar, finding, run, run_document, run_dsar, run_fact, step
from app.store.transaction import Transaction

LIMIT = "limit"
"""The fact that says to which part of the lake a run is limited; empty: no more."""
_STAMP = 64
_TAKING = text("select pg_advisory_xact_lock(4815162346)")


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it is stored."""

    id: str
    stage: Stage
    version: int
    started_by: str
    created_at: datetime
    stop_requested: bool
    undo_requested: bool
    undo_until: datetime | None
    addendum: int
    follow_up_of: str | None
    ended_at: datetime | None
    shredded_at: datetime | None


@dataclass(frozen=True, slots=True)
class RunDsar:
    """A case in a run. Its position is its subject's place in the run's identities."""

    dsar_id: str
    position: int
    outcome: str | None
    verdict: str | None
    state: State
    """Of the case, now."""


# --- the run -----------------------------------------------------------------------------------


def one_at_a_time(tx: Transaction) -> None:
    """Whoever begins a run, or goes on with a pending one, is alone in it until the commit."""
    tx.run(_TAKING)


def at_work(tx: Transaction) -> str | None:
    """The run that has the lake to itself, if there is one."""
    found = tx.run(select(run.c.id).where(run.c.stage.in_(sorted(AT_WORK))))
    return found.scalar_one_or_none()


def insert_run(
    tx: Transaction, run_id: str, *, started_by: str, addendum: int, follow_up_of: str | None
) -> None:
    """A new run, at its beginning."""
    tx.run(
        insert(run).values(
            id=run_id,
            stage=Stage.OPEN,
            started_by=started_by,
            addendum=addendum,
            follow_up_of=follow_up_of,
        )
    )


def get(tx: Transaction, run_id: str) -> Run:
    """A run. NotFoundError."""
    return _one(tx, _query().where(run.c.id == run_id))


def locked(tx: Transaction, run_id: str) -> Run:
    """A run that nobody else changes until this transaction ends. NotFoundError."""
    return _one(tx, _query().where(run.c.id == run_id).with_for_update(key_share=True))


def put(tx: Transaction, run_id: str, **values: Any) -> None:
    """Change columns of a run; its version goes up. Lock it first."""
    tx.run(update(run).where(run.c.id == run_id).values(version=run.c.version + 1, **values))


def page(tx: Transaction, *, limit: int, after: tuple[datetime, str] | None) -> list[Run]:
    """Runs, the newest first, from behind `after` (created_at, id) on."""
    query = _query()
    if after is not None:
        query = query.where(tuple_(run.c.created_at, run.c.id) < tuple_(*after))
    rows = tx.run(query.order_by(run.c.created_at.desc(), run.c.id.desc()).limit(limit))
    return [_run(row) for row in rows]


def undoing(tx: Transaction) -> list[str]:
    """Runs that are being undone."""
    rows = tx.run(select(run.c.id).where(run.c.undo_requested, run.c.stage.in_(sorted(AT_WORK))))
    return list(rows.scalars())


def _query() -> Select[Any]:
    return select(*(run.c[f.name] for f in fields(Run)))


def _one(tx: Transaction, query: Select[Any]) -> Run:
    row = tx.run(query).one_or_none()
    if row is None:
        raise NotFoundError("There is no such run.")
    return _run(row)


def _run(row: Row[Any]) -> Run:
    return Run(**{**row._mapping, "stage": Stage(row.stage)})


# --- its cases ---------------------------------------------------------------------------------


def ready_dsars(tx: Transaction, *, grace: timedelta) -> list[str]:
    """Erasure cases approved at least `grace` ago, the first approved first, locked. A case that
    somebody else is changing now is left to the next run.
    """
    rows = tx.run(
        select(dsar.c.id)
        .where(
            dsar.c.type == DsarType.ERASURE,
            dsar.c.state == State.QUEUED,
            dsar.c.approved_at <= func.now() - grace,
        )
        .order_by(dsar.c.approved_at, dsar.c.id)
        .with_for_update(skip_locked=True)
    )
    return list(rows.scalars())


def put_dsars(tx: Transaction, run_id: str, dsar_ids: Sequence[str]) -> None:
    """The cases of a new run, in their order."""
    rows = [{"run_id": run_id, "dsar_id": d, "position": n} for n, d in enumerate(dsar_ids)]
    tx.run(insert(run_dsar), rows)


def dsars_of(tx: Transaction, run_id: str) -> list[RunDsar]:
    """The cases of a run, in the order of its identities."""
    rows = tx.run(
        select(
            run_dsar.c.dsar_id,
            run_dsar.c.position,
            run_dsar.c.outcome,
            run_dsar.c.verdict,
            dsar.c.state,
        )
        .join(dsar, dsar.c.id == run_dsar.c.dsar_id)
        .where(run_dsar.c.run_id == run_id)
        .order_by(run_dsar.c.position)
    )
    return [RunDsar(**{**row._mapping, "state": State(row.state)}) for row in rows]


def lock_dsars(tx: Transaction, run_id: str) -> list[RunDsar]:
    """The same, and nobody else changes the cases until this transaction ends. Before the first
    audit entry: entries queue, and whoever holds a case may be waiting there.
    """
    mine = select(run_dsar.c.dsar_id).where(run_dsar.c.run_id == run_id)
    tx.run(select(dsar.c.id).where(dsar.c.id.in_(mine)).order_by(dsar.c.id).with_for_update())
    return dsars_of(tx, run_id)


def leave(tx: Transaction, run_id: str, dsar_id: str) -> None:
    """A case is in the run no more."""
    tx.run(delete(run_dsar).where(_is(run_id, dsar_id)))


def ended(tx: Transaction, run_id: str, dsar_id: str, *, outcome: str, verdict: str) -> None:
    """How the run ended for a case."""
    tx.run(update(run_dsar).where(_is(run_id, dsar_id)).values(outcome=outcome, verdict=verdict))


def last_run_of(tx: Transaction, dsar_ids: Iterable[str]) -> str | None:
    """The newest run that any of these cases was in."""
    rows = tx.run(
        select(run.c.id)
        .join(run_dsar, run_dsar.c.run_id == run.c.id)
        .where(run_dsar.c.dsar_id.in_(list(dsar_ids)))
        .order_by(run.c.created_at.desc(), run.c.id.desc())
        .limit(1)
    )
    return rows.scalar_one_or_none()


def _is(run_id: str, dsar_id: str) -> Any:
    return and_(run_dsar.c.run_id == run_id, run_dsar.c.dsar_id == dsar_id)


# --- its facts and documents ---------------------------------------------------------------------


def fact(tx: Transaction, run_id: str, name: str) -> str | None:
    """One fact, or None."""
    query = select(run_fact.c.value).where(run_fact.c.run_id == run_id, run_fact.c.name == name)
    return tx.run(query).scalar_one_or_none()


def facts(tx: Transaction, run_id: str) -> dict[str, str]:
    """Every fact of a run."""
    rows = tx.run(select(run_fact.c.name, run_fact.c.value).where(run_fact.c.run_id == run_id))
    return {row.name: row.value for row in rows}


def put_facts(tx: Transaction, run_id: str, facts: Mapping[str, str]) -> None:
    """Write facts; one that is there is replaced."""
    if not facts:
        return
    new = postgresql.insert(run_fact)
    rows = [{"run_id": run_id, "name": name, "value": value} for name, value in facts.items()]
    tx.run(
        new.on_conflict_do_update(
            index_elements=["run_id", "name"], set_={"value": new.excluded.value}
        ),
        rows,
    )


def document(tx: Transaction, run_id: str, name: str) -> bytes | None:
    """A sealed document, or None."""
    query = select(run_document.c.sealed_document).where(
        run_document.c.run_id == run_id, run_document.c.name == name
    )
    return tx.run(query).scalar_one_or_none()


def stamp_of(tx: Transaction, run_id: str, name: str) -> bytes | None:
    """What tells one sealing of a document from the next, without reading all of it: its first
    bytes, with the random nonce among them. None: there is no such document.
    """
    query = select(func.substring(run_document.c.sealed_document, 1, _STAMP)).where(
        run_document.c.run_id == run_id, run_document.c.name == name
    )
    found = tx.run(query).scalar_one_or_none()
    return None if found is None else bytes(found)


def put_document(tx: Transaction, run_id: str, name: str, sealed: bytes) -> None:
    """Write a sealed document; one that is there is replaced."""
    values = {"run_id": run_id, "name": name, "sealed_document": sealed}
    new = postgresql.insert(run_document).values(**values)
    tx.run(
        new.on_conflict_do_update(
            index_elements=["run_id", "name"], set_={"sealed_document": sealed}
        )
    )


def put_findings(
    tx: Transaction, run_id: str, findings: Iterable[Finding], *, addendum: int
) -> None:
    """What the second look saw, in numbers only."""
    counts: dict[tuple[str, str, str], int] = {}
    for found in findings:
        name = found.what.value, found.layer, found.dataset
        counts[name] = counts.get(name, 0) + found.count
    rows = [
        {
            "run_id": run_id,
            "addendum": addendum,
            "number": number,
            "what": what,
            "layer": layer,
            "dataset": dataset,
            "count": count,
        }
        for number, ((what, layer, dataset), count) in enumerate(sorted(counts.items()))
    ]
    if rows:
        tx.run(insert(finding), rows)


# --- its steps ---------------------------------------------------------------------------------


def tallies(tx: Transaction, run_id: str) -> dict[tuple[StepKind, str], Tally]:
    """The steps of a run, counted by kind and dataset."""
    dataset = func.split_part(step.c.target, "/", 1)
    is_newer = step.c.kind == StepKind.NEWER
    number = func.nullif(func.split_part(step.c.target, "/", 2), "").cast(Integer)
    found = func.coalesce(step.c.receipt["found"].as_integer(), 0)
    rows = tx.run(
        select(
            step.c.kind,
            dataset.label("dataset"),
            func.count().label("total"),
            func.count().filter(step.c.state.in_(sorted(OPEN))).label("open"),
            func.count().filter(step.c.state == StepState.DONE).label("done"),
            func.array_agg(step.c.error_code.distinct())
            .filter(step.c.state == StepState.PARKED, step.c.error_code.is_not(None))
            .label("failed"),
            func.array_agg(aggregate_order_by(found, number.desc()))
            .filter(is_newer)
            .label("found"),
        )
        .where(step.c.run_id == run_id)
        .group_by(step.c.kind, dataset)
    )
    return {
        (StepKind(r.kind), r.dataset): Tally(
            total=r.total,
            open=r.open,
            done=r.done,
            failed=frozenset(r.failed or ()),
            found=r.found[0] if r.found else 0,
        )
        for r in rows
    }


def ready_steps(tx: Transaction, run_id: str) -> list[str]:
    """Steps that wait to be claimed, for the bell."""
    rows = tx.run(select(step.c.id).where(step.c.run_id == run_id, step.c.state == StepState.READY))
    return list(rows.scalars())


def forget_ready(tx: Transaction, run_id: str) -> None:
    """Take steps away that nobody has begun, but those that undo."""
    tx.run(
        delete(step).where(
            step.c.run_id == run_id,
            step.c.state == StepState.READY,
            step.c.kind != StepKind.UNDO,
        )
    )


def forget_ended(tx: Transaction, run_id: str) -> None:
    """Take the steps of an earlier pass away; what they did stands in the audit entries."""
    tx.run(delete(step).where(step.c.run_id == run_id, step.c.state.not_in(sorted(OPEN))))
