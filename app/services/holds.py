"""Legal holds: placed by one person, released by another; whom they hit waits, and comes back.

Not here: looking for whom an order names (app.services.order_holds), runs (app.services.held_runs).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
from typeid import TypeID

from app.domain.actors import WORKER, Actor, ActorKind, Scope
from app.domain.dsars import Move
from app.domain.errors import (
    FourEyesError,
    InvalidFieldsError,
    KeyMissingError,
    OnHoldError,
)
from app.domain.failpoints import failpoint
from app.domain.holds import BY_HOLD, Hit, HoldKind
from app.domain.identifiers import Identifier, Identity, Kind, checked_identifier
from app.domain.steps import NewStep, StepKind
from app.services import actors, dsars, entries
from app.services.parts import Parts, Transaction
from app.store import holds as store
from app.store import steps
from app.store.dsars import Dsar
from app.store.holds import Hold

_ORDER = Kind.DERIVED
"""Digests have a kind; an order is nobody's identifier."""
_FORGET_AT_ONCE = 500
_LOOKS = 50
"""The pauses between them grow to ten minutes: a lake that is away for a day is waited for."""


@dataclass(frozen=True, slots=True)
class HoldAsked:
    """A hold to place: on exactly one of three."""

    reason: str = field(repr=False)
    subject: Identifier | None = None
    dataset: str | None = None
    order_id: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class HoldView:
    """What is shown of a hold."""

    id: str
    kind: HoldKind
    dataset: str | None
    placed_by: str
    created_at: datetime
    released_by: str | None
    released_at: datetime | None
    is_looked_for: bool
    """ORDER: it is being found out whom its rows name; until then it holds everybody."""
    cases: int
    """Open cases that it hits; of a hold on a dataset 0: its steps wait, not its cases."""


@dataclass(frozen=True, slots=True)
class HoldOpened:
    """What is sealed of a hold."""

    value: str | None = field(repr=False)
    """The identifier or the order; None once it was released."""
    reasons: Mapping[str, str] = field(repr=False)
    """`place` and `release`."""


# --- placed, released ----------------------------------------------------------------------------


def place(actor: Actor, tx: Transaction, *, parts: Parts, asked: HoldAsked) -> Hold:
    """Place a hold. It is in force from the commit on: no approval, run or further step of whom it
    hits; a step that is at work ends at its next heartbeat.

    InvalidFieldsError, IdentifierMalformedError: each names the place and no value.
    """
    kind, value = _kind_of(asked), _value_of(asked)
    if asked.dataset is not None:
        _require_known(parts, asked.dataset)
    hold_id = str(TypeID(prefix="hold"))
    # The keys are there before the row, as with cases.
    parts.keys.create(dsars.ref_key(hold_id))
    sealed = None if value is None else _sealed_value(parts, hold_id, value)
    failpoint("holds.after_key")
    placed = store.insert_hold(
        tx,
        {
            "id": hold_id,
            "kind": kind,
            "dataset": asked.dataset,
            "sealed_value": sealed,
            "sealed_reasons": _sealed_reasons(parts, hold_id, {"place": asked.reason}),
            "placed_by": actor.id,
        },
    )
    if value is not None:
        store.add_digests(tx, hold_id, dsars.living_digests(parts, [value]))
    if kind is HoldKind.ORDER:
        tx.ring(steps.put(tx, [_look(hold_id)]))
    held = settle(tx)
    failpoint("holds.before_placed_entry")
    entries.record(
        actor, tx, verb="hold.placed", about=hold_id, kind=kind.value, dataset=asked.dataset,
        cases=held,
    )  # fmt: skip
    return placed


def release(actor: Actor, tx: Transaction, *, parts: Parts, hold_id: str, reason: str) -> Hold:
    """Release a hold: by a person, and not by the one who placed it (FourEyesError). What waited
    for nothing else goes on by itself. Twice is a success.
    """
    placed = store.get(tx, hold_id, lock=True)
    if placed.released_at is not None:
        return placed
    _require_other_person(actor, tx, placed, parts)
    reasons = {**_reasons_of(parts, placed), "release": reason}
    now = tx.now()
    store.forget_digests(tx, hold_id)
    store.put(
        tx,
        hold_id,
        released_by=actor.id,
        released_at=now,
        retain_until=now + parts.rules.retain,
        sealed_reasons=_sealed_reasons(parts, hold_id, reasons),
    )
    tx.ring(steps.put(tx, [NewStep(StepKind.SHRED, hold_id)]))
    settle(tx)
    failpoint("holds.before_released_entry")
    entries.record(actor, tx, verb="hold.released", about=hold_id, placed_by=placed.placed_by)
    return store.get(tx, hold_id)


