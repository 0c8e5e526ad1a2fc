"""The second look at a dataset of very many objects, shared among several steps. Pure.

Every object falls to exactly one of them by its URI, whether the run knows it or not. Not here:
groups of objects that are acted on (app.stages.grouping).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

_GROUPS = 16
"""That one look takes: some minutes to an hour."""
_MOST = 256
"""Each look lists the whole dataset: beyond that listing costs more than it saves."""


@dataclass(frozen=True, slots=True)
class Share:
    """One of so many."""

    number: int = 0
    of: int = 1

    def has(self, uri: str) -> bool:
        """Whether an object falls to it."""
        return zlib.crc32(uri.encode("utf-8", "surrogatepass")) % self.of == self.number

    @property
    def is_whole(self) -> bool:
        """Whether there is no other."""
        return self.of == 1


WHOLE = Share()


def shares_of(groups: int) -> int:
    """How many looks a dataset of so many groups is given."""
    return max(1, min(groups // _GROUPS, _MOST))
