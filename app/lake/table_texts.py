"""Texts of a table's columns: which hold a target, and what they become.

Plain text by token, JSON by its leaves. Not here: the fate of rows (app.lake.table_rows).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from app.domain.datasets import Dataset
from app.domain.errors import UnsupportedTableError
from app.domain.identifiers import Targets
from app.lake.jsontext import Editor, JsonTextError, Leaf, leaves
from app.lake.table_columns import Column
from app.lake.table_values import Mask, Parts, Rows, as_text, text_bytes
from app.lake.tokens import TokenFilter
from app.lake.tombstones import Tombstones


@dataclass(frozen=True, slots=True)
class Rule:
    """What is erased in one dataset, and how a tombstone is made."""

    dataset: Dataset
    targets: Targets
    editor: Editor
    filter: TokenFilter
    numbers: pa.Array
    """Targets that could stand in an integer column."""

    @classmethod
    def of(cls, dataset: Dataset, *, targets: Targets, tombstones: Tombstones) -> Rule:
        """The rule of a run for one dataset."""
        numbers = [int(v) for v in targets.by_value if _is_integer(v)]
        return cls(
            dataset=dataset,
            targets=targets,
            editor=Editor(targets, tombstones),
            filter=targets.once("token filter", lambda: TokenFilter(targets.by_value)),
            numbers=pa.array(numbers, pa.int64()),
        )


def _is_integer(value: str) -> bool:
    return value.isascii() and value.isdecimal() and len(value) < 19 and str(int(value)) == value


def holds_target(array: pa.Array, *, rule: Rule) -> Mask:
    """Which texts of a flat array hold a target by token, JSON and percent escapes decoded."""
    found = np.zeros(len(array), np.bool_)
    raw = text_bytes(array)
    for index in _candidates(raw, rule=rule):
        found[index] = text_holds(raw[index].as_py(), editor=rule.editor)
    return found


def text_holds(raw: bytes, *, editor: Editor) -> bool:
    """Whether one text holds a target: as it stands, or as JSON."""
    if editor.hits(raw.decode("utf-8", "surrogateescape")):
        return True
    if b"\\" not in raw:
        return False
    return any(leaf.text is not None and editor.hits(leaf.text) for leaf in parsed(raw) or ())


def parsed(raw: bytes) -> list[Leaf] | None:
    """The leaves of a text that is JSON with something inside, None for any other."""
    if raw.lstrip()[:1] not in (b"{", b"[", b'"'):
        return None
    try:
        return leaves(raw)
    except JsonTextError:
        return None


def _candidates(raw: pa.Array, *, rule: Rule) -> list[int]:
    """Indexes of values in whose bytes the token filter sees something."""
    if len(raw) == 0 or raw.buffers()[2] is None:
        return []
    wide: Any = np.int64 if pa.types.is_large_binary(raw.type) else np.int32
    offsets = np.frombuffer(raw.buffers()[1], wide)[raw.offset : raw.offset + len(raw) + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    positions = rule.filter.candidates(memoryview(raw.buffers()[2]).cast("B")[first:last])
    if len(positions) == 0:
        return []
    at = np.searchsorted(offsets, positions + first, side="right") - 1
    valid = raw.is_valid().to_numpy(zero_copy_only=False)
    return [int(i) for i in np.unique(at) if valid[i]]


@dataclass(slots=True)
class Found:
    """What was found (and, unless the row is kept, replaced) on one row."""

    values: int = 0
    subjects: set[int] = field(default_factory=set)
    undeclared: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Editing:
    """Replaces the texts of rows that stay, and counts by row."""

    rule: Rule
    columns: dict[Parts, Column]
    owners: list[str]
    rows: frozenset[int]
    """Rows that stay: the others need no new text."""
    found: list[Found]

    def replace(self, parts: Parts, array: pa.Array, rows: Rows) -> pa.Array | None:
        """New texts of one flat array, None where none changes."""
        column = self.columns[parts]
        raw = text_bytes(array)
        new: dict[int, bytes] = {}
        for index in _candidates(raw, rule=self.rule):
            row = int(rows[index])
            if row in self.rows:
                old = raw[index].as_py()
                text = self._edited(old, column=column, row=row)
                if text != old:
                    new[index] = text
        if not new:
            return None
        if column.is_key:
            raise UnsupportedTableError(
                "A partition is made of a column that holds an identifier. Use Spark: change the "
                "partition spec and rewrite the data files, then run again."
            )
        values = raw.to_pylist()
        for index, text in new.items():
            values[index] = text
        return as_text(values, array.type)

    def _edited(self, raw: bytes, *, column: Column, row: int) -> bytes:
        document = parsed(raw)
        if document is None:
            return self._edited_text(raw, column=column, row=row)
        elsewhere = "replace" if column.declared else self.rule.dataset.elsewhere
        edited = self.rule.editor.edit_json(
            raw,
            document,
            owner=self.owners[row],
            declared=column.json.declared,
            elsewhere=elsewhere,
        )
        found = self.found[row]
        found.values += edited.values
        found.subjects |= edited.subjects
        if not column.declared:
            for path, number in edited.undeclared.items():
                found.undeclared[f"{column.path}.{path}" if path else column.path] += number
        return edited.raw

    def _edited_text(self, raw: bytes, *, column: Column, row: int) -> bytes:
        text = raw.decode("utf-8", "surrogateescape")
        edited = self.rule.editor.edit_text(text, owner=self.owners[row])
        if not edited.values:
            return raw
        found = self.found[row]
        if not column.declared:
            found.undeclared[column.path] += edited.values
            if self.rule.dataset.elsewhere == "report":
                return raw
        found.values += edited.values
        found.subjects |= edited.subjects
        return edited.text.encode("utf-8", "surrogateescape")
