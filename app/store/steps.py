"""The step ledger: put steps in it, and see how they stand. Postgres is the truth; a message only
wakes somebody. Not here: who holds a step (app.store.leases), what it does (app.services.ledger).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Row, and_, bindparam, func, null, select, tuple_, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql.dml import ReturningInsert
from typeid import TypeID

from app.domain.failpoints import failpoint
from app.domain.pace import Worked
from app.domain.runs import Stage
from app.domain.steps import OPEN, TOGETHER, NewStep, StepKind, StepState
from app.store.tables import run, step
from app.store.transaction import Transaction

_CHUNK = 1000
_OPEN = sorted(OPEN)


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step as it stands."""

    id: str
    run_id: str | None
    kind: StepKind
    target: str
    state: StepState
    attempt: int
    not_before: datetime | None
    lease_until: datetime | None
    receipt: Mapping[str, int | str] = field(default_factory=dict)
    error_code: str | None = None
    reason: str | None = None
    max_attempts: int = 5
    lease_owner: str | None = None
    since: datetime | None = None
    """When it came to this state, or was last at work."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How many steps of a run are in one state, by kind and dataset."""

    kind: StepKind
    target: str
    """A dataset, without its groups."""
    state: StepState
    count: int


def put(tx: Transaction, steps: Sequence[NewStep]) -> list[str]:
    """Put steps in the ledger; the ids in the order given. One of the same run, kind and target
    that is READY or RUNNING is left as it is; one that has ended is made READY again, attempt 0.
    """
    named = {_name(s): s for s in steps}
    known: dict[tuple[str | None, str, str], str] = {}
    for chunk in _chunks(sorted(named, key=lambda n: (n[0] or "", *n[1:]))):
        known.update(_open_ones(tx, chunk))
        missing = [_row(named[name]) for name in chunk if name not in known]
        if missing:
            known.update(_upserted(tx, missing))
            # an upsert is silent about one that somebody else put meanwhile
            known.update(_open_ones(tx, [name for name in chunk if name not in known]))
    failpoint("steps.put")
    return [known[_name(s)] for s in steps]


def _name(new: NewStep) -> tuple[str | None, str, str]:
    return new.run_id, new.kind.value, new.target


def _chunks(
    names: list[tuple[str | None, str, str]],
) -> list[list[tuple[str | None, str, str]]]:
    return [names[at : at + _CHUNK] for at in range(0, len(names), _CHUNK)]


_OPEN_OF = select(step.c.id, step.c.run_id, step.c.kind, step.c.target).where(
    tuple_(func.coalesce(step.c.run_id, ""), step.c.kind, step.c.target).in_(
        bindparam("names", expanding=True)
    ),
    step.c.state.in_(_OPEN),
)


def _open_ones(
    tx: Transaction, names: list[tuple[str | None, str, str]]
) -> dict[tuple[str | None, str, str], str]:
    """Not locked: a step that is at work must not wait for whoever puts others."""
    if not names:
        return {}
    wanted = [(run_id or "", kind, target) for run_id, kind, target in names]
    rows = tx.run(_OPEN_OF, {"names": wanted})
    return {(r.run_id, r.kind, r.target): r.id for r in rows}


def _row(new: NewStep) -> dict[str, object]:
    return {
        "id": str(TypeID(prefix="step")),
        "run_id": new.run_id,
        "kind": new.kind.value,
        "target": new.target,
        "state": StepState.READY.value,
        "not_before": new.not_before,
        "max_attempts": new.max_attempts,
    }


def _upserting(new: Insert) -> ReturningInsert[Any]:
    """The fence is kept: whoever held the step before must not write to it."""
    again = new.on_conflict_do_update(
        index_elements=[step.c.run_id, step.c.kind, step.c.target],
        set_={
            "state": StepState.READY.value,
            "attempt": 0,
            "max_attempts": new.excluded.max_attempts,
            "not_before": new.excluded.not_before,
            **dict.fromkeys(("last_enqueued_at", "started_at", "ended_at"), null()),
            **dict.fromkeys(("receipt", "error_code", "reason"), null()),
        },
        where=step.c.state.not_in(_OPEN),
    )
    return again.returning(step.c.id, step.c.run_id, step.c.kind, step.c.target)


_UPSERT_ONE = _upserting(insert(step))


def _upserted(
    tx: Transaction, rows: list[dict[str, object]]
) -> dict[tuple[str | None, str, str], str]:
    if len(rows) == 1:  # the usual one, whose text is made once
        found = tx.run(_UPSERT_ONE, rows[0])
    else:
        found = tx.run(_upserting(insert(step).values(rows)))
    return {(r.run_id, r.kind, r.target): r.id for r in found}


def of_run(tx: Transaction, run_id: str) -> list[StepRow]:
    """Every step of a run, by kind and target."""
    rows = tx.run(select(step).where(step.c.run_id == run_id).order_by(step.c.kind, step.c.target))
    return [step_row(r) for r in rows]


