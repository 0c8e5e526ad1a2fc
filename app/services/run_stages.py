"""What a run does when one of its steps has ended: the next steps, or the next stage.

Not here: which those are (app.domain.phases), what a step does (app.services.erasures), what people
ask of a run (app.services.runs).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import msgspec

from app.domain.actors import WORKER
from app.domain.canary import Limit, only
from app.domain.datasets import DataMap
from app.domain.dsars import Move, State
from app.domain.errors import DataMapError
from app.domain.failpoints import failpoint
from app.domain.identifiers import Identifier, Identity
from app.domain.phases import BESIDE, Course, Part, Standing, decide
from app.domain.runs import Stage, waits_until
from app.domain.steps import NewStep, StepKind
from app.services import dsars, entries, suppression
from app.services.journal import RunSeal
from app.services.parts import Parts, Transaction
from app.store import runs, steps, works
from app.store.runs import Run

IDENTITIES = "identities"
"""The document with the people of a run, in the order of their positions."""
LATE_DATA = ("late data",)
"""The sources of people whom a follow-up run begins with: values, and nothing derived yet."""
_WAITING = frozenset({State.PENDING_RETENTION, State.ON_HOLD, State.STUCK})


def course_of(data_map: DataMap, limit: Limit | None = None) -> Course:
    """The datasets of a map, as a run goes over them. DataMapError: a name no step can have, or a
    limit that does not fit the map.
    """
    for dataset in data_map.datasets:
        if "/" in dataset.name or dataset.name == BESIDE:
            raise DataMapError(
                f"{data_map.at(dataset.name)}: expected a dataset's name without / and other "
                f"than {BESIDE}."
            )
    gone_over = only(data_map, limit)
    identity = [d.name for d in gone_over.tables if d.is_identity]
    return Course(
        objects=tuple(d.name for d in gone_over.bronze),
        tables=tuple(d.name for d in gone_over.tables if not d.is_identity),
        identity=identity[0] if identity else None,
        is_whole=limit is None,
    )


def course_facts(data_map: DataMap, limit: Limit | None) -> dict[str, str]:
    """What a run keeps of the map, for those who have no lake."""
    return {
        "course": msgspec.json.encode(course_of(data_map, limit)).decode(),
        "layers": msgspec.json.encode({d.name: d.layer for d in data_map.datasets}).decode(),
        "map_digest": data_map.digest,
        "undo_window": str(data_map.undo_window.total_seconds()),
        "reader_grace": str(data_map.reader_grace.total_seconds()),
    }


def course_in(facts: Mapping[str, str]) -> Course:
    """The datasets of a run; none before it was resolved."""
    return msgspec.json.decode(facts["course"], type=Course) if "course" in facts else Course()


def advance(tx: Transaction, parts: Parts, run_id: str) -> list[NewStep]:
    """Take a run as far as its steps allow; the steps to be put. The caller holds its row.

    Called once too often it changes nothing.
    """
    run = runs.get(tx, run_id)
    if run.undo_requested:
        runs.forget_ready(tx, run_id)
    facts = runs.facts(tx, run_id)
    decision = decide(
        Standing(
            stage=run.stage,
            course=course_in(facts),
            steps=runs.tallies(tx, run_id),
            parts=_Parts(tx, run_id, course_in(facts).objects),
            people=len(runs.dsars_of(tx, run_id)),
            left=facts.get("left") == "1",
            undo=run.undo_requested,
        )
    )
    if decision.stages:
        runs.lock_dsars(tx, run_id)
    for stage in decision.stages:
        reach(tx, parts, run_id, stage, why=decision.why)
    run = runs.get(tx, run_id)
    waits = {StepKind.PURGE: run.undo_until} if run.stage is Stage.CHECKED else {}
    return [replace(s, run_id=run_id, not_before=waits.get(s.kind)) for s in decision.steps]


def go_on(tx: Transaction, parts: Parts, run_id: str) -> None:
    """`advance`, and the steps put and rung for."""
    tx.ring(steps.put(tx, advance(tx, parts, run_id)))


def reach(tx: Transaction, parts: Parts, run_id: str, stage: Stage, *, why: str = "") -> None:
    """Write down that a run has reached a stage, and do what belongs to it."""
    run = runs.get(tx, run_id)
    facts = {f"{stage.value}_at": tx.now().isoformat()}
    runs.put(tx, run_id, stage=stage)
    failpoint(f"runs.reaching_{stage.value}")
    match stage:
        case Stage.CHECKED:
            until = _purge_from(tx, run_id)
            runs.put(tx, run_id, undo_until=until)
            _entry(tx, run_id, stage, undo_until=until.isoformat())
        case Stage.PURGING:
            facts["past_return"] = "1"
            _entry(tx, run_id, stage)
            entries.record(WORKER, tx, verb="run.point_of_no_return", about=run_id)
        case Stage.STUCK:
            facts |= {"stuck_from": run.stage.value, "stuck_why": why}
            _stick(tx, run_id)
            _entry(tx, run_id, stage, codes=why.split())
        case Stage.PENDING:
            _forget_completed(tx, parts, run_id)
            _entry(tx, run_id, stage)
        case Stage.CLOSED | Stage.UNDONE:
            _end(tx, run, stage)
        case _:
            _entry(tx, run_id, stage)
    runs.put_facts(tx, run_id, facts)


def retake(tx: Transaction, run_id: str) -> int:
    """The cases of a run that wait are at work again; how many."""
    waiting = [c.dsar_id for c in runs.lock_dsars(tx, run_id) if c.state in _WAITING]
    for dsar_id in waiting:
        dsars.move(WORKER, tx, dsar_id, Move.RETAKE, verb="dsar.retaken", run_id=run_id)
    return len(waiting)


# --- what belongs to a stage -------------------------------------------------------------------


def _purge_from(tx: Transaction, run_id: str) -> datetime:
    facts = runs.facts(tx, run_id)
    now = tx.now()
    grace = timedelta(seconds=float(facts["reader_grace"]))
    return waits_until(
        checked_at=now,
        window=timedelta(seconds=float(facts["undo_window"])),
        erased_at=datetime.fromisoformat(facts.get("erased_at", now.isoformat())),
        readers=grace if facts.get("changed_tables") == "1" else timedelta(0),
    )


def _stick(tx: Transaction, run_id: str) -> None:
    for case in runs.dsars_of(tx, run_id):
        if case.state is State.RUNNING:
            reason = "the run stopped where a person must look"
            verb = "dsar.stuck"
            dsars.move(WORKER, tx, case.dsar_id, Move.STICK, verb=verb, reason=reason)


def _forget_completed(tx: Transaction, parts: Parts, run_id: str) -> None:
    """A pending run keeps the identifiers of nobody it is done with. Places stay: shares of counts
    are told apart by them.
    """
    needed = _WAITING | {State.RUNNING}
    done = {c.dsar_id for c in runs.dsars_of(tx, run_id) if c.state not in needed}
    seal = RunSeal.of(parts.keys, run_id)
    sealed = runs.document(tx, run_id, IDENTITIES)
    if not done or sealed is None:
        return
    people = seal.opened_document(IDENTITIES, sealed, list[Identity])
    kept = [_nobody(i.subject) if i.subject in done else i for i in people]
    runs.put_document(tx, run_id, IDENTITIES, seal.document(IDENTITIES, kept))


def _nobody(subject: str) -> Identity:
    none: frozenset[Identifier] = frozenset()
    return Identity(subject, given=none, linked=none, derived=none, shared=())


def _end(tx: Transaction, run: Run, stage: Stage) -> None:
    runs.put(tx, run.id, ended_at=tx.now())
    if stage is Stage.UNDONE:
        back = [
            case.dsar_id
            for case in runs.dsars_of(tx, run.id)
            if case.state is State.RUNNING or case.state in _WAITING
        ]
        for dsar_id in back:
            dsars.move(WORKER, tx, dsar_id, Move.PUT_BACK, verb="dsar.put_back", run_id=run.id)
        # Of a later pass, the cases that an earlier one was done with stay suppressed.
        suppression.lift(tx, run_id=run.id, dsar_ids=back)
    tx.ring(steps.put(tx, [NewStep(StepKind.SHRED, run.id)]))
    verb = "run.closed" if stage is Stage.CLOSED else "run.undone"
    entries.record(WORKER, tx, verb=verb, about=run.id, dsars=len(runs.dsars_of(tx, run.id)))


@dataclass(frozen=True, slots=True)
class _Parts(Mapping[str, tuple[Part, ...]]):
    """The parts of datasets, read when they are asked for: there can be many."""

    tx: Transaction
    run_id: str
    datasets: tuple[str, ...]
    found: dict[str, tuple[Part, ...]] = field(default_factory=dict)

    def __getitem__(self, dataset: str) -> tuple[Part, ...]:
        if dataset not in self.datasets:
            raise KeyError(dataset)
        if dataset not in self.found:
            self.found[dataset] = works.parts_of(self.tx, self.run_id, dataset)
        return self.found[dataset]

    def __iter__(self) -> Iterator[str]:
        return iter(self.datasets)

    def __len__(self) -> int:
        return len(self.datasets)


def _entry(tx: Transaction, run_id: str, stage: Stage, **facts: entries.Fact) -> None:
    entries.record(WORKER, tx, verb="run.stage_reached", about=run_id, stage=stage.value, **facts)
