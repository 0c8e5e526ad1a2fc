"""Iceberg: delete rows and tombstone values of a table, by many files in one atomic snapshot.

Steps D1-D6 of the protocol. Not here: old snapshots and files (purge_tables), putting back (undo).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote_plus

from app.domain.datasets import Dataset
from app.domain.errors import (
    CheckFailedError,
    CommitConflictError,
    UnreachableError,
    UnsupportedTableError,
)
from app.domain.failpoints import failpoint
from app.domain.findings import Finding, What
from app.domain.identifiers import Targets
from app.domain.receipts import FileWork, TableWork, WorkState
from app.lake.table_counts import sum_of
from app.lake.table_files import FileEraser, HiddenRows, shared_deletes
from app.lake.table_ports import DataFile, TableEngine, TableHead
from app.lake.table_settings import partition_columns
from app.lake.table_texts import Rule
from app.lake.tombstones import Tombstones

MAX_ROUNDS = 10
PAIRS_A_COMMIT = 1000
_COMMIT_ATTEMPTS = 5
_PAUSE = 0.2
"""Seconds before a commit whose outcome is unknown is asked for, times the attempt."""
_HARMLESS = frozenset({What.NOTE, What.WITHHELD})

Record = Callable[[TableWork], None]
Check = Callable[[TableWork], Sequence[Finding]]


def plan_table(engine: TableEngine, dataset: Dataset) -> TableWork:
    """D1: which table this is and where its head stands. UnsupportedTableError when it cannot be
    erased with certainty: the message names the way out.
    """
    assert dataset.table is not None
    for reason in engine.refusals(dataset.table):
        raise UnsupportedTableError(f"{dataset.table}: {reason}")
    head = engine.head(dataset.table)
    if partition_columns(engine, head) & dataset.roles.declared:
        raise UnsupportedTableError(
            f"{dataset.table}: a partition is made of an identifier, so that paths and manifests "
            "name people. Use Spark: ALTER TABLE ... DROP PARTITION FIELD, then CALL "
            "system.rewrite_data_files with rewrite-all, and run again."
        )
    return TableWork(table=head.table, uuid=head.uuid, base_snapshot=head.snapshot_id)


def erase_table(
    work: TableWork,
    *,
    dataset: Dataset,
    targets: Targets,
    tombstones: Tombstones,
    engine: TableEngine,
    run_id: str,
    step_id: str,
    record: Record,
    stop: Callable[[], bool],
    check: Check,
) -> TableWork:
    """D2-D6. CLEAN, COMMITTED, or PARKED with its reason; unchanged in state when `stop` says so.

    `record` is called before and after every effect; what it was given last, given back, goes on
    from there. CheckFailedError: `check` saw something; nothing was committed, A' are gone.
    """
    if work.state not in (WorkState.PLANNED, WorkState.READY, WorkState.WRITTEN):
        return work
    last = [work]

    def recorded(latest: TableWork) -> None:
        last[0] = latest
        record(latest)

    run = _Run(
        dataset=dataset,
        rule=Rule.of(dataset, targets=targets, tombstones=tombstones),
        engine=engine,
        run_id=run_id,
        step_id=step_id,
        record=recorded,
        stop=stop,
        check=check,
        clean=set(),
        hidden=HiddenRows(engine),
    )
    try:
        return run.erase(work)
    except UnsupportedTableError as err:
        parked = replace(run.without_open_pairs(last[0]), state=WorkState.PARKED, reason=str(err))
        record(parked)
        return parked


@dataclass(frozen=True, slots=True)
class _Run:
    """One table in one run."""

    dataset: Dataset
    rule: Rule
    engine: TableEngine
    run_id: str
    step_id: str
    record: Record
    stop: Callable[[], bool]
    check: Check
    clean: set[str]
    """Files of this process that hold nobody, so that a later round does not read them again."""
    hidden: HiddenRows

    def erase(self, work: TableWork) -> TableWork:
        work = self._resumed(work)
        while True:
            self.engine.prepare(work.table, since=work.base_snapshot)
            head = self._head(work)
            if head.snapshot_id is None:
                return self._end(work, WorkState.CLEAN, at=None)
            files = {f.path: f for f in self.engine.files(work.table, snapshot_id=head.snapshot_id)}
            work, hit = self._hit(work, files, head=head)
            if self.stop():
                return work
            if not hit and not self._needs_flush(work, head):
                state = WorkState.COMMITTED if work.commits else WorkState.CLEAN
                return self._end(work, state, at=head.snapshot_id)
            if not hit:
                work = self._flush(work)
                if self._head(work).parents.get(work.commits[-1]) == head.snapshot_id:
                    # Nothing came between look and flush: that is H, whatever comes after it.
                    return self._end(work, WorkState.COMMITTED, at=work.commits[-1])
            elif work.rounds >= MAX_ROUNDS:
                return self._gave_up(work)
            else:
                work = self._round(work, files=files, hit=hit, head=head)
                if self.stop():
                    return work

    def _head(self, work: TableWork) -> TableHead:
        head = self.engine.head(work.table)
        if head.uuid != work.uuid:
            raise UnsupportedTableError(
                f"{work.table}: dropped and made anew since the plan. Plan the run again."
            )
        return head

    def _end(self, work: TableWork, state: WorkState, *, at: int | None) -> TableWork:
        """H: everything reachable at this snapshot was looked at."""
        work = replace(work, state=state, horizon=at, reason=None)
        self.record(work)
        return work

    def _gave_up(self, work: TableWork) -> TableWork:
        reason = f"The person's rows kept coming: {MAX_ROUNDS} rounds did not suffice."
        self.record(parked := replace(work, state=WorkState.PARKED, reason=reason))
        return parked

    # --- D2: which files, and their replacements ------------------------------------------

    def _hit(
        self, work: TableWork, files: Mapping[str, DataFile], *, head: TableHead
    ) -> tuple[TableWork, set[str]]:
        """Files that hold a target, and those that share a position delete file with one."""
        done = {f.new_path for f in work.files if f.state is WorkState.COMMITTED}
        eraser = self._eraser(head)
        hit = set()
        read = 0
        for path, file in files.items():
            if path in self.clean or path in done:
                continue
            if self.stop():
                break
            self._refuse_named(path)
            read += 1
            if eraser.holds(file):
                hit.add(path)
            else:
                self.clean.add(path)
        hit = shared_deletes(files, hit, hidden=self.hidden)
        return replace(work, files_read=work.files_read + read), hit

    def _refuse_named(self, path: str) -> None:
        if self.rule.editor.hits(unquote_plus(path)):
            raise UnsupportedTableError(
                "A data file's path names the person, so its replacement's would. Use Spark: "
                "change the partition spec and rewrite the data files, then run again."
            )

    def _eraser(self, head: TableHead) -> FileEraser:
        return FileEraser(engine=self.engine, rule=self.rule, head=head, hidden=self.hidden)

    def _round(
        self,
        work: TableWork,
        *,
        files: Mapping[str, DataFile],
        hit: set[str],
        head: TableHead,
    ) -> TableWork:
        """D2-D4 for the hit files of this head."""
        work = replace(work, state=WorkState.READY, rounds=work.rounds + 1)
        ready = [self._ready(files[path], work=work, head=head) for path in sorted(hit)]
        work = self._with(work, ready)
        failpoint("tables.planned")
        self.record(work)
        failpoint("tables.journalled")
        eraser = self._eraser(head)
        for file in ready:
            if self.stop():
                return work
            failpoint("tables.before_rewrite")
            written = eraser.rewrite(file, file=files[file.old_path])
            if written.state is WorkState.CLEAN:
                self._discard([written])
                self.clean.add(file.old_path)
            work = self._with(work, [written])
        work = replace(work, state=WorkState.WRITTEN)
        self.record(work)
        failpoint("tables.written")
        return self._commit(self._checked(work))

    def _ready(self, file: DataFile, *, work: TableWork, head: TableHead) -> FileWork:
        """The intent. Each round has names of its own: a file that a lost answer may have put
        into the table is never written over.
        """
        text = f"{self.step_id}\0{work.rounds}\0{head.snapshot_id}\0{file.path}"
        name = f"{self.run_id}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"
        return FileWork(
            old_path=file.path,
            new_path=self.engine.new_data_path(work.table, file, name=name),
            state=WorkState.READY,
            delete_paths=tuple(d.path for d in file.deletes),
        )

    def _with(self, work: TableWork, changed: Iterable[FileWork]) -> TableWork:
        """The work with these files in place of those of the same base; clean ones are dropped."""
        files = {f.old_path: f for f in (*work.files, *changed)}
        return replace(
            work, files=tuple(f for f in files.values() if f.state is not WorkState.CLEAN)
        )

    def _discard(self, files: Iterable[FileWork]) -> None:
        self.engine.discard([f.new_path for f in files if f.new_path is not None])

    def without_open_pairs(self, work: TableWork) -> TableWork:
        """Take A' of pairs that no commit was asked for away, and forget them."""
        self._discard(f for f in work.files if f.state in (WorkState.READY, WorkState.WRITTEN))
        kept = tuple(f for f in work.files if f.state is WorkState.COMMITTED)
        return replace(work, files=kept)

    # --- D3: the second look at the pairs -------------------------------------------------

    def _checked(self, work: TableWork) -> TableWork:
        pairs = tuple(f for f in work.files if f.state is WorkState.WRITTEN)
        findings = self.check(replace(work, files=pairs)) if pairs else ()
        blocking = [f for f in findings if f.what not in _HARMLESS]
        if blocking:
            self.record(self.without_open_pairs(replace(work, state=WorkState.PLANNED)))
            kinds = ", ".join(sorted({f.what.value for f in blocking}))
            raise CheckFailedError(
                f"{work.table}: the second look does not agree with {len(blocking)} replacements "
                f"({kinds}). Nothing was committed."
            )
        work = self._with(work, [replace(f, state=WorkState.CHECKED) for f in pairs])
        self.record(work)
        failpoint("tables.checked")
        return work

    # --- D4: many pairs in one snapshot ---------------------------------------------------

    def _commit(self, work: TableWork) -> TableWork:
        """Commit what is checked, group by group. A pair whose base changed meanwhile is dropped
        here and planned again by the next round.
        """
        for attempt in range(_COMMIT_ATTEMPTS):
            time.sleep(_PAUSE * attempt)
            try:
                while group := _group(work):
                    work = self._commit_group(work, group)
                return work
            except (CommitConflictError, UnreachableError):
                # Lost swaps, or an answer that never came: the next attempt looks first.
                if attempt == _COMMIT_ATTEMPTS - 1:
                    raise
        raise AssertionError

    def _commit_group(self, work: TableWork, group: Sequence[FileWork]) -> TableWork:
        label = _label(self.step_id, group)
        snapshot = self.engine.find_commit(work.table, run_id=self.run_id, step_id=label)
        if snapshot is None:
            head = self._head(work)
            assert head.snapshot_id is not None
            files = self._files(work.table, head.snapshot_id)
            if any(not _stands(f, files) for f in group):
                return self._sorted_out(work, group, files=files, head=head)
            failpoint("tables.before_commit")
            snapshot = self.engine.replace(
                work.table,
                [(files[f.old_path], f.new_path) for f in group],
                run_id=self.run_id,
                step_id=label,
            )
            failpoint("tables.committed")
        work = _committed(work, group, snapshot=snapshot)
        self.record(work)
        return work

    def _sorted_out(
        self,
        work: TableWork,
        group: Sequence[FileWork],
        *,
        files: Mapping[str, DataFile],
        head: TableHead,
    ) -> TableWork:
        """Pairs whose base is not live as it was rewritten: in by a commit whose answer was lost,
        or overtaken by another writer. Their A' are not taken away: nobody can be quite sure.
        """
        assert head.snapshot_id is not None
        landed = [f for f in group if f.new_path in files and f.old_path not in files]
        overtaken = [f for f in group if f not in landed and not _stands(f, files)]
        self.clean.difference_update(f.old_path for f in overtaken)
        work = _committed(work, landed, snapshot=head.snapshot_id) if landed else work
        work = self._with(work, [replace(f, state=WorkState.CLEAN) for f in overtaken])
        self.record(work)
        return work

    def _files(self, table: str, snapshot_id: int) -> dict[str, DataFile]:
        return {f.path: f for f in self.engine.files(table, snapshot_id=snapshot_id)}

    def _resumed(self, work: TableWork) -> TableWork:
        """After a crash: checked pairs are committed (or found committed), others start anew under
        new names; what they left beside the table is an orphan of ours.
        """
        if not work.files:
            return work
        work = self._commit(work)
        kept = tuple(f for f in work.files if f.state is WorkState.COMMITTED)
        work = replace(work, files=kept, state=WorkState.PLANNED)
        self.record(work)
        return work

    # --- D6: DELETED entries leave the live manifests -------------------------------------

    def _needs_flush(self, work: TableWork, head: TableHead) -> bool:
        if work.flushed:
            return False
        if work.commits:
            return True
        named = self.engine.reach(work.table).named
        return head.snapshot_id is not None and bool(named.get(head.snapshot_id))

    def _flush(self, work: TableWork) -> TableWork:
        label = f"{self.step_id}/flush-{len(work.commits)}"
        failpoint("tables.before_flush")
        snapshot = self.engine.find_commit(work.table, run_id=self.run_id, step_id=label)
        if snapshot is None:
            snapshot = self.engine.flush(work.table, run_id=self.run_id, step_id=label)
        failpoint("tables.flushed")
        work = replace(work, flushed=True, commits=(*work.commits, snapshot))
        self.record(work)
        return work


def _stands(pair: FileWork, files: Mapping[str, DataFile]) -> bool:
    """Whether the base is live with the delete files that its replacement applied."""
    file = files.get(pair.old_path)
    return file is not None and {d.path for d in file.deletes} == set(pair.delete_paths)


def _group(work: TableWork) -> list[FileWork]:
    """The next pairs that are checked and not committed."""
    return [f for f in work.files if f.state is WorkState.CHECKED][:PAIRS_A_COMMIT]


def _label(step_id: str, group: Sequence[FileWork]) -> str:
    """The name of a commit in its snapshot's summary: the same pairs, the same name."""
    text = "\0".join(f"{f.old_path}\0{f.new_path}\0{f.sha256}" for f in group)
    return f"{step_id}/{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _committed(work: TableWork, group: Iterable[FileWork], *, snapshot: int) -> TableWork:
    done = {f.old_path: replace(f, state=WorkState.COMMITTED) for f in group}
    files = tuple(done.get(f.old_path, f) for f in work.files)
    counts = sum_of(f.counts for f in files if f.state is WorkState.COMMITTED)
    commits = (*work.commits, snapshot)
    return replace(work, files=files, counts=counts, commits=commits, flushed=False)
