"""The journal of an offline run: one SQLite file, sealed, that says how far everything is.

What it holds is written before the effect it stands for. Not here: what the effects are.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from app.audit.keys import Sealer
from app.domain.errors import DiskFullError, JournalConflictError, UsageError
from app.domain.failpoints import failpoint
from app.domain.receipts import Counts, ObjectWork, TableWork
from app.domain.runs import ENDED, Stage

T = TypeVar("T")
_TABLES = """
create table if not exists fact (name text primary key, value text not null) strict;
create table if not exists document (name text primary key, sealed blob not null) strict;
create table if not exists work (
  dataset text not null, number integer not null, state text not null, sealed blob not null,
  primary key (dataset, number)) strict;
"""


_PAGE = (
    "select number, sealed from work where dataset = ? and number > ? order by number limit 1000"
)
_ONE = "select sealed from work where dataset = ? and number = ?"
_PUT_WORK = "insert or replace into work values (?, ?, ?, ?)"
_PUT_DOCUMENT = "insert or replace into document values (?, ?)"


class StateFolder:
    """The state folder of an offline run, held by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as err:
            raise UsageError(f"{path}: cannot be the state folder: {err.strerror}.") from err
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            os.close(self._lock)
            raise JournalConflictError(
                f"{path}: another process is at work here. Wait for it, or give another --state."
            ) from err

    @property
    def journal_path(self) -> Path:
        """The journal file; it exists while a run is open."""
        return self.path / "journal.sqlite"

    @property
    def spool(self) -> Path:
        """Where bodies too large for memory wait for their put."""
        folder = self.path / "spool"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def close(self) -> None:
        """Let another process in."""
        os.close(self._lock)


