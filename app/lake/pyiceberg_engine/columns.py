"""Columns of a table as its schema, its name mapping and its partition specs know them.

Not here: the columns of a file (app.lake.table_columns).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.transforms import VoidTransform
from pyiceberg.types import ListType, MapType, StructType


@dataclass(frozen=True, slots=True)
class Leaf:
    """A column that holds values."""

    path: str
    """Dotted, the steps into lists and maps spelt out as Iceberg does."""
    plain: str
    """The same without those steps, as a data map writes it."""
    field_id: int
    type: str


def leaves(schema: Schema) -> list[Leaf]:
    """All leaves of a schema. A field that is itself called `key` or `value` is no step."""
    return list(_below(schema.as_struct(), path=(), plain=()))


def _below(kind: Any, *, path: tuple[str, ...], plain: tuple[str, ...]) -> Iterator[Leaf]:
    for child, is_step in _children(kind):
        full = (*path, child.name)
        short = plain if is_step else (*plain, child.name)
        if child.field_type.is_primitive:
            yield Leaf(".".join(full), ".".join(short), child.field_id, str(child.field_type))
        else:
            yield from _below(child.field_type, path=full, plain=short)


def _children(kind: Any) -> list[tuple[Any, bool]]:
    if isinstance(kind, StructType):
        return [(f, False) for f in kind.fields]
    if isinstance(kind, ListType):
        return [(kind.element_field, True)]
    assert isinstance(kind, MapType)
    return [(kind.key_field, True), (kind.value_field, True)]


def name_mapping(metadata: TableMetadata) -> dict[str, int] | None:
    """Dotted names of files without field ids -> field id; None where the table has no mapping."""
    mapping = metadata.name_mapping()
    return None if mapping is None else dict(_mapped(mapping.root, path=()))


def _mapped(fields: Any, *, path: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    for entry in fields:
        for name in entry.names:
            if entry.field_id is not None:
                yield ".".join((*path, name)), entry.field_id
            yield from _mapped(entry.fields, path=(*path, name))


def schema_of(metadata: TableMetadata, spec: PartitionSpec) -> Schema | None:
    """The newest schema that has every column a spec is made of: the table may have dropped one
    since, and its partition values keep the type that it had. None: no schema knows it any more.
    """
    sources = {f.source_id for f in spec.fields}
    older = sorted(metadata.schemas, key=lambda s: -s.schema_id)
    for schema in (metadata.schema(), *older):
        if all(schema.find_column_name(source) is not None for source in sources):
            return schema
    return None


def partition_sources(metadata: TableMetadata) -> dict[int, tuple[str, ...]]:
    """Partition spec -> the columns it is made of. A void field holds nothing, and a column that
    the table has dropped has no name.
    """
    schema = metadata.schema()
    found = {}
    for spec in metadata.partition_specs:
        fields = (f for f in spec.fields if not isinstance(f.transform, VoidTransform))
        names = (schema.find_column_name(f.source_id) for f in fields)
        found[spec.spec_id] = tuple(sorted({n for n in names if n is not None}))
    return found
