"""The journal of a run in Postgres, sealed under the run's key: what app.stages writes down.

Every write is one transaction that first asks whether the step is still ours. Not here: the ledger.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from app.audit.keys import KeyStore, Sealer
from app.domain.failpoints import failpoint
from app.domain.receipts import Counts, ObjectWork, TableWork
from app.domain.shares import shares_of
from app.services.parts import Parts, Transaction
from app.store import runs, works
from app.store.transaction import Database
from app.store.works import WorkRow

PAGE = 1000
"""Records of objects read at once."""

T = TypeVar("T")
Guard = Callable[[Transaction], None]
"""LeaseLostError when another worker has the step now."""


@dataclass(frozen=True, slots=True)
class RunSeal:
    """Seals what is written down of a run, and names its objects by keyed digests."""

    run_id: str
    sealer: Sealer = field(repr=False)
    digest_key: bytes = field(repr=False)

    @classmethod
    def of(cls, keys: KeyStore, run_id: str) -> RunSeal:
        """Under the key of the run. KeyMissingError once it was shredded."""
        return cls(run_id, keys.sealer(run_id), keys.secret(run_id, purpose="works"))

    def document(self, name: str, value: Any) -> bytes:
        """A sealed document."""
        return self.sealer.seal(msgspec.json.encode(value), aad=self._document_row(name))

    def opened_document(self, name: str, sealed: bytes, type_: type[T]) -> T:
        """What was sealed as this document."""
        opened = self.sealer.open(sealed, aad=self._document_row(name))
        return msgspec.json.decode(opened, type=type_)

    def work(self, dataset: str, work: ObjectWork) -> WorkRow:
        """The record of an object."""
        digest = self.digest_of(work.uri)
        aad = self._work_row(dataset, digest)
        sealed = self.sealer.seal(msgspec.json.encode(work), aad=aad)
        return WorkRow(digest, work.state.value, sealed)

    def opened_work(self, dataset: str, row: WorkRow) -> ObjectWork:
        """What was sealed as this record."""
        aad = self._work_row(dataset, row.key_digest)
        return msgspec.json.decode(self.sealer.open(row.sealed_work, aad=aad), type=ObjectWork)

    def digest_of(self, uri: str) -> str:
        """By what an object's record is found."""
        message = uri.encode("utf-8", "surrogatepass")
        return hmac.new(self.digest_key, message, hashlib.sha256).hexdigest()

    def _document_row(self, name: str) -> str:
        return f"run_document/{self.run_id}/{name}"

    def _work_row(self, dataset: str, digest: str) -> str:
        return f"work/{self.run_id}/{dataset}/{digest}"