class Journal:
    """What a run has done. Every method that writes is one transaction, durable when it returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.close(descriptor)
        self._sql = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        with self._told():
            self._sql.execute("pragma journal_mode = wal")
            self._sql.execute("pragma synchronous = full")
            self._sql.executescript(_TABLES)
        self._sealer: Sealer | None = None
        self._numbers: dict[str, dict[str, int]] = {}
        """Dataset -> URI -> the number of its record, of datasets that were read or written."""

    def close(self) -> None:
        """Close the file; what was written stays."""
        self._sql.close()

    def begin(self, sealer: Sealer) -> None:
        """Forget an ended run, and use the key of a new one."""
        self._numbers.clear()
        with self._told():
            self._sql.executescript("delete from fact; delete from document; delete from work;")
        self.sealed_by(sealer)

    def sealed_by(self, sealer: Sealer) -> None:
        """Use this run's key from here on."""
        self._sealer = sealer

    # --- plain facts: ids, stage, times ------------------------------------------------------

    def fact(self, name: str) -> str | None:
        """A fact that is nobody's secret."""
        row = self._sql.execute("select value from fact where name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def put_facts(self, **facts: str) -> None:
        """Write facts together."""
        failpoint("journal.before_facts")
        self._write([("insert or replace into fact values (?, ?)", list(facts.items()))])
        failpoint("journal.after_facts")

    @property
    def stage(self) -> Stage:
        """How far the run is."""
        return Stage(self.fact("stage") or Stage.OPEN)

    @property
    def is_open(self) -> bool:
        """Whether a run has begun here and has not ended."""
        return self.fact("run_id") is not None and self.stage not in ENDED

    # --- sealed documents and work records -----------------------------------------------------

    def document(self, name: str, type_: type[T]) -> T | None:
        """A sealed value, or None when it was not written yet."""
        row = self._sql.execute("select sealed from document where name = ?", (name,)).fetchone()
        return None if row is None else self._open(f"document/{name}", row[0], type_)

    def put_document(self, name: str, value: Any) -> None:
        """Seal a value."""
        failpoint(f"journal.before_{name.partition(':')[0]}")
        sealed = self._seal(f"document/{name}", value)
        self._write([(_PUT_DOCUMENT, [(name, sealed)])])

    def works(self, dataset: str) -> list[ObjectWork]:
        """The objects of a Bronze dataset, in the order they were planned."""
        rows = self._sql.execute(
            "select number, sealed from work where dataset = ? order by number", (dataset,)
        )
        found = {
            number: self._open(f"work/{dataset}/{number}", sealed, ObjectWork)
            for number, sealed in rows
        }
        self._numbers[dataset] = {work.uri: number for number, work in found.items()}
        return list(found.values())

    def pages(self, dataset: str) -> Iterator[list[ObjectWork]]:
        """The same, so many at a time."""
        after = -1
        while rows := self._sql.execute(_PAGE, (dataset, after)).fetchall():
            after = rows[-1][0]
            yield [self._open(f"work/{dataset}/{n}", sealed, ObjectWork) for n, sealed in rows]

    def known(self, dataset: str, uris: Sequence[str]) -> dict[str, ObjectWork]:
        """The records of these objects, by URI."""
        numbers = self._numbers_of(dataset)
        found = {}
        for number in sorted(numbers[uri] for uri in uris if uri in numbers):
            [sealed] = self._sql.execute(_ONE, (dataset, number)).fetchone()
            work = self._open(f"work/{dataset}/{number}", sealed, ObjectWork)
            found[work.uri] = work
        return found

    def put_anew(self, dataset: str, works: Iterable[ObjectWork]) -> None:
        """`put_works`: here groups are made as they are needed."""
        self.put_works(dataset, works)

    def put_works(self, dataset: str, works: Iterable[ObjectWork]) -> None:
        """Write the records of objects; a new object gets the next number."""
        failpoint("journal.before_works")
        self._write([(_PUT_WORK, self._rows(dataset, works))])
        failpoint("journal.after_works")

    def replan(self, dataset: str, works: Iterable[ObjectWork], *, earlier: Counts) -> None:
        """Begin objects anew, and keep what was counted of them before: both or neither."""
        name = f"earlier:{dataset}"
        sealed = self._seal(f"document/{name}", earlier)
        rows = self._rows(dataset, works)
        self._write([(_PUT_WORK, rows), (_PUT_DOCUMENT, [(name, sealed)])])
        failpoint("journal.after_replan")

    def _rows(self, dataset: str, works: Iterable[ObjectWork]) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        numbers = self._numbers_of(dataset)
        following = max(numbers.values(), default=-1) + 1
        for work in works:
            number = numbers.setdefault(work.uri, following)
            following = max(following, number + 1)
            sealed = self._seal(f"work/{dataset}/{number}", work)
            rows.append((dataset, number, work.state.value, sealed))
        return rows

    def _numbers_of(self, dataset: str) -> dict[str, int]:
        if dataset not in self._numbers:
            self.works(dataset)
        return self._numbers[dataset]

    def table_work(self, dataset: str) -> TableWork | None:
        """The record of a table."""
        return self.document(f"table:{dataset}", TableWork)

    def put_table_work(self, dataset: str, work: TableWork) -> None:
        """Write the record of a table."""
        self.put_document(f"table:{dataset}", work)
        failpoint("journal.after_table")

    # --- the file ----------------------------------------------------------------------------

    def _write(self, statements: Iterable[tuple[str, Sequence[Sequence[Any]]]]) -> None:
        with self._told():
            self._sql.execute("begin immediate")
            for statement, rows in statements:
                self._sql.executemany(statement, rows)
            self._sql.execute("commit")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the disk refuses, in words; SQLite calls some full disks an I/O error."""
        try:
            yield
        except sqlite3.OperationalError as err:
            if self._sql.in_transaction:
                with suppress(sqlite3.OperationalError):  # the error may have rolled back already
                    self._sql.execute("rollback")
            if "full" in str(err) or "disk" in str(err):
                raise DiskFullError(
                    f"No space left for the journal in {self._path.parent}, or its disk fails: "
                    "make room, then run the same command again."
                ) from err
            raise

    def _seal(self, place: str, value: Any) -> bytes:
        assert self._sealer is not None
        return self._sealer.seal(msgspec.json.encode(value), aad=place)

    def _open(self, place: str, sealed: bytes, type_: type[T]) -> T:
        assert self._sealer is not None
        return msgspec.json.decode(self._sealer.open(sealed, aad=place), type=type_)
