"""The sweep: does anybody come back through data that landed after their erasure? The act of SWEEP.
After a restore the same over everything: the act of REPLAY.

Not here: how late data is read (app.lake.late), whose it is (app.services.late_cases).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from app.domain.actors import WORKER
from app.domain.datasets import Dataset
from app.domain.failpoints import failpoint
from app.domain.identifiers import Identifier
from app.domain.steps import Step, StepEnd, StepState
from app.lake.late import Tally, late_rows
from app.lake.ports import Doors
from app.services import endings, entries, runs
from app.services.active_again import active_values, say
from app.services.late_cases import DONE, WAITING, Judge, RestoreJudge, fence_of, is_late_of
from app.services.ledger import Lease
from app.services.parts import Lake, Parts, Transaction
from app.store import runs as run_rows
from app.store import suppression as store
from app.store.suppression import Suppressed

log = structlog.get_logger(__name__)

_SOON = timedelta(minutes=5)
"""How long a sweep waits for a run that is in its way."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What the database knew when the sweep began."""

    began_at: datetime
    marks: Mapping[str, str]
    digests: frozenset[bytes] = field(repr=False)
    at_work: frozenset[str]
    """Runs on the lake."""
    ours: frozenset[str]
    """Every run there ever was."""


@dataclass(slots=True)
class _Found:
    """What the sweep saw."""

    hits: dict[str, set[Identifier]] = field(default_factory=lambda: defaultdict(set), repr=False)
    """Case -> its values that came late."""
    fences: dict[Identifier, datetime] = field(default_factory=dict, repr=False)
    """Value that came late -> the last fence of the cases it came late for."""
    certain: set[tuple[str, Identifier]] = field(default_factory=set, repr=False)
    """(case, value) of which a row itself says that it is late."""
    again: dict[str, set[Identifier]] = field(default_factory=lambda: defaultdict(set), repr=False)
    """Case -> its values that came late, and are active again."""
    left: set[str] = field(default_factory=set)
    """Cases that a run is at work on: what they have in the lake is that run's."""
    is_in_the_way: bool = False
    """A run had the lake when it was to be told who is active again."""
    seen_to: dict[str, str] = field(default_factory=dict)
    places: int = 0
    unreadable: int = 0

    @property
    def values(self) -> int:
        """How many values came late, each counted once for each case."""
        return sum(map(len, self.hits.values()))

    @property
    def cases(self) -> frozenset[str]:
        """Whose values came late."""
        return frozenset({*self.hits, *self.again})

    def hit(self, case: Suppressed, value: Identifier, *, certain: bool) -> None:
        """A value that came late. Where one case erases all of it, its others are no new fact."""
        self.hits[case.dsar_id].add(value)
        if certain:
            self.certain.add((case.dsar_id, value))
        fence = fence_of(case)
        self.fences[value] = max(fence, self.fences.get(value, fence))

    def leave(self, values: frozenset[Identifier]) -> None:
        """These are active again: they are said, not erased; where no row says that anything of
        them came late, there is nothing to say.
        """
        for dsar_id, of_case in list(self.hits.items()):
            said = {v for v in of_case & values if (dsar_id, v) in self.certain}
            if said:
                self.again[dsar_id] = said
            of_case -= values
            if not of_case:
                del self.hits[dsar_id]


def sweep(step: Step, lease: Lease, parts: Parts) -> StepEnd:
    """The act of SWEEP.

    1. Load the marks and the digests of whoever must not come back.
    2. With no transaction open, read what is newer than the marks. A hit: an identifier whose
       digest is suppressed, on a row that is not later than the fence of a `before`; a row that
       tells no time is one too, unless its dataset is built from others that do.
    3. Look once more, at everything, for the values that were hit: those that are active again
       since their fence are not erased by a follow-up run, which would take their later rows too.
    4. Record in one transaction. Hits begin a follow-up run of those values, or are said where they
       are active again; the marks move on, never past what a run at work has seen; cases that were
       to settle until this sweep began, and were not hit, are completed. Where the lake is busy, or
       something could not be read, nothing moves, and the sweep comes again.
    """
    return _swept(step, lease, parts, known=_load(parts), judged=Judge)


def replay(step: Step, lease: Lease, parts: Parts) -> StepEnd:
    """The act of REPLAY: a sweep that begins from nothing. A backup was put back, and with it
    perhaps people who were erased since it was made; what it holds looks old.
    """
    known = replace(_load(parts), marks={})
    return _swept(step, lease, parts, known=known, judged=RestoreJudge)


def _swept(
    step: Step, lease: Lease, parts: Parts, *, known: _Known, judged: type[Judge]
) -> StepEnd:
    assert parts.lake is not None
    failpoint("late.loaded")
    found = _Found()
    if known.digests:
        with parts.lake.open() as doors:
            judge = judged(parts, doors, known.digests)
            for dataset in parts.lake.data_map.datasets:
                _look(dataset, doors, judge, known=known, found=found, parts=parts, lease=lease)
            _tell_apart(doors, known=known, found=found, parts=parts, lease=lease)
    failpoint("late.before_record")
    with parts.database.transaction() as tx:
        lease.guard(tx)
        end = _record(tx, parts, step, known=known, found=found)
    failpoint("late.recorded")
    return end


# --- 1. load -------------------------------------------------------------------------------------


def _load(parts: Parts) -> _Known:
    with parts.database.transaction() as tx:
        began_at = tx.now()
        return _Known(
            began_at=began_at,
            marks={**store.first_horizons(tx), **store.marks(tx)},
            digests=frozenset(map(bytes.fromhex, store.living_digests(tx))),
            at_work=store.runs_at_work(tx),
            ours=store.run_ids(tx),
        )


