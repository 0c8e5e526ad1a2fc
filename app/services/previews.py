"""What a run would do for one case: the scope as it was last resolved, in counts.

Read from the database alone; how it is found out in the lake is app.services.scopes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from app.domain.breakers import Breaker
from app.domain.dsars import needs
from app.domain.errors import KeyMissingError, NotReadyError
from app.domain.expected import Expected
from app.domain.identifiers import Identity
from app.domain.plans import DatasetPlan, SharedPlan
from app.services.parts import Parts, Transaction
from app.store import dsars as store
from app.store import holds
from app.store.dsars import ScopeRow

_SECONDS_AT_LEAST = 5
_OBJECT_BYTES_A_SECOND = 100_000_000
_TABLE_BYTES_A_SECOND = 10_000_000
_OF_OBJECT, _OF_FILE, _OF_SNAPSHOT = 5, 4, 3
BASIS = (
    "An estimate from listings, table heads and what was met while the person was looked for. "
    "Seconds: one worker alone, objects at 100 MB a second and tables at 10 MB a second "
    "(compressed), at least 5; without the undo window and without what waits for a lock. "
    "Requests: every version and file is read twice (erased, verified); 5 more for each object "
    "that holds the person (put, two checks, purge, listing), 4 for each file and 3 for each "
    "snapshot of a table that does. A run takes many people at once, and reads the lake once for "
    "all of them."
)


@dataclass(frozen=True, slots=True)
class Withheld:
    """Rows that stay on a legal ground, until a date."""

    dataset: str
    ground: str | None
    until: str | None
    only_some: bool
    """Only rows that meet the map's condition; else every row of the dataset."""


@dataclass(frozen=True, slots=True)
class RefBroken:
    """A tag or branch of a table that holds the person; `*` where it is called after them."""

    dataset: str
    name: str
    policy: str
    """fail | drop"""


@dataclass(frozen=True, slots=True)
class HoldShown:
    """A live legal hold."""

    id: str
    kind: str
    dataset: str | None


@dataclass(frozen=True, slots=True)
class MadeScope:
    """The part of a scope that is counts and digests, as it is stored."""

    identifiers: Mapping[str, int]
    shared: tuple[SharedPlan, ...]
    sources: tuple[str, ...]
    datasets: tuple[DatasetPlan, ...]
    withheld: tuple[Withheld, ...]
    undo_window_seconds: int
    tags: str
    """fail | drop: what becomes of tags and branches that still hold the person."""
    expected: tuple[Expected, ...]
    decided: Mapping[str, str]
    """shared_review -> the digest of the scope after that decision. Keyed like the scope's own."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What approving would do, without a value."""

    dsar_id: str
    scope_digest: str
    """What `/approve` takes. Keyed per case: it cannot be matched to a guessed identifier."""
    map_digest: str
    resolved_at: datetime
    identity_counts: Mapping[str, int]
    shared: tuple[SharedPlan, ...]
    undecided: int
    """Shared values that wait for a decision: `/approve` then takes `shared_review`."""
    sources: tuple[str, ...]
    datasets: tuple[DatasetPlan, ...]
    bytes: int
    """That are read."""
    expected: tuple[Expected, ...]
    """Rows, objects and locks of this person, by dataset."""
    co_owned_rows: int
    bytes_rewritten: int
    """At most: the objects that hold the person, and every file of a table that does."""
    snapshots_lost: int
    """At most: those of tables that hold the person. Time travel to them ends with the purge."""
    refs_broken: tuple[RefBroken, ...]
    """Tags and branches of those tables. `fail`: one that still holds the person stops the purge
    and is named. `drop`: it is dropped.
    """
    locked_objects: int
    """Under a COMPLIANCE lock: their old versions stay until it ends, whatever is approved."""
    locked_until: datetime | None
    held_objects: int
    """Under a legal hold of the store: their old versions stay until it is lifted there."""
    withheld: tuple[Withheld, ...]
    withheld_rows: Mapping[str, int]
    """Ground -> rows of this person that stay as they are."""
    holds: tuple[HoldShown, ...]
    """Live legal holds of this service that hit the case, or a dataset of it."""
    breakers: tuple[Breaker, ...]
    """Numbers that look like a mistake: `/approve` takes their kinds in `accept`."""
    undo_window_seconds: int
    estimate_seconds: int
    estimate_requests: int
    estimate_basis: str


