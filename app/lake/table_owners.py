"""Rows that are plainly one person's, told column by column: most rows of a run, and they all go.

What takes a closer look (a condition, JSON, a row that stays) is left to app.lake.table_rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.domain.datasets import Dataset, Where
from app.lake.table_columns import Column
from app.lake.table_texts import Rule
from app.lake.table_values import Mask, Rows, text_bytes, whole

NOBODY = -1
_DISTANT = np.iinfo(np.int64).max


def plainly_owned(table: pa.Table, *, rule: Rule, columns: Iterable[Column]) -> Rows:
    """By row the subject as whose row it is deleted; NOBODY: look closer.

    The same as `decide` says of the row, or NOBODY: every owner is in the run, no condition of the
    map can touch the row, and rows of the run's people are deleted.
    """
    nobody = np.full(table.num_rows, NOBODY, np.int64)
    dataset = rule.dataset
    look = _Columns(table, _by_path(columns), frozenset(dataset.json))
    if dataset.treatment.kind != "delete" or any(r.owner for r in dataset.json.values()):
        return nobody
    first = np.full(table.num_rows, _DISTANT, np.int64)
    alone = np.ones(table.num_rows, np.bool_)
    for path in dataset.roles.owner:
        arrays = look.texts(path)
        if arrays is None:
            return nobody
        for array in arrays:
            subjects, valid = _subjects(array, rule=rule)
            alone &= (subjects != NOBODY) | ~valid
            first = np.where(subjects == NOBODY, first, np.minimum(first, subjects))
    alone &= first != _DISTANT
    if alone.any():
        for where in _conditions(dataset):
            alone &= ~look.may_match(where)
    return np.where(alone, first, nobody)


def may_match(where: Where, table: pa.Table, *, rule: Rule, columns: Iterable[Column]) -> Mask:
    """Rows that can meet a condition; the others cannot."""
    return _Columns(table, _by_path(columns), frozenset(rule.dataset.json)).may_match(where)


def _by_path(columns: Iterable[Column]) -> dict[str, list[Column]]:
    found: dict[str, list[Column]] = {}
    for column in columns:
        found.setdefault(column.path, []).append(column)
    return found


def _conditions(dataset: Dataset) -> list[Where]:
    """Every condition under which somebody else owns a row too, or it stays."""
    roles = (dataset.roles, *dataset.json.values())
    owners = [when.where for some in roles for when in some.owner_when]
    return [*owners, *(kept.where for kept in dataset.keep_when)]


def _subjects(array: pa.Array, *, rule: Rule) -> tuple[Rows, Mask]:
    """The subject of each value, NOBODY for strangers and nulls; and which are no nulls."""
    valid: Mask = array.is_valid().to_numpy(zero_copy_only=False)
    if isinstance(array.type, pa.DictionaryType):
        known, is_valid = _subjects(array.dictionary, rule=rule)
        if not len(known):
            return np.full(len(array), NOBODY, np.int64), valid
        at = array.indices.fill_null(0).to_numpy(zero_copy_only=False)
        valid = valid & is_valid[at]
        return np.where(valid, known[at], NOBODY), valid
    raw = text_bytes(array)
    found = pc.index_in(raw, value_set=rule.owners.cast(raw.type), skip_nulls=True)
    return rule.subjects[found.fill_null(len(rule.owners)).to_numpy()], valid


class _Columns:
    """The text columns of a table by the map's names."""

    def __init__(
        self, table: pa.Table, by_path: Mapping[str, Sequence[Column]], json: frozenset[str]
    ) -> None:
        self._table, self._by_path, self._json = table, by_path, json

    def texts(self, path: str) -> list[pa.Array] | None:
        """Top-level columns of text at a path; None when it leads anywhere else."""
        if path not in self._by_path and any(path.startswith(f"{c}.") for c in self._json):
            return None
        found = []
        for column in self._by_path.get(path, ()):
            kind = column.type.value_type if _is_packed(column) else column.type
            flat = pa.types.is_string(kind) or pa.types.is_large_string(kind)
            if not flat or len(column.parts) > 1 or column.parts[0] not in self._table.column_names:
                return None
            found.append(whole(self._table[column.parts[0]]))
        return found

    def may_match(self, where: Where) -> Mask:
        """Rows that can meet a condition; the others cannot."""
        found = np.ones(self._table.num_rows, np.bool_)
        for path, patterns in where.all_of:
            arrays = self.texts(path)
            if arrays is not None:
                matching = [_matching(array, patterns=patterns) for array in arrays]
                found &= np.any([*matching, np.zeros(len(found), np.bool_)], axis=0)
        return found


def _is_packed(column: Column) -> bool:
    return isinstance(column.type, pa.DictionaryType)


def _matching(array: pa.Array, *, patterns: Iterable[str]) -> Mask:
    """Which values fit one of the patterns."""
    packed = array if isinstance(array.type, pa.DictionaryType) else array.dictionary_encode()
    patterns = tuple(patterns)
    fits = [
        value is not None
        and any(fnmatchcase(value.decode("utf-8", "surrogateescape"), p) for p in patterns)
        for value in text_bytes(packed.dictionary).to_pylist()
    ]
    at = packed.indices.cast(pa.int64()).fill_null(len(fits)).to_numpy(zero_copy_only=False)
    found: Mask = np.array([*fits, False])[at]
    return found
