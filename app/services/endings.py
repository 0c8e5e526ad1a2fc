"""How a case ends after its report, and when its keys and a run's keys go.

Not here: what an officer ends (app.services.decisions), late data (app.services.late).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from app.domain.actors import WORKER, Actor
from app.domain.dsars import CLOSED, Move, State
from app.domain.errors import KeyMissingError
from app.domain.failpoints import failpoint
from app.domain.findings import Verdict
from app.domain.identifiers import Identifier
from app.domain.reports import Outcome
from app.domain.runs import ENDED
from app.domain.steps import NewStep, Step, StepEnd, StepKind
from app.services import consents, dsars, entries, holds
from app.services.ledger import Lease
from app.services.parts import Parts, Transaction
from app.services.previews import identity_or_none
from app.services.suppression import own
from app.store import dsars as cases
from app.store import endings as store
from app.store import runs, steps, suppression
from app.store.dsars import Dsar

_WAITS: Mapping[Outcome, tuple[Move, str, str]] = MappingProxyType(
    {
        Outcome.STUCK: (Move.STICK, "dsar.stuck", "the run could not finish: a person must look"),
        Outcome.ON_HOLD: (Move.HOLD, "dsar.held", "a legal hold, or a right that is missing"),
        Outcome.PENDING_RETENTION: (Move.DEFER, "dsar.deferred", "a retention lock"),
    }
)
"""Outcome -> move, verb, and the reason where the run gave none. The others are ends."""
_RUN = "run_"
_HOLD = "hold_"
_FORGET_AT_ONCE = 500


# --- after a report ------------------------------------------------------------------------------


def finish_case(
    actor: Actor,
    tx: Transaction,
    *,
    parts: Parts,
    dsar_id: str,
    run_id: str,
    outcome: Outcome,
    verdict: Verdict,
    until: datetime | None = None,
    reason: str | None = None,
) -> State:
    """What becomes of a case that was reported on. `until` and `reason` (from our own lists): what
    it waits for, where something is left.

    An erased case settles until late data cannot land any more, and a sweep after that saw none;
    where no writer lives on (`max_writer_lifetime` 0) it is completed at once.
    """
    case = cases.get(tx, dsar_id, lock=True)
    said = _said(case, outcome, verdict)
    if outcome is Outcome.LIMITED:
        # It stays in its run, which has the rest of the lake to do once a person widens it.
        cases.put(tx, dsar_id, **said)
        entries.record(actor, tx, verb="dsar.limited", about=dsar_id, run_id=run_id)
        return case.state
    if outcome in _WAITS:
        move, verb, why = _WAITS[outcome]
        cases.put(tx, dsar_id, **said)
        after = dsars.move(
            actor, tx, dsar_id, move, verb=verb, reason=reason or why, until=until, run_id=run_id
        )
        return after.state
    if not parts.rules.max_writer_lifetime:
        cases.put(tx, dsar_id, **said)
        return _completed(actor, tx, parts=parts, case=case, outcome=said["outcome"])
    # Never before now: a sweep under way saw this case at work, and left what it found to its run.
    settle_until = max(_horizon(tx, run_id) + parts.rules.max_writer_lifetime, tx.now())
    cases.put(tx, dsar_id, **said, settle_until=settle_until)
    _sweep_then(tx, settle_until)
    after = dsars.move(
        actor,
        tx,
        dsar_id,
        Move.SETTLE,
        verb="dsar.settling",
        run_id=run_id,
        outcome=said["outcome"],
        settle_until=settle_until.isoformat(),
    )
    return after.state


def _sweep_then(tx: Transaction, at: datetime) -> None:
    """A sweep as soon as it can be the last one: the nightly one may be a day away. The cases of a
    run settle until the same time, so they have one together.
    """
    step = NewStep(StepKind.SWEEP, f"settled {at.isoformat()}", not_before=at)
    steps.put(tx, [step])


_NO_MORE_THAN_BEFORE = MappingProxyType(
    {
        Outcome.FULFILLED_WITH_WITHHELD.value: (Outcome.FULFILLED, Outcome.NOT_FOUND),
        Outcome.FULFILLED.value: (Outcome.NOT_FOUND,),
    }
)
"""Earlier outcome of the case -> outcomes of a follow-up run that do not change it."""


def _said(case: Dsar, outcome: Outcome, verdict: Verdict) -> dict[str, str | None]:
    """The outcome of the case: a follow-up run speaks of late values only, not of the whole."""
    if outcome in _NO_MORE_THAN_BEFORE.get(case.outcome or "", ()):
        return {"outcome": case.outcome, "verdict": case.verdict}
    return {"outcome": outcome.value, "verdict": verdict.value}


def _horizon(tx: Transaction, run_id: str) -> datetime:
    """The latest H of a run: of its objects, and of its tables no later than the erase stage."""
    times = [t for h in suppression.horizons_of(tx, run_id).values() if (t := _time(h))]
    erased_at = _time(runs.fact(tx, run_id, "erased_at") or "")
    return max([*times, erased_at] if erased_at else times, default=tx.now())


def _time(text: str) -> datetime | None:
    """None for the id of a snapshot."""
    if not text or text.isdecimal():
        return None
    return datetime.fromisoformat(text)


def settle_due(tx: Transaction, parts: Parts) -> int:
    """Complete every case that has settled: a sweep that began when no late data could land any
    more is through, and the case was not among those it found. How many.
    """
    swept_at = suppression.swept_at(tx)
    if swept_at is None:
        return 0
    settled = store.settling(tx, until=swept_at)
    for dsar_id in settled:
        case = cases.get(tx, dsar_id)
        _completed(WORKER, tx, parts=parts, case=case, outcome=case.outcome)
    return len(settled)


def _completed(
    actor: Actor, tx: Transaction, *, parts: Parts, case: Dsar, outcome: str | None
) -> State:
    """The end of a case that was erased; its row is locked. Consent records of the person lose
    their way back too; their keys go with the case's.
    """
    failpoint("endings.before_complete")
    consents.erase_subject(actor, tx, parts=parts, identifiers=_identifiers(tx, parts, case))
    after = dsars.move(
        actor,
        tx,
        case.id,
        Move.COMPLETE,
        verb="dsar.completed",
        outcome=outcome,
    )
    dsars.close(tx, parts=parts, dsar_id=case.id)
    failpoint("endings.completed")
    return after.state


def _identifiers(tx: Transaction, parts: Parts, case: Dsar) -> list[Identifier]:
    """Those of this person alone. None once the case was shredded: its first end saw to them."""
    identity = identity_or_none(parts, cases.scope_of(tx, case.id))
    if identity is not None:
        return own(identity)
    try:
        return list(dsars.subject_of(parts, case).given)
    except KeyMissingError:
        return []


# --- keys ----------------------------------------------------------------------------------------


def shred(step: Step, lease: Lease, parts: Parts) -> StepEnd:
    """The act of SHRED. Its target is a closed case, a run that has ended or a released hold.

    The key goes first, while the row is locked: nobody can begin anew with a case whose key is
    going, and what a crash leaves behind is sealed for good. A repeat deletes the rest. Keys of
    consent records that were erased go too.
    """
    if step.target.startswith(_HOLD):
        with parts.database.transaction() as tx:
            lease.guard(tx)
            done = holds.shred(tx, parts=parts, hold_id=step.target)
        return StepEnd(receipt={"holds": int(done)})
    if step.target.startswith(_RUN):
        with parts.database.transaction() as tx:
            lease.guard(tx)
            done = shred_run(WORKER, tx, parts=parts, run_id=step.target)
        return StepEnd(receipt={"runs": int(done)})
    consent_keys = consents.shred_erased(parts)
    with parts.database.transaction() as tx:
        lease.guard(tx)
        done = _shred_case(tx, parts, step.target)
    return StepEnd(receipt={"cases": int(done), "consent_subjects": consent_keys})


def _shred_case(tx: Transaction, parts: Parts, dsar_id: str) -> bool:
    """False: a run has taken it again meanwhile; its next end shreds it."""
    case = cases.get(tx, dsar_id, lock=True)
    if case.state not in CLOSED:
        return False
    failpoint("endings.before_shred")
    parts.keys.shred(dsar_id)
    failpoint("endings.shredded")
    store.clear_case(tx, dsar_id, shredded_at=case.shredded_at or tx.now())
    if case.shredded_at is None:
        entries.record(WORKER, tx, verb="dsar.shredded", about=dsar_id)
    return True


def shred_run(actor: Actor, tx: Transaction, *, parts: Parts, run_id: str) -> bool:
    """Destroy the key of a run that has ended (and with it the secret of its tombstones) and
    delete what was sealed under it. False: it has not ended.
    """
    run = runs.locked(tx, run_id)
    if run.stage not in ENDED:
        return False
    failpoint("endings.before_shred_run")
    parts.keys.shred(run_id)
    failpoint("endings.run_shredded")
    parts.opened.forget(run_id)
    store.clear_run(tx, run_id)
    if run.shredded_at is None:
        runs.put(tx, run_id, shredded_at=tx.now())
        entries.record(actor, tx, verb="run.shredded", about=run_id)
    return True


def forget_due(tx: Transaction, parts: Parts) -> int:
    """Destroy what outlived the identifiers of closed cases (external_ref, reasons) and is past its
    stated end. What stays names nobody. How many cases.
    """
    due = store.past_retention(tx, limit=_FORGET_AT_ONCE)
    for dsar_id in due:
        failpoint("endings.before_forget")
        parts.keys.shred(dsars.ref_key(dsar_id))
        store.forget(tx, dsar_id)
        entries.record(WORKER, tx, verb="dsar.forgotten", about=dsar_id)
    return len(due)
