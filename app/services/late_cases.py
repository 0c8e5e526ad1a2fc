"""Whose late data a row is: the cases that must not have its identifier back.

Not here: how rows are found (app.lake.late), what a hit leads to (app.services.late).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from app.domain.datasets import Dataset
from app.domain.dsars import State
from app.domain.identifiers import Identifier
from app.lake.late import NEVER, LateRow, is_late, known_files
from app.lake.ports import Doors
from app.services.parts import Parts
from app.services.suppression import ALL
from app.store import suppression as store
from app.store.suppression import Suppressed

DONE = frozenset({State.SETTLING, State.COMPLETED})
WAITING = frozenset({State.PENDING_RETENTION, State.ON_HOLD, State.STUCK})


def fence_of(case: Suppressed) -> datetime:
    """Up to when events of the value are late data."""
    return NEVER if case.scope == ALL else case.fence


def is_late_of(case: Suppressed, row: LateRow, dataset: Dataset) -> bool:
    """Whether the row itself says that it is late data of the case."""
    return is_late(row.at, fence=fence_of(case), dataset=dataset)


class Judge:
    """Whose late data a row is. Asks the database once for each identifier that is suppressed."""

    def __init__(self, parts: Parts, doors: Doors, digests: frozenset[bytes]) -> None:
        self._parts, self._doors, self._digests = parts, doors, digests
        self._digester = parts.keys.digester()
        self._cases: dict[Identifier, list[Suppressed]] = {}
        self._horizons: dict[tuple[str, str], str] = {}
        self._files: dict[tuple[str, str], frozenset[str]] = {}

    def wants(self, identifier: Identifier) -> bool:
        """Whether a digest of it, of any generation that lives, is suppressed."""
        every = self._digester.all_of(identifier)
        return any(bytes.fromhex(d.digest) in self._digests for d in every)

    def cases_of(self, row: LateRow, dataset: Dataset) -> Iterator[Suppressed]:
        """The cases that must not have this row's identifier back, as far as a run is not done
        with the row, or has yet to see it.
        """
        for case in self._suppressed(row.identifier):
            if not self.counts(case, row, dataset):
                continue
            is_open = case.state in WAITING and not self.was_there(row, case, dataset)
            if case.at_work or case.state in DONE or is_open:
                yield case

    def counts(self, case: Suppressed, row: LateRow, dataset: Dataset) -> bool:
        """Whether the row is looked at as late data of the case."""
        return not case.is_active_again and is_late_of(case, row, dataset)

    def _suppressed(self, identifier: Identifier) -> list[Suppressed]:
        if identifier not in self._cases:
            digests = [(d.generation, d.digest) for d in self._digester.all_of(identifier)]
            with self._parts.database.transaction() as tx:
                found = store.suppressed(tx, digests)
                self._horizons |= store.last_horizons(tx, {c.dsar_id for c in found})
            self._cases[identifier] = found
        return self._cases[identifier]

    def was_there(self, row: LateRow, case: Suppressed, dataset: Dataset) -> bool:
        """Whether a waiting case's own run has seen it: what that run left is no late data."""
        horizon = self._horizons.get((case.dsar_id, dataset.name))
        if horizon is None:
            return False
        if row.written_at is not None:
            return row.written_at < datetime.fromisoformat(horizon)
        assert self._doors.engine is not None
        assert dataset.table is not None
        name = (dataset.table, horizon)
        if name not in self._files:
            self._files[name] = known_files(
                self._doors.engine, dataset.table, snapshot_id=int(horizon)
            )
        return row.uri in self._files[name]


class RestoreJudge(Judge):
    """The same after a restore: what was erased may be back anywhere, however old it looks.

    A row without a time may be back too, where its dataset alone was restored; values that were
    left because they are active again are judged anew; and nothing was there before.
    """

    def counts(self, case: Suppressed, row: LateRow, dataset: Dataset) -> bool:
        """Whatever is not later than the fence."""
        return row.at is None or row.at <= fence_of(case)

    def was_there(self, row: LateRow, case: Suppressed, dataset: Dataset) -> bool:
        """What a waiting case's run has seen is not what lies there now."""
        return False
