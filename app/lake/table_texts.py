"""Texts of a table's columns: which hold a target, and what they become.

Plain text by token, JSON by its leaves. Not here: the fate of rows (app.lake.table_rows).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from app.domain.datasets import Dataset
from app.domain.errors import UnsupportedTableError
from app.domain.identifiers import Targets
from app.lake.jsontext import EditedText, Editor, JsonTextError, Leaf, leaves
from app.lake.table_candidates import Candidates
from app.lake.table_columns import Column, is_bytes
from app.lake.table_json import whole_strings
from app.lake.table_values import Flat, Mask, Parts, Rows, as_text, text_bytes
from app.lake.tombstones import Tombstones


@dataclass(frozen=True, slots=True)
class Rule:
    """What is erased in one dataset, and how a tombstone is made."""

    dataset: Dataset
    targets: Targets
    editor: Editor
    candidates: Candidates
    numbers: pa.Array
    """Targets that could stand in an integer column."""
    owners: pa.Array = field(repr=False)
    """Every user_id, as bytes."""
    subjects: Rows
    """Of each of them, and -1 at the end."""

    @classmethod
    def of(cls, dataset: Dataset, *, targets: Targets, tombstones: Tombstones) -> Rule:
        """The rule of a run for one dataset."""
        numbers = [int(v) for v in targets.by_value if _is_integer(v)]
        owners = list(targets.owners)
        return cls(
            dataset=dataset,
            targets=targets,
            editor=Editor(targets, tombstones),
            candidates=targets.once("candidates", lambda: Candidates(targets.by_value)),
            numbers=pa.array(numbers, pa.int64()),
            owners=pa.array((o.encode("utf-8", "surrogatepass") for o in owners), pa.binary()),
            subjects=np.array([*(targets.owners[o] for o in owners), -1], np.int64),
        )


def _is_integer(value: str) -> bool:
    return value.isascii() and value.isdecimal() and len(value) < 19 and str(int(value)) == value


def held(flats: Sequence[Flat], *, rule: Rule) -> Iterator[Flat]:
    """The arrays in which a target stands by token, JSON and percent escapes decoded. None is
    looked through to its end.
    """
    for flat in _loud(flats, rule=rule):
        raw = text_bytes(flat.array)
        at = rule.candidates.among(raw, wanted=flat.wanted)
        if any(text_holds(raw[i].as_py(), editor=rule.editor) for i in at.tolist()):
            yield flat


def suspected(flats: Sequence[Flat], *, rule: Rule) -> dict[Parts, Mask]:
    """Of each array the values in which a target may stand, never too few; arrays without any are
    left out. Of bytes, which nobody edits, exactly those in which one stands.
    """
    found: dict[Parts, Mask] = {}
    for flat in _loud(flats, rule=rule):
        raw = text_bytes(flat.array)
        at = rule.candidates.among(raw, wanted=flat.wanted)
        if is_bytes(flat.array.type):
            at = at[[text_holds(raw[i].as_py(), editor=rule.editor) for i in at.tolist()]]
        if len(at):
            found[flat.parts] = np.zeros(len(raw), np.bool_)
            found[flat.parts][at] = True
    return found


def _loud(flats: Sequence[Flat], *, rule: Rule) -> list[Flat]:
    """Arrays that one quick look at all of them does not rule out."""
    quiet = rule.candidates.quiet(text_bytes(flat.array) for flat in flats)
    return [flat for flat, is_quiet in zip(flats, quiet, strict=True) if not is_quiet]


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
    found: dict[int, Found] = field(default_factory=dict)
    """By row; rows on which nothing was found are left out."""
    _known: dict[tuple[bytes, str], EditedText] = field(default_factory=dict)
    """Texts that were edited, with the owner of their row: many stand on more than one."""

    def replace(self, parts: Parts, array: pa.Array, rows: Rows) -> pa.Array | None:
        """New texts of one flat array, None where none changes."""
        column = self.columns[parts]
        raw = text_bytes(array)
        at = self.rule.candidates.among(raw)
        new: dict[int, bytes] = {}
        for index, old in zip(at.tolist(), raw.take(pa.array(at)).to_pylist(), strict=True):
            row = int(rows[index])
            if row in self.rows:
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
        edited = self._edited_whole(raw, column=column, row=row)
        return self._edited_slowly(raw, column=column, row=row) if edited is None else edited

    def _edited_whole(self, raw: bytes, *, column: Column, row: int) -> bytes | None:
        """JSON in which every target is a whole string at a declared path; None: look closer."""
        declared = column.json.declared
        if not column.is_json:
            return None
        number = whole_strings(raw, self.rule.targets.by_value, declared=declared)
        edited = self._known_text(raw, row=row) if number else None
        if edited is None or edited.values != number:
            return None
        found = self.found.setdefault(row, Found())
        found.values += edited.values
        found.subjects |= edited.subjects
        return edited.text.encode("utf-8")

    def _edited_slowly(self, raw: bytes, *, column: Column, row: int) -> bytes:
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
        if not edited.subjects:
            return raw
        found = self.found.setdefault(row, Found())
        found.values += edited.values
        found.subjects |= edited.subjects
        if not column.declared:
            for path, number in edited.undeclared.items():
                found.undeclared[f"{column.path}.{path}" if path else column.path] += number
        return edited.raw

    def _edited_text(self, raw: bytes, *, column: Column, row: int) -> bytes:
        edited = self._known_text(raw, row=row)
        if not edited.values:
            return raw
        found = self.found.setdefault(row, Found())
        if not column.declared:
            found.undeclared[column.path] += edited.values
            if self.rule.dataset.elsewhere == "report":
                return raw
        found.values += edited.values
        found.subjects |= edited.subjects
        return edited.text.encode("utf-8", "surrogateescape")

    def _known_text(self, raw: bytes, *, row: int) -> EditedText:
        key = raw, self.owners[row]
        if key not in self._known:
            text = raw.decode("utf-8", "surrogateescape")
            self._known[key] = self.rule.editor.edit_text(text, owner=key[1])
        return self._known[key]
