"""The gate on Arrow tables: what a loader appends to a table of the lake goes through here first.

Not here: what is late data (app.lake.gate), what becomes of a row (app.lake.table_rows).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.domain.datasets import Dataset
from app.domain.errors import UnsupportedTableError
from app.domain.identifiers import Identifier
from app.domain.receipts import Counts
from app.lake.gate import Gate, targets_of
from app.lake.late_tables import Batch, TableLook
from app.lake.table_columns import Column, columns_as_named, is_bytes
from app.lake.table_rows import RowGroup
from app.lake.table_texts import Rule
from app.lake.table_values import without_leftovers

_BATCH = 32_768
"""Rows looked at, and changed, at a time."""
_ROW = "\0row"
"""A column of ours while rows are apart: no map can name it."""


@dataclass(frozen=True, slots=True)
class Gated:
    """Rows as they may be loaded."""

    table: pa.Table
    counts: Counts


def gated_table(table: pa.Table, *, gate: Gate) -> Gated:
    """The table without late data of suppressed people, in the same order and of the same schema;
    the very same table where it holds none. The counts have no shares: nobody knows whose they are.

    UnsupportedTableError for a table in which that cannot be seen or done, before anything is:
    a declared column that is missing or is no text, an integer that names a person on a row that
    stays, a dictionary inside a list or struct.
    """
    dataset = gate.dataset
    found = columns_as_named(table.schema, dataset=dataset)
    look = TableLook.of(dataset, wanted=gate.wants)
    _refuse_blindness(table.schema, found, look=look)
    counts, pieces = Counts(), []
    for batch in table.to_batches(max_chunksize=_BATCH):
        gated = _gated(batch, found, look=look, gate=gate)
        counts += gated.counts
        pieces.append(gated.table)
    counts = replace(counts, shares={})
    if not counts.hit:
        return Gated(table, counts)
    joined = pa.concat_tables(pieces)
    clean = [_without_leftovers(column) for column in joined.columns]
    return Gated(pa.table(clean, schema=table.schema), counts)


def _gated(batch: pa.RecordBatch, found: list[Column], *, look: TableLook, gate: Gate) -> Gated:
    """One batch: rows with the same late values are taken out, changed together, put back."""
    table = pa.Table.from_batches([batch])
    by_late: dict[frozenset[Identifier], list[int]] = {}
    for row, identifiers, at in Batch.of(batch, found, look=look).rows():
        late = gate.late(identifiers, at)
        if late:
            by_late.setdefault(late, []).append(row)
    counts = Counts()
    if not by_late:
        return Gated(table, replace(counts, before=table.num_rows))
    numbered = table.append_column(_ROW, pa.array(np.arange(table.num_rows)))
    pieces = [_others(numbered, by_late.values())]
    for late, rows in by_late.items():
        rule = Rule.of(gate.dataset, targets=targets_of(late), tombstones=gate.tombstones)
        hit = numbered.take(pa.array(rows))
        every, none = np.ones(len(rows), np.bool_), np.zeros(len(rows), np.bool_)
        edited = RowGroup(hit, rule=rule, columns=found).edit(every, hidden=none)
        counts += edited.counts
        pieces.append(edited.table)
    joined = pa.concat_tables(pieces).unify_dictionaries()
    ordered = joined.take(pc.sort_indices(joined[_ROW])).drop_columns([_ROW])
    return Gated(ordered, replace(counts, before=table.num_rows))


def _others(numbered: pa.Table, rows: Iterable[list[int]]) -> pa.Table:
    stays = np.ones(numbered.num_rows, np.bool_)
    for some in rows:
        stays[some] = False
    return numbered.filter(pa.array(stays))


def _without_leftovers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dictionaries are shared between batches: one that nothing was taken from may still name
    somebody whom another has lost.
    """
    if not isinstance(column.type, pa.DictionaryType):
        return column
    return pa.chunked_array([without_leftovers(c) for c in column.chunks], type=column.type)


# --- what cannot be seen -------------------------------------------------------------------------


def _refuse_blindness(schema: pa.Schema, found: list[Column], *, look: TableLook) -> None:
    there = {c.path for c in found}
    for path in sorted(_asked(look.dataset) | look.needed):
        inside = any(path.startswith(f"{column}.") for column in look.dataset.json)
        if path not in there and not inside:
            raise UnsupportedTableError(
                f"{look.dataset.name}: the rows have no column {path}, which the map declares. "
                "Give it, with nulls where there is nothing."
            )
    for column in found:
        if is_bytes(column.type) and column.path in look.needed:
            raise UnsupportedTableError(
                f"{look.dataset.name}: the column {column.path} holds bytes. Cast it to a string."
            )
    for field in schema:
        if not isinstance(field.type, pa.DictionaryType) and _has_dictionary(field.type):
            raise UnsupportedTableError(
                f"{look.dataset.name}: the column {field.name} has a dictionary inside, which "
                "keeps values of rows that are gone. Decode it."
            )


def _asked(dataset: Dataset) -> frozenset[str]:
    """Columns whose values decide who owns a row."""
    every = (dataset.roles, *dataset.json.values())
    return frozenset(p for r in every for when in r.owner_when for p, _ in when.where.all_of)


def _has_dictionary(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.DictionaryType):
        return True
    return any(_has_dictionary(kind.field(i).type) for i in range(kind.num_fields))
