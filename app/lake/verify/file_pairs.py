"""The stage `checked` for tables: a data file A, its position deletes and its replacement A', row
by row. Reads Parquet with pyarrow; reads only. A difference is a finding.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.domain.datasets import Dataset
from app.domain.errors import LakeError, UnreachableError
from app.domain.findings import Finding, What
from app.domain.identifiers import Targets
from app.domain.receipts import FileWork, TableWork, WorkState
from app.lake.verify.columns import Mask, Names, python_values
from app.lake.verify.content import Opened
from app.lake.verify.edits import Book
from app.lake.verify.metadata import table_metadata
from app.lake.verify.needles import Needles
from app.lake.verify.parquet import asides, opened
from app.lake.verify.places import Sight, full_uri
from app.lake.verify.rule import Fate
from app.lake.verify.table_rows import Held, PairReader, RowReader, plain_rows, rows_of
from app.lake.verify.tally import Tally

OpenFile = Callable[[str], BinaryIO]
_BATCH = 1 << 15
_IN_MEMORY = 64 << 20
_PIECE = 16 << 20
"""Each is a request to a store of objects."""
_FIELD_ID = b"PARQUET:field_id"


def check_files(
    work: TableWork,
    *,
    dataset: Dataset,
    targets: Targets,
    open_file: OpenFile,
    metadata_location: str | None = None,
) -> list[Finding]:
    """Check every written pair of a table: nothing but the people of the run left the file.

    `metadata_location`: the table's current metadata.json, which knows the names of renamed
    columns; without it a file's own names count. UnreachableError passes through.
    """
    needles = Needles.of(targets)
    book = Book(needles)
    names: Names = {}
    if metadata_location is not None:
        with closing(open_file(metadata_location)) as stream:
            names = table_metadata(b"".join(Opened(stream).text())).names
    findings: list[Finding] = []
    for file in work.files:
        if file.state is WorkState.WRITTEN:
            sight = Sight.of(dataset, full_uri(file.new_path or file.old_path))
            pair = _FilePair(dataset, needles, book=book, names=names, sight=sight)
            try:
                pair.look(file, open_file)
            except UnreachableError:
                raise
            except LakeError as err:
                sight.saw(What.CANNOT_SEE, "pair", detail=err.code)
            except (pa.ArrowException, OSError):
                sight.saw(What.CANNOT_SEE, "pair", detail="a file cannot be decoded")
            findings += sight.findings
    return findings


class PairDiffersError(Exception):
    """From here on the two files do not run side by side. `args[0]` says how."""


@dataclass(frozen=True, slots=True)
class _Stays:
    """A row of A that stays without its values."""

    number: int
    values: dict[str, Any] = field(repr=False)
    held: Held
    columns: list[str]
    """Where somebody may stand on it."""


@dataclass(slots=True)
class _FilePair:
    dataset: Dataset
    needles: Needles
    book: Book
    names: Names
    sight: Sight
    tally: Tally = field(default_factory=Tally)
    stayed: set[str] = field(default_factory=set)
    """Values on rows that keep them by right."""
    row: int = 0

    def look(self, file: FileWork, open_file: OpenFile) -> None:
        """The pair, its digest, its counts, and what stands beside the rows of A'."""
        hidden = _hidden(file, open_file)
        if len(hidden) != file.hidden:
            self._wrong("hidden", f"the receipt hides {file.hidden}, {len(hidden)} rows are")
        with closing(_spooled(open_file(file.old_path))[0]) as old:
            base = opened(old)
            if file.new_path is None:
                self._rows(base, None, hidden=hidden)
            else:
                body, digest = _spooled(open_file(file.new_path))
                with closing(body):
                    if digest != file.sha256:
                        self._wrong("pair", "the digest is another")
                    new = opened(body)
                    self._shape(base.schema_arrow, new.schema_arrow)
                    self._rows(base, new, hidden=hidden)
                    self._beside(body)
        self.tally.compare(file.counts, sight=self.sight)

    def _wrong(self, where: str, detail: str) -> None:
        self.sight.saw(What.ARITHMETIC, where, detail=detail)

    def _shape(self, old: pa.Schema, new: pa.Schema) -> None:
        same = len(old) == len(new) and all(
            _same_field(a, b) for a, b in zip(old, new, strict=True)
        )
        if not same:
            self._wrong("pair", "another schema")

    def _rows(self, old: pq.ParquetFile, new: pq.ParquetFile | None, *, hidden: Mask) -> None:
        reader = PairReader(
            old.schema_arrow, dataset=self.dataset, needles=self.needles, names=self.names
        )
        rest = _Rest(new)
        try:
            for batch in old.iter_batches(batch_size=_BATCH):
                self._batch(batch, rest, reader=reader, hidden=hidden)
                self.row += batch.num_rows
            _require(rest.left() == 0, "rows follow the last one")
        except PairDiffersError as err:
            self._wrong("pair", f"from row {self.row} of the base: {err.args[0]}")

    def _batch(
        self, batch: pa.RecordBatch, rest: _Rest, *, reader: RowReader, hidden: Mask
    ) -> None:
        visible = np.ones(batch.num_rows, dtype=np.bool_)
        visible[hidden[(hidden >= self.row) & (hidden < self.row + batch.num_rows)] - self.row] = (
            False
        )
        self.tally.before += int(visible.sum())
        suspects = reader.suspects(batch)
        asked = np.flatnonzero(rows_of(suspects, batch.num_rows) & visible)
        going = reader.going(batch, asked)
        keep = visible.copy()
        keep[asked[going]] = False
        self.tally.deleted += int(going.sum())
        asked = asked[~going]
        taken = reader.rows(batch.take(pa.array(asked)), suspects=suspects)
        severed: list[_Stays] = []
        told = reader.judgements(batch, asked)
        for number, row, judgement in zip(asked.tolist(), taken, told, strict=True):
            columns = [name for name, mask in suspects.items() if mask[number]]
            one = reader.read(row, columns=columns, judgement=judgement)
            if one is None:
                continue
            if one.judgement.fate is Fate.GOES:
                keep[number] = False
                self.tally.deleted += 1
            elif one.judgement.fate is Fate.STAYS:
                self.tally.kept += 1
                self.stayed.update(s.value for s in one.spots)
            elif one.required(self.dataset.elsewhere):
                severed.append(_Stays(number, row, one, columns))
            if one.judgement.fate is Fate.SEVERED:
                required = set(one.required(self.dataset.elsewhere))
                self.stayed.update(s.value for s in one.spots if s not in required)
        new = rest.take(int(keep.sum()), like=batch.schema)
        self._same(batch, new, keep=keep, severed=severed, suspects=suspects)
        self._changed(new, keep=keep, severed=severed, suspects=suspects, reader=reader)

    def _same(
        self,
        old: pa.RecordBatch,
        new: pa.Table,
        *,
        keep: Mask,
        severed: list[_Stays],
        suspects: Mapping[str, Mask],
    ) -> None:
        """Everything but the columns of severed rows in which somebody may stand."""
        place = np.cumsum(keep) - 1
        numbers = np.array([s.number for s in severed], dtype=np.int64)
        for name in old.schema.names:
            before, after = old.column(name), new.column(name)
            changed = numbers[suspects[name][numbers]] if name in suspects else numbers[:0]
            plain = keep.copy()
            plain[changed] = False
            if not plain.all():
                before = before.filter(pa.array(plain))
            if len(changed):
                others = np.ones(new.num_rows, dtype=np.bool_)
                others[place[changed]] = False
                after = after.filter(pa.array(others))
            _require(_equal(before, after), "what holds nobody is not the same")

    def _changed(
        self,
        new: pa.Table,
        *,
        keep: Mask,
        severed: list[_Stays],
        suspects: Mapping[str, Mask],
        reader: RowReader,
    ) -> None:
        place = np.cumsum(keep) - 1
        numbers = np.array([s.number for s in severed], dtype=np.int64)
        changed = new.select(list(suspects)).take(pa.array(place[numbers]))
        for row, found in zip(severed, plain_rows(changed), strict=True):
            self._severed(row, found, reader=reader)

    def _severed(self, row: _Stays, new: dict[str, Any], *, reader: RowReader) -> None:
        pairs = reader.severed(row.values, new, columns=row.columns)
        if pairs is None:
            left = reader.read(new, columns=new)
            if left is not None:
                subject = self.needles.first_subject(s.value for s in left.spots)
                self.sight.saw(What.RESIDUE, "pair", subject=subject)
            raise PairDiffersError("a row that stays, and more or less than its values changed")
        for fault in self.book.faults(pairs, owners=row.held.judgement.owners):
            self._wrong("pair", fault)
        self.tally.tombstoned += 1
        self.tally.co_owned += row.held.judgement.co_owned
        self.tally.values += len(pairs)

    def _beside(self, file: BinaryIO) -> None:
        for aside in asides(file, needles=self.needles):
            kept = aside.value in self.stayed
            what = What.WITHHELD if kept else What.RESIDUE
            detail = "the beginning of a value" if aside.cut else ""
            subject = self.needles.subject_of(aside.value)
            self.sight.saw(what, aside.where, detail=detail, subject=subject)


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise PairDiffersError(otherwise)


