"""Text inside Arrow arrays of any nesting: where it stands, and how it is replaced in place.

Nulls stay nulls, of lists, structs and maps too. Not here: which text is replaced (table_rows).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from app.lake.table_columns import is_bytes, is_text

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Rows = np.ndarray[Any, np.dtype[np.int64]]
Parts = tuple[str, ...]
Holds = Callable[[Parts, pa.Array, "Mask | None"], Mask]
"""(column, flat text array, which to ask about or None for all) -> which of its values hold a
target.
"""
Replace = Callable[[Parts, pa.Array, Rows], "pa.Array | None"]
"""(column, flat text array, row of each value) -> the new array, None: nothing to do."""


def whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array."""
    if column.num_chunks == 1:
        return column.chunk(0)
    if column.num_chunks == 0:
        return pa.array([], column.type)
    return pa.concat_arrays(column.chunks)


def text_bytes(array: pa.Array) -> pa.Array:
    """Text as binary of the same width: it may not be UTF-8."""
    wide = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    return array.view(pa.large_binary() if wide else pa.binary())


def as_text(values: list[bytes | None], kind: pa.DataType) -> pa.Array:
    """The way back, unvalidated."""
    wide = pa.types.is_large_string(kind)
    return pa.array(values, pa.large_binary() if wide else pa.binary()).view(kind)


@dataclass(frozen=True, slots=True)
class Flat:
    """A flat array of text (or bytes) somewhere inside a column."""

    parts: Parts
    array: pa.Array = field(repr=False)
    wanted: Mask | None
    """Which values are asked about; None: all."""


def flat_texts(array: pa.Array, *, parts: Parts, wanted: Mask | None) -> list[Flat]:
    """Every such array of a column: what `rows_that_hold` asks about."""
    found: list[Flat] = []

    def noted(parts: Parts, array: pa.Array, wanted: Mask | None) -> Mask:
        found.append(Flat(parts, array, wanted))
        return np.zeros(len(array), np.bool_)

    rows_that_hold(array, parts=parts, holds=noted, wanted=wanted)
    return found


def rows_that_hold(
    array: pa.Array, *, parts: Parts, holds: Holds, wanted: Mask | None = None
) -> Mask:
    """Which elements of `array` have a text that holds a target, at any depth. Those that are not
    `wanted` may be left out.
    """
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return rows_that_hold(array.storage, parts=parts, holds=holds, wanted=wanted)
    if isinstance(kind, pa.DictionaryType):
        return _in_dictionary(array, parts=parts, holds=holds)
    if is_text(kind) or is_bytes(kind):
        return holds(parts, array, wanted)
    found = np.zeros(len(array), np.bool_)
    if pa.types.is_struct(kind):
        for index, child in enumerate(array.flatten()):
            name = (*parts, kind.field(index).name)
            found |= rows_that_hold(child, parts=name, holds=holds, wanted=wanted)
    elif pa.types.is_map(kind):
        found |= _in_lists(array, array.keys, parts=(*parts, "{k}"), holds=holds)
        found |= _in_lists(array, array.items, parts=(*parts, "{v}"), holds=holds)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        found |= _in_lists(array, array.values, parts=(*parts, "[]"), holds=holds)
    return found


def _in_dictionary(array: pa.Array, *, parts: Parts, holds: Holds) -> Mask:
    known = rows_that_hold(array.dictionary, parts=parts, holds=holds)
    found = np.zeros(len(array), np.bool_)
    if known.any():
        indices = array.indices.fill_null(0).to_numpy(zero_copy_only=False)
        found = known[indices] & array.is_valid().to_numpy(zero_copy_only=False)
    return found


def _in_lists(array: pa.Array, child: pa.Array, *, parts: Parts, holds: Holds) -> Mask:
    """A list holds what an element holds; offsets count from the start of the child's buffer."""
    offsets = _offsets(array)
    found = rows_that_hold(child, parts=parts, holds=holds)
    sums = np.concatenate(([0], np.cumsum(found)))
    hits: Mask = sums[offsets[1:]] > sums[offsets[:-1]]
    return hits


def _offsets(array: pa.Array) -> Rows:
    width: Any = np.int64 if pa.types.is_large_list(array.type) else np.int32
    buffer = np.frombuffer(array.buffers()[1], width) if len(array) else np.zeros(1, width)
    result: Rows = buffer[array.offset : array.offset + len(array) + 1].astype(np.int64)
    return result


def replaced(array: pa.Array, *, parts: Parts, rows: Rows, replace: Replace) -> pa.Array | None:
    """`array` with its texts replaced at any depth; None where nothing changes.

    `array` has been taken (no offset, no values under a null list). `rows`: row of each element.
    """
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        inner = replaced(array.storage, parts=parts, rows=rows, replace=replace)
        return None if inner is None else pa.ExtensionArray.from_storage(kind, inner)
    if isinstance(kind, pa.DictionaryType):
        plain = array.cast(kind.value_type)
        inner = replaced(plain, parts=parts, rows=rows, replace=replace)
        return None if inner is None else inner.dictionary_encode().cast(kind)
    if is_text(kind):
        return replace(parts, array, rows)
    if pa.types.is_struct(kind):
        return _struct(array, parts=parts, rows=rows, replace=replace)
    if pa.types.is_map(kind):
        return _map(array, parts=parts, rows=rows, replace=replace)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inside = np.repeat(rows, np.diff(_offsets(array)))
        child = replaced(array.values, parts=(*parts, "[]"), rows=inside, replace=replace)
        if child is None:
            return None
        build = pa.LargeListArray if pa.types.is_large_list(kind) else pa.ListArray
        return build.from_arrays(array.offsets, child, type=kind, mask=array.is_null())
    return None


