"""The acts of a run on the lake, a step each: load, act, record. Every one may be killed anywhere
and done again; two groups of one dataset may be done at once.

Not here: RESOLVE (app.services.run_people), REPORT (app.services.run_reports), the order of steps
(app.domain.phases), what is done to an object or a table (app.stages.acts).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType

from app.domain.canary import narrowed
from app.domain.datasets import DataMap, Dataset
from app.domain.errors import CheckFailedError, DataMapError, StoppedError, UnreachableError
from app.domain.failpoints import failpoint
from app.domain.identifiers import Identity
from app.domain.phases import BESIDE, FIRST_PART
from app.domain.receipts import TableWork, WorkState
from app.domain.runs import Stage
from app.domain.shares import WHOLE, Share
from app.domain.steps import Step, StepEnd, StepKind, StepState
from app.lake.bronze import unfinished
from app.services import held_runs
from app.services.canaries import limit_in
from app.services.journal import LedgerJournal
from app.services.leases import Lease
from app.services.ledger import Act
from app.services.object_groups import put_into_groups
from app.services.parts import Parts
from app.services.run_ends import objects_erased, objects_purged, table_erased, table_purged
from app.services.run_people import SKIPPED, resolve
from app.services.run_reports import report
from app.services.run_stages import IDENTITIES, reach
from app.stages.acts import ROUNDS, Acts
from app.stages.anew import begin_anew
from app.stages.uploads import end_uploads
from app.store import runs

_OPEN_TABLE = frozenset({WorkState.PLANNED, WorkState.READY, WorkState.WRITTEN})


@dataclass(frozen=True, slots=True)
class _Hand:
    """A step in hand, with the acts of its run."""

    acts: Acts
    journal: LedgerJournal
    dataset: Dataset
    is_held: bool
    """A legal hold forbade a step on the dataset: what stands in it is held, not forgotten."""
    writers: timedelta
    """How long a writer of others may live."""
    number: int | None = None
    """Of the group, the round or the share."""

    @property
    def name(self) -> str:
        """Of the dataset."""
        return self.dataset.name

    def require_done(self, *, done: bool) -> None:
        """What the act left unfinished is gone on with: later, where it was told to stop."""
        if not done and self.acts.stop():
            raise StoppedError("Told to stop before the step was done.")
        if not done:
            raise UnreachableError("The store did not answer for some objects; the step goes on.")

    def table(self) -> TableWork:
        """The record of the dataset, a table."""
        work = self.journal.table_work(self.name)
        assert work is not None
        return work


def _plan(hand: _Hand) -> StepEnd:
    """List the dataset; what an earlier pass left open is begun anew; objects go into parts."""
    acts, journal = hand.acts, hand.journal
    acts.plan_dataset(hand.dataset)
    if hand.dataset.table is not None:
        begin_anew(hand.dataset, journal=journal, engine=acts.engine)
        return StepEnd()
    todo = acts.begin_again(hand.dataset)
    failpoint("erasures.before_parts")
    put_into_groups(journal, hand.name)
    return StepEnd(receipt={"objects": todo.objects, "bytes": todo.bytes})


def _erase(hand: _Hand) -> StepEnd:
    return _erase_objects(hand) if hand.dataset.table is None else _erase_table(hand)


def _erase_objects(hand: _Hand) -> StepEnd:
    hand.acts.erase_group(hand.dataset, hand.journal.works(hand.name))
    works = hand.journal.works(hand.name)
    hand.require_done(done=not unfinished(works))
    return objects_erased(works)


def _erase_table(hand: _Hand) -> StepEnd:
    hand.acts.erase_table(hand.dataset)
    work = hand.table()
    hand.require_done(done=work.state not in _OPEN_TABLE)
    facts = {} if work.horizon is None else {f"horizon:{hand.name}": str(work.horizon)}
    if work.commits:
        facts["changed_tables"] = "1"
    hand.journal.put_facts(**facts)
    return table_erased(work)


def _newer(hand: _Hand) -> StepEnd:
    """What others wrote meanwhile goes into parts of its own, for another round; so many rounds."""
    if hand.is_held:
        hand.acts.look_no_further(hand.dataset)
        return StepEnd(receipt={"found": 0})
    looked_at = hand.acts.now()
    found = hand.acts.find_newer(hand.dataset)
    if found.objects and hand.acts.rounds(hand.dataset) >= ROUNDS:
        hand.acts.give_up(hand.dataset)
        receipt = {"found": 0, "given_up": found.objects}
        return StepEnd(StepState.PARKED, receipt, reason="others kept writing to the objects")
    failpoint("erasures.before_parts")
    # Asked of the journal: what an attempt that was cut off found is not found again.
    todo = put_into_groups(hand.journal, hand.name)
    if not todo.objects:
        hand.acts.reach_horizon(hand.dataset, looked_at)
    return StepEnd(receipt={"found": todo.objects, "bytes": todo.bytes})


def _check(hand: _Hand) -> StepEnd:
    """CheckFailedError: a replacement is not its base without the person. It was put back."""
    works = hand.journal.works(hand.name)
    hand.acts.check_group(hand.dataset, works)
    # Asked of the journal: a repeat finds the pairs put back already.
    if hand.acts.check_findings():
        raise CheckFailedError("A replacement is not what it replaces without the person.")
    return StepEnd(receipt={"objects": len(works)})


def _purge(hand: _Hand) -> StepEnd:
    if hand.dataset.table is not None:
        hand.acts.purge_table(hand.dataset)
        work = hand.table()
        left = any(c.state is WorkState.PLANNED for c in work.condemned)
        hand.require_done(done=not left or not hand.acts.stop())
        end_uploads(hand.acts, hand.dataset, writers=hand.writers)
        return table_purged(work)
    if hand.number == FIRST_PART:
        end_uploads(hand.acts, hand.dataset, writers=hand.writers)
    hand.acts.purge_group(hand.dataset, hand.journal.works(hand.name))
    works = hand.journal.works(hand.name)
    hand.require_done(done=all(w.state is not WorkState.CHECKED for w in works))
    return objects_purged(works)


def _verify(hand: _Hand) -> StepEnd:
    share = WHOLE if hand.number is None else Share(hand.number, hand.journal.looks(hand.name))
    hand.acts.verify_dataset(hand.dataset, share)
    if hand.is_held:
        hand.acts.hold_findings(hand.dataset, share)
    return StepEnd()


def _undo(hand: _Hand) -> StepEnd:
    left = hand.acts.undo_dataset(hand.dataset)
    if not left:
        return StepEnd()
    reason = "others have changed it since; their version is left as it is"
    return StepEnd(StepState.PARKED, {"left": left}, reason=reason)


# --- load, act ---------------------------------------------------------------------------------

_DO: Mapping[StepKind, Callable[[_Hand], StepEnd]] = MappingProxyType(
    {
        StepKind.PLAN: _plan,
        StepKind.ERASE: _erase,
        StepKind.NEWER: _newer,
        StepKind.CHECK: _check,
        StepKind.PURGE: _purge,
        StepKind.VERIFY: _verify,
        StepKind.UNDO: _undo,
    }
)
_OF_PARTS = frozenset({StepKind.ERASE, StepKind.CHECK, StepKind.PURGE})


@dataclass(frozen=True, slots=True)
class _Loaded:
    stamp: bytes
    """Of the document with the people as it stands now."""
    data_map: DataMap
    is_held: bool
    """A legal hold forbade a step on the dataset."""


def _on_the_lake(step: Step, lease: Lease, parts: Parts) -> StepEnd:
    """A step on one dataset, or on one part of it."""
    loaded = _load(step, lease, parts)
    if isinstance(loaded, StepEnd):
        return loaded
    assert parts.lake is not None
    assert step.run_id is not None
    dataset, _, text = step.target.partition("/")
    number = int(text) if text else None
    part = number if step.kind in _OF_PARTS else None
    journal = LedgerJournal.of(parts, step.run_id, guard=lease.guard, part=part)
    with (
        parts.opened.held(step.run_id, loaded.stamp, lambda: _people(journal)) as opened,
        parts.lake.open() as doors,
    ):
        if not opened.people:  # legal holds: everybody has left
            return StepEnd(receipt=SKIPPED)
        acts = Acts(
            run_id=step.run_id,
            data_map=loaded.data_map,
            doors=doors,
            journal=journal,
            targets=opened.targets,
            secret=parts.keys.secret(step.run_id, purpose="tombstones"),
            spool=parts.lake.spool,
            say=_say_nothing,
            stop=lease.stop,
        )
        if dataset == BESIDE:
            acts.verify_places()
            return StepEnd()
        hand = _Hand(
            acts,
            journal,
            loaded.data_map.dataset(dataset),
            loaded.is_held,
            writers=parts.rules.max_writer_lifetime,
            number=number,
        )
        return _DO[step.kind](hand)


def _load(step: Step, lease: Lease, parts: Parts) -> _Loaded | StepEnd:
    """Who is erased, by which map. The first step that purges passes the point of no return, in
    the transaction in which nobody asked for an undo yet. A StepEnd: an undo has overtaken the
    step, or a legal hold forbids it.

    DataMapError: the map is not the one that the run began with.
    """
    assert parts.lake is not None
    assert step.run_id is not None
    with parts.database.transaction() as tx:
        run = runs.locked(tx, step.run_id)
        lease.guard(tx)
        if run.undo_requested and step.kind is not StepKind.UNDO:
            return StepEnd(receipt=SKIPPED)
        if step.kind is StepKind.PLAN:
            held_runs.leave_resolved(tx, parts, run)
        end = held_runs.forbidden(tx, run, step)
        if end is not None:
            return end
        facts = runs.facts(tx, run.id)
        stamp = runs.stamp_of(tx, run.id, IDENTITIES)
        if facts.get("map_digest") != parts.lake.data_map.digest:
            raise DataMapError(
                f"{parts.lake.data_map.source}: it has changed since the run began. Put it back "
                "as it was, then resume the run; or undo the run."
            )
        is_held = held_runs.was_forbidden(tx, run.id, step.target.partition("/")[0])
        if step.kind is StepKind.PURGE and run.stage is Stage.CHECKED:
            reach(tx, parts, run.id, Stage.PURGING)
    failpoint("erasures.loaded")
    assert stamp is not None
    data_map = narrowed(parts.lake.data_map, limit_in(facts))
    if (unparsable := facts.get(f"unparsable:{step.target}")) is not None:
        data_map = replace(data_map, unparsable=unparsable)
    return _Loaded(stamp, data_map, is_held)


def _people(journal: LedgerJournal) -> list[Identity]:
    people = journal.document(IDENTITIES, list[Identity])
    assert people is not None
    return people


def _say_nothing(_stage: str, _dataset: str, _done: int, _of: int) -> None:
    """How far a run is, the ledger says."""


ACTS: Mapping[StepKind, Act] = MappingProxyType(
    {
        StepKind.RESOLVE: resolve,
        **dict.fromkeys(_DO, _on_the_lake),
        StepKind.REPORT: report,
    }
)
"""What each kind of step of a run does."""
