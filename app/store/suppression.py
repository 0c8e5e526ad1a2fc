"""Who must not come back: keyed digests of what was erased, and up to where each dataset was swept.

Not here: what is suppressed and for how long (app.services.suppression), what a hit leads to
(app.services.late).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from app.domain.dsars import State
from app.domain.runs import AT_WORK, Stage
from app.store.hold_tables import hold_digest, identity_digest
from app.store.runs import LIMIT
from app.store.tables import (
    consent_digest,
    dsar,
    dsar_digest,
    run,
    run_dsar,
    run_fact,
    suppression,
    sweep_mark,
)
from app.store.transaction import Transaction

_CHUNK = 1000
_HORIZON = "horizon:"
WHOLE_LAKE = "*"
"""No dataset is called so: the row that says when everything was looked at last."""

Digest = tuple[int, str]
"""Generation and keyed digest of an identifier."""


@dataclass(frozen=True, slots=True)
class NewSuppression:
    """A row to be written."""

    generation: int
    digest: str = field(repr=False)
    dsar_id: str
    run_id: str
    kind: str
    scope: str
    """all | before"""
    fence: datetime
    ground: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Whom a digest stands for, and since when nothing of it may be in the lake."""

    dsar_id: str
    state: State
    scope: str
    fence: datetime
    is_active_again: bool
    """A sweep has said so: whatever comes late of it stays."""
    at_work: bool
    """A run is at work on the case."""


# --- rows ----------------------------------------------------------------------------------------


def put(tx: Transaction, rows: Iterable[NewSuppression]) -> int:
    """Write rows; one that is there stays as it is. How many are new."""
    values = [{name: getattr(r, name) for name in NewSuppression.__slots__} for r in rows]
    new = 0
    for start in range(0, len(values), _CHUNK):
        statement = insert(suppression).values(values[start : start + _CHUNK])
        done = tx.run(statement.on_conflict_do_nothing().returning(suppression.c.dsar_id))
        new += len(done.all())
    return new


def known_of(tx: Transaction, dsar_ids: Iterable[str]) -> frozenset[tuple[str, Digest]]:
    """Every row of these cases, of any generation: (case, digest)."""
    columns = suppression.c.dsar_id, suppression.c.generation, suppression.c.digest
    rows = tx.run(select(*columns).where(suppression.c.dsar_id.in_(sorted(dsar_ids))))
    return frozenset((r.dsar_id, (r.generation, r.digest)) for r in rows)


def living_digests(tx: Transaction) -> Iterator[str]:
    """Every digest, of any generation, that something in the lake could still match."""
    rows = tx.run(select(suppression.c.digest).distinct().where(suppression.c.until > func.now()))
    return (r.digest for r in rows.yield_per(_CHUNK))


def suppressed(tx: Transaction, digests: Iterable[Digest]) -> list[Suppressed]:
    """Whom these digests stand for, in the order of the cases."""
    s = suppression.c
    working = _at_work().where(run_dsar.c.dsar_id == s.dsar_id).exists()
    rows = tx.run(
        select(
            s.dsar_id,
            dsar.c.state,
            s.scope,
            s.fence,
            s.active_again_at.is_not(None).label("is_active_again"),
            working.label("at_work"),
        )
        .join(dsar, dsar.c.id == s.dsar_id)
        .where(tuple_(s.generation, s.digest).in_(list(digests)), s.until > func.now())
        .order_by(s.dsar_id, s.generation)
    )
    return [
        Suppressed(r.dsar_id, State(r.state), r.scope, r.fence, r.is_active_again, r.at_work)
        for r in rows
    ]


def fences(tx: Transaction, states: Iterable[State]) -> Iterator[tuple[Digest, str, datetime]]:
    """(digest, scope, fence) of everything that lives, of cases in these states, whose erasure
    cannot be undone any more.
    """
    s = suppression.c
    past = exists().where(
        run_fact.c.run_id == s.run_id, run_fact.c.name == "past_return", run_fact.c.value == "1"
    )
    rows = tx.run(
        select(s.generation, s.digest, s.scope, s.fence)
        .join(dsar, dsar.c.id == s.dsar_id)
        .join(run, run.c.id == s.run_id)
        .where(
            s.until > func.now(),
            dsar.c.state.in_(sorted(states)),
            or_(run.c.stage == Stage.CLOSED, past),
        )
    )
    return (((r.generation, r.digest), r.scope, r.fence) for r in rows.yield_per(_CHUNK))


def erased_since(tx: Transaction, since: datetime, states: Iterable[State]) -> dict[str, bool]:
    """Cases in these states that a run was at work on at `since` or later -> whether any digest of
    theirs lives. Sorted.
    """
    lives = exists().where(suppression.c.dsar_id == dsar.c.id, suppression.c.until > func.now())
    rows = tx.run(
        select(dsar.c.id, lives.label("lives"))
        .join(run_dsar, run_dsar.c.dsar_id == dsar.c.id)
        .join(run, run.c.id == run_dsar.c.run_id)
        .where(
            dsar.c.state.in_(sorted(states)),
            run.c.stage != Stage.UNDONE,
            or_(run.c.ended_at.is_(None), run.c.ended_at >= since),
        )
        .distinct()
        .order_by(dsar.c.id)
    )
    return {r.id: r.lives for r in rows}


def put_active_again(tx: Transaction, dsar_id: str, digests: Iterable[Digest]) -> None:
    """Write down that these values of a case were said to be active again, from now on."""
    s = suppression.c
    mine = s.dsar_id == dsar_id, tuple_(s.generation, s.digest).in_(list(digests))
    first = s.active_again_at.is_(None)
    tx.run(update(suppression).where(*mine, first).values(active_again_at=func.now()))


