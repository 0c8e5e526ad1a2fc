"""The rows of legal holds, and which cases, runs and datasets the live ones hit.

A released hold has no digests left, so it hits nobody. Not here: what follows from a hit
(app.services.holds).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql

from app.domain.dsars import CLOSED, DsarType, State
from app.domain.errors import NotFoundError
from app.domain.holds import BY_HOLD, Hit, HoldKind
from app.domain.runs import ENDED
from app.domain.steps import StepKind, StepState
from app.store.dsars import Digest
from app.store.hold_tables import hold, hold_digest, identity_digest
from app.store.tables import dsar, run, run_dsar, step
from app.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold as it is stored."""

    id: str
    kind: HoldKind
    dataset: str | None
    sealed_value: bytes | None = field(repr=False)
    sealed_reasons: bytes | None = field(repr=False)
    fingerprint: str | None = field(repr=False)
    placed_by: str
    created_at: datetime
    released_by: str | None
    released_at: datetime | None
    retain_until: datetime | None


_LIVE = hold.c.released_at.is_(None)
_UNLOOKED = and_(_LIVE, hold.c.kind == HoldKind.ORDER, hold.c.fingerprint.is_(None))
"""An order whose people nobody has looked for yet: it may be anybody's."""
_BEFORE_A_RUN = (State.AWAITING_APPROVAL, State.QUEUED)


# --- the holds -----------------------------------------------------------------------------------


def insert_hold(tx: Transaction, values: Mapping[str, Any]) -> Hold:
    """A new hold; `values` by column name."""
    return _hold(tx.run(insert(hold).values(**values).returning(*hold.c)).one())