def settle(tx: Transaction) -> int:
    """Cases that wait for an approval or a run and are hit go on hold; those that waited for holds
    alone and are hit no more come back; a look for an order that was given up begins anew. What a
    race left is made good the next time, so it also recurs. How many went on hold.
    """
    steps.put(tx, [_look(h.hold_id) for h in store.unlooked(tx)])
    # Both locks before the first entry: entries queue, and whoever has a case may be waiting there.
    hit = store.hit_before_a_run(tx)
    free = store.free_again(tx)
    for dsar_id, hits in hit.items():
        hold(WORKER, tx, dsar_id, hits=hits)
    for dsar_id, was_approved in free.items():
        move = Move.LIFT_APPROVED if was_approved else Move.LIFT
        dsars.move(WORKER, tx, dsar_id, move, verb="dsar.hold_lifted")
    return len(hit)


def _look(hold_id: str) -> NewStep:
    return NewStep(StepKind.LOOK, hold_id, max_attempts=_LOOKS)


def hold(actor: Actor, tx: Transaction, dsar_id: str, *, hits: Iterable[Hit]) -> Dsar:
    """A case that no run has waits for these holds; what was approved stays approved."""
    named = sorted({h.hold_id for h in hits})
    return dsars.move(
        actor, tx, dsar_id, Move.HOLD, verb="dsar.put_on_hold", reason=BY_HOLD, holds=named
    )


# --- hits ----------------------------------------------------------------------------------------


def require_none(tx: Transaction, dsar_id: str) -> None:
    """OnHoldError when a live hold hits the case, or may: an order's people are looked for."""
    hits = (*store.hits_of(tx, [dsar_id]).get(dsar_id, ()), *store.unlooked(tx))
    if not hits:
        return
    named = ", ".join(sorted({h.hold_id for h in hits}))
    if all(not h.looked for h in hits):
        raise OnHoldError(
            f"A legal hold on an order was placed ({named}); whom it names is being looked for: "
            "come again in a moment."
        )
    raise OnHoldError(f"The case is under a legal hold ({named}): have it released first.")


def protects(tx: Transaction, parts: Parts, identity: Identity) -> None:
    """Write down whom a case erases, so that a hold finds it. Replaces what was there."""
    store.forget_identity(tx, identity.subject)
    add_protected(tx, parts, identity)


def add_protected(tx: Transaction, parts: Parts, identity: Identity) -> None:
    """The same, beside what is there."""
    values = [i for i in identity.identifiers if i.kind is not Kind.DERIVED]
    store.add_identity(tx, identity.subject, dsars.living_digests(parts, values))


# --- shown ---------------------------------------------------------------------------------------


def page(
    tx: Transaction, *, live_only: bool | None, limit: int, after: tuple[datetime, str] | None
) -> list[HoldView]:
    """Holds, the newest first."""
    return _views(tx, store.page(tx, live_only=live_only, limit=limit, after=after))


def view(tx: Transaction, hold_id: str) -> HoldView:
    """One hold. NotFoundError."""
    return _views(tx, [store.get(tx, hold_id)])[0]


def opened(actor: Actor, tx: Transaction, *, parts: Parts, hold_id: str) -> HoldOpened | None:
    """What is sealed of a hold, for an actor with subject:read, and that is an audit entry; None
    for others.
    """
    if not actor.may(Scope.SUBJECT_READ):
        return None
    placed = store.get(tx, hold_id)
    entries.record(actor, tx, verb="hold.read", about=hold_id)
    return HoldOpened(value_of(parts, placed), _reasons_of(parts, placed))


def value_of(parts: Parts, placed: Hold) -> str | None:
    """The identifier or the order that it is on; None for a dataset, and once it was released."""
    if placed.sealed_value is None or placed.released_at is not None:
        return None
    sealed = parts.keys.open_sealed(
        placed.id, placed.sealed_value, aad=_row("sealed_value", placed.id)
    )
    return msgspec.json.decode(sealed, type=Identifier).value


