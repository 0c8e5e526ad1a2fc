"""The erasure rule on rows of a Parquet file: which go, which are tombstoned, which are kept.

Pure, one row group at a time. Not here: texts (table_texts), files and commits (app.lake.tables).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.domain.datasets import Where
from app.domain.errors import UnsupportedTableError
from app.domain.identifiers import Kind
from app.domain.policies import Decision, Fate, decide, is_kept, matches
from app.domain.receipts import Counts
from app.lake.jsontext import Leaf
from app.lake.table_columns import Column, is_bytes
from app.lake.table_counts import counts_of
from app.lake.table_owners import NOBODY, may_match, plainly_owned
from app.lake.table_texts import Editing, Found, Rule, held, parsed, suspected
from app.lake.table_values import (
    Flat,
    Holds,
    Mask,
    Parts,
    Rows,
    flat_texts,
    joined,
    replaced,
    rows_that_hold,
    texts,
    whole,
    without_leftovers,
)
from app.lake.tombstones import row_owner

_At = Callable[[int], Callable[[str], Sequence[str]]]
"""A row -> its texts at a path."""


@dataclass(frozen=True, slots=True)
class Edited:
    """A row group without the targets."""

    table: pa.Table
    counts: Counts


class RowGroup:
    """The rule on the rows of one row group, or of some of its columns."""

    def __init__(self, table: pa.Table, *, rule: Rule, columns: Iterable[Column]) -> None:
        self._table = table
        self._rule = rule
        self._columns = {c.parts: c for c in columns}
        self._owned = plainly_owned(table, rule=rule, columns=self._columns.values())
        self._loud = frozenset(table.column_names)
        """Columns in which a target may stand on a row that is not plainly owned."""

    def holds(self) -> bool:
        """Whether a target stands on any row. Nothing is read further than to the first."""
        if (self._owned != NOBODY).any():
            return True
        numbers = (whole(self._table[name]) for name in self._numbers())
        if any(names_a_number(array, rule=self._rule).any() for array in numbers):
            return True
        for flat in held(self._flats(None), rule=self._rule):
            self._refuse_bytes(flat)
            return True
        return False

    def hits(self) -> Mask:
        """Rows on which a target may stand: never too few, seldom too many."""
        found: Mask = self._owned != NOBODY
        flats = self._flats(~found)
        masks = suspected(flats, rule=self._rule)
        for flat in flats:
            if flat.parts in masks:
                self._refuse_bytes(flat)
        self._loud = frozenset(parts[0] for parts in masks)
        for name in self._loud:
            array = whole(self._table[name])
            found |= rows_that_hold(array, parts=(name,), holds=_known(masks))
        for name in self._numbers():
            found |= names_a_number(whole(self._table[name]), rule=self._rule)
        return found

    def _flats(self, wanted: Mask | None) -> list[Flat]:
        every = ((name, whole(self._table[name])) for name in self._table.column_names)
        return [f for name, a in every for f in flat_texts(a, parts=(name,), wanted=wanted)]

    def _numbers(self) -> list[str]:
        names = self._table.column_names
        return [n for n in names if (n,) in self._columns and is_number(self._columns[(n,)])]

    def edit(self, hits: Mask, *, hidden: Mask) -> Edited:
        """Drop, tombstone or keep each hit row; drop what position deletes hide."""
        before = int(len(hidden) - hidden.sum())
        stays = ~hidden
        goes = hits & stays & (self._owned != NOBODY)
        subjects = self._owned[goes]
        chosen = np.flatnonzero(hits & stays & ~goes)
        rows = _Hit(self._table, chosen, rule=self._rule, columns=self._columns)
        decisions = rows.decisions()
        stays &= ~goes
        left = [n for n, d in enumerate(decisions) if d.fate is not Fate.DELETE]
        stays[chosen[[n for n, d in enumerate(decisions) if d.fate is Fate.DELETE]]] = False
        if rows.integer_names(n for n in left if decisions[n].fate is Fate.TOMBSTONE):
            raise UnsupportedTableError(
                "An integer column names the person on a row that stays; a tombstone is text. "
                "Use Spark: make the column a string, or delete those rows there."
            )
        loud = [name for name in self._table.column_names if name in self._loud]
        changed, found = rows.replaced(left, columns=loud)
        edited = [
            n
            for n in left
            if decisions[n].fate is Fate.TOMBSTONE and n in found and found[n].values
        ]
        table = self._assembled(changed, chosen=chosen, edited=edited, keep=stays)
        return Edited(table, counts_of(before, subjects, decisions=decisions, found=found))

    def _assembled(
        self, changed: dict[str, pa.Array], *, chosen: Rows, edited: list[int], keep: Mask
    ) -> pa.Table:
        """The rows that stay, in order; a changed column takes the edited rows' new values."""
        total = self._table.num_rows
        order = np.arange(total)
        order[chosen[edited]] = total + np.array(edited, np.int64)
        order = order[keep]
        plain = pa.array(np.flatnonzero(keep))
        everything = bool(keep.all())
        columns = []
        for name, column in zip(self._table.column_names, self._table.columns, strict=True):
            if name in changed and edited:
                new = joined(whole(column), changed[name], pa.array(order))
            else:
                new = whole(column) if everything else whole(column).take(plain)
            columns.append(without_leftovers(new))
        return pa.table(columns, schema=self._table.schema)

    def _refuse_bytes(self, flat: Flat) -> None:
        if is_bytes(flat.array.type) and self._rule.dataset.elsewhere == "replace":
            raise UnsupportedTableError(
                "A binary column holds an identifier as text, and bytes are not rewritten here. "
                "Use Spark: make the column a string, or take the value out there, then run again."
            )


