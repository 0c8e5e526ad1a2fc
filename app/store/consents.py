"""Consents: entries that are only ever added, and what leads to them, which an erasure deletes.

Not here: whose record an entry goes to (app.domain.consents), sealing (app.services.consents).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Integer,
    Row,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, distinct_on
from sqlalchemy.dialects.postgresql import insert as insert_unless_there

from app.domain.consents import ConsentState
from app.domain.errors import NotFoundError
from app.store.tables import consent, consent_digest, consent_subject
from app.store.transaction import Transaction

Digest = tuple[int, str]
"""Generation and keyed digest of an identifier."""


@dataclass(frozen=True, slots=True)
class Consent:
    """One entry of the ledger."""

    id: str
    ref: str
    purpose: str
    state: ConsentState
    policy_version: str
    source: str
    gpc: bool
    at: datetime
    created_at: datetime
    recorded_by: str
    sealed_evidence: bytes = field(repr=False)
    proof: str
    erased: bool
    """Its person was erased: nothing leads to it any more, and its key is about to be destroyed."""


@dataclass(frozen=True, slots=True)
class Lead:
    """A digest, and a record it leads to."""

    digest: Digest
    ref: str
    of_user: bool
    """Some user_id leads to that record."""


_OTHER = consent_digest.alias()
_ASKED = and_(
    # As two arrays: a person can have more identifiers than a statement has parameters.
    consent_digest.c.generation == any_(bindparam("generations", type_=ARRAY(Integer))),
    consent_digest.c.digest == any_(bindparam("digests", type_=ARRAY(Text))),
    consent_subject.c.erased_at.is_(None),
)
_LEADS = (
    select(
        consent_digest.c.generation,
        consent_digest.c.digest,
        consent_digest.c.ref,
        exists()
        .where(_OTHER.c.ref == consent_digest.c.ref, _OTHER.c.kind == "user_id")
        .label("of_user"),
    )
    .join(consent_subject, consent_subject.c.ref == consent_digest.c.ref)
    .where(_ASKED)
    .order_by(consent_subject.c.created_at, consent_subject.c.ref)
)


def leads(tx: Transaction, digests: Collection[Digest]) -> list[Lead]:
    """Where these digests lead, the oldest record first. Records of erased people are none."""
    rows = tx.run(_LEADS, _arrays(digests))
    return [Lead((r.generation, r.digest), r.ref, r.of_user) for r in rows]


def _arrays(digests: Collection[Digest]) -> dict[str, Any]:
    generations = sorted({generation for generation, _ in digests})
    return {"generations": generations, "digests": [d for _, d in digests]}


def enrol(tx: Transaction, ref: str) -> None:
    """A new record, to which nothing leads yet."""
    tx.run(insert(consent_subject).values(ref=ref))


def lead(tx: Transaction, ref: str, digests: Iterable[tuple[Digest, str]]) -> None:
    """Let digests, each with its kind, lead to a record too."""
    rows = [
        {"ref": ref, "generation": generation, "digest": digest, "kind": kind}
        for (generation, digest), kind in digests
    ]
    if rows:
        tx.run(insert_unless_there(consent_digest).on_conflict_do_nothing(), rows)


def _entries() -> Select[Any]:
    columns = [consent.c[f.name] for f in fields(Consent) if f.name != "erased"]
    return select(*columns, consent_subject.c.erased_at.is_not(None).label("erased")).join(
        consent_subject, consent_subject.c.ref == consent.c.ref
    )


_APPEND = insert(consent)
_ENTRY = _entries().where(consent.c.id == bindparam("consent_id"))


def append(tx: Transaction, values: Mapping[str, Any]) -> None:
    """Add an entry."""
    tx.run(_APPEND, values)


def get(tx: Transaction, consent_id: str) -> Consent:
    """An entry. NotFoundError."""
    row = tx.run(_ENTRY, {"consent_id": consent_id}).one_or_none()
    if row is None:
        raise NotFoundError("There is no such consent.")
    return _consent(row)


def _in_force(*who: ColumnElement[bool]) -> Select[Any]:
    newest = (
        _entries()
        .add_columns(consent.c.seq)
        .where(
            *who,
            consent.c.at
            <= func.coalesce(bindparam("at", type_=DateTime(timezone=True)), func.now()),
            consent.c.purpose > bindparam("after"),
            or_(
                bindparam("purpose", type_=Text).is_(None),
                consent.c.purpose == bindparam("purpose", type_=Text),
            ),
        )
        .ext(distinct_on(consent.c.ref, consent.c.purpose))
        .order_by(consent.c.ref, consent.c.purpose, consent.c.at.desc(), consent.c.seq.desc())
        .subquery()
    )
    is_given = newest.c.state == ConsentState.GIVEN.value
    return (
        select(newest)
        .ext(distinct_on(newest.c.purpose))
        .order_by(newest.c.purpose, is_given, newest.c.at.desc(), newest.c.seq.desc())
        .limit(bindparam("most", type_=Integer))
    )


_LED_TO = (
    select(consent_digest.c.ref)
    .join(consent_subject, consent_subject.c.ref == consent_digest.c.ref)
    .where(_ASKED)
)
_OF_DIGESTS = _in_force(consent.c.ref.in_(_LED_TO))
_OF_RECORD = _in_force(consent.c.ref == bindparam("ref"))


def in_force(
    tx: Transaction,
    digests: Collection[Digest],
    *,
    at: datetime | None,
    purpose: str | None = None,
    after: str = "",
    limit: int = 200,
) -> list[Consent]:
    """What is in force for whoever these digests lead to, for each purpose (or for one) as of a
    time (None: now), in the order of purposes.

    In a record the newest entry counts, of two at the same time the one added later. Of several
    records the strictest does: anything else than `given`, then the newest.
    """
    asked = {"at": at, "purpose": purpose, "after": after, "most": limit}
    return [_consent(row) for row in tx.run(_OF_DIGESTS, {**_arrays(digests), **asked})]


def in_force_of(tx: Transaction, ref: str, *, purpose: str) -> list[Consent]:
    """The same for a purpose in one record, now."""
    asked = {"ref": ref, "at": None, "purpose": purpose, "after": "", "most": 1}
    return [_consent(row) for row in tx.run(_OF_RECORD, asked)]


# --- an erasure -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Erased:
    """What of a record is no longer reachable."""

    ref: str
    entries: int
    digests: int


def erase(tx: Transaction, ref: str) -> Erased:
    """Delete what leads to a record, and mark it. Its entries stay as they are."""
    gone = tx.run(delete(consent_digest).where(consent_digest.c.ref == ref))
    tx.run(update(consent_subject).where(consent_subject.c.ref == ref).values(erased_at=func.now()))
    left = tx.run(select(func.count()).select_from(consent).where(consent.c.ref == ref))
    return Erased(ref, entries=left.scalar_one(), digests=gone.rowcount)


def awaiting_shredding(tx: Transaction) -> list[str]:
    """Erased records whose keys were not yet destroyed, as far as is written down."""
    rows = tx.run(
        select(consent_subject.c.ref)
        .where(consent_subject.c.erased_at.is_not(None), consent_subject.c.shredded_at.is_(None))
        .order_by(consent_subject.c.ref)
    )
    return list(rows.scalars())


def note_shredded(tx: Transaction, refs: Collection[str]) -> list[str]:
    """Write down that their keys are destroyed; gives those of which that is news."""
    rows = tx.run(
        update(consent_subject)
        .where(consent_subject.c.ref.in_(refs), consent_subject.c.shredded_at.is_(None))
        .values(shredded_at=func.now())
        .returning(consent_subject.c.ref)
    )
    return sorted(rows.scalars())


def _consent(row: Row[Any]) -> Consent:
    values = {f.name: getattr(row, f.name) for f in fields(Consent)}
    return Consent(**{**values, "state": ConsentState(row.state)})
