"""The erasure rule of one row, read again from docs/lake.md for the second look. It must agree with
what the erasers do and shares nothing with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from app.domain.datasets import Dataset, Roles, Where
from app.domain.identifiers import Kind, Targets

ValuesAt = Callable[[str], Iterable[str]]
"""Dotted path -> every value there, as text."""


class Fate(StrEnum):
    """What must have happened to a row that holds somebody of the run."""

    GOES = "goes"
    SEVERED = "severed"
    """It stays; every value of the run on it became a tombstone."""
    STAYS = "stays"
    """On a legal ground: as it was."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The fate of one row, who owns it, and whether somebody outside the run does too."""

    fate: Fate
    owners: frozenset[str]
    co_owned: bool
    subject: int | None
    """The owner's index in the run; None when no owner is in the run."""


class Rule:
    """The rule for the rows of one dataset in one run."""

    def __init__(self, dataset: Dataset, targets: Targets) -> None:
        self.dataset = dataset
        self._targets = targets

    def judge(self, at: ValuesAt, inside: Callable[[str], ValuesAt]) -> Judgement:
        """`at`: values of the row's own paths. `inside(column)`: values of the paths inside a JSON
        column.
        """
        owners = frozenset(self._owners(at, inside))
        ours = {o for o in owners if o in self._targets.owners}
        subject = min((self._targets.owners[o] for o in ours), default=None)
        treatment = self.dataset.treatment.kind
        if treatment == "keep" or any(_holds(k.where, at) for k in self.dataset.keep_when):
            return Judgement(Fate.STAYS, owners, co_owned=False, subject=subject)
        if not owners and self._is_lost_identity(at):
            gone = Fate.GOES if treatment == "delete" else Fate.SEVERED
            return Judgement(gone, owners, co_owned=False, subject=None)
        if not ours:
            return Judgement(Fate.SEVERED, owners, co_owned=False, subject=None)
        if ours != owners:
            return Judgement(Fate.SEVERED, owners, co_owned=True, subject=subject)
        gone = Fate.GOES if treatment == "delete" else Fate.SEVERED
        return Judgement(gone, owners, co_owned=False, subject=subject)

    def _owners(self, at: ValuesAt, inside: Callable[[str], ValuesAt]) -> Iterable[str]:
        yield from _owners_by(self.dataset.roles, values=at, row=at)
        for column, roles in self.dataset.json.items():
            yield from _owners_by(roles, values=inside(column), row=at)

    def _is_lost_identity(self, at: ValuesAt) -> bool:
        """A row of dim_identity that has no user_id and whose every identifier is of the run."""
        if not self.dataset.is_identity:
            return False
        paths = {
            path
            for kind in (Kind.ANON_ID, Kind.DEVICE_FP)
            for path in self.dataset.identity_columns.get(kind.value, ())
        }
        paths |= {path for _, columns in self.dataset.roles.linked for path in columns}
        values = {value for path in paths for value in at(path)}
        return bool(values) and all(v in self._targets.by_value for v in values)


def _owners_by(roles: Roles, *, values: ValuesAt, row: ValuesAt) -> Iterable[str]:
    for path in roles.owner:
        yield from values(path)
    for when in roles.owner_when:
        if _holds(when.where, row):
            for path in when.columns:
                yield from values(path)


def _holds(where: Where, at: ValuesAt) -> bool:
    return all(any(fits(value, patterns) for value in at(path)) for path, patterns in where.all_of)


def fits(value: str, patterns: Iterable[str]) -> bool:
    """Whether a text is one of the patterns."""
    return any(_pattern(p).fullmatch(value) for p in patterns)


@lru_cache(maxsize=1024)
def _pattern(pattern: str) -> re.Pattern[str]:
    """`*` is any run of characters; everything else is itself, case too."""
    return re.compile(".*".join(re.escape(p) for p in pattern.split("*")), re.DOTALL)