def _views(tx: Transaction, found: list[Hold]) -> list[HoldView]:
    cases = store.cases_on_hold(tx, [h.id for h in found])
    return [
        HoldView(
            id=h.id,
            kind=h.kind,
            dataset=h.dataset,
            placed_by=h.placed_by,
            created_at=h.created_at,
            released_by=h.released_by,
            released_at=h.released_at,
            is_looked_for=h.kind is HoldKind.ORDER
            and h.fingerprint is None
            and h.released_at is None,
            cases=cases.get(h.id, 0),
        )
        for h in found
    ]


# --- keys ----------------------------------------------------------------------------------------


def shred(tx: Transaction, *, parts: Parts, hold_id: str) -> bool:
    """Destroy the value of a released hold with its key. False: it is in force."""
    placed = store.get(tx, hold_id, lock=True)
    if placed.released_at is None:
        return False
    failpoint("holds.before_shred")
    parts.keys.shred(hold_id)
    failpoint("holds.shredded")
    store.put(tx, hold_id, sealed_value=None)
    return True


def forget_due(tx: Transaction, parts: Parts) -> int:
    """Destroy the reasons of released holds that are past their stated end. How many holds."""
    due = store.past_retention(tx, limit=_FORGET_AT_ONCE)
    for hold_id in due:
        parts.keys.shred(dsars.ref_key(hold_id))
        failpoint("holds.reasons_shredded")
        store.put(tx, hold_id, sealed_reasons=None, retain_until=None)
        entries.record(WORKER, tx, verb="hold.forgotten", about=hold_id)
    return len(due)


# --- what was asked ------------------------------------------------------------------------------


def _kind_of(asked: HoldAsked) -> HoldKind:
    found = [
        kind
        for kind, value in (
            (HoldKind.SUBJECT, asked.subject),
            (HoldKind.DATASET, asked.dataset),
            (HoldKind.ORDER, asked.order_id),
        )
        if value is not None
    ]
    if len(found) != 1:
        raise InvalidFieldsError(
            "A hold is on exactly one thing.", fields={"body": "one of subject, dataset, order_id"}
        )
    return found[0]


def _value_of(asked: HoldAsked) -> Identifier | None:
    if asked.subject is not None:
        given = asked.subject
        return checked_identifier(given.kind, given.value, place="subject.value")
    if asked.order_id is not None:
        return checked_identifier(_ORDER, asked.order_id, place="order_id")
    return None


def _require_known(parts: Parts, dataset: str) -> None:
    known = parts.dataset_names
    if known is not None and dataset not in known:
        raise InvalidFieldsError(
            "The data map has no such dataset: a hold on it would hold nothing.",
            fields={"body.dataset": f"one of {', '.join(sorted(known))}"},
        )


def _require_other_person(actor: Actor, tx: Transaction, placed: Hold, parts: Parts) -> None:
    in_demo = parts.rules.service_keys_may_approve
    if actor.id == placed.placed_by or (
        not in_demo and actors.one_hand(tx, actor.id, placed.placed_by)
    ):
        raise FourEyesError(
            "Whoever placed a hold cannot release it, nor with a key that they made."
        )
    if actor.kind is not ActorKind.PERSONAL:
        raise FourEyesError("A person releases a hold: a service key may place one, not release.")


def _sealed_value(parts: Parts, hold_id: str, value: Identifier) -> bytes:
    parts.keys.create(hold_id)
    return parts.keys.seal(hold_id, msgspec.json.encode(value), aad=_row("sealed_value", hold_id))


def _sealed_reasons(parts: Parts, hold_id: str, reasons: Mapping[str, str]) -> bytes:
    return parts.keys.seal(
        dsars.ref_key(hold_id), msgspec.json.encode(reasons), aad=_row("sealed_reasons", hold_id)
    )


def _reasons_of(parts: Parts, placed: Hold) -> dict[str, str]:
    if placed.sealed_reasons is None:
        return {}
    try:
        sealed = parts.keys.open_sealed(
            dsars.ref_key(placed.id), placed.sealed_reasons, aad=_row("sealed_reasons", placed.id)
        )
    except KeyMissingError:
        return {}
    return msgspec.json.decode(sealed, type=dict[str, str])


def _row(column: str, hold_id: str) -> str:
    return f"hold/{column}/{hold_id}"
