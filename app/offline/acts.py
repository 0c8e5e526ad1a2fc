"""What each stage of a run does to the lake, dataset by dataset, journalled as it goes.

Not here: the order of the stages (app.offline.run) and the acts' insides (app.lake).
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
from app.domain.receipts import Counts, ObjectWork, TableWork, WorkState
from app.lake.bronze import ROUNDS, erase_objects, plan_objects, unfinished
from app.lake.ports import Doors, TableEngine
from app.lake.purge_objects import newer_versions, purge_objects
from app.lake.purge_tables import plan_purge, purge_table
from app.lake.table_content import holder
from app.lake.tables import erase_table, plan_table
from app.lake.tombstones import Tombstones
from app.lake.undo_objects import undo_objects
from app.lake.undo_tables import undo_table
from app.lake.verify import check_files, check_objects
from app.offline.journal import Journal
from app.offline.search import Say, look_again

_OPEN = frozenset({WorkState.DEFERRED, WorkState.HELD, WorkState.PARKED})
_HARMLESS = frozenset({What.NOTE, What.WITHHELD, What.PARKED})
ORPHAN_GRACE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Acts:
    """The acts of one run."""

    run_id: str
    data_map: DataMap
    doors: Doors
    journal: Journal
    targets: Targets = field(repr=False)
    secret: bytes = field(repr=False)
    spool: Path
    say: Say

    # --- plan ----------------------------------------------------------------------------------

    def plan(self) -> None:
        """List every object and table head; nothing is read yet."""
        for dataset in self.data_map.bronze:
            self.journal.put_works(dataset.name, plan_objects(self.doors.eraser, dataset))
        for dataset in self.data_map.tables:
            self.journal.put_table_work(dataset.name, plan_table(self.engine, dataset))

    # --- erase ---------------------------------------------------------------------------------

    def erase(self) -> None:
        """Bronze, then tables; dim_identity last, because it is the only map."""
        for dataset in self.data_map.bronze:
            self._erase_objects(dataset)
        for dataset in self.data_map.tables:
            self._erase_table(dataset)

    def _erase_objects(self, dataset: Dataset) -> None:
        works = self._again(dataset)
        for _ in range(ROUNDS):
            works = erase_objects(
                works,
                dataset=dataset,
                targets=self.targets,
                tombstones=Tombstones(self.secret),
                store=self.doors.eraser,
                run_id=self.run_id,
                spool=self.spool,
                unparsable=self.data_map.unparsable,
                record=self._recorder("erase", dataset, works),
                stop=_never,
            )
            looked_at = self.doors.reader.now()
            works, moved = self._with_newer(dataset, works)
            if not moved:
                self.journal.put_facts(**{f"horizon:{dataset.name}": looked_at.isoformat()})
                return
        late = [w.to(WorkState.PARKED, reason=_RESTLESS) for w in unfinished(works)]
        self.journal.put_works(dataset.name, late)
        now = self.doors.reader.now().isoformat()
        self.journal.put_facts(**{f"horizon:{dataset.name}": now})

    def _again(self, dataset: Dataset) -> list[ObjectWork]:
        """The works as journalled; what was held or parked is read anew, its counts kept aside."""
        works = self.journal.works(dataset.name)
        earlier = self.journal.document(f"earlier:{dataset.name}", Counts) or Counts()
        anew = []
        for work in works:
            unwritten = work.state in (WorkState.HELD, WorkState.PARKED) and not work.new_version
            if unwritten or (work.parked and work.state is WorkState.PURGED):
                earlier += replace(work.counts, before=work.counts.deleted, parked=0)
                anew.append(ObjectWork(uri=work.uri))
        if anew:
            self.journal.replan(dataset.name, anew, earlier=earlier)
        fresh = {w.uri: w for w in anew}
        return [fresh.get(w.uri, w) for w in works]

    def _with_newer(
        self, dataset: Dataset, works: Sequence[ObjectWork]
    ) -> tuple[list[ObjectWork], int]:
        """Objects that are new since the listing, or that others wrote since, planned again."""
        known = {w.uri: w for w in works}
        changed = set(newer_versions(works, store=self.doors.eraser))
        fresh = [w for w in plan_objects(self.doors.eraser, dataset) if w.uri not in known]
        anew = [replace(ObjectWork(uri=uri), rounds=known[uri].rounds + 1) for uri in changed]
        if fresh or anew:
            self.journal.put_works(dataset.name, [*anew, *fresh])
        known.update((w.uri, w) for w in (*anew, *fresh))
        return list(known.values()), len(fresh) + len(anew)

    def _erase_table(self, dataset: Dataset) -> None:
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
            stop=_never,
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

    def check(self) -> bool:
        """The second look at every Bronze pair (table pairs were looked at before their commit).

        False when a replacement is not its base without the person: those pairs are put back,
        nothing of the run is destroyed.
        """
        for dataset in self.data_map.bronze:
            works = [w for w in self.journal.works(dataset.name) if w.state is WorkState.WRITTEN]
            for start in range(0, len(works), _GROUP):
                group = works[start : start + _GROUP]
                self.say("check", dataset.name, start, len(works))
                self._check_group(dataset, group)
            self.say("check", dataset.name, len(works), len(works))
        return not self.check_findings()

    def _check_group(self, dataset: Dataset, group: Sequence[ObjectWork]) -> None:
        findings = check_objects(
            group,
            dataset=dataset,
            targets=self.targets,
            store=self.doors.verifier,
            unparsable=self.data_map.unparsable,
        )
        blocking = [f for f in findings if f.what not in _HARMLESS]
        bad = {f.uri for f in blocking}
        good = [w.to(WorkState.CHECKED) for w in group if w.uri not in bad]
        failpoint("run.before_checked")
        self.journal.put_works(dataset.name, good)
        if bad:
            # Before they are put back: what is back no longer shows that it was wrong.
            known = dict.fromkeys((*self.check_findings(), *blocking))
            self.journal.put_document("check", list(known))
            undo_objects(
                [w for w in group if w.uri in bad],
                store=self.doors.eraser,
                record=partial(self.journal.put_works, dataset.name),
                spool=self.spool,
            )

    def check_findings(self) -> tuple[Finding, ...]:
        """What the check stage stopped at."""
        return tuple(self.journal.document("check", list[Finding]) or ())

    # --- purge ---------------------------------------------------------------------------------

    def purge(self) -> None:
        """Bronze versions, then table snapshots and files; dim_identity last."""
        for dataset in self.data_map.bronze:
            self._purge_objects(dataset)
        for dataset in self.data_map.tables:
            self._purge_table(dataset)

    def _purge_objects(self, dataset: Dataset) -> None:
        works = [
            w.to(WorkState.CHECKED) if w.state in _OPEN and w.new_version is not None else w
            for w in self.journal.works(dataset.name)
        ]
        purge_objects(
            works,
            store=self.doors.eraser,
            purger=self.doors.purger,
            record=self._recorder("purge", dataset, works),
            stop=_never,
        )

    def _purge_table(self, dataset: Dataset) -> None:
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
            stop=_never,
            orphan_grace=ORPHAN_GRACE,
            holds=holder(self.targets),
        )
        self.say("purge", dataset.name, 1, 1)

    # --- verify --------------------------------------------------------------------------------

    def verify(self) -> None:
        """Read everything again with other code and another credential; write down what it saw."""
        horizons = {
            d.name: datetime.fromisoformat(self.journal.fact(f"horizon:{d.name}") or "")
            for d in self.data_map.bronze
        }
        seeing = look_again(
            self.targets,
            data_map=self.data_map,
            doors=self.doors,
            objects={d.name: self.journal.works(d.name) for d in self.data_map.bronze},
            tables={d.name: self._table(d) for d in self.data_map.tables},
            horizons=horizons,
            committed_at=datetime.fromisoformat(self.journal.fact("erased_at") or ""),
            say=self.say,
        )
        self.journal.put_document("seeing", seeing)

    # --- undo ----------------------------------------------------------------------------------

    def undo(self) -> int:
        """Put every base back. Returns how many others have changed since, and were left."""
        left = 0
        for dataset in reversed(self.data_map.tables):
            work = self.journal.table_work(dataset.name)
            if work is not None:
                undone = undo_table(
                    work,
                    engine=self.engine,
                    run_id=self.run_id,
                    step_id=f"{self.run_id}/{dataset.name}/undo",
                    record=partial(self.journal.put_table_work, dataset.name),
                )
                left += undone.state is not WorkState.UNDONE
        for dataset in self.data_map.bronze:
            undone_objects = undo_objects(
                self.journal.works(dataset.name),
                store=self.doors.eraser,
                record=self._recorder("undo", dataset, self.journal.works(dataset.name)),
                spool=self.spool,
            )
            left += sum(
                w.state is WorkState.PARKED and w.new_version is not None for w in undone_objects
            )
        return left

    # --- what is left ----------------------------------------------------------------------------

    def open_works(self) -> bool:
        """Whether something is deferred, held or parked, so that the run must go on later."""
        objects = (w for d in self.data_map.bronze for w in self.journal.works(d.name))
        tables = [self._table(d) for d in self.data_map.tables]
        return (
            any(w.state in _OPEN or w.parked for w in objects)
            or any(t.state in _OPEN for t in tables)
            or any(c.state in _OPEN for t in tables for c in t.condemned)
        )

    def changed_tables(self) -> bool:
        """Whether running readers may still use files that this run replaced."""
        return any(self._table(d).commits for d in self.data_map.tables)

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
        """Journals works, and tells how many are through this stage."""
        through: set[str] = set()
        total = len(works)

        def record(batch: Sequence[ObjectWork]) -> None:
            self.journal.put_works(dataset.name, batch)
            through.update(w.uri for w in batch if w.state not in _ON_THE_WAY)
            self.say(stage, dataset.name, len(through), max(total, len(through)))

        return record


_ON_THE_WAY = frozenset({WorkState.PLANNED, WorkState.READY})
_GROUP = 64
_RESTLESS = "Others kept writing to the object."


def _never() -> bool:
    return False