def expire(tx: Transaction) -> int:
    """Delete what is past its end. How many."""
    return tx.run(delete(suppression).where(suppression.c.until <= func.now())).rowcount


def lift(tx: Transaction, run_id: str, dsar_ids: Collection[str]) -> int:
    """Delete what a run wrote of these cases: what it erased was put back. How many."""
    mine = suppression.c.run_id == run_id, suppression.c.dsar_id.in_(sorted(dsar_ids))
    return tx.run(delete(suppression).where(*mine)).rowcount


def digest_rows(tx: Transaction, generation: int) -> int:
    """How many rows of any table still need this digest key."""
    tables = suppression, dsar_digest, consent_digest, identity_digest, hold_digest
    return sum(
        tx.run(select(func.count()).where(t.c.generation == generation)).scalar_one()
        for t in tables
    )


# --- how far the lake was swept ------------------------------------------------------------------


def marks(tx: Transaction) -> dict[str, str]:
    """Dataset -> up to where it was swept, as app.lake.late says it."""
    rows = tx.run(select(sweep_mark).where(sweep_mark.c.dataset != WHOLE_LAKE))
    return {r.dataset: r.seen_to for r in rows}


def put_marks(tx: Transaction, seen_to: Mapping[str, str], *, swept_at: datetime) -> None:
    """Move marks on, and say when the sweep began that saw everything. That a mark never goes back
    is the caller's.
    """
    named = {**seen_to, WHOLE_LAKE: swept_at.isoformat()}
    values = [{"dataset": d, "seen_to": s, "swept_at": swept_at} for d, s in named.items()]
    new = insert(sweep_mark).values(values)
    changed = {"seen_to": new.excluded.seen_to, "swept_at": new.excluded.swept_at}
    tx.run(new.on_conflict_do_update(index_elements=["dataset"], set_=changed))


def swept_at(tx: Transaction) -> datetime | None:
    """When the newest sweep that saw everything began; None before the first."""
    query = select(sweep_mark.c.swept_at).where(sweep_mark.c.dataset == WHOLE_LAKE)
    return tx.run(query).scalar_one_or_none()


# --- horizons of runs ----------------------------------------------------------------------------


def horizons_of(tx: Transaction, run_id: str) -> dict[str, str]:
    """Dataset -> H of one run, as far as it got."""
    return {d: h for _, d, h in _horizons(tx, _facts().where(run_fact.c.run_id == run_id))}


def first_horizons(tx: Transaction) -> dict[str, str]:
    """Dataset -> H of the first run that came so far: nobody was erased from it before."""
    found: dict[str, str] = {}
    for _, dataset, horizon in _horizons(tx, _facts()):
        found.setdefault(dataset, horizon)
    return found


def last_horizons(tx: Transaction, dsar_ids: Iterable[str]) -> dict[tuple[str, str], str]:
    """(case, dataset) -> H of the newest run of that case: what was there by then it has seen."""
    query = (
        select(run_dsar.c.dsar_id, run_fact.c.name, run_fact.c.value)
        .join(run, run.c.id == run_dsar.c.run_id)
        .join(run_fact, run_fact.c.run_id == run.c.id)
        .where(run_dsar.c.dsar_id.in_(sorted(dsar_ids)), run_fact.c.name.startswith(_HORIZON))
        .order_by(run.c.created_at, run.c.id)
    )
    return {(r.dsar_id, r.name.removeprefix(_HORIZON)): r.value for r in tx.run(query)}


def runs_at_work(tx: Transaction) -> frozenset[str]:
    """Runs that are at work on the lake, or have a part of it behind them and the rest to do."""
    rows = tx.run(select(run.c.id).where(_has_work()))
    return frozenset(rows.scalars())


def cases_at_work(tx: Transaction, dsar_ids: Iterable[str]) -> frozenset[str]:
    """Those of the cases that a run is at work on."""
    rows = tx.run(_at_work().where(run_dsar.c.dsar_id.in_(sorted(dsar_ids))))
    return frozenset(rows.scalars())


def _at_work() -> Select[tuple[str]]:
    return select(run_dsar.c.dsar_id).join(run, run.c.id == run_dsar.c.run_id).where(_has_work())


def _has_work() -> ColumnElement[bool]:
    limited = select(run_fact.c.run_id).where(
        run_fact.c.run_id == run.c.id, run_fact.c.name == LIMIT, run_fact.c.value != ""
    )
    waits = and_(run.c.stage == Stage.PENDING, limited.exists())
    return or_(run.c.stage.in_(sorted(AT_WORK)), waits)


def lock_cases(tx: Transaction, dsar_ids: Iterable[str]) -> dict[str, State]:
    """Cases and their states, and nobody else changes them until this transaction ends. Before the
    first audit entry: entries queue, and whoever holds a case may be waiting there.
    """
    query = select(dsar.c.id, dsar.c.state).where(dsar.c.id.in_(sorted(dsar_ids)))
    rows = tx.run(query.order_by(dsar.c.id).with_for_update())
    return {r.id: State(r.state) for r in rows}


def run_ids(tx: Transaction) -> frozenset[str]:
    """Every run of this installation."""
    return frozenset(r.id for r in tx.run(select(run.c.id)))


def _facts() -> Select[tuple[str, str, str]]:
    return (
        select(run_fact.c.run_id, run_fact.c.name, run_fact.c.value)
        .join(run, run.c.id == run_fact.c.run_id)
        .where(run_fact.c.name.startswith(_HORIZON))
        .order_by(run.c.created_at, run.c.id)
    )


def _horizons(
    tx: Transaction, query: Select[tuple[str, str, str]]
) -> Iterator[tuple[str, str, str]]:
    return ((r.run_id, r.name.removeprefix(_HORIZON), r.value) for r in tx.run(query))
