"""What a run would do, as data that can be shown, stored and confirmed by its digest.

The digest covers the scope: who, what was decided, which datasets and treatments, the map. New rows
do not change it; a new linked identifier does.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from app.domain.datasets import DataMap
from app.domain.identifiers import Identity


@dataclass(frozen=True, slots=True)
class SharedPlan:
    """A shared value without the value."""

    kind: str
    users: int
    decision: str


@dataclass(frozen=True, slots=True)
class SubjectPlan:
    """A subject in counts."""

    name: str
    identifiers: dict[str, int]
    """Kind -> how many values will be erased."""
    shared: tuple[SharedPlan, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DatasetPlan:
    """A dataset: what will be read, and how rows of the subjects are treated."""

    layer: str
    name: str
    treatment: str
    objects: int
    """Objects or data files that can hold any of them (all: random ids cannot be pruned safely)."""
    versions: int
    bytes: int
    rows: int | None
    """Known for tables; None for objects."""
    snapshots: int
    refs: tuple[str, ...] = ()
    """Tags and branches besides `main`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole of it. `digest` is what `--confirm` takes."""

    digest: str
    subjects: tuple[SubjectPlan, ...]
    datasets: tuple[DatasetPlan, ...]
    undo_window_seconds: int
    undecided: int
    """SHA-256 over the scope. Shown to the operator only; a report carries commitments instead."""


def scope_digest(identities: Iterable[Identity], data_map: DataMap) -> str:
    """SHA-256 over the scope. Shown to the operator only: a report carries commitments instead."""
    scope = {
        "map": data_map.digest,
        "datasets": [
            [d.name, d.location or d.table, d.treatment.kind, d.elsewhere]
            for d in data_map.datasets
        ],
        "unparsable": data_map.unparsable,
        "identities": [
            {
                "subject": identity.subject,
                "identifiers": sorted([i.kind.value, i.value] for i in identity.identifiers),
                "shared": [[s.identifier.value, s.decision] for s in identity.shared],
            }
            for identity in identities
        ],
    }
    text = json.dumps(scope, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def subject_plan(identity: Identity) -> SubjectPlan:
    """The counts of an identity; no value."""
    return SubjectPlan(
        name=identity.subject,
        identifiers=dict(sorted(Counter(i.kind.value for i in identity.identifiers).items())),
        shared=tuple(
            SharedPlan(s.identifier.kind.value, s.users, s.decision) for s in identity.shared
        ),
        sources=identity.sources,
    )
