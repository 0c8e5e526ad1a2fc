"""What a stage needs from whoever keeps its records. Contract in MUST words.

Two kinds: a sealed SQLite file (app.offline.journal), and the ledger of the service.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from app.domain.receipts import Counts, ObjectWork, TableWork

T = TypeVar("T")


class Journal(Protocol):
    """What one run has done.

    Every method that writes MUST be one transaction, durable when it returns. It may raise (a
    lease that is no longer ours, a full disk), and then nothing MUST have been written.
    """

    def fact(self, name: str) -> str | None:
        """A fact that is nobody's secret; None when it was not written yet."""
        ...

    def put_facts(self, **facts: str) -> None:
        """Write facts together. A fact that is there MUST be replaced."""
        ...

    def document(self, name: str, type_: type[T]) -> T | None:
        """A sealed value as it was put, or None when it was not written yet."""
        ...

    def put_document(self, name: str, value: Any) -> None:
        """Seal a value (anything msgspec encodes as JSON). One that is there MUST be replaced."""
        ...

    def works(self, dataset: str) -> list[ObjectWork]:
        """The objects of a Bronze dataset. MUST be in the order in which they were first put."""
        ...

    def pages(self, dataset: str) -> Iterator[list[ObjectWork]]:
        """The same in the same order, so many at a time. Between two of them others may write."""
        ...

    def known(self, dataset: str, uris: Sequence[str]) -> dict[str, ObjectWork]:
        """The records of these objects, by URI. Those that have none MUST be left out."""
        ...

    def put_works(self, dataset: str, works: Iterable[ObjectWork]) -> None:
        """Write the records of objects. The record of a URI that is there MUST be replaced, and
        keep its place in the order; those not given MUST stay as they are.
        """
        ...

    def put_anew(self, dataset: str, works: Iterable[ObjectWork]) -> None:
        """`put_works` of objects that are to be done (again): whoever acts on groups of objects
        MUST put them into new ones.
        """
        ...

    def replan(self, dataset: str, works: Iterable[ObjectWork], *, earlier: Counts) -> None:
        """`put_works`, and the document `earlier:<dataset>`: both or neither."""
        ...

    def table_work(self, dataset: str) -> TableWork | None:
        """The record of a table, or None before it was planned."""
        ...

    def put_table_work(self, dataset: str, work: TableWork) -> None:
        """Write the record of a table."""
        ...
