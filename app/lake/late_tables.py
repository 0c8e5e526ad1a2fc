"""Late data in tables: the rows of every live data file that a mark's snapshot did not have.

Not here: what a text of JSON says (late_lines), objects (late_objects).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from app.domain.datasets import Dataset
from app.domain.errors import (
    AccessDeniedError,
    ObjectMissingError,
    StoppedError,
    UnsupportedTableError,
)
from app.domain.identifiers import Identifier
from app.domain.policies import is_kept
from app.lake.late_lines import (
    JsonLook,
    LateRow,
    Nobody,
    Paths,
    Tally,
    Wanted,
    identifiers_at,
    kept_paths,
    latest,
    paths_of,
)
from app.lake.table_columns import Column, columns, is_bytes
from app.lake.table_ports import DataFile, TableEngine, TableHead
from app.lake.table_values import texts, whole

_BATCH = 32_768
"""Rows in memory at a time."""


def late_files(
    dataset: Dataset,
    *,
    engine: TableEngine,
    mark: int | None,
    wanted: Wanted,
    tally: Tally,
    stop: Callable[[], bool],
) -> Iterator[LateRow]:
    """Wanted identifiers in files that the head has and the snapshot `mark` had not.

    All files where that snapshot is gone, or the table is another. Files of our own are read as
    others are: whoever came late into a file that was rewritten stands in the new one. So are rows
    that a position delete hides: they are on disk.
    """
    assert dataset.table is not None
    head = engine.head(dataset.table)
    tally.seen_to = None if head.snapshot_id is None else str(head.snapshot_id)
    if head.snapshot_id is None or head.snapshot_id == mark:
        return
    known = known_files(engine, dataset.table, snapshot_id=mark)
    look = TableLook.of(dataset, wanted=wanted)
    for file in engine.files(dataset.table, snapshot_id=head.snapshot_id):
        if file.path in known:
            continue
        try:
            yield from _rows(file, look, head=head, engine=engine, tally=tally, stop=stop)
        except ObjectMissingError:
            continue  # the head has moved on; its new files belong to the next look
        except (AccessDeniedError, UnsupportedTableError, pa.ArrowInvalid, OSError):
            tally.unreadable += 1


def known_files(engine: TableEngine, table: str, *, snapshot_id: int | None) -> frozenset[str]:
    """The data files of a snapshot; none where it is gone."""
    if snapshot_id is None or snapshot_id not in engine.head(table).snapshots:
        return frozenset()
    return frozenset(f.path for f in engine.files(table, snapshot_id=snapshot_id))


@dataclass(frozen=True, slots=True)
class TableLook:
    """What is looked for in the rows of one table."""

    dataset: Dataset
    wanted: Wanted
    nobody: Nobody
    paths: Paths
    """Of columns, list steps left out as in `Column.path`."""
    json: Mapping[str, JsonLook]
    needed: frozenset[str]

    @classmethod
    def of(cls, dataset: Dataset, *, wanted: Wanted) -> TableLook:
        """For the identifiers that are wanted, at the paths that the map declares."""
        paths = paths_of(dataset.roles)
        json = {c: JsonLook(roles, wanted=wanted) for c, roles in dataset.json.items()}
        deciding = [p for p in (dataset.event_time, *kept_paths(dataset)) if p]
        inside = [c for c in json if any(p.startswith(c + ".") for p in deciding)]
        named = [c for c, look in json.items() if look.paths]
        needed = frozenset([*paths, *deciding, *inside, *named])
        return cls(dataset, wanted, Nobody(wanted), paths, json, needed)


def _rows(
    file: DataFile,
    look: TableLook,
    *,
    head: TableHead,
    engine: TableEngine,
    tally: Tally,
    stop: Callable[[], bool],
) -> Iterator[LateRow]:
    with closing(engine.open(file.path)) as source:
        parquet = pq.ParquetFile(source)
        tally.places += 1
        found = columns(
            parquet.schema_arrow,
            dataset=look.dataset,
            head=head,
            keys=(),
        )
        names = [
            parquet.schema.column(n).path for n, c in enumerate(found) if c.path in look.needed
        ]
        for batch in parquet.iter_batches(_BATCH, columns=names) if names else ():
            if stop():
                raise StoppedError("Told to stop while late data was looked for.")
            for identifier, at in Batch.of(batch, found, look=look).found():
                yield LateRow(identifier, at, look.dataset.name, file.path, None)


class Batch:
    """Some rows of a table, as texts by path."""

    def __init__(self, batch: pa.RecordBatch, chosen: Sequence[Column], look: TableLook) -> None:
        self._look = look
        self._values: dict[str, list[tuple[str, ...]]] = {}
        for column in chosen:
            array = _readable(whole(pa.chunked_array([batch.column(column.parts[0])])))
            rows = texts(array, column.parts[1:])
            if column.path in self._values:
                rows = [a + b for a, b in zip(self._values[column.path], rows, strict=True)]
            self._values[column.path] = rows

    @classmethod
    def of(cls, batch: pa.RecordBatch, leaves: Sequence[Column], *, look: TableLook) -> Batch:
        """Of the leaves those that are looked at."""
        return cls(batch, [c for c in leaves if c.path in look.needed], look)

    def found(self) -> Iterator[tuple[Identifier, datetime | None]]:
        """The wanted identifiers and the time of the row of each; not on rows that are kept."""
        for row, identifiers, at in self.rows():
            if not is_kept(self._look.dataset, self._reader(row)):
                yield from ((i, at) for i in sorted(identifiers))

    def rows(self) -> Iterator[tuple[int, set[Identifier], datetime | None]]:
        """Rows with a wanted identifier: their number, the identifiers, the time they tell."""
        look, dataset = self._look, self._look.dataset
        for row in sorted(self._suspects()):
            values_at = self._reader(row)
            found = identifiers_at(look.paths, values_at, wanted=look.wanted)
            for column, inside in look.json.items():
                for text in values_at(column):
                    found |= _in_json(text, inside, wanted=look.wanted)
            if found:
                at = latest(values_at(dataset.event_time)) if dataset.event_time else None
                yield row, found, at

    def _suspects(self) -> set[int]:
        """Rows that may hold somebody: each distinct value is asked for once."""
        look = self._look
        suspects: set[int] = set()
        for path in look.paths:
            for row, values in enumerate(self._values.get(path, ())):
                if any(v and not look.nobody.is_known(v) for v in values):
                    suspects.add(row)
        for column, inside in look.json.items():
            for row, values in enumerate(self._values.get(column, ())):
                if any(_may_hold(_raw(text), inside) for text in values):
                    suspects.add(row)
        return suspects

    def _reader(self, row: int) -> Callable[[str], Sequence[str]]:
        """Texts of the row at a column, or at a path inside a JSON column."""

        def at(path: str) -> Sequence[str]:
            rows = self._values.get(path)
            if rows is not None:
                return rows[row]
            for column, inside in self._look.json.items():
                if path.startswith(column + ".") and column in self._values:
                    below = path.removeprefix(column + ".")
                    documents = [inside.values(_raw(t)) for t in self._values[column][row]]
                    return [v for values_at in documents if values_at for v in values_at(below)]
            return ()

        return at


def _in_json(text: str, inside: JsonLook, *, wanted: Wanted) -> set[Identifier]:
    raw = _raw(text)
    if not _may_hold(raw, inside):
        return set()
    values_at = inside.values(raw)
    if values_at is None:
        return inside.tokens(raw)
    return identifiers_at(inside.paths, values_at, wanted=wanted)


def _may_hold(raw: bytes, inside: JsonLook) -> bool:
    return next(inside.suspects(raw, 0, len(raw)), None) is not None


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _readable(array: pa.Array) -> pa.Array:
    """Text that a file calls bytes, as text; times in microseconds, as Python has them."""
    kind = array.type
    if is_bytes(kind):
        return array.view(pa.large_string() if pa.types.is_large_binary(kind) else pa.string())
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return array.cast(pa.timestamp("us", tz=kind.tz), safe=False)
    return array
