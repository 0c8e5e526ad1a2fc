"""Whom the rows of one order name: everybody in a declared column of a row that has the order's
number in any column, by token. Reads current rows only, of every dataset.

Not here: what is done about them (app.services.order_holds).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from app.domain.datasets import DataMap, Dataset
from app.domain.identifiers import TOKEN_CHARACTERS, Identifier
from app.lake.link_rows import LinkRow, bronze_rows, table_row, texts_of
from app.lake.ports import Doors
from app.lake.table_ports import TableEngine

_TEXT = frozenset({"string", "int", "long"})


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
    searched = list(_outside(available))
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


def _outside(available: Mapping[str, str]) -> Iterator[str]:
    """Columns that are in no list and no map: the row's own, which name its order."""
    maps = {p.removesuffix(".key") for p in available if p.endswith(".key")}
    maps &= {p.partition(".value")[0] for p in available}
    for path, type_ in available.items():
        in_map = any(path.startswith((f"{m}.key", f"{m}.value")) for m in maps)
        if type_ in _TEXT and not in_map and ".element." not in f"{path}.":
            yield path