@dataclass(frozen=True, slots=True)
class LedgerJournal:
    """app.stages.ports.Journal on Postgres.

    With a `part`, `works` gives the objects of that part only. A new object gets its number from
    the database, and no part yet (`put_parts`).
    """

    database: Database
    seal: RunSeal
    guard: Guard
    part: int | None = None

    @classmethod
    def of(
        cls, parts: Parts, run_id: str, *, guard: Guard, part: int | None = None
    ) -> LedgerJournal:
        """The journal of a run. KeyMissingError once its key was shredded."""
        return cls(parts.database, RunSeal.of(parts.keys, run_id), guard, part)

    @property
    def run_id(self) -> str:
        """Whose journal it is."""
        return self.seal.run_id

    # --- facts and documents -------------------------------------------------------------------

    def fact(self, name: str) -> str | None:
        """A fact that is nobody's secret."""
        with self.database.transaction() as tx:
            return runs.fact(tx, self.run_id, name)

    def put_facts(self, **facts: str) -> None:
        """Write facts together."""
        with self._writing("facts") as tx:
            runs.put_facts(tx, self.run_id, facts)

    def document(self, name: str, type_: type[T]) -> T | None:
        """A sealed value, or None when it was not written yet."""
        with self.database.transaction() as tx:
            sealed = runs.document(tx, self.run_id, name)
        return None if sealed is None else self.seal.opened_document(name, sealed, type_)

    def put_document(self, name: str, value: Any) -> None:
        """Seal a value."""
        sealed = self.seal.document(name, value)
        with self._writing("document") as tx:
            runs.put_document(tx, self.run_id, name, sealed)

    # --- objects ---------------------------------------------------------------------------------

    def works(self, dataset: str) -> list[ObjectWork]:
        """The objects of a Bronze dataset (of this journal's part of it), as first put."""
        return [work for page in self.pages(dataset) for work in page]

    def pages(self, dataset: str) -> Iterator[list[ObjectWork]]:
        """The same, so many at a time: a dataset can have more than fit into memory."""
        return self._pages(dataset, self.part)

    def _pages(self, dataset: str, part: int | None) -> Iterator[list[ObjectWork]]:
        after = -1
        while True:
            with self.database.transaction() as tx:
                rows = works.page(tx, self.run_id, dataset, part=part, after=after, limit=PAGE)
            if rows:
                yield [self.seal.opened_work(dataset, row) for row in rows]
            if len(rows) < PAGE:
                return
            after = rows[-1].number

    def known(self, dataset: str, uris: Sequence[str]) -> dict[str, ObjectWork]:
        """The records of these objects, by URI; those that have none are left out."""
        digests = [self.seal.digest_of(uri) for uri in uris]
        with self.database.transaction() as tx:
            rows = works.known(tx, self.run_id, dataset, digests)
        found = (self.seal.opened_work(dataset, row) for row in rows)
        return {work.uri: work for work in found}

    def put_works(self, dataset: str, works: Iterable[ObjectWork]) -> None:
        """Write the records of objects."""
        rows = [self.seal.work(dataset, w) for w in works]
        with self._writing("works") as tx:
            self._put(tx, dataset, rows)

    def put_anew(self, dataset: str, works: Iterable[ObjectWork]) -> None:
        """Write the records of objects that are to be put into parts, anew where they were."""
        rows = [self.seal.work(dataset, w) for w in works]
        with self._writing("works") as tx:
            self._put_anew(tx, dataset, rows)

    def replan(self, dataset: str, works: Iterable[ObjectWork], *, earlier: Counts) -> None:
        """Begin objects anew, and keep what was counted of them before: both or neither."""
        name = f"earlier:{dataset}"
        rows = [self.seal.work(dataset, w) for w in works]
        sealed = self.seal.document(name, earlier)
        with self._writing("replan") as tx:
            self._put(tx, dataset, rows)
            runs.put_document(tx, self.run_id, name, sealed)

    def _put(self, tx: Transaction, dataset: str, rows: Sequence[WorkRow]) -> None:
        part = works.NO_PART if self.part is None else self.part
        works.put(tx, self.run_id, dataset, rows, part=part)

    def _put_anew(self, tx: Transaction, dataset: str, rows: Sequence[WorkRow]) -> None:
        works.put_anew(tx, self.run_id, dataset, rows)

    def without_part(self, dataset: str) -> Iterator[ObjectWork]:
        """Objects that are in no part yet."""
        return (work for page in self._pages(dataset, works.NO_PART) for work in page)

    def put_parts(self, dataset: str, groups: Iterable[Sequence[ObjectWork]]) -> int:
        """Put these objects into new parts, a group each; how many parts there are then."""
        digests = [[self.seal.digest_of(w.uri) for w in group] for group in groups]
        with self._writing("parts") as tx:
            return works.put_parts(tx, self.run_id, dataset, digests)

    def looks(self, dataset: str) -> int:
        """Among how many looks its objects are shared, as app.domain.phases decides."""
        with self.database.transaction() as tx:
            return shares_of(len(works.parts_of(tx, self.run_id, dataset)))

    # --- tables ----------------------------------------------------------------------------------

    def table_work(self, dataset: str) -> TableWork | None:
        """The record of a table."""
        return self.document(f"table:{dataset}", TableWork)

    def put_table_work(self, dataset: str, work: TableWork) -> None:
        """Write the record of a table."""
        self.put_document(f"table:{dataset}", work)

    @contextmanager
    def _writing(self, what: str) -> Iterator[Transaction]:
        failpoint(f"journal.before_{what}")
        with self.database.transaction() as tx:
            self.guard(tx)
            yield tx
        failpoint(f"journal.after_{what}")
