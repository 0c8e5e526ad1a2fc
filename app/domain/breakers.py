"""Breakers: numbers beyond which an erasure looks like a mistake, so that a person must say it is
none. They stop nothing by themselves: whoever approves names each one that they accept.

Not here: counting (app.lake.identities), asking (app.services.decisions).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class BreakerKind(StrEnum):
    """What looks wrong."""

    TOO_MANY_LINKED = "too_many_linked"
    """More cookies and devices than one person has: somebody else's may be among them."""
    TOO_MANY_ROWS = "too_many_rows"
    """More of a dataset than one person leaves behind."""
    TOO_MANY_TODAY = "too_many_today"
    """More cases than one actor opens in a day: a program may have gone wrong."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """One that tripped, in numbers."""

    kind: BreakerKind
    found: int
    limit: int
    dataset: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Up to where nothing looks wrong."""

    linked: int = 50
    """Linked identifiers of one identity."""
    rows: int = 10_000
    """Rows of one dataset that one case touches; only together with `row_share`."""
    row_share: float = 0.001
    """Of all rows of the dataset."""
    dsars_a_day: int = 200
    """Cases that one actor opens in 24 hours."""


@dataclass(frozen=True, slots=True)
class Touched:
    """How many rows of a dataset a case touches, of how many."""

    dataset: str
    rows: int
    of: int | None
    """None: nobody has counted; any share is then taken as too large."""


def tripped(*, linked: int, touched: Iterable[Touched], limits: Limits) -> tuple[Breaker, ...]:
    """The breakers that a scope trips, in a stable order."""
    return tuple(_tripped(linked, touched, limits))


def _tripped(linked: int, touched: Iterable[Touched], limits: Limits) -> Iterator[Breaker]:
    if linked > limits.linked:
        yield Breaker(BreakerKind.TOO_MANY_LINKED, linked, limits.linked)
    for one in touched:
        is_large = one.of is None or one.rows > one.of * limits.row_share
        if one.rows > limits.rows and is_large:
            yield Breaker(BreakerKind.TOO_MANY_ROWS, one.rows, limits.rows, one.dataset)


def unaccepted(breakers: Iterable[Breaker], accepted: Iterable[str]) -> list[str]:
    """The names of those that nobody has accepted, sorted."""
    return sorted({b.kind.value for b in breakers} - set(accepted))
