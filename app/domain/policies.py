"""The erasure rule for one row, as a pure decision. Erasers act on it; the verifier has its own.

Source: the owner / linked / mentions rule of docs/lake.md; GDPR article 17(1) and 17(3) for what is
kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from app.domain.datasets import Dataset, Where
from app.domain.identifiers import Targets


class Fate(StrEnum):
    """What happens to a row that holds at least one target."""

    DELETE = "delete"
    TOMBSTONE = "tombstone"
    """The row stays, every target on it is replaced."""
    KEEP = "keep"
    """The row stays as it is, on a legal ground."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The fate of a row. `subject` is the owner's index in the run, None when no owner is in the
    run.
    """

    fate: Fate
    co_owned: bool
    subject: int | None


def decide(owners: Set[str], *, targets: Targets, dataset: Dataset, kept: bool) -> Decision:
    """Decide on a row that holds a target.

    `owners`: every non-null value of its owner columns (all occurrences of a duplicate key).
    `kept`: whether a `keep_when` of the dataset matches. A row with an owner outside the run is
    never deleted: it is co-owned.
    """
    ours = sorted(targets.owners[o] for o in owners if o in targets.owners)
    subject = ours[0] if ours else None
    if kept or dataset.treatment.kind == "keep":
        return Decision(Fate.KEEP, co_owned=False, subject=subject)
    if subject is None:
        return Decision(Fate.TOMBSTONE, co_owned=False, subject=None)
    if any(o not in targets.owners for o in owners):
        return Decision(Fate.TOMBSTONE, co_owned=True, subject=subject)
    fate = Fate.TOMBSTONE if dataset.treatment.kind == "tombstone" else Fate.DELETE
    return Decision(fate, co_owned=False, subject=subject)


def matches(where: Where, values_at: Callable[[str], Iterable[str]]) -> bool:
    """Whether a row meets every condition: some value at each path fits one of its patterns (`*`,
    case matters).
    """
    return all(
        any(fnmatchcase(value, pattern) for value in values_at(path) for pattern in patterns)
        for path, patterns in where.all_of
    )


def is_kept(dataset: Dataset, values_at: Callable[[str], Iterable[str]]) -> bool:
    """Whether any `keep_when` of the dataset holds for the row."""
    return any(matches(rule.where, values_at) for rule in dataset.keep_when)
