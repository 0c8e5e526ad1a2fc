"""What a run would do for one case: the scope as it was last resolved, in counts.

Read from the database alone; how it is found out in the lake is app.services.scopes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from app.domain.dsars import needs
from app.domain.errors import KeyMissingError, NotReadyError
from app.domain.identifiers import Identity
from app.domain.plans import DatasetPlan, SharedPlan
from app.services.parts import Parts, Transaction
from app.store import dsars as store
from app.store.dsars import ScopeRow

_SECONDS_AT_LEAST = 5
_OBJECT_BYTES_A_SECOND = 100_000_000
_TABLE_BYTES_A_SECOND = 10_000_000


@dataclass(frozen=True, slots=True)
class Withheld:
    """Rows that stay on a legal ground, until a date."""

    dataset: str
    ground: str | None
    until: str | None
    only_some: bool
    """Only rows that meet the map's condition; else every row of the dataset."""


@dataclass(frozen=True, slots=True)
class MadeScope:
    """The part of a scope that is counts and digests, as it is stored."""

    identifiers: Mapping[str, int]
    shared: tuple[SharedPlan, ...]
    sources: tuple[str, ...]
    datasets: tuple[DatasetPlan, ...]
    withheld: tuple[Withheld, ...]
    undo_window_seconds: int
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
    withheld: tuple[Withheld, ...]
    undo_window_seconds: int
    estimate_seconds: int
    """One worker: objects at 100 MB a second, tables at 10 MB a second (compressed), at least 5;
    without the undo window and without what waits for a lock.
    """


def preview(tx: Transaction, *, parts: Parts, dsar_id: str) -> Preview:
    """The scope of a case. NotReadyError while it is looked for, and once it was destroyed."""
    case = store.get(tx, dsar_id)
    row = store.scope_of(tx, dsar_id)
    if row is None:
        raise NotReadyError(f"There is no scope: {needs(case.state, case.type).what}.")
    made = made_scope(row)
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
        withheld=made.withheld,
        undo_window_seconds=made.undo_window_seconds,
        estimate_seconds=estimate_seconds(made.datasets),
    )


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
