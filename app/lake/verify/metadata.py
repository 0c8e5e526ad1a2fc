"""What a table's metadata.json and manifests say: snapshots, files, row counts, column names.

Reads JSON and Avro itself; PyIceberg is not used. Searching them is in asides of tables.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import fastavro

from app.domain.errors import LakeError

LIVE = (0, 1)
"""Manifest entry status EXISTING and ADDED; 2 is DELETED."""
_LIST_STEPS = frozenset({"element", "key", "value"})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One snapshot as the metadata lists it."""

    id: int
    sequence: int
    manifest_list: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TableMetadata:
    """The part of metadata.json that says where things are."""

    location: str = field(repr=False)
    snapshots: tuple[Snapshot, ...]
    names: Mapping[int | str, str]
    """Field id, or the name that a file without ids has -> dotted name in the current schema."""
    statistics: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """A live file of some snapshot."""

    path: str = field(repr=False)
    rows: int
    sequence: int
    is_data: bool


def table_metadata(raw: bytes) -> TableMetadata:
    """Read a metadata.json. LakeError when it is none."""
    try:
        said = json.loads(raw)
        snapshots = tuple(
            Snapshot(s["snapshot-id"], s.get("sequence-number", 0), s["manifest-list"])
            for s in said.get("snapshots", ())
        )
        files = (*said.get("statistics", ()), *said.get("partition-statistics", ()))
        return TableMetadata(
            said["location"],
            snapshots,
            column_names(said),
            tuple(f["statistics-path"] for f in files),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise LakeError("A metadata.json that cannot be read.") from err


def column_names(said: Mapping[str, Any]) -> dict[int | str, str]:
    """Field id -> dotted name in the current schema; steps into lists and maps left out. The same
    by name, for files without ids, where the table maps names.
    """
    current = said.get("current-schema-id", 0)
    schemas = said.get("schemas") or [said["schema"]]
    schema = next((s for s in schemas if s.get("schema-id", 0) == current), schemas[-1])
    names: dict[int | str, str] = dict(_names(schema, ""))
    mapping = (said.get("properties") or {}).get("schema.name-mapping.default")
    if mapping is not None:
        names.update(_mapped(json.loads(mapping), names, parent=""))
    return names


def _mapped(
    fields: Any, names: Mapping[int | str, str], *, parent: str
) -> Iterator[tuple[str, str]]:
    """Names in files -> the table's, below a column that the table calls `parent`."""
    for said in fields:
        path = names.get(said.get("field-id"), "")
        if path != parent:  # else a step into a list or a map
            for name in said["names"]:
                yield (f"{parent}.{name}" if parent else name), path
        yield from _mapped(said.get("fields") or (), names, parent=path)


def _names(kind: Any, path: str) -> Iterator[tuple[int, str]]:
    if not isinstance(kind, dict):
        return
    if kind["type"] == "struct":
        for column in kind["fields"]:
            below = f"{path}.{column['name']}" if path else column["name"]
            yield column["id"], below
            yield from _names(column["type"], below)
    for step in _LIST_STEPS:
        if f"{step}-id" in kind:
            yield kind[f"{step}-id"], path
            yield from _names(kind[step], path)


def avro(file: BinaryIO) -> tuple[Mapping[str, str], list[Any]]:
    """The header's own texts and all records. LakeError when it cannot be read to its end."""
    try:
        reader = fastavro.reader(file)
        return dict(reader.metadata), list(reader)
    except (
        ValueError, KeyError, IndexError, TypeError, EOFError, struct.error, zlib.error, OSError,
        fastavro.schema.SchemaParseException,
    ) as err:  # fmt: skip
        raise LakeError("An Avro file that cannot be read.") from err


def manifest_paths(records: list[Any]) -> list[tuple[str, int]]:
    """(path, sequence number) of each manifest of a manifest list."""
    return [(r["manifest_path"], r.get("sequence_number") or 0) for r in records]


def live_entries(records: list[Any], *, sequence: int) -> Iterator[Entry]:
    """The live files of a manifest; `sequence` is inherited by entries that have none."""
    for record in records:
        if record["status"] in LIVE:
            file = record["data_file"]
            number = record.get("sequence_number")
            yield Entry(
                file["file_path"],
                file["record_count"],
                sequence if number is None else number,
                file.get("content", 0) == 0,
            )
