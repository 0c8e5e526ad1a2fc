"""The erasure rule on rows of a Parquet file: which go, which are tombstoned, which are kept.

Pure, one row group at a time. Not here: texts (table_texts), files and commits (app.lake.tables).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.domain.datasets import Roles
from app.domain.errors import UnsupportedTableError
from app.domain.identifiers import Kind
from app.domain.policies import Decision, Fate, decide, is_kept, matches
from app.domain.receipts import Counts, Share
from app.lake.jsontext import Leaf
from app.lake.table_columns import Column, is_bytes
from app.lake.table_texts import Editing, Found, Rule, holds_target, parsed
from app.lake.table_values import (
    Mask,
    Parts,
    Rows,
    joined,
    replaced,
    rows_that_hold,
    texts,
    whole,
    without_leftovers,
)
from app.lake.tombstones import row_owner


@dataclass(frozen=True, slots=True)
class Edited:
    """A row group without the targets."""

    table: pa.Table
    counts: Counts


class RowGroup:
    """The rule on the rows of one row group."""

    def __init__(self, table: pa.Table, *, rule: Rule, columns: Iterable[Column]) -> None:
        self._table = table
        self._rule = rule
        self._columns = {c.parts: c for c in columns}

    def hits(self) -> Mask:
        """Rows on which a target may stand: never too few, seldom too many."""
        found = np.zeros(self._table.num_rows, np.bool_)
        for name, column in zip(self._table.column_names, self._table.columns, strict=True):
            array = whole(column)
            found |= rows_that_hold(array, parts=(name,), holds=self._holds)
            key = self._columns.get((name,))
            if key is not None and is_number(key):
                found |= names_a_number(array, rule=self._rule)
        return found

    def edit(self, hits: Mask, *, hidden: Mask) -> Edited:
        """Drop, tombstone or keep each hit row; drop what position deletes hide."""
        before = int(len(hidden) - hidden.sum())
        chosen = np.flatnonzero(hits & ~hidden)
        rows = _Hit(self._table.take(pa.array(chosen)), rule=self._rule, columns=self._columns)
        decisions = rows.decisions()
        keep_all = ~hidden
        stays = [n for n, d in enumerate(decisions) if d.fate is not Fate.DELETE]
        keep_all[chosen[[n for n, d in enumerate(decisions) if d.fate is Fate.DELETE]]] = False
        if rows.integer_names(n for n in stays if decisions[n].fate is Fate.TOMBSTONE):
            raise UnsupportedTableError(
                "An integer column names the person on a row that stays; a tombstone is text. "
                "Use Spark: make the column a string, or delete those rows there."
            )
        changed, found = rows.replaced(stays)
        edited = [n for n in stays if decisions[n].fate is Fate.TOMBSTONE and found[n].values]
        table = self._assembled(changed, chosen=chosen, edited=edited, keep=keep_all)
        return Edited(table, _counts(before, decisions, found=found))

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

    def _holds(self, parts: Parts, array: pa.Array) -> Mask:
        found = holds_target(array, rule=self._rule)
        if is_bytes(array.type) and self._rule.dataset.elsewhere == "replace" and found.any():
            raise UnsupportedTableError(
                "A binary column holds an identifier as text, and bytes are not rewritten here. "
                "Use Spark: make the column a string, or take the value out there, then run again."
            )
        return found


class _Hit:
    """The hit rows of a row group, taken out of it."""

    def __init__(self, table: pa.Table, *, rule: Rule, columns: dict[Parts, Column]) -> None:
        self._table = table
        self._rule = rule
        self._columns = columns
        self._by_path: dict[str, list[Column]] = {}
        for column in columns.values():
            self._by_path.setdefault(column.path, []).append(column)
        self._values: dict[str, list[list[str]]] = {}
        self._documents: dict[tuple[str, int], list[Leaf]] = {}
        self._owners = [self._owners_of(row) for row in range(table.num_rows)]

    def decisions(self) -> list[Decision]:
        """The fate of each row."""
        return [self._decide(row) for row in range(self._table.num_rows)]

    def _decide(self, row: int) -> Decision:
        dataset, targets = self._rule.dataset, self._rule.targets
        owners = self._owners[row]
        kept = is_kept(dataset, self._reader(row))
        decision = decide(owners, targets=targets, dataset=dataset, kept=kept)
        if dataset.is_identity and not owners and decision.fate is Fate.TOMBSTONE:
            return self._nobody_left(row) or decision
        return decision

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

    def _owners_of(self, row: int) -> frozenset[str]:
        dataset, reader = self._rule.dataset, self._reader(row)
        found = _owners(dataset.roles, values_at=reader, where_at=reader)
        for column, roles in dataset.json.items():
            inside = self._inside(column, row)
            found |= _owners(roles, values_at=inside, where_at=reader)
        return frozenset(found)

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

    def _texts(self, path: str) -> list[list[str]]:
        if path not in self._values:
            rows: list[list[str]] = [[] for _ in range(self._table.num_rows)]
            for column in self._by_path.get(path, ()):
                array = whole(self._table[column.parts[0]])
                for row, values in zip(rows, texts(array, column.parts[1:]), strict=True):
                    row += values
            self._values[path] = rows
        return self._values[path]

    def replaced(self, stays: Iterable[int]) -> tuple[dict[str, pa.Array], list[Found]]:
        """Columns with tombstones in the rows that stay, and what was found on each row."""
        editing = Editing(
            rule=self._rule,
            columns=self._columns,
            owners=[row_owner(o) for o in self._owners],
            rows=frozenset(stays),
            found=[Found() for _ in range(self._table.num_rows)],
        )
        changed = {}
        rows = np.arange(self._table.num_rows)
        for name, column in zip(self._table.column_names, self._table.columns, strict=True):
            array = whole(column)
            new = replaced(array, parts=(name,), rows=rows, replace=editing.replace)
            if new is not None:
                changed[name] = new
        return changed, editing.found

    def integer_names(self, rows: Iterable[int]) -> bool:
        """Whether a declared integer column of one of these rows holds a target."""
        return any(
            names_a_number(whole(self._table[c.parts[0]]), rule=self._rule)[list(rows)].any()
            for c in self._columns.values()
            if is_number(c)
        )


def _owners(
    roles: Roles,
    *,
    values_at: Callable[[str], Iterable[str]],
    where_at: Callable[[str], Iterable[str]],
) -> set[str]:
    found = {value for path in roles.owner for value in values_at(path)}
    for rule in roles.owner_when:
        if matches(rule.where, where_at):
            found.update(value for path in rule.columns for value in values_at(path))
    return found


def is_number(column: Column) -> bool:
    """A declared integer column of the table's top level: matched by its decimal text."""
    return column.declared and len(column.parts) == 1 and pa.types.is_integer(column.type)


