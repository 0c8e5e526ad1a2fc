"""Table shapes that cannot be erased with certainty here, each with the way out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from pyiceberg.manifest import DataFileContent, FileFormat
from pyiceberg.table import Table

from app.lake.pyiceberg_engine.columns import schema_of
from app.lake.pyiceberg_engine.listing import Listing, ManifestListing, list_snapshot
from app.lake.table_names import normalise

_SPARK = "Use Spark:"
_ENGINE = "with CLEARLAKE_SPARK_MASTER set it is erased as it is"
_OUTSIDE = (
    "Files of it lie outside its location (write.data.path, add_files or snapshot), where nothing "
    f"is purged. {_SPARK} unset write.data.path, CALL system.rewrite_data_files with rewrite-all, "
    "expire the old snapshots, delete or declare the files left there, then run again."
)


class Shape(Enum):
    """What is wrong with a table."""

    VERSION = auto()
    LOST_COLUMN = auto()
    ENCRYPTED = auto()
    SHARED_LOCATION = auto()
    OUTSIDE = auto()
    EQUALITY_DELETES = auto()
    DELETION_VECTORS = auto()
    FORMAT = auto()


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason, and the way out."""

    shape: Shape
    text: str


def refusals(
    table: Table,
    *,
    others: Mapping[str, str],
    known: dict[str, Any],
    lifted: Collection[Shape] = (),
) -> tuple[str, ...]:
    """Why this table is refused; `others`: locations of the catalog's other tables by name;
    `known`: as `list_snapshot` takes it; `lifted`: what another engine takes care of.
    """
    found = [*_of_metadata(table), *_of_location(table, others=others)]
    if all(refusal.shape in lifted for refusal in found):
        found += _of_files(table, known=known)
    return tuple(dict.fromkeys(r.text for r in found if r.shape not in lifted))


def refused_files(listing: Listing) -> tuple[Refusal, ...]:
    """Why files that are live in this snapshot cannot be erased from."""
    records = (e.data_file for m in listing.manifests for e in m.live)
    found = (_of_file(record) for record in records)
    return tuple(dict.fromkeys(refusal for refusal in found if refusal is not None))


def _of_metadata(table: Table) -> Iterator[Refusal]:
    metadata = table.metadata
    if metadata.format_version >= 3:
        yield Refusal(
            Shape.VERSION,
            f"Format version {metadata.format_version} (deletion vectors, row lineage) cannot be "
            f"written by PyIceberg. {_SPARK} {_ENGINE}; or keep the table at version 2.",
        )
    if any(schema_of(metadata, spec) is None for spec in metadata.specs().values()):
        yield Refusal(
            Shape.LOST_COLUMN,
            "A partition spec is made of a column that no schema of the table knows any more. "
            f"{_SPARK} CALL system.rewrite_data_files with rewrite-all, then CALL "
            "system.expire_snapshots with clean_expired_metadata, then run again.",
        )
    if any(key.startswith("encryption.") for key in metadata.properties):
        yield Refusal(
            Shape.ENCRYPTED,
            "The table is encrypted and its keys are not known here. "
            f"{_SPARK} erase with the table's key management configured.",
        )


def _of_location(table: Table, *, others: Mapping[str, str]) -> Iterator[Refusal]:
    own = normalise(table.metadata.location).rstrip("/") + "/"
    for name, location in sorted(others.items()):
        other = location.rstrip("/") + "/"
        if own.startswith(other) or other.startswith(own):
            yield Refusal(
                Shape.SHARED_LOCATION,
                f"Its location is shared with table {name}: files of one could be taken for "
                f"orphans of the other. {_SPARK} rewrite one of them into a location of its own.",
            )


def _of_files(table: Table, *, known: dict[str, Any]) -> Iterator[Refusal]:
    """Of the current snapshot all that matters; of older ones only what no purge could mend: what
    else cannot be read there goes with its snapshot.
    """
    own = normalise(table.metadata.location).rstrip("/") + "/"
    yield from refused_files(list_snapshot(table, table.metadata.current_snapshot_id, known=known))
    for snapshot in table.metadata.snapshots:
        for manifest in list_snapshot(table, snapshot.snapshot_id, known=known).manifests:
            yield from _of_manifest(manifest, own=own)


def _of_manifest(manifest: ManifestListing, *, own: str) -> Iterator[Refusal]:
    if manifest.manifest.key_metadata:
        yield Refusal(
            Shape.ENCRYPTED, f"A manifest is encrypted. {_SPARK} erase with the table's keys."
        )
    for entry in manifest.live:
        if entry.data_file.key_metadata:
            yield _encrypted()
        if not normalise(entry.data_file.file_path).startswith(own):
            yield Refusal(Shape.OUTSIDE, _OUTSIDE)


def _of_file(record: Any) -> Refusal | None:
    if record.content == DataFileContent.EQUALITY_DELETES:
        return Refusal(
            Shape.EQUALITY_DELETES,
            "It has equality deletes, and rows they hide stay on disk. "
            f"{_SPARK} {_ENGINE}; or CALL system.rewrite_data_files with delete-file-threshold 1 "
            "and remove-dangling-deletes, then run again.",
        )
    if record.file_format == FileFormat.PUFFIN:
        return Refusal(
            Shape.DELETION_VECTORS,
            "It has deletion vectors. "
            f"{_SPARK} {_ENGINE}; or CALL system.rewrite_data_files with delete-file-threshold 1, "
            "then run again.",
        )
    if record.file_format != FileFormat.PARQUET:
        return Refusal(
            Shape.FORMAT,
            f"It has {record.file_format.value} files; only Parquet is rewritten here. "
            f"{_SPARK} set write.format.default and write.delete.format.default to parquet; then "
            f"{_ENGINE}, or CALL system.rewrite_data_files with rewrite-all and run again.",
        )
    return _encrypted() if record.key_metadata else None


def _encrypted() -> Refusal:
    return Refusal(
        Shape.ENCRYPTED,
        f"A file is encrypted. {_SPARK} erase with the table's key management configured.",
    )
