"""What each stage of a run does to one dataset, or one group of its objects, journalled as it goes.

Not here: the order of stages and groups (app.offline, the workers), nor the acts' insides
(app.lake).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from app.domain.datasets import DataMap, Dataset
from app.domain.failpoints import failpoint
from app.domain.findings import Finding, What
from app.domain.identifiers import Targets
from app.domain.progress import Say
from app.domain.receipts import ObjectWork, TableWork, WorkState
from app.domain.shares import WHOLE, Share
from app.lake.bronze import ROUNDS, erase_objects, unfinished
from app.lake.ports import Doors
from app.lake.purge_objects import purge_objects
from app.lake.purge_tables import plan_purge, purge_table
from app.lake.table_content import holder
from app.lake.table_ports import TableEngine
from app.lake.tables import erase_table, plan_table
from app.lake.tombstones import Tombstones
from app.lake.undo_objects import undo_objects
from app.lake.undo_tables import undo_table
from app.lake.verify import check_files, check_objects
from app.stages.checked import CheckFindings, named
from app.stages.object_plans import Todo, begin_again, find_newer, list_objects, rounds_of
from app.stages.ports import Journal
from app.stages.search import hold_residue, look_at_dataset, look_beside

__all__ = ["ROUNDS", "Acts"]

ORPHAN_GRACE = timedelta(hours=24)
_OPEN = frozenset({WorkState.DEFERRED, WorkState.HELD, WorkState.PARKED})
_HARMLESS = frozenset({What.NOTE, What.WITHHELD, What.PARKED})
_ON_THE_WAY = frozenset({WorkState.PLANNED, WorkState.READY})
_RESTLESS = "Others kept writing to the object."


@dataclass(frozen=True, slots=True)
class Acts:
    """The acts of one run. Each may be repeated; those that take `works` may run at once in
    several processes, on different works of one dataset.
    """

    run_id: str
    data_map: DataMap
    doors: Doors
    journal: Journal
    targets: Targets = field(repr=False)
    secret: bytes = field(repr=False)
    """The run's, for tombstones."""
    spool: Path
    say: Say
    stop: Callable[[], bool]
    """Asked between effects. Once true, an act ends early and a repeat goes on from there."""

    # --- plan ----------------------------------------------------------------------------------

    def plan_dataset(self, dataset: Dataset) -> None:
        """List its objects, or look at the table's head; nothing is read yet. What is journalled
        already stays; what is new is added.
        """
        if dataset.table is not None:
            if self.journal.table_work(dataset.name) is None:
                self.journal.put_table_work(dataset.name, plan_table(self.engine, dataset))
            return
        list_objects(dataset, journal=self.journal, store=self.doors.eraser)

    # --- erase: objects --------------------------------------------------------------------------

    def begin_again(self, dataset: Dataset) -> Todo:
        """At the beginning of the erase stage: what was held or parked before is begun anew with
        its counts kept aside. How much is to be erased. One process at a time.
        """
        if self.rounds(dataset):
            self.journal.put_facts(**{f"rounds:{dataset.name}": "0"})
        return begin_again(dataset, journal=self.journal)

    def again(self, dataset: Dataset) -> list[ObjectWork]:
        """The same, and what is to be erased."""
        self.begin_again(dataset)
        return unfinished(self.journal.works(dataset.name))

    def erase_group(self, dataset: Dataset, works: Sequence[ObjectWork]) -> None:
        """Erase these objects, given as they are journalled now; those that are neither PLANNED
        nor READY stay as they are.
        """
        erase_objects(
            works,
            dataset=dataset,
            targets=self.targets,
            tombstones=Tombstones(self.secret),
            store=self.doors.eraser,
            run_id=self.run_id,
            spool=self.spool,
            unparsable=self.data_map.unparsable,
            record=self._recorder("erase", dataset, works),
            stop=self.stop,
        )

    def find_newer(self, dataset: Dataset) -> Todo:
        """After all groups: objects that are new since the listing, or that others wrote since,
        journalled as PLANNED, one round later. One process at a time.

        Their `rounds` is at least how often this found something (`rounds`): from ROUNDS on, they
        are for `give_up`.
        """
        return find_newer(dataset, journal=self.journal, store=self.doors.eraser)

    def newer(self, dataset: Dataset) -> list[ObjectWork]:
        """The same, and what is to be erased. None: the dataset's horizon is reached, and written
        down.
        """
        looked_at = self.now()
        if self.find_newer(dataset).objects:
            return unfinished(self.journal.works(dataset.name))
        self.reach_horizon(dataset, looked_at)
        return []

    def now(self) -> datetime:
        """The store's clock: read it before a look that may be the last."""
        return self.doors.reader.now()

    def rounds(self, dataset: Dataset) -> int:
        """How often `find_newer` found something since the erase stage began."""
        return rounds_of(dataset, self.journal)

    def give_up(self, dataset: Dataset) -> None:
        """The rounds ran out: what is unfinished is PARKED, and the horizon is now."""
        for page in self.journal.pages(dataset.name):
            left = [w.to(WorkState.PARKED, reason=_RESTLESS) for w in unfinished(page)]
            if left:
                self.journal.put_works(dataset.name, left)
        self.reach_horizon(dataset, self.now())

    def look_no_further(self, dataset: Dataset) -> None:
        """A legal hold forbids the dataset's erasure: the horizon is now, for the second look."""
        self.reach_horizon(dataset, self.now())

    def reach_horizon(self, dataset: Dataset, at: datetime) -> None:
        """Everything that stood in the dataset then was looked at."""
        self.journal.put_facts(**{f"horizon:{dataset.name}": at.isoformat()})

    # --- erase: tables -------------------------------------------------------------------------

    def erase_table(self, dataset: Dataset) -> None:
        """Erase a table; its pairs are checked before their commit (CheckFailedError)."""
        work = self._table(dataset)
        if work.state is WorkState.PARKED:
            work = replace(work, state=WorkState.PLANNED, reason=None, rounds=0)
        self.say("erase", dataset.name, 0, 1)
        erase_table(
            work,
            dataset=dataset,
            targets=self.targets,
            tombstones=Tombstones(self.secret),
            engine=self.engine,
            run_id=self.run_id,
            step_id=f"{self.run_id}/{dataset.name}",
            record=partial(self.journal.put_table_work, dataset.name),
            stop=self.stop,
            check=lambda w: self._check_files(w, dataset),
        )
        self.say("erase", dataset.name, 1, 1)

    def _check_files(self, work: TableWork, dataset: Dataset) -> list[Finding]:
        assert self.doors.verify_engine is not None
        return check_files(
            work,
            dataset=dataset,
            targets=self.targets,
            open_file=self.doors.verify_engine.open,
            metadata_location=self.doors.verify_engine.head(work.table).metadata_location,
        )

    # --- check ---------------------------------------------------------------------------------

    def check_group(self, dataset: Dataset, works: Sequence[ObjectWork]) -> bool:
        """The second look at these pairs (table pairs were looked at before their commit).

        False when a replacement is not its base without the person: such pairs are put back, what
        was seen is journalled, and the run must not purge anything.
        """
        group = [w for w in works if w.state is WorkState.WRITTEN]
        self.say("check", dataset.name, 0, len(group))
        findings = check_objects(
            group,
            dataset=dataset,
            targets=self.targets,
            store=self.doors.verifier,
            unparsable=self.data_map.unparsable,
        )
        blocking = [f for f in findings if f.what not in _HARMLESS]
        bad = named(group, blocking)
        put_back = {w.uri for w in bad}
        good = [w.to(WorkState.CHECKED) for w in group if w.uri not in put_back]
        failpoint("stages.before_checked")
        self.journal.put_works(dataset.name, good)
        if bad:
            # Before they are put back: what is back no longer shows that it was wrong.
            self._check_findings.put(dataset, bad, blocking)
            undo_objects(
                bad,
                store=self.doors.eraser,
                record=partial(self.journal.put_works, dataset.name),
                spool=self.spool,
            )
        self.say("check", dataset.name, len(group), len(group))
        return not blocking

    def check_findings(self) -> tuple[Finding, ...]:
        """What the check stage stopped at."""
        return self._check_findings.of(self.data_map.bronze)

    @property
    def _check_findings(self) -> CheckFindings:
        return CheckFindings(self.journal, self.secret)

    # --- purge ---------------------------------------------------------------------------------

    def purge_group(self, dataset: Dataset, works: Sequence[ObjectWork]) -> None:
        """Destroy what checked works supersede; what a lock, a hold or a missing right forbade
        before is tried again.
        """
        # Only a purge defers. What is held or parked and has no replacement never came so far.
        due = [
            w.to(WorkState.CHECKED)
            if w.state is WorkState.DEFERRED or (w.state in _OPEN and w.new_version is not None)
            else w
            for w in works
        ]
        purge_objects(
            due,
            store=self.doors.eraser,
            purger=self.doors.purger,
            record=self._recorder("purge", dataset, due),
            stop=self.stop,
        )

    def purge_table(self, dataset: Dataset) -> None:
        """Expire the snapshots that hold the person, then destroy what only they reached."""
        work = self._table(dataset)
        self.say("purge", dataset.name, 0, 1)
        if not work.expired:
            work = plan_purge(
                work,
                dataset=dataset,
                targets=self.targets,
                engine=self.engine,
                tags=self.data_map.tags,
            )
            self.journal.put_table_work(dataset.name, work)
        purge_table(
            work,
            run_id=self.run_id,
            engine=self.engine,
            store=self.doors.eraser,
            purger=self.doors.purger,
            record=partial(self.journal.put_table_work, dataset.name),
            stop=self.stop,
            orphan_grace=ORPHAN_GRACE,
            holds=holder(self.targets),
        )
        self.say("purge", dataset.name, 1, 1)

    # --- verify --------------------------------------------------------------------------------

    def verify_dataset(self, dataset: Dataset, share: Share = WHOLE) -> None:
        """Read a dataset (one share of its objects) again with other code and another credential;
        write down what it saw.
        """
        look_at_dataset(
            dataset,
            targets=self.targets,
            data_map=self.data_map,
            doors=self.doors,
            journal=self.journal,
            say=self.say,
            share=share,
        )

    def hold_findings(self, dataset: Dataset, share: Share = WHOLE) -> None:
        """What the second look just saw in a dataset under a legal hold of ours is held: nobody was
        allowed to take it out.
        """
        hold_residue(self.journal, dataset, share=share)

    def verify_places(self) -> None:
        """The same for what lies beside the datasets."""
        look_beside(
            self.targets,
            data_map=self.data_map,
            doors=self.doors,
            journal=self.journal,
            say=self.say,
        )

    # --- undo ----------------------------------------------------------------------------------

    def undo_dataset(self, dataset: Dataset) -> int:
        """Put every base back. Returns how many others have changed since, and were left."""
        if dataset.table is not None:
            return self._undo_table(dataset)
        return sum(self._undo_group(dataset, page) for page in self.journal.pages(dataset.name))

    def _undo_group(self, dataset: Dataset, works: Sequence[ObjectWork]) -> int:
        undone = undo_objects(
            works,
            store=self.doors.eraser,
            record=self._recorder("undo", dataset, works),
            spool=self.spool,
        )
        return sum(w.state is WorkState.PARKED and w.new_version is not None for w in undone)

    def _undo_table(self, dataset: Dataset) -> int:
        work = self.journal.table_work(dataset.name)
        if work is None or (work.expired and work.state is not WorkState.COMMITTED):
            return 0  # an earlier pass destroyed it; this one has nothing there to put back
        undone = undo_table(
            work,
            engine=self.engine,
            run_id=self.run_id,
            step_id=f"{self.run_id}/{dataset.name}/undo",
            record=partial(self.journal.put_table_work, dataset.name),
        )
        return int(undone.state is not WorkState.UNDONE)

    # --- what is left ----------------------------------------------------------------------------

    def open_works(self) -> bool:
        """Whether something is deferred, held or parked, so that the run must go on later."""
        return bool(self.open_datasets())

    def open_datasets(self) -> frozenset[str]:
        """The datasets in which something is deferred, held or parked."""
        return frozenset(d.name for d in self.data_map.datasets if self._is_open(d))

    def _is_open(self, dataset: Dataset) -> bool:
        if dataset.table is None:
            pages = self.journal.pages(dataset.name)
            return any(w.state in _OPEN or w.parked for page in pages for w in page)
        work = self.journal.table_work(dataset.name)
        return work is not None and (
            work.state in _OPEN or any(c.state in _OPEN for c in work.condemned)
        )

    def changed_tables(self) -> bool:
        """Whether running readers may still use files that this run replaced."""
        works = (self.journal.table_work(d.name) for d in self.data_map.tables)
        return any(w.commits for w in works if w is not None)

    # --- small things ----------------------------------------------------------------------------

    @property
    def engine(self) -> TableEngine:
        """The engine with the erase credential; a map with tables always has one."""
        assert self.doors.engine is not None
        return self.doors.engine

    def _table(self, dataset: Dataset) -> TableWork:
        work = self.journal.table_work(dataset.name)
        assert work is not None
        return work

    def _recorder(
        self, stage: str, dataset: Dataset, works: Sequence[ObjectWork]
    ) -> Callable[[Sequence[ObjectWork]], None]:
        """Journals works, and tells how many of these are through this stage."""
        through: set[str] = set()

        def record(batch: Sequence[ObjectWork]) -> None:
            self.journal.put_works(dataset.name, batch)
            through.update(w.uri for w in batch if w.state not in _ON_THE_WAY)
            self.say(stage, dataset.name, len(through), len(works))

        return record
