"""How a table of a lake is set, so that an erasure can commit and no id's prefix stays in a bound.

Not here: setting them on tables that are there already (app.lake.table_fixes).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from app.lake.table_ports import TableEngine, TableHead

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


_ERASED = (
    "write.delete.isolation-level",
    "write.update.isolation-level",
    "write.metadata.metrics.default",
    "write.metadata.delete-after-commit.enabled",
)
_METRICS = "write.metadata.metrics.column."
_AS_GOOD = {"write.metadata.metrics.default": ("none",)}
_BOUNDLESS = ("none", "counts")


def wanted_changes(
    properties: Mapping[str, str], *, columns: Mapping[str, str], declared: Collection[str]
) -> Mapping[str, str]:
    """Key -> value of what has to change on a table that is there, so that it can be erased from.

    `columns`: path -> Iceberg type; `declared`: paths that have a role. A column of text, or a
    declared one, keeps no bounds: they quote it, cut off after 16 characters or whole.
    """
    made = table_properties(columns)
    wanted = {key: made[key] for key in _ERASED}
    wanted |= {key: value for key, value in made.items() if key.startswith(_METRICS)}
    for key, value in properties.items():
        column = key.removeprefix(_METRICS)
        quotes = columns.get(column) in ("string", "binary") or column in declared
        if column != key and key not in wanted and quotes and value not in _BOUNDLESS:
            wanted[key] = "counts"
    return {
        key: value
        for key, value in sorted(wanted.items())
        if properties.get(key) not in (value, *_AS_GOOD.get(key, ()))
    }


def partition_columns(engine: TableEngine, head: TableHead) -> frozenset[str]:
    """What partitions are made of: those of live files, and of files to be written."""
    live = engine.files(head.table, snapshot_id=head.snapshot_id) if head.snapshot_id else ()
    specs = {head.spec_id, *(f.spec_id for f in live)}
    return frozenset(key for spec in specs for key in head.keys.get(spec, ()))
