"""Arrow columns as the rule sees them: which rows may hold somebody, and the values of those rows.

Not here: what must become of a row (row_edits) and reading Parquet (parquet, file_pairs).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.lake.verify.needles import Needles

Mask = npt.NDArray[np.bool_]
Names = Mapping[int | str, str]
"""Field id -> the table's dotted name of the column, list and map steps left out; and the same by
name, for files without ids.
"""
_FIELD_ID = b"PARQUET:field_id"


@dataclass(frozen=True, slots=True)
class Tree:
    """The names of one column and of what is inside it. Elements of lists and maps share a path."""

    path: str = field(repr=False)
    inside: tuple[Tree, ...] = ()

    def holds(self, path: str) -> bool:
        """Whether values of a path are here or inside."""
        return self.path == path or any(below.holds(path) for below in self.inside)


def tree(column: pa.Field, names: Names, *, path: str, is_step: bool = False) -> Tree:
    """The names of a file's column as the table calls them now, told by field ids or by name.

    `path`: its name where the table no longer has that one. `is_step`: into a list or a map.
    """
    raw = (column.metadata or {}).get(_FIELD_ID)
    if raw is not None or not is_step:
        path = names.get(int(raw) if raw is not None else path, path)
    kind = column.type
    if pa.types.is_struct(kind):
        below = [kind.field(i) for i in range(kind.num_fields)]
        return Tree(path, tuple(tree(f, names, path=f"{path}.{f.name}") for f in below))
    if pa.types.is_map(kind):
        below = [kind.key_field, kind.item_field]
    else:
        below = [kind.value_field] if _is_list(kind) else []
    return Tree(path, tuple(tree(f, names, path=path, is_step=True) for f in below))


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def is_text(kind: pa.DataType) -> bool:
    """Texts, and bytes that may be text."""
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def holds_text(kind: pa.DataType) -> bool:
    """Whether text stands in a column at any depth."""
    if isinstance(kind, pa.DictionaryType):
        return holds_text(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return holds_text(kind.storage_type)
    if is_text(kind):
        return True
    return any(holds_text(kind.field(i).type) for i in range(kind.num_fields))


def suspect_rows(array: pa.Array, needles: Needles) -> Mask:
    """Rows in which a value may stand: never too few."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return suspect_rows(array.storage, needles)
    if isinstance(kind, pa.DictionaryType):
        return _by_dictionary(array, needles)
    if is_text(kind):
        return _by_bytes(array, needles)
    found = np.zeros(len(array), dtype=np.bool_)
    if pa.types.is_struct(kind):
        for child in array.flatten():
            found |= suspect_rows(child, needles)
    elif pa.types.is_map(kind):
        found |= suspect_rows(_as_list(array), needles)
    elif _is_list(kind) and len(array):
        elements = pc.list_flatten(array)
        inside = suspect_rows(elements, needles)
        parents = pc.list_parent_indices(array).to_numpy(zero_copy_only=False)
        found[parents[inside]] = True
    return found


def _by_dictionary(array: pa.DictionaryArray, needles: Needles) -> Mask:
    known = suspect_rows(array.dictionary, needles)
    if not known.any():
        return np.zeros(len(array), dtype=np.bool_)
    codes = array.indices.fill_null(0).to_numpy(zero_copy_only=False)
    found: Mask = known[codes] & array.is_valid().to_numpy(zero_copy_only=False)
    return found


def _by_bytes(array: pa.Array, needles: Needles) -> Mask:
    found = np.zeros(len(array), dtype=np.bool_)
    wide = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    _, offsets_buffer, data = array.buffers()
    if not len(array) or data is None or offsets_buffer is None:
        return found
    numbers: Any = np.int64 if wide else np.int32
    offsets = np.frombuffer(offsets_buffer, numbers)[array.offset : array.offset + len(array) + 1]
    first = int(offsets[0])
    positions = needles.suspects(data.slice(first, int(offsets[-1]) - first).to_pybytes()) + first
    # An occurrence that spans two values hides none in either: its first and last byte are both
    # positions. Those between are short values inside it, and are marked too.
    rows = np.searchsorted(offsets, positions, side="right") - 1
    found[rows] = True
    gaps = np.flatnonzero(np.diff(rows) > 1)
    for gap in gaps.tolist():
        if positions[gap + 1] - positions[gap] < needles.longest:
            found[rows[gap] : rows[gap + 1]] = True
    return found


def _as_list(array: pa.Array) -> pa.Array:
    kind = array.type
    pair = pa.struct([kind.key_field.with_name("key"), kind.item_field.with_name("value")])
    return array.cast(pa.list_(pa.field("entries", pair, nullable=False)))


def python_values(array: pa.Array) -> list[Any]:
    """Values as plain Python; text as str (what is not UTF-8 as lone surrogates), bytes as bytes,
    structs as dicts, maps as lists of (key, value).
    """
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return python_values(array.storage)
    if isinstance(kind, pa.DictionaryType):
        return python_values(array.dictionary_decode())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        raw = array.view(pa.large_binary() if pa.types.is_large_string(kind) else pa.binary())
        return [
            None if v is None else v.decode("utf-8", "surrogateescape") for v in raw.to_pylist()
        ]
    if pa.types.is_struct(kind):
        columns = [python_values(child) for child in array.flatten()]
        names = [kind.field(i).name for i in range(kind.num_fields)]
        valid = array.is_valid().to_pylist()
        return [
            {n: c[row] for n, c in zip(names, columns, strict=True)} if valid[row] else None
            for row in range(len(array))
        ]
    if pa.types.is_map(kind):
        entries = python_values(_as_list(array))
        return [e if e is None else [(p["key"], p["value"]) for p in e] for e in entries]
    if _is_list(kind):
        elements = iter(python_values(pc.list_flatten(array)))
        sizes = pc.list_value_length(array).to_pylist()
        return [None if n is None else [next(elements) for _ in range(n)] for n in sizes]
    if pa.types.is_temporal(kind):
        return _as_numbers(array)
    return list(array.to_pylist())


def _as_numbers(array: pa.Array) -> list[Any]:
    """Dates as text (a map may name them), other times as their exact number."""
    if pa.types.is_date(array.type):
        return [None if v is None else v.isoformat() for v in array.to_pylist()]
    return list(array.view(pa.int64() if array.type.bit_width == 64 else pa.int32()).to_pylist())


def texts_at(value: Any, inside: Tree, wanted: str) -> Iterator[str]:
    """Every value at a path, as text: numbers in decimal; nulls are none."""
    if value is None:
        return
    if isinstance(value, dict):
        for child, below in zip(inside.inside, value.values(), strict=True):
            yield from texts_at(below, child, wanted)
    elif isinstance(value, list):
        for element in value:
            if isinstance(element, tuple):
                for child, below in zip(inside.inside, element, strict=True):
                    yield from texts_at(below, child, wanted)
            else:
                yield from texts_at(element, inside.inside[0], wanted)
    elif inside.path == wanted:
        yield value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
