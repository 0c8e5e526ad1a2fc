"""A case and its runs in plain sentences, from the audit entries; and how far a run is.

Reads only. An entry whose verb is not in the table is shown by its verb alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from app.domain.dsars import State
from app.services import dsars
from app.services.parts import Transaction
from app.store import dsar_records as records
from app.store import dsars as store
from app.store.audit import Entry
from app.store.dsar_records import StageProgress

LIMIT = 200


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that happened. `seq` is its number in the audit log."""

    seq: int
    at: datetime
    actor: str
    about: str
    verb: str
    text: str
    facts: Mapping[str, Any]
    """Counts, ids, digests and reasons from our own lists."""


@dataclass(frozen=True, slots=True)
class Polled:
    """What is new of a case, and how far its runs are."""

    told: tuple[Told, ...]
    progress: tuple[StageProgress, ...]
    status: State
    outcome: str | None
    is_over: bool
    """The case is closed, and everything of it was told."""


SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        "dsar.received": "The case was received ({type}, {regulation}); it is due {due_at}.",
        "dsar.scoped": "The person was looked for in the lake: {identifiers}; {shared} shared "
        "with others, {undecided} to be decided. The scope can be approved.",
        "dsar.scope_failed": "The scope could not be looked for ({code}).",
        "dsar.retried": "The scope is looked for again.",
        "dsar.scope_changed": "More points at the person now than was approved: {identifiers}; "
        "{undecided} to be decided. The scope must be approved again.",
        "dsar.approved": "The scope was approved by somebody other than the requester.",
        "dsar.rejected": "The case was rejected.",
        "dsar.cancelled": "The case was cancelled.",
        "dsar.subject_read": "Somebody read the identifiers of the case ({identifiers}).",
        "dsar.taken": "A run took the case.",
        "dsar.put_back": "The run was undone; the scope must be approved again.",
        "dsar.settling": "Erased and verified; late data is looked for until {settle_until}.",
        "dsar.deferred": "Something remains under a retention lock until {until}.",
        "dsar.held": "Something is held: {reason}.",
        "dsar.put_on_hold": "Legal holds hit the case ({holds}): nothing is erased until they are "
        "released.",
        "dsar.hold_lifted": "The last legal hold on the case was released: it goes on.",
        "dsar.breaker_accepted": "The approver takes {kind} for no mistake: {found}.",
        "dsar.stuck": "It could not be finished: {reason}.",
        "dsar.retaken": "The run goes on.",
        "dsar.limited": "A part of the lake was erased and verified. The run waits to be widened "
        "to the whole.",
        "dsar.followed_up": "Late data of the person was found; another run erases it.",
        "dsar.late_data_left": "Late data came of values that are active again ({values}): it "
        "stays, and so does what comes late of them from now on. A new case erases all of it.",
        "dsar.completed": "The case is completed ({outcome}).",
        "dsar.due_soon": "Days left until the case is due: {days_left}.",
        "dsar.shredded": "The identifiers of the case were destroyed with their key.",
        "dsar.forgotten": "What was kept of the case came to its stated end.",
        "report.read": "A report was downloaded (addendum {addendum}).",
        "run.started": "A run began (cases: {dsars}).",
        "run.stage_reached": "The run reached the stage {stage}.",
        "run.point_of_no_return": "The time to undo is over; what was replaced is destroyed now.",
        "run.stopped": "The run was told to stop.",
        "run.resumed": "The run goes on.",
        "run.widened": "The run was limited to {limit}; now it goes over the whole lake.",
        "run.hold_lifted": "A hold in the bucket was lifted: the run can go on.",
        "run.left": "A case left the run: its scope was no longer the one approved.",
        "run.left_on_hold": "A case left the run: a legal hold hits it.",
        "run.undo_requested": "The run is being undone.",
        "run.undone": "The run was undone: every replaced byte is back.",
        "run.closed": "The run is closed.",
        "run.shredded": "The keys of the run were destroyed, its tombstones' secret with them.",
        "suppression.written": "From now on late data of the run's people is looked for until "
        "{until}.",
        "step.failed": "A step failed and is tried again: {kind} {target} ({code}).",
        "step.retried": "A step that waited is tried again: {kind} {target}.",
        "step.timed_out": "A worker went silent; its step is done again: {kind} {target}.",
        "step.parked": "A step waits for a person: {kind} {target} ({code}).",
    }
)
"""Verb -> sentence, its gaps filled from the entry's facts."""
UNTOLD = ("step.started", "step.finished", "step.given_back")
"""A large run has thousands of them: `progress` says how far it is."""


def timeline(
    tx: Transaction, *, dsar_id: str, after: int = 0, limit: int = LIMIT
) -> tuple[Told, ...]:
    """What happened to a case and in its runs, the oldest first, from behind entry `after` on.
    NotFoundError.
    """
    store.get(tx, dsar_id)
    return _told(tx, dsar_id, _runs(tx, dsar_id), after=after, limit=limit)


def poll(tx: Transaction, *, dsar_id: str, after: int) -> Polled:
    """What a stream has to tell next. One short look, so that nobody waits in a transaction."""
    case = store.get(tx, dsar_id)
    runs = _runs(tx, dsar_id)
    told = _told(tx, dsar_id, runs, after=after, limit=LIMIT)
    return Polled(
        told=told,
        progress=records.progress_of(tx, runs) if runs else (),
        status=case.state,
        outcome=case.outcome,
        is_over=dsars.is_closed(case.state) and len(told) < LIMIT,
    )


def sentence(verb: str, facts: Mapping[str, Any]) -> str:
    """An entry in words. A gap that the facts do not fill, or an unknown verb: neutrally."""
    try:
        return SENTENCES[verb].format_map({name: _words(v) for name, v in facts.items()})
    except KeyError:
        return f"Recorded: {verb}."


def _runs(tx: Transaction, dsar_id: str) -> list[str]:
    return [r.id for r in records.runs_of(tx, [dsar_id]).get(dsar_id, ())]


def _told(
    tx: Transaction, dsar_id: str, runs: Sequence[str], *, after: int, limit: int
) -> tuple[Told, ...]:
    found = records.entries_of(tx, [dsar_id, *runs], besides=UNTOLD, after=after, limit=limit)
    return tuple(_tell(entry) for entry in found)


def _tell(entry: Entry) -> Told:
    facts: dict[str, Any] = json.loads(entry.facts)
    # Commitments are for auditors with the salt; in a timeline they are noise.
    shown = {name: value for name, value in facts.items() if name != "commitments"}
    text = sentence(entry.verb, facts)
    return Told(entry.seq, entry.at, entry.actor, entry.object, entry.verb, text, shown)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{count} {name}" for name, count in value.items()) or "nothing"
    if isinstance(value, list):
        return f"{len(value)}"
    return "none" if value is None else str(value)
