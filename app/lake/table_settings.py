"""How a table of a lake is set, so that an erasure can commit and no id's prefix stays in a bound.

Not here: setting them on tables that are there already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_EVERY_TABLE: Mapping[str, str] = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    "write.delete.isolation-level": "snapshot",
    "write.update.isolation-level": "snapshot",
    "write.metadata.metrics.default": "counts",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "5",
}
_BOUNDED = ("event_dt", "ts")


def table_properties(columns: Iterable[str]) -> Mapping[str, str]:
    """Properties of a table with these columns: bounds are kept of its day and its time only."""
    full = [c for c in _BOUNDED if c in set(columns)]
    return {**_EVERY_TABLE, **{f"write.metadata.metrics.column.{c}": "full" for c in full}}
