"""A table row as the rule sees it: where values stand on it, who owns it, and whether another row
is the same one without them. Pure; not here: reading files (file_pairs, tables).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.domain.datasets import Dataset, Roles
from app.lake.verify.columns import (
    Mask,
    Names,
    Tree,
    holds_text,
    python_values,
    suspect_rows,
    texts_at,
    tree,
)
from app.lake.verify.edits import Spot, document, in_column, in_column_quickly, severed
from app.lake.verify.jsonread import Form
from app.lake.verify.needles import Needles
from app.lake.verify.owners import Owners
from app.lake.verify.rule import Judgement, Rule, ValuesAt

Row = Mapping[str, Any]
"""Column name in the file -> plain Python value."""
_NO_ROLES = Roles()
_REMEMBERED = 20_000


@dataclass(frozen=True, slots=True)
class Held:
    """A row that holds somebody of the run."""

    spots: tuple[Spot, ...] = field(repr=False)
    judgement: Judgement

    def required(self, elsewhere: str) -> list[Spot]:
        """The spots that must have become tombstones if the row stays."""
        return [s for s in self.spots if s.known or elsewhere == "replace"]


class RowReader:
    """Reads the rows of one file by the rule of its dataset."""

    def __init__(
        self, schema: pa.Schema, *, dataset: Dataset, needles: Needles, names: Names
    ) -> None:
        self.dataset = dataset
        self._needles = needles
        self._trees = {f.name: tree(f, names, path=f.name) for f in schema}
        self._columns_of: dict[str, list[str]] = {}
        self._rule = Rule(dataset, needles.targets)
        self._known = dataset.roles.declared
        self._inside = {c: roles.declared for c, roles in dataset.json.items()}
        self._numbers = pa.array(
            sorted({int(v) for v in needles.values if v.isdecimal() and len(v) < 19}), pa.int64()
        )
        self._deciding = [f.name for f in schema if self._decides(self._trees[f.name].path)]
        self.columns = [f.name for f in schema if f.name in self._deciding or holds_text(f.type)]
        """The columns in which somebody may stand; the rest hold no text and have no role."""
        self._owners = Owners(dataset, needles.targets, columns=self._flat_texts(schema))

    def _flat_texts(self, schema: pa.Schema) -> dict[str, str]:
        """Path -> column, where a column of text is all that there is at a path."""
        found = {}
        for column in schema:
            kind = column.type
            kind = kind.value_type if isinstance(kind, pa.DictionaryType) else kind
            path = self._trees[column.name].path
            plain = pa.types.is_string(kind) or pa.types.is_large_string(kind)
            if plain and self._tops(path) == [column.name]:
                found[path] = column.name
        return found

    def going(self, batch: pa.RecordBatch, asked: npt.NDArray[np.int64]) -> Mask:
        """Which of some suspect rows go for certain, by their owner columns alone."""
        return self._owners.going(batch, asked)

    def _decides(self, path: str) -> bool:
        """Whether a column has a role, or a condition names it."""
        wheres = [k.where for k in self.dataset.keep_when]
        wheres += [w.where for w in self.dataset.roles.owner_when]
        wheres += [w.where for roles in self.dataset.json.values() for w in roles.owner_when]
        wanted = self._known | {path for where in wheres for path, _ in where.all_of}
        wanted |= set(self.dataset.json)
        for columns in self.dataset.identity_columns.values():
            wanted |= set(columns)
        return any(w == path or w.startswith(path + ".") for w in wanted)

    def suspects(self, batch: pa.RecordBatch) -> dict[str, Mask]:
        """By column, the rows on which somebody may stand there: never too few."""
        found = {}
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            mask = suspect_rows(array, self._needles) | self._numbered(array, self._trees[name])
            if mask.any():
                found[name] = mask
        return found

    def _numbered(self, array: pa.Array, names: Tree) -> Mask:
        found = np.zeros(len(array), dtype=np.bool_)
        if not len(self._numbers):
            return found
        if pa.types.is_struct(array.type):
            for child, below in zip(array.flatten(), names.inside, strict=True):
                found |= self._numbered(child, below)
        elif pa.types.is_integer(array.type) and names.path in self._known:
            values = array.cast(pa.int64(), safe=False)
            hits = pc.is_in(values, value_set=self._numbers)
            found |= hits.to_numpy(zero_copy_only=False)
        return found

    def judgements(
        self, batch: pa.RecordBatch, asked: npt.NDArray[np.int64]
    ) -> list[Judgement | None]:
        """What becomes of some suspect rows; None where the whole row must tell."""
        return self._owners.judgements(batch, asked)

    def rows(self, batch: pa.RecordBatch, *, suspects: Iterable[str]) -> list[dict[str, Any]]:
        """Rows as plain Python: the columns that decide, and those where somebody may stand."""
        names = {*self._deciding, *suspects}
        return plain_rows(batch.select([n for n in batch.schema.names if n in names]))

    def read(
        self, row: Row, *, columns: Iterable[str], judgement: Judgement | None = None
    ) -> Held | None:
        """The row, or None when nobody of the run stands on it. `columns`: where to look.
        `judgement`: where `judgements` told it.
        """
        spots = tuple(s for name in columns for s in self._spots(row[name], name))
        if not spots:
            return None
        judge = self._rule.judge
        return Held(spots, judgement or judge(self._values(row), lambda c: self._json(row, c)))

    def notes(self, row: Row, *, columns: Iterable[str]) -> int:
        """How often somebody stands on a row in another case, or as a plain hash."""
        leaves = (leaf for name in columns for leaf in _leaves(row[name], self._trees[name]))
        texts = (raw for leaf, _ in leaves if (raw := _raw(leaf)) is not None)
        return sum(self._needles.notes(t.decode("utf-8", "surrogateescape")) for t in texts)

    def _spots(self, value: Any, column: str) -> Iterator[Spot]:
        inside = self._inside.get(self._trees[column].path, frozenset())
        for leaf, path in _leaves(value, self._trees[column]):
            yield from self._in_leaf(leaf, path, inside)

    def _in_leaf(self, leaf: Any, path: str, inside: frozenset[str]) -> list[Spot]:
        known = path in self._known
        if isinstance(leaf, bool | float):
            return []
        if isinstance(leaf, int):
            hit = known and str(leaf) in self._needles.values
            return [Spot(0, 0, str(leaf), path, known=True, is_number=True)] if hit else []
        raw = _raw(leaf)
        return [] if raw is None else self._in_text(raw, path, inside)

    def _in_text(self, raw: bytes, path: str, inside: frozenset[str]) -> list[Spot]:
        known = path in self._known
        return in_column(raw, needles=self._needles, path=path, known=known, inside=inside)

    def _tops(self, path: str) -> list[str]:
        """The columns that a path is in."""
        if path not in self._columns_of:
            self._columns_of[path] = [n for n, t in self._trees.items() if t.holds(path)]
        return self._columns_of[path]

    def _values(self, row: Row) -> ValuesAt:
        def at(path: str) -> Iterator[str]:
            for name in self._tops(path):
                if name in row:
                    yield from texts_at(row[name], self._trees[name], path)

        return at

    def _json(self, row: Row, column: str) -> ValuesAt:
        def at(path: str) -> Iterator[str]:
            for text in self._values(row)(column):
                for leaf in document(text.encode("utf-8", "surrogateescape")) or ():
                    if leaf.path == path and leaf.form is not Form.KEY:
                        yield leaf.value

        return at

    def severed(
        self, old: Row, new: Row, *, columns: Iterable[str]
    ) -> list[tuple[Spot, bytes]] | None:
        """The tombstones in these columns of a row that stays; None when anything else changed, or
        did not.
        """
        pairs: list[tuple[Spot, bytes]] = []
        for name in columns:
            inside = self._inside.get(self._trees[name].path, frozenset())
            compare = _Comparison(partial(self._required, inside=inside), pairs)
            if not compare.same(old[name], new[name], self._trees[name]):
                return None
        return pairs

    def _required(self, leaf: Any, path: str, *, inside: frozenset[str]) -> list[Spot]:
        spots = self._in_leaf(leaf, path, inside)
        return [s for s in spots if s.known or self.dataset.elsewhere == "replace"]


class PairReader(RowReader):
    """Reads rows for a comparison: where a value stands matters, and not in which column of JSON.
    What was read is remembered: most values of a column stand there often.
    """

    def __init__(
        self, schema: pa.Schema, *, dataset: Dataset, needles: Needles, names: Names
    ) -> None:
        super().__init__(schema, dataset=dataset, needles=needles, names=names)
        self._texts: dict[tuple[str, frozenset[str], bytes], list[Spot]] = {}

    def _in_text(self, raw: bytes, path: str, inside: frozenset[str]) -> list[Spot]:
        key = (path, inside, raw)
        known = self._texts.get(key)
        if known is None:
            if len(self._texts) > _REMEMBERED:
                self._texts.clear()
            known = self._texts[key] = self._spots_in(raw, path, inside)
        return known

    def _spots_in(self, raw: bytes, path: str, inside: frozenset[str]) -> list[Spot]:
        if self.dataset.elsewhere == "replace":
            quickly = in_column_quickly(raw, needles=self._needles)
            if quickly is not None:
                return quickly
        return super()._in_text(raw, path, inside)


def plain_rows(table: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows as plain Python."""
    columns = {}
    for name, column in zip(table.schema.names, table.columns, strict=True):
        array = pa.concat_arrays(column.chunks) if _has_chunks(column) else column
        columns[name] = python_values(array)
    return [{n: c[row] for n, c in columns.items()} for row in range(table.num_rows)]