def get(tx: Transaction, hold_id: str, *, lock: bool = False) -> Hold:
    """A hold; `lock`: nobody else changes it until this transaction ends. NotFoundError."""
    query = select(hold).where(hold.c.id == hold_id)
    row = tx.run(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFoundError("There is no such hold.")
    return _hold(row)


def put(tx: Transaction, hold_id: str, **values: Any) -> None:
    """Change columns of a hold. Lock it first."""
    tx.run(update(hold).where(hold.c.id == hold_id).values(**values))


def page(
    tx: Transaction, *, live_only: bool | None, limit: int, after: tuple[datetime, str] | None
) -> list[Hold]:
    """Holds, the newest first, from behind `after` (created_at, id) on. `live_only`: True those in
    force, False those released, None all.
    """
    query = select(hold)
    if live_only is not None:
        query = query.where(_LIVE if live_only else hold.c.released_at.is_not(None))
    if after is not None:
        query = query.where(tuple_(hold.c.created_at, hold.c.id) < tuple_(*after))
    ordered = query.order_by(hold.c.created_at.desc(), hold.c.id.desc()).limit(limit)
    return [_hold(row) for row in tx.run(ordered)]


def live_orders(tx: Transaction) -> list[Hold]:
    """Every order under a live hold."""
    rows = tx.run(select(hold).where(_LIVE, hold.c.kind == HoldKind.ORDER).order_by(hold.c.id))
    return [_hold(row) for row in rows]


def past_retention(tx: Transaction, *, limit: int) -> list[str]:
    """Released holds whose stated end has come, locked."""
    rows = tx.run(
        select(hold.c.id)
        .where(hold.c.retain_until <= func.now())
        .order_by(hold.c.retain_until, hold.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list(rows.scalars())


def _hold(row: Row[Any]) -> Hold:
    return Hold(**{**row._mapping, "kind": HoldKind(row.kind)})


# --- whom they protect, and whom cases erase -----------------------------------------------------


def add_digests(tx: Transaction, hold_id: str, digests: Iterable[Digest]) -> None:
    """Whom a hold protects. What is there already stays."""
    rows = [{"hold_id": hold_id, "generation": g, "digest": d} for g, d in sorted(set(digests))]
    if rows:
        tx.run(postgresql.insert(hold_digest).on_conflict_do_nothing(), rows)


def protect_begun(tx: Transaction, hold_id: str) -> int:
    """Let a hold protect everybody whom a run has begun with and not ended: whose rows were whose
    cannot be seen in the lake any more. How many cases.
    """
    begun = (
        select(run_dsar.c.dsar_id)
        .join(run, run.c.id == run_dsar.c.run_id)
        .where(run.c.stage.not_in(sorted(ENDED)))
    )
    theirs = select(literal(hold_id), identity_digest.c.generation, identity_digest.c.digest).where(
        identity_digest.c.dsar_id.in_(begun)
    )
    new = postgresql.insert(hold_digest).from_select(["hold_id", "generation", "digest"], theirs)
    tx.run(new.on_conflict_do_nothing())
    return len(list(tx.run(begun.distinct())))


def forget_digests(tx: Transaction, hold_id: str) -> None:
    """A released hold protects nobody."""
    tx.run(delete(hold_digest).where(hold_digest.c.hold_id == hold_id))


def add_identity(tx: Transaction, dsar_id: str, digests: Iterable[Digest]) -> None:
    """Whom a case erases. What is there already stays."""
    rows = [{"dsar_id": dsar_id, "generation": g, "digest": d} for g, d in sorted(set(digests))]
    if rows:
        tx.run(postgresql.insert(identity_digest).on_conflict_do_nothing(), rows)


def forget_identity(tx: Transaction, dsar_id: str) -> None:
    """The scope of a case is replaced, or gone."""
    tx.run(delete(identity_digest).where(identity_digest.c.dsar_id == dsar_id))


# --- hits ----------------------------------------------------------------------------------------


def hits_of(tx: Transaction, dsar_ids: Collection[str]) -> dict[str, tuple[Hit, ...]]:
    """The live holds on people that hit each of these cases; cases without one are not there."""
    if not dsar_ids:
        return {}
    rows = tx.run(
        select(identity_digest.c.dsar_id, hold.c.id, hold.c.kind)
        .join(hold_digest, _same_value())
        .join(hold, hold.c.id == hold_digest.c.hold_id)
        .where(_LIVE, identity_digest.c.dsar_id.in_(sorted(dsar_ids)))
        .distinct()
        .order_by(identity_digest.c.dsar_id, hold.c.id)
    )
    found: dict[str, list[Hit]] = defaultdict(list)
    for row in rows:
        found[row.dsar_id].append(Hit(row.id, HoldKind(row.kind)))
    return {dsar_id: tuple(hits) for dsar_id, hits in found.items()}


def unlooked(tx: Transaction) -> tuple[Hit, ...]:
    """Holds on orders whose people nobody has looked for yet: until then they hit everybody."""
    rows = tx.run(select(hold.c.id).where(_UNLOOKED).order_by(hold.c.id)).scalars()
    return tuple(Hit(hold_id, HoldKind.ORDER, looked=False) for hold_id in rows)


def on_datasets(tx: Transaction) -> tuple[Hit, ...]:
    """The live holds on datasets."""
    rows = tx.run(
        select(hold.c.id, hold.c.dataset)
        .where(_LIVE, hold.c.kind == HoldKind.DATASET)
        .order_by(hold.c.dataset, hold.c.id)
    )
    return tuple(Hit(r.id, HoldKind.DATASET, r.dataset) for r in rows)


def _same_value() -> ColumnElement[bool]:
    return and_(
        hold_digest.c.generation == identity_digest.c.generation,
        hold_digest.c.digest == identity_digest.c.digest,
    )


def hit_before_a_run(tx: Transaction) -> dict[str, tuple[Hit, ...]]:
    """Cases that wait for an approval or a run and are hit, locked. One that somebody else is
    changing now is left for the next look.
    """
    rows = tx.run(
        select(dsar.c.id)
        .where(dsar.c.state.in_(_BEFORE_A_RUN), dsar.c.type == DsarType.ERASURE, _is_hit())
        .order_by(dsar.c.id)
        .with_for_update(skip_locked=True)
    )
    return hits_of(tx, list(rows.scalars()))


def free_again(tx: Transaction) -> dict[str, bool]:
    """Cases that wait for nothing but holds and are hit by none any more, locked; whether each was
    approved before.
    """
    rows = tx.run(
        select(dsar.c.id, dsar.c.approved_scope)
        .where(dsar.c.state == State.ON_HOLD, dsar.c.waiting_reason == BY_HOLD, ~_is_hit())
        .order_by(dsar.c.id)
        .with_for_update(skip_locked=True)
    )
    return {r.id: r.approved_scope is not None for r in rows}


def _is_hit() -> ColumnElement[bool]:
    """A row of `dsar` in the query around it is hit by a hold on people."""
    return exists(
        select(hold_digest.c.hold_id)
        .join(identity_digest, _same_value())
        .where(identity_digest.c.dsar_id == dsar.c.id)
    )


# --- runs ----------------------------------------------------------------------------------------


def is_step_held() -> ColumnElement[bool]:
    """Whether a live hold forbids what a step of a run (a row of `step` in the query around it)
    would change or destroy: one on its dataset, or on somebody in the run.
    """
    in_run = exists(
        select(hold_digest.c.hold_id)
        .join(identity_digest, _same_value())
        .join(run_dsar, run_dsar.c.dsar_id == identity_digest.c.dsar_id)
        .where(run_dsar.c.run_id == step.c.run_id)
    )
    dataset = func.split_part(step.c.target, "/", 1)
    on_it = exists(
        select(hold.c.id).where(_LIVE, hold.c.kind == HoldKind.DATASET, hold.c.dataset == dataset)
    )
    return or_(in_run, on_it)


def holds_step(tx: Transaction, step_id: str) -> bool:
    """The same of one step."""
    return bool(tx.run(select(is_step_held()).where(step.c.id == step_id)).scalar_one())


def hit_in_run(tx: Transaction, run_id: str) -> dict[str, tuple[Hit, ...]]:
    """The cases of a run that a hold on people hits."""
    mine = tx.run(select(run_dsar.c.dsar_id).where(run_dsar.c.run_id == run_id)).scalars()
    return hits_of(tx, list(mine))


def lifted_runs(tx: Transaction) -> list[str]:
    """Runs with a step that a hold forbade, and forbids no more. The oldest first."""
    rows = tx.run(
        _held_steps()
        .where(~is_step_held())
        .group_by(step.c.run_id)
        .order_by(func.min(step.c.created_at))
    )
    return list(rows.scalars())


def _held_steps() -> Select[Any]:
    return select(step.c.run_id).where(
        step.c.state == StepState.HELD,
        step.c.reason == BY_HOLD,
        step.c.kind.in_([StepKind.ERASE, StepKind.PURGE]),
        step.c.run_id.is_not(None),
    )


def cases_on_hold(tx: Transaction, hold_ids: Sequence[str]) -> dict[str, int]:
    """How many open cases each of these holds on people hits."""
    rows = tx.run(
        select(hold_digest.c.hold_id, func.count(identity_digest.c.dsar_id.distinct()).label("n"))
        .join(identity_digest, _same_value())
        .join(dsar, dsar.c.id == identity_digest.c.dsar_id)
        .where(hold_digest.c.hold_id.in_(hold_ids), dsar.c.state.not_in(sorted(CLOSED)))
        .group_by(hold_digest.c.hold_id)
    )
    return {r.hold_id: r.n for r in rows}
