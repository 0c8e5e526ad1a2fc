"""Erasers with a planted fault, for both layers: each does one thing that a bug might do.

Not here: what must become of them (test_mutants, tests/faults/test_mutated_erasers).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from app.domain import policies
from app.domain.policies import Fate
from app.lake import bronze_lines, table_rows

Plant = Callable[[pytest.MonkeyPatch], None]
LineFault = Callable[[bytes, bytes, Any], bytes]
"""The line, what should become of it, the tally; what becomes of it instead."""


def _line_fault(fault: LineFault) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        right = bronze_lines._line

        def wrong(line: bytes, **known: Any) -> bytes:
            new = right(line, **known)
            return new if new is line else fault(line, new, known["tally"])

        patch.setattr(bronze_lines, "_line", wrong)

    return plant


def _drops_a_severed_line(line: bytes, new: bytes, tally: Any) -> bytes:
    tally.deleted += bool(new)
    return b""


def _skips_the_persons_line(line: bytes, new: bytes, tally: Any) -> bytes:
    return new or line


def _changes_another_field(line: bytes, new: bytes, tally: Any) -> bytes:
    return new.replace(b'"ver":"2', b'"ver":"3')


BRONZE: dict[str, Plant] = {
    "drops a severed line": _line_fault(_drops_a_severed_line),
    "skips the person's line": _line_fault(_skips_the_persons_line),
    "changes another field": _line_fault(_changes_another_field),
}


# --- tables ------------------------------------------------------------------------------------

TableFault = Callable[[pa.Table], pa.Table]


def _table_fault(fault: TableFault) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        right = table_rows.RowGroup.edit

        def wrong(self: Any, hits: Any, *, hidden: Any) -> Any:
            edited = right(self, hits, hidden=hidden)
            return replace(edited, table=fault(edited.table)) if edited.counts.hit else edited

        patch.setattr(table_rows.RowGroup, "edit", wrong)

    return plant


def _drops_the_last_row(patch: pytest.MonkeyPatch) -> None:
    """A stranger's row, and it is counted as if it had been the person's."""
    right = table_rows.RowGroup.edit

    def wrong(self: Any, hits: Any, *, hidden: Any) -> Any:
        edited = right(self, hits, hidden=hidden)
        if not edited.counts.hit:
            return edited
        counts = replace(edited.counts, deleted=edited.counts.deleted + 1)
        return replace(
            edited, table=edited.table.slice(0, edited.table.num_rows - 1), counts=counts
        )

    patch.setattr(table_rows.RowGroup, "edit", wrong)


def _with_column(table: pa.Table, number: int, column: Any) -> pa.Table:
    return table.set_column(number, table.schema.field(number), column)


def _rolls_a_column(table: pa.Table) -> pa.Table:
    column = table.column(0).combine_chunks()
    rolled = pa.concat_arrays([column.slice(1), column.slice(0, 1)])
    other = table.column(1).combine_chunks()
    moved = pa.concat_arrays([other.slice(1), other.slice(0, 1)])
    return _with_column(_with_column(table, 0, rolled), 1, moved)


def _forgets_a_value(table: pa.Table) -> pa.Table:
    column = table.column(1).to_pylist()
    return _with_column(table, 1, pa.array([None, *column[1:]], table.schema.field(1).type))


def _writes_a_row_twice(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table, table.slice(0, 1)])


def _swaps_two_rows(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table.slice(1, 1), table.slice(0, 1), table.slice(2)])


def _leaves_the_values(patch: pytest.MonkeyPatch) -> None:
    right = table_rows._Hit.replaced

    def wrong(self: Any, stays: Any, **known: Any) -> Any:
        return {}, right(self, stays, **known)[1]

    patch.setattr(table_rows._Hit, "replaced", wrong)


def _nobody_plainly(table: pa.Table, **_: Any) -> Any:
    """Every row is left to `decide`."""
    return np.full(table.num_rows, -1)


def _severs_where_it_should_delete(patch: pytest.MonkeyPatch) -> None:
    right = policies.decide

    def wrong(owners: Any, **known: Any) -> Any:
        decision = right(owners, **known)
        wanted = decision.fate is Fate.DELETE
        return replace(decision, fate=Fate.TOMBSTONE) if wanted else decision

    patch.setattr(table_rows, "decide", wrong)
    patch.setattr(table_rows, "plainly_owned", _nobody_plainly)


TABLES: dict[str, Plant] = {
    "drops a stranger's row": _drops_the_last_row,
    "rolls two columns": _table_fault(_rolls_a_column),
    "forgets a value": _table_fault(_forgets_a_value),
    "writes a row twice": _table_fault(_writes_a_row_twice),
    "swaps two rows": _table_fault(_swaps_two_rows),
    "leaves the values": _leaves_the_values,
    "severs where it should delete": _severs_where_it_should_delete,
}
