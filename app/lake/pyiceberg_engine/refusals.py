"""Table shapes that cannot be erased with certainty here, each with the way out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyiceberg.manifest import DataFileContent, FileFormat
from pyiceberg.table import Table

from app.lake.pyiceberg_engine.columns import schema_of
from app.lake.pyiceberg_engine.listing import list_snapshot
from app.lake.table_names import normalise

_SPARK = "Use Spark:"
_OUTSIDE = (
    "Files of it lie outside its location (write.data.path, add_files or snapshot), where nothing "
    f"is purged. {_SPARK} unset write.data.path, CALL system.rewrite_data_files with rewrite-all, "
    "expire the old snapshots, delete or declare the files left there, then run again."
)


def refusals(table: Table, *, others: Mapping[str, str], known: dict[str, Any]) -> tuple[str, ...]:
    """Why this table is refused; `others`: locations of the catalog's other tables by name;
    `known`: as `list_snapshot` takes it.
    """
    found = [*_of_metadata(table), *_of_location(table, others=others)]
    if not found:
        found = _of_files(table, known=known)
    return tuple(found)


def _of_metadata(table: Table) -> list[str]:
    metadata = table.metadata
    found = []
    if metadata.format_version >= 3:
        found.append(
            f"Format version {metadata.format_version} (deletion vectors, row lineage) cannot be "
            f"written here. {_SPARK} CALL system.rewrite_data_files and erase there, or keep the "
            "table at version 2."
        )
    if any(schema_of(metadata, spec) is None for spec in metadata.specs().values()):
        found.append(
            "A partition spec is made of a column that no schema of the table knows any more. "
            f"{_SPARK} CALL system.rewrite_data_files with rewrite-all, then CALL "
            "system.expire_snapshots with clean_expired_metadata, then run again."
        )
    if any(key.startswith("encryption.") for key in metadata.properties):
        found.append(
            "The table is encrypted and its keys are not known here. "
            f"{_SPARK} erase with the table's key management configured."
        )
    return found


def _of_location(table: Table, *, others: Mapping[str, str]) -> list[str]:
    own = normalise(table.metadata.location).rstrip("/") + "/"
    return [
        f"Its location is shared with table {name}: files of one could be taken for orphans of the "
        f"other. {_SPARK} rewrite one of them into a location of its own."
        for name, location in sorted(others.items())
        if own.startswith(location.rstrip("/") + "/")
        or (location.rstrip("/") + "/").startswith(own)
    ]


def _of_files(table: Table, *, known: dict[str, Any]) -> list[str]:
    found: dict[str, None] = {}
    own = normalise(table.metadata.location).rstrip("/") + "/"
    for snapshot in table.metadata.snapshots:
        for manifest in list_snapshot(table, snapshot.snapshot_id, known=known).manifests:
            if manifest.manifest.key_metadata:
                found["A manifest is encrypted. " + _SPARK + " erase with the table's keys."] = None
            for entry in manifest.live:
                if (reason := _of_file(entry.data_file)) is not None:
                    found[reason] = None
                if not normalise(entry.data_file.file_path).startswith(own):
                    found[_OUTSIDE] = None
    return list(found)


def _of_file(record: Any) -> str | None:
    if record.content == DataFileContent.EQUALITY_DELETES:
        return (
            "It has equality deletes, and rows they hide stay on disk. "
            f"{_SPARK} CALL system.rewrite_data_files with delete-file-threshold 1, expire the old "
            "snapshots, then run again."
        )
    if record.file_format == FileFormat.PUFFIN:
        return (
            "It has deletion vectors. "
            f"{_SPARK} CALL system.rewrite_data_files with delete-file-threshold 1, expire the old "
            "snapshots, then run again."
        )
    if record.file_format != FileFormat.PARQUET:
        return (
            f"It has {record.file_format.value} files; only Parquet is rewritten here. "
            f"{_SPARK} set write.format.default and write.delete.format.default to parquet, CALL "
            "system.rewrite_data_files with rewrite-all, expire the old snapshots, then run again."
        )
    if record.key_metadata:
        return f"A file is encrypted. {_SPARK} erase with the table's key management configured."
    return None