class _Rest:
    """The rows of A', taken from the front."""

    def __init__(self, file: pq.ParquetFile | None) -> None:
        self._rows = file.metadata.num_rows if file is not None else 0
        self._batches: Iterator[pa.RecordBatch] = (
            iter(()) if file is None else file.iter_batches(batch_size=_BATCH)
        )
        self._kept: list[pa.RecordBatch] = []

    def left(self) -> int:
        """How many rows were not taken."""
        return self._rows

    def take(self, number: int, *, like: pa.Schema) -> pa.Table:
        """The next rows, with the column types of A."""
        _require(number <= self._rows, "rows are missing")
        self._rows -= number
        size = sum(b.num_rows for b in self._kept)
        while size < number:
            batch = next(self._batches, None)
            if batch is None:
                raise PairDiffersError("rows are missing")
            self._kept.append(batch)
            size += batch.num_rows
        taken = []
        while number:
            batch = self._kept.pop(0)
            taken.append(batch.slice(0, number))
            if batch.num_rows > number:
                self._kept.insert(0, batch.slice(number))
            number -= taken[-1].num_rows
        schema = taken[0].schema if taken else like
        try:
            return pa.Table.from_batches(taken, schema=schema).select(like.names).cast(like)
        except (pa.ArrowException, KeyError, ValueError) as err:
            raise PairDiffersError("another schema") from err


