"""The columns of one Parquet file as the data map and the table's schema know them.

A file of an older schema has a column under another name, or one the table has dropped: field ids
tell. Not here: values (app.lake.table_rows).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from app.domain.datasets import Dataset, Roles
from app.domain.errors import UnsupportedTableError
from app.lake.table_ports import TableHead

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
    schema: pa.Schema, *, dataset: Dataset, head: TableHead, keys: Iterable[str]
) -> list[Column]:
    """The leaves of a file's schema, in Parquet's order. `keys`: partition source columns.

    UnsupportedTableError when nothing tells which column of the table a file's column is.
    """
    return _columns(schema, dataset=dataset, names=_Names.of(schema, head=head), keys=keys)


def columns_as_named(schema: pa.Schema, *, dataset: Dataset) -> list[Column]:
    """The same of rows that are in no table yet: each column is what it is called."""
    return _columns(schema, dataset=dataset, names=_Names({}, {}), keys=())


def _columns(
    schema: pa.Schema, *, dataset: Dataset, names: _Names, keys: Iterable[str]
) -> list[Column]:
    found = []
    for parts, field in _leaves(schema):
        path = names.path(parts, field)
        found.append(
            Column(
                parts=parts,
                path=path,
                type=field.type,
                declared=path in dataset.roles.declared,
                json=dataset.json.get(path, _NO_ROLES),
                is_json=path in dataset.json,
                is_key=path in keys,
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class _Names:
    """Which column of the table a file's column is: by its field id, or the name mapping's."""

    by_id: Mapping[int, str]
    mapped: Mapping[str, int]

    @classmethod
    def of(cls, schema: pa.Schema, *, head: TableHead) -> _Names:
        by_id = {number: head.plain[name] for name, number in head.field_ids.items()}
        if any(_has_ids(f) for f in schema):
            return cls(by_id, {})
        if head.mapped is None:
            raise UnsupportedTableError(
                "A data file has no field ids and the table no name mapping, so that nothing "
                "tells its columns for certain. Use Spark: set schema.name-mapping.default, or "
                "CALL system.rewrite_data_files, then run again."
            )
        return cls(by_id, head.mapped)

    def path(self, parts: tuple[str, ...], field: pa.Field) -> str:
        raw = (field.metadata or {}).get(_FIELD_ID)
        number = self.mapped.get(".".join(_STEPS.get(p, p) for p in parts))
        number = int(raw) if raw is not None else number
        written = ".".join(p for p in parts if p not in _STEPS)
        return written if number is None else self.by_id.get(number, written)


def _has_ids(field: pa.Field) -> bool:
    below = (field.type.field(i) for i in range(field.type.num_fields))
    return _FIELD_ID in (field.metadata or {}) or any(_has_ids(f) for f in below)


_STEPS = {"[]": "element", "{k}": "key", "{v}": "value"}


def flat_leaves(schema: pa.Schema) -> list[pa.DataType | None]:
    """Types of a schema's leaves in Parquet's order. None inside lists and maps, and for what must
    be there inside a struct: where the struct is null, a dictionary of it cannot be written.
    """
    return [
        None if _STEPS.keys() & parts or (len(parts) > 1 and not field.nullable) else field.type
        for parts, field in _leaves(schema)
    ]


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