# --- 2. act --------------------------------------------------------------------------------------


def _look(
    dataset: Dataset,
    doors: Doors,
    judge: Judge,
    *,
    known: _Known,
    found: _Found,
    parts: Parts,
    lease: Lease,
) -> None:
    tally = Tally()
    rows = late_rows(
        dataset,
        doors=doors,
        mark=known.marks.get(dataset.name),
        overlap=parts.rules.max_writer_lifetime,
        ours=known.ours.__contains__,
        wanted=judge.wants,
        tally=tally,
        stop=lease.stop,
    )
    for row in rows:
        for case in judge.cases_of(row, dataset):
            if case.at_work:
                found.left.add(case.dsar_id)
            else:
                found.hit(case, row.identifier, certain=is_late_of(case, row, dataset))
    found.places += tally.places
    found.unreadable += tally.unreadable
    if tally.seen_to is not None:
        found.seen_to[dataset.name] = tally.seen_to


def _tell_apart(doors: Doors, *, known: _Known, found: _Found, parts: Parts, lease: Lease) -> None:
    """3. Not while a run has the lake: nothing can be recorded then, and all of it is read."""
    if not found.hits:
        return
    failpoint("late.before_telling_apart")
    with parts.database.transaction() as tx:
        found.is_in_the_way = run_rows.at_work(tx) is not None
    if not found.is_in_the_way:
        found.leave(
            active_values(
                found.fences,
                parts=parts,
                doors=doors,
                ours=known.ours.__contains__,
                stop=lease.stop,
            )
        )


# --- 4. record -----------------------------------------------------------------------------------


def _record(tx: Transaction, parts: Parts, step: Step, *, known: _Known, found: _Found) -> StepEnd:
    assert parts.lake is not None
    if found.cases:
        # Before the cases: whoever undoes a run has this, and then waits for its cases.
        run_rows.one_at_a_time(tx)
    if not _stands(tx, found):
        return _again(tx, parts, step, found, why="a_case_moved_on")
    marks = _marks(tx, parts.lake, known, found)
    run_id = None
    if found.cases:
        if found.is_in_the_way or run_rows.at_work(tx) is not None:
            return _again(tx, parts, step, found, why="lake_busy")
        values = {dsar_id: sorted(found.hits[dsar_id]) for dsar_id in sorted(found.hits)}
        run_id = runs.follow_up(WORKER, tx, parts=parts, found=values)
        say(tx, parts=parts, again=found.again)
    failpoint("late.before_marks")
    if found.unreadable:
        log.warning("sweep.unreadable", step_id=step.id, count=found.unreadable)
    else:
        store.put_marks(tx, marks, swept_at=known.began_at)
    settled = endings.settle_due(tx, parts)
    counts = _counts(found, settled=settled)
    verb = f"{step.kind.value}.finished"
    entries.record(WORKER, tx, verb=verb, about=step.id, counts=counts, run_id=run_id)
    return StepEnd(receipt=counts if run_id is None else {**counts, "run_id": run_id})


def _stands(tx: Transaction, found: _Found) -> bool:
    """Whether the cases still stand where the sweep saw them: each in its run, or out of any."""
    states = store.lock_cases(tx, found.cases | found.left)
    at_work = store.cases_at_work(tx, states)
    free = {d for d in found.cases if states[d] in DONE | WAITING and d not in at_work}
    return found.left <= at_work and free == found.cases


def _again(tx: Transaction, parts: Parts, step: Step, found: _Found, *, why: str) -> StepEnd:
    """Nothing moves: everything is read once more when the lake is free."""
    counts = _counts(found, settled=0)
    verb = f"{step.kind.value}.postponed"
    entries.record(WORKER, tx, verb=verb, about=step.id, counts=counts, reason=why)
    until = tx.now() + min(_SOON, parts.rules.sweep_every)
    return StepEnd(StepState.READY, receipt=counts, until=until, reason=why)


def _counts(found: _Found, *, settled: int) -> dict[str, int]:
    return {
        "places": found.places,
        "unreadable": found.unreadable,
        "cases": len(found.hits),
        "values": found.values,
        "active_again": sum(map(len, found.again.values())),
        "settled": settled,
    }


def _marks(tx: Transaction, lake: Lake, known: _Known, found: _Found) -> dict[str, str]:
    """The new marks. What lands after the horizon of a run that is at work, or was while we read,
    was left to nobody: a mark stays at that horizon, or where it is while there is none yet. Of a
    run that began meanwhile we did not even know the people.
    """
    at_work = known.at_work | store.runs_at_work(tx) | (store.run_ids(tx) - known.ours)
    horizons = [store.horizons_of(tx, run_id) for run_id in sorted(at_work)]
    moved = {}
    for dataset in lake.data_map.datasets:
        before, seen_to = known.marks.get(dataset.name), found.seen_to.get(dataset.name)
        limits = [h.get(dataset.name) for h in horizons]
        if seen_to is None:
            continue
        if dataset.table is not None:
            # Which of two snapshots is the earlier one only the table can tell.
            new = before if limits else seen_to
        else:
            new = _earliest(before, seen_to, limits)
        if new is not None:
            moved[dataset.name] = new
    return moved


def _earliest(before: str | None, seen_to: str, limits: Iterable[str | None]) -> str | None:
    """As RFC 3339, and never back."""
    times = [seen_to]
    for limit in limits:
        if limit is None:
            return before
        times.append(limit)
    new = min(map(datetime.fromisoformat, times))
    if before is not None:
        new = max(new, datetime.fromisoformat(before))
    return new.isoformat()
