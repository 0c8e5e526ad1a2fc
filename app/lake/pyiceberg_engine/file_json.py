"""A file's manifest record as JSON: the form in which the REST specification, and with it Iceberg's
own library, takes content files. Not here: committing them (app.lake.spark_engine).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pyiceberg.conversions import to_json
from pyiceberg.manifest import DataFileContent
from pyiceberg.table import Table

from app.domain.errors import LakeError
from app.lake.pyiceberg_engine.columns import schema_of

_NUMBERS = {
    "column-sizes": "column_sizes",
    "value-counts": "value_counts",
    "null-value-counts": "null_value_counts",
    "nan-value-counts": "nan_value_counts",
}
_BOUNDS = {"lower-bounds": "lower_bounds", "upper-bounds": "upper_bounds"}


def file_json(table: Table, record: Any) -> str:
    """A data or delete file of this table, its row id (version 3) left for the commit to give."""
    document: dict[str, Any] = {
        "spec-id": record.spec_id,
        "content": DataFileContent(record.content or 0).name,  # version 1 has none
        "file-path": record.file_path,
        "file-format": record.file_format.value,
        "partition": _partition(table, record),
        "file-size-in-bytes": record.file_size_in_bytes,
        "record-count": record.record_count,
    }
    for key, name in _NUMBERS.items():
        if counts := getattr(record, name):
            document[key] = _map(counts)
    for key, name in _BOUNDS.items():
        if bounds := getattr(record, name):
            document[key] = _map({i: bytes(b).hex().upper() for i, b in bounds.items()})
    if record.split_offsets:
        document["split-offsets"] = list(record.split_offsets)
    if record.equality_ids:
        document["equality-ids"] = list(record.equality_ids)
    if record.sort_order_id is not None:
        document["sort-order-id"] = record.sort_order_id
    return json.dumps(document)


def _map(values: Mapping[int, Any]) -> dict[str, list[Any]]:
    return {"keys": list(values), "values": list(values.values())}


def _partition(table: Table, record: Any) -> dict[str, Any]:
    """Partition field id -> value, by the type that it had in the file's own spec."""
    spec = table.metadata.specs()[record.spec_id]
    schema = schema_of(table.metadata, spec)
    if schema is None:
        raise LakeError("A partition spec is made of a column that no schema has.")
    found = {}
    for place, field in enumerate(spec.partition_type(schema).fields):
        value = record.partition[place]
        if value is not None:
            found[str(field.field_id)] = to_json(field.field_type, value)
    return found