def _equal(old: pa.Array, new: pa.ChunkedArray) -> bool:
    if pa.chunked_array([old]).equals(new):
        return True
    # Arrow calls no NaN equal to another: look again, value by value.
    joined = pa.concat_arrays(new.chunks) if new.num_chunks else pa.array([], new.type)
    return repr(python_values(old)) == repr(python_values(joined))


def _same_field(old: pa.Field, new: pa.Field) -> bool:
    ids = [(f.metadata or {}).get(_FIELD_ID) for f in (old, new)]
    if old.name != new.name or (ids[0] is not None and ids[0] != ids[1]):
        return False
    a, b = old.type, new.type
    if a.num_fields != b.num_fields:
        return False
    if a.num_fields:
        listed = not pa.types.is_struct(a)
        for i in range(a.num_fields):
            one, other = a.field(i), b.field(i)
            if not _same_field(one, other.with_name(one.name) if listed else other):
                return False
        return True
    return a.equals(b) or (_plain(a) == _plain(b))


def _plain(kind: pa.DataType) -> str:
    """A leaf type without what a file's own Arrow schema adds: width, dictionary, zone spelling."""
    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    return str(kind).replace("large_", "").replace("+00:00", "UTC")


def _hidden(file: FileWork, open_file: OpenFile) -> Mask:
    """Positions in A that its delete files hide."""
    found: set[int] = set()
    for path in file.delete_paths:
        with closing(_spooled(open_file(path))[0]) as stream:
            rows = opened(stream).read(columns=["file_path", "pos"])
            for name, position in zip(*(rows.column(i).to_pylist() for i in (0, 1)), strict=True):
                if full_uri(name) == full_uri(file.old_path):
                    found.add(position)
    return np.array(sorted(found), dtype=np.int64)


def _spooled(stream: BinaryIO) -> tuple[BinaryIO, str]:
    """The whole file (in memory, or nameless on disk beyond 64 MB) and its SHA-256."""
    spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  the caller closes it
    digest = hashlib.sha256()
    with closing(stream):
        while piece := stream.read(_PIECE):
            digest.update(piece)
            spool.write(piece)
    spool.seek(0)
    return cast("BinaryIO", spool), digest.hexdigest()