def preview(tx: Transaction, *, parts: Parts, dsar_id: str) -> Preview:
    """The scope of a case. NotReadyError while it is looked for, and once it was destroyed."""
    case = store.get(tx, dsar_id)
    row = store.scope_of(tx, dsar_id)
    if row is None:
        raise NotReadyError(f"There is no scope: {needs(case.state, case.type).what}.")
    made = made_scope(row)
    touched = {e.dataset for e in made.expected if e.touched}
    tables = [d for d in made.datasets if d.rows is not None and d.name in touched]
    locks = [e.locked_until for e in made.expected if e.locked_until is not None]
    kept: Counter[str] = Counter()
    for one in made.expected:
        kept.update(one.kept)
    return Preview(
        dsar_id=dsar_id,
        scope_digest=row.digest,
        map_digest=row.map_digest,
        resolved_at=row.resolved_at,
        identity_counts=made.identifiers,
        shared=made.shared,
        undecided=row.undecided,
        sources=made.sources,
        datasets=made.datasets,
        bytes=sum(d.bytes for d in made.datasets),
        expected=made.expected,
        co_owned_rows=sum(e.co_owned for e in made.expected),
        bytes_rewritten=sum(e.bytes for e in made.expected) + sum(d.bytes for d in tables),
        snapshots_lost=sum(d.snapshots for d in tables),
        refs_broken=tuple(RefBroken(d.name, name, made.tags) for d in tables for name in d.refs),
        locked_objects=sum(e.locked for e in made.expected),
        locked_until=max(locks, default=None),
        held_objects=sum(e.held for e in made.expected),
        withheld=made.withheld,
        withheld_rows=dict(sorted(kept.items())),
        holds=holds_on(tx, dsar_id),
        breakers=case.breakers,
        undo_window_seconds=made.undo_window_seconds,
        estimate_seconds=estimate_seconds(made.datasets),
        estimate_requests=estimate_requests(made),
        estimate_basis=BASIS,
    )


def holds_on(tx: Transaction, dsar_id: str) -> tuple[HoldShown, ...]:
    """The live holds that an erasure of the case would meet."""
    hits = (
        *holds.hits_of(tx, [dsar_id]).get(dsar_id, ()),
        *holds.unlooked(tx),
        *holds.on_datasets(tx),
    )
    return tuple(HoldShown(h.hold_id, h.kind.value, h.dataset) for h in hits)


def estimate_requests(made: MadeScope) -> int:
    """Requests to the store, as BASIS says."""
    files = sum(d.versions for d in made.datasets)
    hit = sum(e.objects for e in made.expected)
    touched = {e.dataset for e in made.expected if e.touched}
    tables = [d for d in made.datasets if d.rows is not None and d.name in touched]
    rewritten = sum(d.objects for d in tables)
    snapshots = sum(d.snapshots for d in tables)
    return 2 * files + _OF_OBJECT * hit + _OF_FILE * rewritten + _OF_SNAPSHOT * snapshots


def estimate_seconds(datasets: tuple[DatasetPlan, ...]) -> int:
    """How long one worker needs, from bytes alone: objects have no row count ahead."""
    objects = sum(d.bytes for d in datasets if d.rows is None)
    tables = sum(d.bytes for d in datasets if d.rows is not None)
    seconds = objects / _OBJECT_BYTES_A_SECOND + tables / _TABLE_BYTES_A_SECOND
    return _SECONDS_AT_LEAST + round(seconds)


def made_scope(row: ScopeRow) -> MadeScope:
    """The counts of a stored scope."""
    return msgspec.convert(row.plan, MadeScope)


def sealed_row(dsar_id: str) -> str:
    """What a sealed identity is bound to."""
    return f"scope/sealed_identity/{dsar_id}"


def identity_of(parts: Parts, row: ScopeRow) -> Identity:
    """The identity as it was resolved, undecided values as they were. KeyMissingError."""
    opened = parts.keys.open_sealed(row.dsar_id, row.sealed_identity, aad=sealed_row(row.dsar_id))
    return msgspec.json.decode(opened, type=Identity)


def identity_or_none(parts: Parts, row: ScopeRow | None) -> Identity | None:
    """The same, or None where there is no scope or its key is gone."""
    if row is None:
        return None
    try:
        return identity_of(parts, row)
    except KeyMissingError:
        return None