def page(
    tx: Transaction, run_id: str, *, states: Sequence[StepState], after: str | None, limit: int
) -> list[StepRow]:
    """Steps of a run in these states (none: in any), in the order of their ids, from behind one."""
    query = select(step).where(step.c.run_id == run_id)
    if states:
        query = query.where(step.c.state.in_([s.value for s in states]))
    if after is not None:
        query = query.where(step.c.id > after)
    return [step_row(r) for r in tx.run(query.order_by(step.c.id).limit(limit))]


def get(tx: Transaction, step_id: str) -> StepRow | None:
    """One step, or None."""
    row = tx.run(select(step).where(step.c.id == step_id)).one_or_none()
    return None if row is None else step_row(row)


def progress(tx: Transaction, run_id: str) -> list[Progress]:
    """How far a run is, by kind, dataset and state."""
    dataset = func.split_part(step.c.target, "/", 1).label("dataset")
    rows = tx.run(
        select(step.c.kind, dataset, step.c.state, func.count().label("number"))
        .where(step.c.run_id == run_id)
        .group_by(step.c.kind, dataset, step.c.state)
        .order_by(step.c.kind, dataset, step.c.state)
    )
    return [Progress(StepKind(r.kind), r.dataset, StepState(r.state), r.number) for r in rows]


def worked(
    tx: Transaction, run_id: str, *, kinds: Collection[StepKind], window: timedelta
) -> Worked | None:
    """How far the groups of these kinds are; the steps, where none is a group. None: no step."""
    is_group = and_(step.c.target.contains("/"), step.c.kind != StepKind.NEWER).label("is_group")
    lately = step.c.ended_at > func.now() - window
    size = func.coalesce(step.c.receipt["bytes"].astext.cast(BigInteger), 0)
    rows = tx.run(
        select(
            is_group,
            func.count().label("total"),
            func.count().filter(step.c.state.not_in(_OPEN)).label("done"),
            func.count().filter(step.c.state == StepState.RUNNING).label("at_work"),
            func.min(step.c.started_at).label("since"),
            func.count().filter(lately).label("lately"),
            func.coalesce(func.sum(size), 0).label("bytes_done"),
            func.coalesce(func.sum(size).filter(lately), 0).label("bytes_lately"),
        )
        .where(step.c.run_id == run_id, step.c.kind.in_(sorted(kinds)))
        .group_by(is_group)
        .order_by(is_group.desc())
    )
    row = rows.first()
    if row is None:
        return None
    planned = select(func.coalesce(func.sum(size), 0)).where(
        step.c.run_id == run_id, step.c.kind.in_([StepKind.PLAN, StepKind.NEWER])
    )
    has_bytes = row.is_group and StepKind.ERASE in kinds
    return Worked(
        total=row.total,
        done=row.done,
        at_work=row.at_work,
        since=row.since,
        lately=row.lately,
        bytes_planned=int(tx.run(planned).scalar_one()) if has_bytes else 0,
        bytes_done=int(row.bytes_done),
        bytes_lately=int(row.bytes_lately),
    )


def deferred_runs(tx: Transaction) -> list[str]:
    """Runs with a DEFERRED (or HELD) step whose date has come, and none that follows soon after."""
    rows = tx.run(
        select(step.c.run_id, step.c.not_before)
        .where(
            step.c.state.in_([StepState.DEFERRED, StepState.HELD]),
            step.c.not_before.is_not(None),
            step.c.run_id.is_not(None),
        )
        .order_by(step.c.run_id, step.c.not_before)
    )
    dates: dict[str, list[datetime]] = {}
    for row in rows:
        dates.setdefault(row.run_id, []).append(row.not_before)
    now = tx.now()
    return [
        run_id
        for run_id, ends in dates.items()
        if max(end for end in ends if end <= ends[0] + TOGETHER) <= now
    ]


def held_runs(tx: Transaction) -> list[str]:
    """Pending runs with a HELD step."""
    rows = tx.run(
        select(step.c.run_id)
        .join(run, run.c.id == step.c.run_id)
        .where(step.c.state == StepState.HELD, run.c.stage == Stage.PENDING)
        .distinct()
        .order_by(step.c.run_id)
    )
    return list(rows.scalars())


def end_holds(tx: Transaction, run_id: str) -> None:
    """The HELD steps of a run are due now."""
    tx.run(
        update(step)
        .where(step.c.run_id == run_id, step.c.state == StepState.HELD)
        .values(not_before=func.now())
    )


def step_row(row: Row[Any]) -> StepRow:
    return StepRow(
        id=row.id,
        run_id=row.run_id,
        kind=StepKind(row.kind),
        target=row.target,
        state=StepState(row.state),
        attempt=row.attempt,
        not_before=row.not_before,
        lease_until=row.lease_until,
        receipt=row.receipt or {},
        error_code=row.error_code,
        reason=row.reason,
        max_attempts=row.max_attempts,
        lease_owner=row.lease_owner,
        since=row.ended_at or row.started_at or row.created_at,
    )
