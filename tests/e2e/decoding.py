"""What bytes hold, by their content: every member, frame, page, dictionary, statistic and bound.

Independent of the product: it imports nothing of it. Not here: where bytes are found (reader).
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterator
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

Part = tuple[str, bytes]
"""Where inside the bytes, and what stands there."""


def parts_of(data: bytes) -> Iterator[Part]:
    """The bytes as they are, and all that they decode to."""
    yield "bytes", data
    if data[:3] == b"\x1f\x8b\x08":
        for number, member in enumerate(gzip_members(data)):
            yield f"gzip member {number}", member
    elif data[:4] == b"\x28\xb5\x2f\xfd":
        reader = zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True)
        yield "zstd frames", reader.read()
    elif data[:4] == b"PAR1":
        yield from _parquet(data)
    elif data[:4] == b"Obj\x01":
        yield from _avro(data)


def gzip_members(data: bytes) -> Iterator[bytes]:
    """Each member of a gzip file."""
    while data:
        member = zlib.decompressobj(wbits=31)
        yield member.decompress(data) + member.flush()
        data = member.unused_data


# --- Parquet ---------------------------------------------------------------------------------


def _parquet(data: bytes) -> Iterator[Part]:
    file = pq.ParquetFile(pa.BufferReader(data))
    texts = _text_leaves(file)
    for number in range(file.num_row_groups):
        group = file.read_row_group(number)
        for name in group.column_names:
            yield f"pages of {name}", _joined(group.column(name).to_pylist())
        footer = file.metadata.row_group(number)
        for leaf in range(footer.num_columns):
            column = footer.column(leaf)
            found = column.statistics
            if found is not None and found.has_min_max:
                yield f"statistics of {column.path_in_schema}", _joined([found.min, found.max])
    coded = pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts)
    for number in range(coded.num_row_groups):
        for name, column in zip(file.schema_arrow.names, coded.read_row_group(number), strict=True):
            yield f"dictionary of {name}", _joined(_dictionaries(column))
    yield "key-value metadata", _joined(file.metadata.metadata)


def _text_leaves(file: pq.ParquetFile) -> list[str]:
    leaves = (file.schema.column(n) for n in range(len(file.schema)))
    return [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]


def _dictionaries(column: pa.ChunkedArray) -> Iterator[Any]:
    for chunk in column.chunks:
        yield from _dictionaries_of(chunk)


def _dictionaries_of(array: pa.Array) -> Iterator[Any]:
    if pa.types.is_dictionary(array.type):
        yield from array.dictionary.to_pylist()
    elif pa.types.is_struct(array.type):
        for n in range(array.type.num_fields):
            yield from _dictionaries_of(array.field(n))
    elif pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        yield from _dictionaries_of(array.values)
    elif pa.types.is_map(array.type):
        yield from _dictionaries_of(array.keys)
        yield from _dictionaries_of(array.items)


# --- Avro ------------------------------------------------------------------------------------


def _avro(data: bytes) -> Iterator[Part]:
    reader = fastavro.reader(io.BytesIO(data))
    yield "avro header", _joined(reader.metadata)
    for entry in reader:
        assert isinstance(entry, dict)
        for bound in bounds_of(entry):
            yield "bound", bound
        yield "avro entry", _joined(entry)


def bounds_of(entry: dict[str, Any]) -> Iterator[bytes]:
    """Column bounds of a manifest entry and partition bounds of a manifest list's."""
    file = entry.get("data_file") or {}
    for kind in ("lower_bounds", "upper_bounds"):
        for bound in file.get(kind) or []:
            yield bound["value"]
    for summary in entry.get("partitions") or []:
        yield from (summary[kind] for kind in ("lower_bound", "upper_bound") if summary[kind])


# --- anything ----------------------------------------------------------------------------------


def _joined(value: Any) -> bytes:
    """Every text and byte string in a value, a line each."""
    return b"\n".join(_leaves(value))


def _leaves(value: Any) -> Iterator[bytes]:
    if isinstance(value, str):
        yield value.encode("utf-8", "surrogatepass")
    elif isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(key)
            yield from _leaves(inner)
    elif isinstance(value, list | tuple | Iterator):
        for inner in value:
            yield from _leaves(inner)
    elif value is not None:
        yield json.dumps(value, default=str).encode()
