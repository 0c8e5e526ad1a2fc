"""Faults of an eraser of tables: each does one thing that a bug might do to a data file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from app.lake import table_files, table_rows
from app.lake.table_rows import Edited
from tests.e2e.mutations import TABLES
from tests.faults.mutated import NEIGHBOUR, Plant
from tests.faults.mutated_lines import LINES


def _edited(fault: Callable[[Edited], Edited]) -> Plant:
    """Of a row group that changes, something else becomes. `fault`: what is right."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        right = table_rows.RowGroup.edit

        def wrong(self: Any, hits: Any, *, hidden: Any) -> Edited:
            found = right(self, hits, hidden=hidden)
            return fault(found) if found.counts.hit else found

        patch.setattr(table_rows.RowGroup, "edit", wrong)

    return plant


def _column(name: str, fault: Callable[[list[Any]], list[Any]]) -> Plant:
    """Of the values of one column, others become."""

    def wrong(found: Edited) -> Edited:
        number = found.table.schema.get_field_index(name)
        kind = found.table.schema.field(number)
        values = fault(found.table.column(number).to_pylist())
        column = pa.array(values, kind.type.value_type if _packed(kind.type) else kind.type)
        column = column.dictionary_encode() if _packed(kind.type) else column
        return replace(found, table=found.table.set_column(number, kind, column))

    return _edited(wrong)


def _packed(kind: Any) -> bool:
    return isinstance(kind, pa.DictionaryType)


def _rows(keep: Callable[[list[dict[str, Any]]], list[int]]) -> Plant:
    """Of the rows that stay, only some do; or some twice, or in another order."""

    def wrong(found: Edited) -> Edited:
        taken = keep(found.table.select(["user_id", "anon_id"]).to_pylist())
        return replace(found, table=found.table.take(pa.array(taken, pa.int64())))

    return _edited(wrong)


def _but(unwanted: Callable[[dict[str, Any]], bool]) -> Plant:
    return _rows(lambda said: [n for n, row in enumerate(said) if not unwanted(row)])


def _shifted(values: list[Any]) -> list[Any]:
    """As with a dictionary that lost its first value."""
    known = sorted({v for v in values if v is not None})
    following = dict(zip(known, [*known[1:], known[0]], strict=True))
    return [following.get(v) for v in values]


def _first_group_twice(patch: pytest.MonkeyPatch) -> None:
    """Row groups are mixed up: what was written is the first one each time."""
    right = table_rows.RowGroup.edit
    before: list[Edited] = []

    def wrong(self: Any, hits: Any, *, hidden: Any) -> Edited:
        found = right(self, hits, hidden=hidden)
        before.append(found)
        same = len(before) > 1 and before[-2].table.num_rows == found.table.num_rows
        return replace(found, table=before[-2].table) if same else found

    patch.setattr(table_rows.RowGroup, "edit", wrong)


def _hidden_rows_return(patch: pytest.MonkeyPatch) -> None:
    def nothing(self: Any, file: Any) -> Any:
        return np.empty(0, dtype=np.int64)

    patch.setattr(table_files.HiddenRows, "of", nothing)


def _all_null_rows_go(said: list[dict[str, Any]]) -> list[int]:
    return [n for n, row in enumerate(said) if row["user_id"] is not None]


FILES: dict[str, Plant] = {
    **TABLES,
    "a null list of structs becomes empty": _column("items", lambda v: [x or [] for x in v]),
    "an empty list becomes null": _column("items", lambda v: [x or None for x in v]),
    "a null map becomes empty": _column("tags", lambda v: [x or [] for x in v]),
    "a null struct becomes one of nulls": _column(
        "page", lambda v: [x or {"path": None} for x in v]
    ),
    "a null becomes an empty text": _column("user_id", lambda v: [x or "" for x in v]),
    "texts lose their case": _column("anon_id", lambda v: [x and x.upper() for x in v]),
    "JSON is encoded again": _column("payload", lambda v: [x.replace(" ", "") for x in v]),
    "a dictionary loses a value": _column("anon_id", _shifted),
    "rows of nobody go": _rows(_all_null_rows_go),
    "a longer id goes too": _but(lambda row: row["user_id"] == NEIGHBOUR),
    "the order is turned round": _rows(lambda said: list(range(len(said)))[::-1]),
    "row groups are mixed up": _first_group_twice,
    "hidden rows come back": _hidden_rows_return,
    "one tombstone for all owners": LINES["one tombstone for all owners"],
    "another tombstone each time": LINES["another tombstone each time"],
    "a tombstone of another kind": LINES["a tombstone of another kind"],
}
