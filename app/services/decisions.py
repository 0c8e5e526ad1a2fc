"""What an officer decides of a case: approve its scope, reject it, cancel it.

Not here: who may call it (scopes of keys, at the door), and what a run then does.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

import msgspec

from app.domain.actors import Actor, ActorKind
from app.domain.breakers import unaccepted
from app.domain.dsars import Move, State, legal_moves, moved
from app.domain.errors import (
    FourEyesError,
    IllegalMoveError,
    InvalidFieldsError,
    NotReadyError,
    ScopeChangedError,
    StaleError,
)
from app.domain.failpoints import failpoint
from app.domain.runs import ENDED, Stage
from app.services import actors, dsars, entries, holds
from app.services.parts import Parts, Transaction
from app.services.previews import made_scope
from app.store import dsar_records as records
from app.store import dsars as store
from app.store.dsars import Dsar, ScopeRow

_MAYBE_IN_A_RUN = (State.STUCK, State.ON_HOLD)


@dataclass(frozen=True, slots=True)
class Approval:
    """What an approver signs: a scope by its digest, and what becomes of undecided values."""

    scope_digest: str
    shared_review: str | None = None
    """tombstone | keep: for shared values that the map leaves to a person."""
    reason: str | None = field(default=None, repr=False)
    accept: tuple[str, ...] = ()
    """Kinds of breakers that the approver has seen and takes for no mistake."""


def approve(
    actor: Actor,
    tx: Transaction,
    *,
    parts: Parts,
    dsar_id: str,
    approval: Approval,
    expected_version: int | None = None,
) -> Dsar:
    """Approve the scope as it was shown. The next run that fits it takes the case.

    1. Nobody approves what they requested, and no service key approves (FourEyesError).
    2. The case is one that can be approved (IllegalMoveError names what is legal), and no legal
       hold hits it (OnHoldError names the holds).
    3. The digest is that of the scope as it stands now (ScopeChangedError).
    4. Every breaker that tripped is accepted by its name, and no other (InvalidFieldsError).
    5. Every shared value is decided (InvalidFieldsError); what is written down as approved is the
       scope after that decision, and the run must find the same.
    """
    case = _locked(tx, dsar_id, expected_version)
    _require_other_person(actor, tx, case, parts)
    moved(case.state, Move.APPROVE, type_=case.type)
    holds.require_none(tx, dsar_id)
    scope = store.scope_of(tx, dsar_id)
    if scope is None:
        raise NotReadyError("The scope of this case is being looked for.")
    if not hmac.compare_digest(scope.digest, approval.scope_digest):
        raise ScopeChangedError("This is not the digest of the scope as it stands: preview again.")
    _require_accepted(case, approval)
    approved_scope = _decided(scope, approval)
    sealed_reason = _sealed_reason(parts, case, "approve", approval.reason)
    dsars.change(
        tx,
        case,
        Move.APPROVE,
        approved_by=actor.id,
        approved_by_kind=actor.kind.value,
        approved_at=tx.now(),
        approved_scope=approved_scope,
        shared_review=approval.shared_review,
        accepted=sorted(approval.accept),
        sealed_reason=sealed_reason,
    )
    failpoint("dsars.before_approved_entry")
    entries.record(
        actor,
        tx,
        verb="dsar.approved",
        about=dsar_id,
        by_kind=actor.kind.value,
        requested_by=case.requested_by,
        scope_digest=approved_scope,
        shared_review=approval.shared_review,
        undecided=scope.undecided,
    )
    _record_accepted(actor, tx, case, approval)
    return store.get(tx, dsar_id)


def reject(
    actor: Actor,
    tx: Transaction,
    *,
    parts: Parts,
    dsar_id: str,
    reason: str,
    expected_version: int | None = None,
) -> Dsar:
    """Refuse a case before a run has taken it, or one that is stuck or on hold with no run at it
    any more; its keys go soon after. The reason is sealed.
    """
    case = _locked(tx, dsar_id, expected_version)
    _require_left_by_runs(tx, case)
    return _closed_by(actor, tx, parts, case, Move.REJECT, "dsar.rejected", reason)


def cancel(
    actor: Actor,
    tx: Transaction,
    *,
    parts: Parts,
    dsar_id: str,
    reason: str,
    expected_version: int | None = None,
) -> Dsar:
    """Take a case back before a run has taken it; its keys go soon after. The reason is sealed."""
    case = _locked(tx, dsar_id, expected_version)
    _require_left_by_runs(tx, case)
    return _closed_by(actor, tx, parts, case, Move.CANCEL, "dsar.cancelled", reason)


def legal_of(tx: Transaction, case: Dsar) -> tuple[Move, ...]:
    """What a person may do with a case now."""
    legal = legal_moves(case.state, case.type)
    if case.state in _MAYBE_IN_A_RUN and not _left_by_runs(tx, case.id):
        return ()
    return legal


def _require_left_by_runs(tx: Transaction, case: Dsar) -> None:
    if case.state in _MAYBE_IN_A_RUN and not _left_by_runs(tx, case.id):
        raise IllegalMoveError("A run has this case: resume it or undo it first.")


def _left_by_runs(tx: Transaction, dsar_id: str) -> bool:
    return all(Stage(r.stage) in ENDED for r in records.runs_of(tx, [dsar_id]).get(dsar_id, ()))


def retry(
    actor: Actor,
    tx: Transaction,
    *,
    dsar_id: str,
    expected_version: int | None = None,
) -> Dsar:
    """Look for the scope of a received case again, once what was in the way is mended."""
    case = _locked(tx, dsar_id, expected_version)
    moved(case.state, Move.SCOPE, type_=case.type)
    store.put(tx, dsar_id, waiting_reason=None)
    dsars.look_for_scope(tx, dsar_id, at=tx.now())
    entries.record(actor, tx, verb="dsar.retried", about=dsar_id)
    return store.get(tx, dsar_id)


def reasons_of(parts: Parts, case: Dsar) -> dict[str, str]:
    """Move -> the reason that was given for it. KeyMissingError once shredded."""
    if case.sealed_reason is None:
        return {}
    opened = parts.keys.open_sealed(
        dsars.ref_key(case.id), case.sealed_reason, aad=dsars.row_of("sealed_reason", case.id)
    )
    return msgspec.json.decode(opened, type=dict[str, str])


def _closed_by(
    actor: Actor, tx: Transaction, parts: Parts, case: Dsar, move: Move, verb: str, reason: str
) -> Dsar:
    moved(case.state, move, type_=case.type)
    sealed_reason = _sealed_reason(parts, case, move.value, reason)
    dsars.change(tx, case, move, sealed_reason=sealed_reason)
    dsars.close(tx, parts=parts, dsar_id=case.id)
    failpoint("dsars.before_closed_entry")
    entries.record(actor, tx, verb=verb, about=case.id, was=case.state.value)
    return store.get(tx, case.id)


def _locked(tx: Transaction, dsar_id: str, expected_version: int | None) -> Dsar:
    case = store.get(tx, dsar_id, lock=True)
    if expected_version is not None and case.version != expected_version:
        raise StaleError("The case was changed since it was read: read it again.")
    return case


def _require_other_person(actor: Actor, tx: Transaction, case: Dsar, parts: Parts) -> None:
    in_demo = parts.rules.service_keys_may_approve
    if actor.id == case.requested_by or (
        not in_demo and actors.one_hand(tx, actor.id, case.requested_by)
    ):
        raise FourEyesError(
            "Whoever requested an erasure cannot approve it, nor with a key that they made."
        )
    if actor.kind is ActorKind.PERSONAL:
        return
    if actor.kind is ActorKind.WORKER or not parts.rules.service_keys_may_approve:
        raise FourEyesError("A person approves: a service key may request, not approve.")


def _require_accepted(case: Dsar, approval: Approval) -> None:
    tripped = {b.kind.value for b in case.breakers}
    missing = unaccepted(case.breakers, approval.accept)
    if missing:
        raise InvalidFieldsError(
            "Something looks like a mistake: the preview's `breakers` say what. Whoever takes it "
            "for none names it.",
            fields={"body.accept": f"must name {', '.join(missing)}"},
        )
    if set(approval.accept) - tripped:
        raise InvalidFieldsError(
            "No such breaker of this case has tripped.",
            fields={"body.accept": f"one of {', '.join(sorted(tripped))}" if tripped else "absent"},
        )


def _record_accepted(actor: Actor, tx: Transaction, case: Dsar, approval: Approval) -> None:
    for kind in sorted(approval.accept):
        found = {b.dataset or "case": b.found for b in case.breakers if b.kind.value == kind}
        verb = "dsar.breaker_accepted"
        entries.record(actor, tx, verb=verb, about=case.id, kind=kind, found=found)


def _decided(scope: ScopeRow, approval: Approval) -> str:
    """The digest of the scope once nothing in it is undecided."""
    if scope.undecided and approval.shared_review is None:
        raise InvalidFieldsError(
            "Values that many people share wait for a decision.",
            fields={"body.shared_review": "tombstone or keep"},
        )
    if approval.shared_review is None:
        return scope.digest
    if not scope.undecided:
        raise InvalidFieldsError(
            "No shared value of this case waits for a decision.",
            fields={"body.shared_review": "absent: there is nothing to decide"},
        )
    return made_scope(scope).decided[approval.shared_review]


def _sealed_reason(parts: Parts, case: Dsar, move: str, reason: str | None) -> bytes | None:
    if reason is None:
        return case.sealed_reason
    parts.keys.create(dsars.ref_key(case.id))
    reasons = {**reasons_of(parts, case), move: reason}
    return parts.keys.seal(
        dsars.ref_key(case.id),
        msgspec.json.encode(reasons),
        aad=dsars.row_of("sealed_reason", case.id),
    )
