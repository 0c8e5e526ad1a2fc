"""Whom the rows of one order name: everybody in a declared column of a row that has the order's
number in any column, by token. Reads current rows only, of every dataset.

Not here: what is done about them (app.services.order_holds).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from app.domain.datasets import DataMap, Dataset
from app.domain.identifiers import TOKEN_CHARACTERS, Identifier
from app.lake.link_rows import LinkRow, bronze_rows, table_row, texts_of
from app.lake.ports import Doors, TableEngine

_TEXT = frozenset({"string", "int", "long"})
_INSIDE = (".element", ".key", ".value")


def people_of_order(order_id: str, *, data_map: DataMap, doors: Doors) -> frozenset[Identifier]:
    """Owners, mentioned users and linked values of every row of the order."""
    found: set[Identifier] = set()
    for dataset in data_map.datasets:
        for row in _rows(dataset, order_id, doors):
            found |= row.people
    return frozenset(found)


def _rows(dataset: Dataset, order_id: str, doors: Doors) -> Iterator[LinkRow]:
    if dataset.location is not None:
        return bronze_rows(doors.reader, dataset, links=None, values={order_id})
    assert doors.engine is not None
    return _table_rows(doors.engine, dataset, order_id)


def _table_rows(engine: TableEngine, dataset: Dataset, order_id: str) -> Iterator[LinkRow]:
    assert dataset.table is not None
    available = engine.head(dataset.table).columns
    searched = [p for p, type_ in available.items() if type_ in _TEXT and not _is_inside(p)]
    declared = [*sorted(dataset.roles.declared), *dataset.json]
    token = re.compile(rf"(?<![{TOKEN_CHARACTERS}]){re.escape(order_id)}(?![{TOKEN_CHARACTERS}])")
    for batch in engine.batches(dataset.table, columns=dict.fromkeys([*searched, *declared])):
        for record in batch.filter(_may_have(batch, searched, order_id)).to_pylist():
            if any(token.search(text) for column in searched for text in texts_of(record[column])):
                yield table_row(record, dataset, links=None)


def _may_have(batch: pa.RecordBatch, columns: list[str], order_id: str) -> pa.Array:
    mask = pa.repeat(pa.scalar(value=False), batch.num_rows)
    for name in columns:
        hit = pc.match_substring(batch.column(name).cast(pa.string()), order_id)
        mask = pc.or_(mask, pc.fill_null(hit, fill_value=False))
    return mask


def _is_inside(path: str) -> bool:
    """In a list or a map: the row's own columns name an order."""
    return any(part in f"{path}." for part in (f"{p}." for p in _INSIDE))