def _struct(array: pa.Array, *, parts: Parts, rows: Rows, replace: Replace) -> pa.Array | None:
    kind = array.type
    children = _children(array)
    changed = False
    for index in range(kind.num_fields):
        child_parts = (*parts, kind.field(index).name)
        child = replaced(children[index], parts=child_parts, rows=rows, replace=replace)
        if child is not None:
            children[index] = child
            changed = True
    if not changed:
        return None
    fields = [kind.field(i) for i in range(kind.num_fields)]
    return pa.StructArray.from_arrays(children, fields=fields, mask=array.is_null())


def _children(array: pa.Array) -> list[pa.Array]:
    """Under a null struct anything may stand: null there, except in a child that must not be null,
    of which nothing is written there.
    """
    kind = array.type
    flat = enumerate(array.flatten())
    return [c if kind.field(i).nullable else array.field(i) for i, c in flat]


def _map(array: pa.Array, *, parts: Parts, rows: Rows, replace: Replace) -> pa.Array | None:
    inside = np.repeat(rows, np.diff(_offsets(array)))
    keys = replaced(array.keys, parts=(*parts, "{k}"), rows=inside, replace=replace)
    items = replaced(array.items, parts=(*parts, "{v}"), rows=inside, replace=replace)
    if keys is None and items is None:
        return None
    return pa.MapArray.from_arrays(
        array.offsets,
        array.keys if keys is None else keys,
        array.items if items is None else items,
        type=array.type,
        mask=array.is_null(),
    )


def joined(column: pa.Array, rows: pa.Array, order: pa.Array) -> pa.Array:
    """`column` and then `rows`, taken in this order."""
    parts = pa.chunked_array([column, rows])
    if has_dictionary(column.type):
        parts = parts.unify_dictionaries()
    return pa.concat_arrays(parts.chunks).take(order)


def without_leftovers(array: pa.Array) -> pa.Array:
    """Dictionaries without the values that no row has any more: they would be written too."""
    kind = array.type
    if pa.types.is_struct(kind) and has_dictionary(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        children = [without_leftovers(child) for child in _children(array)]
        return pa.StructArray.from_arrays(children, fields=fields, mask=array.is_null())
    if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and has_dictionary(kind):
        build = pa.LargeListArray if pa.types.is_large_list(kind) else pa.ListArray
        values = without_leftovers(array.values)
        return build.from_arrays(array.offsets, values, type=kind, mask=array.is_null())
    if not isinstance(kind, pa.DictionaryType):
        return array
    size = len(array.dictionary)
    indices = array.indices
    used = np.zeros(size, np.bool_)
    used[indices.drop_null().to_numpy(zero_copy_only=False)] = True
    if used.all():
        return array
    places = pa.array(np.cumsum(used) - 1, indices.type)
    left = array.dictionary.filter(pa.array(used))
    return pa.DictionaryArray.from_arrays(places.take(indices), left, ordered=kind.ordered)


def has_dictionary(kind: pa.DataType) -> bool:
    """Whether a dictionary stands in it, at any depth."""
    if isinstance(kind, pa.DictionaryType):
        return True
    return any(has_dictionary(kind.field(i).type) for i in range(kind.num_fields))


def texts(array: pa.Array, parts: Parts) -> list[tuple[str, ...]]:
    """Every value of one leaf, by row, as text; nulls left out. `parts` without the column."""
    if isinstance(array.type, pa.DictionaryType):
        known = [*texts(array.dictionary, parts), ()]
        places = array.indices.cast(pa.int64()).fill_null(len(known) - 1)
        at = places.to_numpy(zero_copy_only=False)
        return [known[i] for i in at.tolist()]
    return [tuple(_walk(value, parts)) for value in _pylist(array)]


def _pylist(array: pa.Array) -> list[Any]:
    try:
        return list(array.to_pylist())
    except UnicodeDecodeError:
        raw = text_bytes(array).to_pylist()
        return [None if v is None else v.decode("utf-8", "surrogateescape") for v in raw]


def _walk(value: Any, parts: Parts) -> list[str]:
    if value is None:
        return []
    if not parts:
        return [str(value)]
    step, rest = parts[0], parts[1:]
    if step == "[]":
        return [text for element in value for text in _walk(element, rest)]
    if step in ("{k}", "{v}"):
        side = 0 if step == "{k}" else 1
        return [text for pair in value for text in _walk(pair[side], rest)]
    return _walk(value[step], rest)
