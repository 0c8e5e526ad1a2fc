"""The rows of cases, the digests that find them, and their scopes.

Not here: which move is legal (app.domain.dsars), what is sealed and how (app.services.dsars).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    bindparam,
    exists,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql

from app.domain.breakers import Breaker, BreakerKind
from app.domain.dsars import CLOSED, DsarType, Regulation, RequesterKind, Role, State
from app.domain.errors import NotFoundError
from app.store.tables import dsar, dsar_digest, scope
from app.store.transaction import Transaction

Digest = tuple[int, str]
"""Generation and keyed digest of an identifier."""


@dataclass(frozen=True, slots=True)
class Dsar:
    """A case as it is stored."""

    id: str
    type: DsarType
    state: State
    version: int
    regulation: Regulation
    region: str | None
    role: Role
    controller_id: str | None
    language: str | None
    channel: str | None
    requester_kind: RequesterKind
    proof_kind: str | None
    account_closed: bool
    sealed_subject: bytes | None = field(repr=False)
    sealed_note: bytes | None = field(repr=False)
    sealed_external_ref: bytes | None = field(repr=False)
    shared_review: str | None
    received_at: datetime
    created_at: datetime
    acknowledged_at: datetime | None
    acknowledge_by: datetime | None
    due_at: datetime
    regime: str
    calendar: str
    requested_by: str
    approved_by: str | None
    approved_by_kind: str | None
    approved_at: datetime | None
    approved_scope: str | None
    sealed_reason: bytes | None = field(repr=False)
    identity_counts: Mapping[str, int] | None
    shared_count: int | None
    outcome: str | None
    verdict: str | None
    breakers: tuple[Breaker, ...]
    accepted: tuple[str, ...]
    waiting_until: datetime | None
    waiting_reason: str | None
    settle_until: datetime | None
    closed_at: datetime | None
    shredded_at: datetime | None
    retain_until: datetime | None


@dataclass(frozen=True, slots=True)
class ScopeRow:
    """What a run would do for one case, as it was last resolved."""

    dsar_id: str
    digest: str
    map_digest: str
    fingerprint: str = field(repr=False)
    sealed_identity: bytes = field(repr=False)
    plan: Mapping[str, Any]
    undecided: int
    resolved_at: datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which cases a list is about. Each group of `digests`: one of them must be the case's."""

    states: tuple[State, ...] = ()
    type: DsarType | None = None
    due_before: datetime | None = None
    digests: tuple[frozenset[Digest], ...] = field(default=(), repr=False)


_CASE = insert(dsar).returning(*dsar.c)
_DIGESTS = insert(dsar_digest)


def insert_case(tx: Transaction, values: Mapping[str, Any]) -> Dsar:
    """Insert a case; `values` by column name."""
    return _dsar(tx.run(_CASE, values).one())


def insert_digests(tx: Transaction, dsar_id: str, digests: Iterable[tuple[Digest, str]]) -> None:
    """Write what finds the case: each keyed digest with its kind."""
    rows = [
        {"dsar_id": dsar_id, "generation": generation, "digest": text, "kind": kind}
        for (generation, text), kind in digests
    ]
    if rows:
        tx.run(_DIGESTS, rows)


