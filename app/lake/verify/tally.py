"""What the second look counted in a pair, against what the receipt says."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.findings import What
from app.domain.receipts import Counts
from app.lake.verify.places import Sight

_COUNTS = ("before", "deleted", "tombstoned", "co_owned", "kept", "values", "parked")
_SHARED = ("deleted", "tombstoned", "co_owned", "kept")


@dataclass(slots=True)
class Tally:
    """Counts of one pair, as app.domain.receipts.Counts means them."""

    before: int = 0
    deleted: int = 0
    tombstoned: int = 0
    co_owned: int = 0
    kept: int = 0
    values: int = 0
    parked: int = 0

    def compare(self, counts: Counts, *, sight: Sight) -> None:
        """The receipt says what was seen, and its shares add up."""
        for name in _COUNTS:
            said, seen = getattr(counts, name), getattr(self, name)
            if said != seen:
                detail = f"the receipt says {said}, {seen} were seen"
                sight.saw(What.ARITHMETIC, f"count {name}", detail=detail)
        compare_shares(counts, sight=sight)


def compare_shares(counts: Counts, *, sight: Sight) -> None:
    """The shares of the subjects add up to the run's numbers."""
    for name in _SHARED:
        if sum(getattr(s, name) for s in counts.shares.values()) != getattr(counts, name):
            sight.saw(What.ARITHMETIC, f"shares of {name}", detail="they do not add up")
