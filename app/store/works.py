"""The sealed records of objects of a run, by dataset and part. A URI can name a person: it is found
by a keyed digest under the run's key.

Not here: what a record says (app.domain.receipts), sealing it (app.services.journal).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select, update
from sqlalchemy.dialects import postgresql

from app.domain.phases import Part
from app.domain.receipts import WorkState
from app.domain.steps import StepKind
from app.store.tables import step, work
from app.store.transaction import Transaction

NO_PART = -1
"""An object that was listed and is in no group yet."""


@dataclass(frozen=True, slots=True)
class WorkRow:
    """One object's record."""

    key_digest: str
    state: str
    sealed_work: bytes = field(repr=False)
    number: int = -1
    """Its place in the order in which records were first put; the database gives it."""


def page(
    tx: Transaction, run_id: str, dataset: str, *, part: int | None, after: int, limit: int
) -> list[WorkRow]:
    """Records of a dataset (of one part of it), in the order in which they were first put, from
    behind a number on.
    """
    mine = () if part is None else (work.c.part == part,)
    rows = tx.run(
        select(work.c.key_digest, work.c.state, work.c.sealed_work, work.c.number)
        .where(work.c.run_id == run_id, work.c.dataset == dataset, *mine)
        .where(work.c.number > after)
        .order_by(work.c.number)
        .limit(limit)
    )
    return [WorkRow(r.key_digest, r.state, r.sealed_work, r.number) for r in rows]


def known(tx: Transaction, run_id: str, dataset: str, digests: Sequence[str]) -> list[WorkRow]:
    """The records of these objects; those that have none are left out."""
    rows = tx.run(
        select(work.c.key_digest, work.c.state, work.c.sealed_work, work.c.number)
        .where(work.c.run_id == run_id, work.c.dataset == dataset)
        .where(work.c.key_digest.in_(list(digests)))
        .order_by(work.c.number)
    )
    return [WorkRow(r.key_digest, r.state, r.sealed_work, r.number) for r in rows]


def put(tx: Transaction, run_id: str, dataset: str, rows: Iterable[WorkRow], *, part: int) -> None:
    """Write records. One that is there keeps its number and its part; a new one gets the next
    number, and `part`.
    """
    _put(tx, run_id, dataset, rows, part=part, replaced=("state", "sealed_work"))


def put_anew(tx: Transaction, run_id: str, dataset: str, rows: Iterable[WorkRow]) -> None:
    """Write records of objects that are in no part, or not any more: `put_parts` comes next."""
    _put(tx, run_id, dataset, rows, part=NO_PART, replaced=("state", "sealed_work", "part"))


def _put(
    tx: Transaction,
    run_id: str,
    dataset: str,
    rows: Iterable[WorkRow],
    *,
    part: int,
    replaced: Sequence[str],
) -> None:
    named = {row.key_digest: row for row in rows}
    if not named:
        return
    highest = select(func.coalesce(func.max(work.c.number), -1)).where(
        work.c.run_id == run_id, work.c.dataset == dataset
    )
    following = int(tx.run(highest).scalar_one()) + 1
    new = postgresql.insert(work)
    upsert = new.on_conflict_do_update(
        index_elements=["run_id", "dataset", "key_digest"],
        set_={name: new.excluded[name] for name in replaced},
    )
    tx.run(
        upsert,
        [
            {
                "run_id": run_id,
                "dataset": dataset,
                "number": following + n,
                "part": part,
                "key_digest": row.key_digest,
                "state": row.state,
                "sealed_work": row.sealed_work,
            }
            for n, row in enumerate(named.values())
        ],
    )


def put_parts(tx: Transaction, run_id: str, dataset: str, groups: Sequence[Sequence[str]]) -> int:
    """Put objects, by their key digests, into new parts of their own; how many parts there are."""
    highest = select(func.coalesce(func.max(work.c.part), NO_PART)).where(
        work.c.run_id == run_id, work.c.dataset == dataset
    )
    following = int(tx.run(highest).scalar_one()) + 1
    for number, digests in enumerate(groups, following):
        tx.run(
            update(work)
            .where(
                work.c.run_id == run_id,
                work.c.dataset == dataset,
                work.c.key_digest.in_(list(digests)),
            )
            .values(part=number)
        )
    return following + len(groups)


def parts_of(tx: Transaction, run_id: str, dataset: str) -> tuple[Part, ...]:
    """The parts of a dataset: what their records are at, and which steps they have."""
    states: dict[int, set[WorkState]] = {}
    for row in tx.run(
        select(work.c.part, work.c.state)
        .where(work.c.run_id == run_id, work.c.dataset == dataset, work.c.part != NO_PART)
        .distinct()
    ):
        states.setdefault(row.part, set()).add(WorkState(row.state))
    steps = _steps_of(tx, run_id, dataset)
    return tuple(
        Part(number, frozenset(found), steps.get(number, frozenset()))
        for number, found in sorted(states.items())
    )


def _steps_of(tx: Transaction, run_id: str, dataset: str) -> Mapping[int, frozenset[StepKind]]:
    """The kinds of steps that each part has."""
    rows = tx.run(
        select(step.c.kind, func.split_part(step.c.target, "/", 2).label("part")).where(
            step.c.run_id == run_id,
            step.c.kind.in_([StepKind.ERASE, StepKind.CHECK, StepKind.PURGE]),
            func.split_part(step.c.target, "/", 1) == dataset,
            step.c.target != dataset,
        )
    )
    found: dict[int, frozenset[StepKind]] = {}
    for row in rows:
        number = int(row.part)
        found[number] = found.get(number, frozenset()) | {StepKind(row.kind)}
    return found