def get(tx: Transaction, dsar_id: str, *, lock: bool = False) -> Dsar:
    """A case; `lock`: nobody else changes it until this transaction ends. NotFoundError."""
    query = select(dsar).where(dsar.c.id == dsar_id)
    row = tx.run(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFoundError("There is no such case.")
    return _dsar(row)


def put(tx: Transaction, dsar_id: str, **values: Any) -> None:
    """Change columns of a case; its version goes up. Lock it first."""
    done = tx.run(
        update(dsar).where(dsar.c.id == dsar_id).values(version=dsar.c.version + 1, **values)
    )
    if done.rowcount != 1:
        raise NotFoundError("There is no such case.")


def page(
    tx: Transaction, wanted: Wanted, *, limit: int, after: tuple[datetime, str] | None
) -> list[Dsar]:
    """Cases, the newest first, from behind `after` (created_at, id) on."""
    query = _fitting(select(dsar), wanted)
    if after is not None:
        query = query.where(tuple_(dsar.c.created_at, dsar.c.id) < tuple_(*after))
    ordered = query.order_by(dsar.c.created_at.desc(), dsar.c.id.desc()).limit(limit)
    return [_dsar(row) for row in tx.run(ordered)]


def _fitting(query: Select[Any], wanted: Wanted) -> Select[Any]:
    if wanted.states:
        query = query.where(dsar.c.state.in_(wanted.states))
    if wanted.type is not None:
        query = query.where(dsar.c.type == wanted.type)
    if wanted.due_before is not None:
        query = query.where(dsar.c.due_at < wanted.due_before)
    for group in wanted.digests:
        query = query.where(_has_one_of(group))
    return query


def _has_one_of(digests: Collection[Digest]) -> ColumnElement[bool]:
    found = select(dsar_digest.c.dsar_id).where(
        dsar_digest.c.dsar_id == dsar.c.id,
        tuple_(dsar_digest.c.generation, dsar_digest.c.digest).in_(sorted(digests)),
    )
    return exists(found)


_OPEN_CASES = (
    select(dsar.c.id)
    .where(
        dsar.c.id != bindparam("besides"),
        dsar.c.state.not_in(CLOSED),
        exists(
            select(dsar_digest.c.dsar_id).where(
                dsar_digest.c.dsar_id == dsar.c.id,
                tuple_(dsar_digest.c.generation, dsar_digest.c.digest).in_(
                    bindparam("digests", expanding=True)
                ),
            )
        ),
    )
    .order_by(dsar.c.created_at, dsar.c.id)
    .limit(bindparam("most"))
)


def open_cases_of(
    tx: Transaction, digests: Collection[Digest], *, besides: str, limit: int = 20
) -> list[str]:
    """Ids of open cases that one of these digests finds, the oldest first."""
    asked = {"besides": besides, "digests": sorted(digests), "most": limit}
    return [row.id for row in tx.run(_OPEN_CASES, asked)]


_THEIRS = (
    select(dsar.c.id)
    .where(dsar.c.requested_by == bindparam("who"), dsar.c.created_at > bindparam("since"))
    .limit(bindparam("most"))
)
_COUNT = select(func.count()).select_from(_THEIRS.subquery())


def count_since(tx: Transaction, *, requested_by: str, since: datetime, limit: int) -> int:
    """How many cases an actor has opened since then; counted up to `limit`."""
    asked = {"who": requested_by, "since": since, "most": limit}
    return int(tx.run(_COUNT, asked).scalar_one())


def breakers_row(breakers: Iterable[Breaker]) -> list[dict[str, Any]]:
    """As the column keeps them."""
    return [asdict(b) for b in breakers]


def received(tx: Transaction, *, besides: Collection[str], limit: int) -> list[Dsar]:
    """Erasure cases whose scope nobody has looked for yet, the oldest first."""
    rows = tx.run(
        select(dsar)
        .where(
            dsar.c.state == State.RECEIVED,
            dsar.c.type == DsarType.ERASURE,
            dsar.c.id.not_in(besides),
        )
        .order_by(dsar.c.created_at, dsar.c.id)
        .limit(limit)
    )
    return [_dsar(row) for row in rows]


# --- scopes ----------------------------------------------------------------------------------


def put_scope(tx: Transaction, row: ScopeRow) -> None:
    """Write down a scope; one that is there is replaced."""
    values = {f.name: getattr(row, f.name) for f in fields(row)}
    statement = postgresql.insert(scope).values(**values)
    tx.run(statement.on_conflict_do_update(index_elements=["dsar_id"], set_=values))


def scope_of(tx: Transaction, dsar_id: str) -> ScopeRow | None:
    """The scope of a case; None before it was resolved, and once it was shredded."""
    return {s.dsar_id: s for s in scopes_of(tx, [dsar_id])}.get(dsar_id)


def scopes_of(tx: Transaction, dsar_ids: Sequence[str]) -> list[ScopeRow]:
    """The scopes of these cases, as far as they have one."""
    rows = tx.run(select(scope).where(scope.c.dsar_id.in_(dsar_ids)))
    return [ScopeRow(**row._mapping) for row in rows]


def _dsar(row: Row[Any]) -> Dsar:
    values = dict(row._mapping)
    values["type"] = DsarType(row.type)
    values["state"] = State(row.state)
    values["regulation"] = Regulation(row.regulation)
    values["role"] = Role(row.role)
    values["requester_kind"] = RequesterKind(row.requester_kind)
    values["breakers"] = tuple(_breaker(b) for b in row.breakers)
    values["accepted"] = tuple(row.accepted or ())
    return Dsar(**values)


def _breaker(stored: Mapping[str, Any]) -> Breaker:
    return Breaker(**{**stored, "kind": BreakerKind(stored["kind"])})
