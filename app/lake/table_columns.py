"""The columns of one Parquet file as the data map and the table's schema know them.

A file of an older schema has a column under another name, or one the table has dropped: field ids
tell. Not here: values (app.lake.table_rows).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from app.domain.datasets import Dataset, Roles

_FIELD_ID = b"PARQUET:field_id"
_NO_ROLES = Roles()


@dataclass(frozen=True, slots=True)
class Column:
    """One leaf of a file."""

    parts: tuple[str, ...]
    """Names in the file, `[]` for the elements of a list, `{k}` and `{v}` for those of a map."""
    path: str
    """The table's name for it, dotted, as a map writes it: list and map steps left out."""
    type: pa.DataType
    declared: bool
    json: Roles
    is_json: bool
    is_key: bool
    """A partition is made of it: its values cannot change within the file."""

    @property
    def is_text(self) -> bool:
        """Whether values are text (or bytes in a column that the table calls text)."""
        return is_text(self.type)


def is_text(kind: pa.DataType) -> bool:
    """Strings of either width; dictionaries and extension types by what they hold."""
    if isinstance(kind, pa.DictionaryType):
        return is_text(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return is_text(kind.storage_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Binary of either width."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def columns(
    schema: pa.Schema, *, dataset: Dataset, field_ids: Mapping[str, int], keys: frozenset[str]
) -> list[Column]:
    """The leaves of a file's schema, in Parquet's order. `keys`: partition source columns."""
    names = {number: name for name, number in field_ids.items()}
    found = []
    for parts, field in _leaves(schema):
        raw = (field.metadata or {}).get(_FIELD_ID)
        written = ".".join(_STEPS.get(p, p) for p in parts)
        full = names.get(int(raw), written) if raw is not None else written
        path = plain(full)
        declared = dataset.roles.declared
        found.append(
            Column(
                parts=parts,
                path=path,
                type=field.type,
                declared=path in declared or full in declared,
                json=dataset.json.get(path, _NO_ROLES),
                is_json=path in dataset.json,
                is_key=full in keys,
            )
        )
    return found


def plain(path: str) -> str:
    """A column path without the steps into lists and maps, as a data map writes it."""
    return ".".join(p for p in path.split(".") if p not in _STEPS.values())


_STEPS = {"[]": "element", "{k}": "key", "{v}": "value"}


def _leaves(schema: pa.Schema) -> Iterator[tuple[tuple[str, ...], pa.Field]]:
    for field in schema:
        yield from _below(field, (field.name,))


def _below(field: pa.Field, parts: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], pa.Field]]:
    kind = field.type
    if pa.types.is_struct(kind):
        for index in range(kind.num_fields):
            child = kind.field(index)
            yield from _below(child, (*parts, child.name))
    elif pa.types.is_map(kind):
        yield from _below(kind.key_field, (*parts, "{k}"))
        yield from _below(kind.item_field, (*parts, "{v}"))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _below(kind.value_field, (*parts, "[]"))
    else:
        yield parts, field