def names_a_number(array: pa.Array, *, rule: Rule) -> Mask:
    """Which values of an integer array are targets."""
    same = pc.is_in(array.cast(pa.int64()), value_set=rule.numbers)
    found: Mask = same.to_numpy(zero_copy_only=False)
    return found


def _counts(before: int, decisions: Sequence[Decision], *, found: Sequence[Found]) -> Counts:
    """Add up one row group. A deleted row counts for its owner, any other for the first subject
    of its values.
    """
    totals: Counter[str] = Counter()
    shares: dict[int, Counter[str]] = {}
    undeclared: Counter[str] = Counter()
    for decision, row in zip(decisions, found, strict=True):
        what, subject = _outcome(decision, row)
        if decision.fate is Fate.TOMBSTONE:
            undeclared.update(row.undeclared)
            totals["values"] += row.values
        if subject is None:
            continue
        part: Counter[str] = Counter({what: 1})
        if decision.co_owned:
            part["co_owned"] += 1
        totals.update(part)
        shares.setdefault(subject, Counter()).update(part)
    return Counts(
        before=before,
        **totals,
        shares={subject: Share(**part) for subject, part in shares.items()},
        undeclared=dict(undeclared),
    )


def _outcome(decision: Decision, row: Found) -> tuple[str, int | None]:
    """What a row counts as, and for which subject; None: it holds nobody after all."""
    if decision.fate is Fate.DELETE:
        return "deleted", decision.subject
    what = "kept" if decision.fate is Fate.KEEP else "tombstoned"
    if row.values:
        return what, min(row.subjects)
    return what, decision.subject if decision.fate is Fate.KEEP else None
