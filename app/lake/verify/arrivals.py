"""What came after a dataset's horizon: named, and the next sweep's business."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from app.lake.verify.places import full_uri
from app.lake.verify.sources import Found
from app.lake.verify.tables import TableView

_BEFORE_A_COMMIT = (".parquet", ".orc", ".avro")
"""What a writer has to write first: data, delete files, manifests."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Of a dataset of objects: what is younger than its horizon."""

    after: datetime | None
    """The horizon; of a table, when the erase stage ended."""

    def has(self, found: Found) -> bool:
        """Whether an object or file is news to the run."""
        return self.after is not None and found.modified > self.after

    def added(self, path: str) -> bool:
        """Whether a data file was added to the table after its snapshot H."""
        return False


@dataclass(frozen=True, slots=True)
class TableArrivals(Arrivals):
    """Of a table: data files added after snapshot H, and younger files that no metadata names:
    they may be of a commit that is being made. The purge leaves those for the same reason.
    """

    named: frozenset[str] = field(repr=False)
    files: frozenset[str] = field(repr=False)

    @classmethod
    def of(
        cls,
        view: TableView | None,
        horizon: int | None,
        *,
        ours: Collection[str],
        after: datetime | None,
    ) -> TableArrivals:
        """None where the metadata cannot be read. No file was added where H is gone, or where a
        file of the run itself would be late: then H is wrong, and excuses nothing.
        """
        if view is None:
            return cls(None, frozenset(), frozenset())
        known = {s.id: s.sequence for s in view.metadata.snapshots}
        files: frozenset[str] = frozenset()
        if horizon is not None and horizon in known:
            files = frozenset(u for u, e in view.entries.items() if e.sequence > known[horizon])
        return cls(after, view.named, frozenset() if files.intersection(ours) else files)

    def has(self, found: Found) -> bool:
        may_be = found.uri not in self.named and found.uri.endswith(_BEFORE_A_COMMIT)
        is_in_flight = may_be and self.after is not None and found.modified > self.after
        return found.uri in self.files or is_in_flight

    def added(self, path: str) -> bool:
        return full_uri(path) in self.files