def rows_of(suspects: Mapping[str, Mask], size: int) -> Mask:
    """Rows on which somebody may stand in any column."""
    found = np.zeros(size, dtype=np.bool_)
    for mask in suspects.values():
        found |= mask
    return found


@dataclass(slots=True)
class _Comparison:
    """Two values at any depth: the same but for tombstones, which go to `pairs`."""

    required: Callable[[Any, str], Iterable[Spot]]
    pairs: list[tuple[Spot, bytes]]

    def same(self, old: Any, new: Any, names: Tree) -> bool:
        """Whether `new` is `old` with tombstones exactly where they must be."""
        if old is None or new is None:
            return old is new
        if type(old) is not type(new):
            return False
        if isinstance(old, dict):
            if old.keys() != new.keys():
                return False
            below = zip(old.values(), new.values(), names.inside, strict=True)
            return all(self.same(a, b, child) for a, b, child in below)
        if isinstance(old, list):
            return len(old) == len(new) and all(
                self._element(a, b, names) for a, b in zip(old, new, strict=True)
            )
        spots = list(self.required(old, names.path))
        if not spots:
            return bool(old == new or (old != old and new != new))  # noqa: PLR0124  NaN is itself here
        a, b = _raw(old), _raw(new)
        found = None if a is None or b is None else severed(a, b, spots)
        self.pairs += found or []
        return found is not None

    def _element(self, old: Any, new: Any, names: Tree) -> bool:
        if isinstance(old, tuple):
            return all(
                self.same(a, b, child) for a, b, child in zip(old, new, names.inside, strict=True)
            )
        return self.same(old, new, names.inside[0])


def _raw(leaf: Any) -> bytes | None:
    if isinstance(leaf, str):
        return leaf.encode("utf-8", "surrogateescape")
    return leaf if isinstance(leaf, bytes) else None


def _leaves(value: Any, names: Tree) -> Iterator[tuple[Any, str]]:
    if value is None:
        return
    if isinstance(value, dict):
        for child, below in zip(names.inside, value.values(), strict=True):
            yield from _leaves(below, child)
    elif isinstance(value, list):
        for element in value:
            if isinstance(element, tuple):
                for child, below in zip(names.inside, element, strict=True):
                    yield from _leaves(below, child)
            else:
                yield from _leaves(element, names.inside[0])
    else:
        yield value, names.path


def _has_chunks(column: Any) -> bool:
    return isinstance(column, pa.ChunkedArray) and column.num_chunks > 0