def _known(masks: Mapping[Parts, Mask]) -> Holds:
    """Answers that are there already."""

    def holds(parts: Parts, array: pa.Array, _: Mask | None) -> Mask:
        return masks[parts] if parts in masks else np.zeros(len(array), np.bool_)

    return holds


class _Hit:
    """The hit rows of a row group, taken out of it."""

    def __init__(
        self, table: pa.Table, chosen: Rows, *, rule: Rule, columns: dict[Parts, Column]
    ) -> None:
        self._table, self._chosen = table, pa.array(chosen)
        self._taken: dict[str, pa.Array] = {}
        self._rule = rule
        self._columns = columns
        self._by_path: dict[str, list[Column]] = {}
        for column in columns.values():
            self._by_path.setdefault(column.path, []).append(column)
        self._values: dict[str, list[tuple[str, ...]]] = {}
        self._documents: dict[tuple[str, int], list[Leaf]] = {}
        self._known: dict[tuple[frozenset[str], str], frozenset[str]] = {}
        self._owners = self._every_owner()

    def __len__(self) -> int:
        return len(self._chosen)

    def _column(self, name: str) -> pa.Array:
        """The chosen rows of one column."""
        if name not in self._taken:
            self._taken[name] = whole(self._table[name]).take(self._chosen)
        return self._taken[name]

    def decisions(self) -> list[Decision]:
        """The fate of each row."""
        dataset = self._rule.dataset
        if dataset.keep_when:
            kept = [is_kept(dataset, self._reader(row)) for row in range(len(self))]
        else:
            kept = [False] * len(self)
        known: dict[tuple[frozenset[str], bool], Decision] = {}
        found = []
        for row, key in enumerate(zip(self._owners, kept, strict=True)):
            if key not in known:
                known[key] = decide(
                    key[0], targets=self._rule.targets, dataset=dataset, kept=key[1]
                )
            decision = known[key]
            if dataset.is_identity and not key[0] and decision.fate is Fate.TOMBSTONE:
                decision = self._nobody_left(row) or decision
            found.append(decision)
        return found

    def _nobody_left(self, row: int) -> Decision | None:
        """dim_identity: a row without a user_id goes when all that it knows is erased."""
        names = self._rule.dataset.identity_columns
        known = [
            value
            for kind in (Kind.ANON_ID, Kind.DEVICE_FP)
            for column in names.get(kind.value, ())
            for value in self._texts(column)[row]
        ]
        if not known or any(v not in self._rule.targets.by_value for v in known):
            return None
        subject = min(self._rule.targets.subject_of(v) for v in known)
        return Decision(Fate.DELETE, co_owned=False, subject=subject)

    def _every_owner(self) -> list[frozenset[str]]:
        """Every value of each row's owner columns."""
        dataset = self._rule.dataset
        found: list[frozenset[str]] = [frozenset()] * len(self)
        for path in dataset.roles.owner:
            if path in self._by_path:
                for row, values in enumerate(self._texts(path)):
                    if values:
                        found[row] = self._with(found[row], values)
            else:
                self._own(found, range(len(self)), paths=(path,), at=self._reader)
        for when in dataset.roles.owner_when:
            self._own(found, self._where(when.where), paths=when.columns, at=self._reader)
        for column, roles in dataset.json.items():
            inside = partial(self._inside, column)
            if roles.owner:
                self._own(found, range(len(self)), paths=roles.owner, at=inside)
            for when in roles.owner_when:
                self._own(found, self._where(when.where), paths=when.columns, at=inside)
        return found

    def _own(
        self, found: list[frozenset[str]], rows: Iterable[int], *, paths: Iterable[str], at: _At
    ) -> None:
        for row in rows:
            reader = at(row)
            found[row] = self._with(found[row], (v for path in paths for v in reader(path)))

    def _with(self, owners: frozenset[str], more: Iterable[str]) -> frozenset[str]:
        """The same set for the same owners: there are many more rows."""
        for value in more:
            key = owners, value
            if key not in self._known:
                self._known[key] = owners | {value}
            owners = self._known[key]
        return owners

    def _where(self, where: Where) -> list[int]:
        """The rows that meet a condition."""
        paths = [path for path, _ in where.all_of]
        names = {c.parts[0] for path in paths for c in self._by_path.get(path, ())}
        table = pa.table({name: self._column(name) for name in names})
        if names:
            columns = self._columns.values()
            rows = np.flatnonzero(
                may_match(where, table, rule=self._rule, columns=columns)
            ).tolist()
        else:
            rows = list(range(len(self)))
        return [row for row in rows if matches(where, self._reader(row))]

    def _reader(self, row: int) -> Callable[[str], Sequence[str]]:
        """Texts of the row at a column, or at a path inside a JSON column."""

        def at(path: str) -> Sequence[str]:
            if path in self._by_path:
                return self._texts(path)[row]
            for column in self._rule.dataset.json:
                if path.startswith(column + "."):
                    return self._inside(column, row)(path.removeprefix(column + "."))
            return ()

        return at

    def _inside(self, column: str, row: int) -> Callable[[str], Sequence[str]]:
        """Texts at a path inside a JSON column of the row. Parsed when first asked."""

        def at(path: str) -> Sequence[str]:
            key = (column, row)
            if key not in self._documents:
                self._documents[key] = [
                    leaf
                    for text in self._texts(column)[row]
                    for leaf in parsed(text.encode("utf-8", "surrogateescape")) or ()
                    if leaf.text is not None and not leaf.is_key
                ]
            return [leaf.text for leaf in self._documents[key] if leaf.path == path and leaf.text]

        return at

    def _texts(self, path: str) -> list[tuple[str, ...]]:
        if path not in self._values:
            rows: list[tuple[str, ...]] = []
            for column in self._by_path.get(path, ()):
                more = texts(self._column(column.parts[0]), column.parts[1:])
                rows = [a + b for a, b in zip(rows, more, strict=True)] if rows else more
            self._values[path] = rows or [()] * len(self)
        return self._values[path]

    def replaced(
        self, stays: Iterable[int], *, columns: Iterable[str]
    ) -> tuple[dict[str, pa.Array], dict[int, Found]]:
        """Of these columns those with tombstones in the rows that stay, and what was found on each
        row.
        """
        editing = Editing(
            rule=self._rule,
            columns=self._columns,
            owners=self._row_owners(),
            rows=frozenset(stays),
        )
        changed = {}
        rows = np.arange(len(self))
        for name in columns:
            array = self._column(name)
            new = replaced(array, parts=(name,), rows=rows, replace=editing.replace)
            if new is not None:
                changed[name] = new
        return changed, editing.found

    def _row_owners(self) -> list[str]:
        known = {owners: row_owner(owners) for owners in set(self._owners)}
        return [known[owners] for owners in self._owners]

    def integer_names(self, rows: Iterable[int]) -> bool:
        """Whether a declared integer column of one of these rows holds a target."""
        left = list(rows)
        return any(
            names_a_number(self._column(c.parts[0]), rule=self._rule)[left].any()
            for c in self._columns.values()
            if is_number(c)
        )


def is_number(column: Column) -> bool:
    """A declared integer column of the table's top level: matched by its decimal text."""
    return column.declared and len(column.parts) == 1 and pa.types.is_integer(column.type)


def names_a_number(array: pa.Array, *, rule: Rule) -> Mask:
    """Which values of an integer array are targets."""
    same = pc.is_in(array.cast(pa.int64()), value_set=rule.numbers)
    found: Mask = same.to_numpy(zero_copy_only=False)
    return found
