"""Rows that go for certain, told for a whole batch at once by its flat columns.

What it does not tell is read row by row (table_rows), by the same rule. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.domain.datasets import Dataset, Where
from app.domain.identifiers import Targets
from app.lake.verify.columns import Mask, python_values
from app.lake.verify.rule import Fate, Judgement, fits

Rows = npt.NDArray[np.int64]


class Owners:
    """The owner columns of one file, and the conditions under which they do not decide alone."""

    def __init__(self, dataset: Dataset, targets: Targets, *, columns: Mapping[str, str]) -> None:
        """`columns`: path -> the file's column, where all that stands at the path are its texts."""
        roles = dataset.roles
        ours = sorted(o for o in targets.owners if o in targets.by_value)
        self._ours = pa.array(ours, pa.string())
        wheres = [k.where for k in dataset.keep_when]
        wheres += [w.where for w in roles.owner_when]
        wheres += [w.where for inside in dataset.json.values() for w in inside.owner_when]
        told = all(path in columns for where in wheres for path, _ in where.all_of)
        told = told and all(path in columns for path in roles.owner)
        told = told and not any(inside.owner for inside in dataset.json.values())
        self._decides = told and dataset.treatment.kind == "delete"
        self._targets, self._is_identity = targets, dataset.is_identity
        self._known: dict[frozenset[str], Judgement | None] = {}
        self._columns = columns
        self._owner = [columns[path] for path in roles.owner] if self._decides else []
        self._wheres = wheres

    def going(self, batch: pa.RecordBatch, asked: Rows) -> Mask:
        """Which of some rows go: all of their owners are of the run, and nothing may keep them. Of
        the others nothing is said.
        """
        some = np.zeros(len(asked), dtype=np.bool_)
        others = some.copy()
        numbers = pa.array(asked)
        for name in self._owner:
            column = _plain(batch.column(name).take(numbers))
            there = column.is_valid().to_numpy(zero_copy_only=False)
            ours = pc.is_in(column, value_set=self._ours.cast(column.type))
            ours = ours.to_numpy(zero_copy_only=False) & there
            some |= ours
            others |= there & ~ours
        going = some & ~others
        for where in self._wheres if going.any() else ():
            going &= ~self._holds(batch, where, numbers)
        return going

    def judgements(self, batch: pa.RecordBatch, asked: Rows) -> list[Judgement | None]:
        """What becomes of some rows; None where more than their owner columns must tell."""
        if not self._decides:
            return [None] * len(asked)
        numbers = pa.array(asked)
        owners = [python_values(batch.column(name).take(numbers)) for name in self._owner]
        more = np.zeros(len(asked), dtype=np.bool_)
        for where in self._wheres:
            more |= self._holds(batch, where, numbers)
        rows: Iterable[tuple[str | None, ...]] = [()] * len(asked)
        if owners:
            rows = zip(*owners, strict=True)
        return [
            None if asks else self._judgement(frozenset(o for o in row if o is not None))
            for row, asks in zip(rows, more.tolist(), strict=True)
        ]

    def _judgement(self, owners: frozenset[str]) -> Judgement | None:
        if owners not in self._known:
            ours = [self._targets.owners[o] for o in owners if o in self._targets.owners]
            fate = Fate.GOES if owners and len(ours) == len(owners) else Fate.SEVERED
            co_owned = bool(ours) and fate is Fate.SEVERED
            unclear = not owners and self._is_identity
            subject = min(ours, default=None)
            told = None if unclear else Judgement(fate, owners, co_owned, subject)
            self._known[owners] = told
        return self._known[owners]

    def _holds(self, batch: pa.RecordBatch, where: Where, numbers: pa.Array) -> Mask:
        found = np.ones(len(numbers), dtype=np.bool_)
        for path, patterns in where.all_of:
            column = batch.column(self._columns[path]).take(numbers)
            found &= _matching(_plain(column), patterns)
        return found


def _matching(column: pa.Array, patterns: Iterable[str]) -> Mask:
    coded = column.dictionary_encode()
    known = [fits(value, patterns) for value in python_values(coded.dictionary)]
    codes = coded.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
    found: Mask = np.array([*known, False], dtype=np.bool_)[codes]
    return found


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column
