"""Holds in the bucket that kept a run from its end: were they lifted? The act of LIFT.

Nobody tells us when one is, so it is looked for; the run then goes on as at the end of a lock. Not
here: holds that somebody puts on a case with us, and a right that is missing (`run resume`).
"""

from __future__ import annotations

from collections.abc import Iterator

from app.domain.actors import WORKER
from app.domain.datasets import DataMap
from app.domain.errors import ObjectMissingError, StoppedError
from app.domain.failpoints import failpoint
from app.domain.receipts import MISSING_RIGHT, ObjectWork, TableWork, WorkState
from app.domain.steps import Step, StepEnd
from app.lake.ports import ObjectStore
from app.services import entries
from app.services.journal import LedgerJournal
from app.services.leases import Lease
from app.services.parts import Parts
from app.store import steps


def look(step: Step, lease: Lease, parts: Parts) -> StepEnd:
    """The act of LIFT.

    1. Load the pending runs that something holds.
    2. With no transaction open, look at the held versions until one is under no hold any more.
    3. Record: the held steps of such a run are due, and the clock goes on with it.
    """
    assert parts.lake is not None
    with parts.database.transaction() as tx:
        held = steps.held_runs(tx)
    lifted: list[str] = []
    if held:
        with parts.lake.open() as doors:
            for run_id in held:
                journal = LedgerJournal.of(parts, run_id, guard=lease.guard)
                if _is_lifted(journal, parts.lake.data_map, doors.reader, lease):
                    lifted.append(run_id)
    failpoint("lifted.before_record")
    with parts.database.transaction() as tx:
        lease.guard(tx)
        for run_id in lifted:
            steps.end_holds(tx, run_id)
            entries.record(WORKER, tx, verb="run.hold_lifted", about=run_id)
    failpoint("lifted.recorded")
    return StepEnd(receipt={"held": len(held), "lifted": len(lifted)})


def _is_lifted(journal: LedgerJournal, data_map: DataMap, store: ObjectStore, lease: Lease) -> bool:
    for uri, version_id in _held(journal, data_map):
        if lease.stop():
            raise StoppedError("Told to stop while lifted holds were looked for.")
        try:
            if not store.info(uri, version_id=version_id).legal_hold:
                return True
        except ObjectMissingError:
            return True
    return False


def _held(journal: LedgerJournal, data_map: DataMap) -> Iterator[tuple[str, str]]:
    """Versions that a hold protected when they were last to be changed or purged."""
    for dataset in data_map.bronze:
        for page in journal.pages(dataset.name):
            yield from (held for work in page for held in _of_object(work))
    for dataset in data_map.tables:
        table = journal.table_work(dataset.name)
        yield from _of_table(table) if table is not None else ()


def _of_object(work: ObjectWork) -> Iterator[tuple[str, str]]:
    if work.state is not WorkState.HELD:
        return
    held = [old for old in work.superseded if old.state is WorkState.HELD]
    for old in held:
        if old.reason != MISSING_RIGHT:
            yield work.uri, old.version_id
    if not held and work.base_version is not None and work.reason != MISSING_RIGHT:
        yield work.uri, work.base_version  # the current one: it was not replaced


def _of_table(table: TableWork) -> Iterator[tuple[str, str]]:
    for file in table.condemned:
        if file.state is WorkState.HELD and file.reason != MISSING_RIGHT:
            yield file.uri, file.version_id
