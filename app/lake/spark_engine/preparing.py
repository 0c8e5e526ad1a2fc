"""Rows out of files that nobody erases from here, into Parquet files without deletes: the
statements, and the proof that no row changed.

The procedures of Iceberg itself do it. Those that destroy (expire_snapshots, remove_orphan_files)
are never called: they delete by name, before anything is checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from app.lake.spark_engine.session import Spark

_DELETES = {"delete-file-threshold": "1", "remove-dangling-deletes": "true"}
"""Files that any delete applies to, and then the delete files."""
_EVERYTHING = {
    "rewrite-all": "true",
    "remove-dangling-deletes": "true",
    "use-starting-sequence-number": "false",  # else a position delete of the same number stays
}


def rewrite_deleted(spark: Spark, table: str) -> None:
    """Write files anew that deletes apply to, without what they hide."""
    _rewrite(spark, table, options=_DELETES)


def rewrite_all(spark: Spark, table: str) -> None:
    """Write every file anew."""
    _rewrite(spark, table, options=_EVERYTHING)


def _rewrite(spark: Spark, table: str, *, options: dict[str, str]) -> None:
    pairs = ", ".join(f"'{key}', '{value}'" for key, value in options.items())
    name = ".".join(_quoted(part) for part in table.split("."))
    catalog = _quoted(spark.place.catalog)
    _fresh(spark, table)
    spark.rows(
        f"CALL {catalog}.system.rewrite_data_files("
        f"table => {_text(name)}, options => map({pairs}))",
        what=f"table {table}",
    )


def rows_digest(
    spark: Spark, table: str, *, snapshot: int, columns: Iterable[str]
) -> Sequence[Any]:
    """How many rows a snapshot has, and a sum over hashes of their columns, whatever the order."""
    names = ", ".join(_quoted(column) for column in columns)
    _fresh(spark, table)
    (found,) = spark.rows(
        f"SELECT count(*), sum(cast(xxhash64({names}) AS decimal(38, 0))) "
        f"FROM {_full(spark, table)} VERSION AS OF {snapshot}",
        what=f"table {table}",
    )
    return found


def _fresh(spark: Spark, table: str) -> None:
    """Spark may keep what it knew of a table; others commit to it."""
    spark.rows(f"REFRESH TABLE {_full(spark, table)}", what=f"table {table}")


def _full(spark: Spark, table: str) -> str:
    return ".".join(_quoted(part) for part in (spark.place.catalog, *table.split(".")))


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
