"""What a run would do to each dataset for one case, counted while the person was looked for.

Lower bounds of what is there: rows that a declared column names the person on. Values in free text
and mentions on other people's rows are found by the run itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Expected:
    """One dataset."""

    dataset: str
    rows: int = 0
    """The person's alone: deleted, severed or kept, as the dataset is treated."""
    co_owned: int = 0
    """Owned by somebody else too: they stay, and no longer name the person."""
    changed: int = 0
    """Other people's rows, or nobody's, with a linked or derived value of the person."""
    kept: Mapping[str, int] = field(default_factory=dict)
    """Ground -> rows (of those above) that stay as they are."""
    of_rows: int | None = None
    """All rows of the dataset; of objects an estimate by the length of the rows found. None: none
    was found to tell by.
    """
    objects: int = 0
    """Objects with such a row, current versions only. 0 for a table: its files are not told apart.
    """
    bytes: int = 0
    """Of those objects, as stored."""
    locked: int = 0
    """Of those objects: under a COMPLIANCE lock that has not ended."""
    locked_until: datetime | None = None
    """When the last of these locks ends."""
    held: int = 0
    """Of those objects: under a legal hold of the store."""

    @property
    def touched(self) -> int:
        """Rows that the case touches."""
        return self.rows + self.co_owned + self.changed
