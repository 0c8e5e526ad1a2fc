"""Taking a case in, and moving it: the row, its digests, its clock, its audit entries.

Not here: what an officer decides (app.services.decisions), what is shown (app.services.dsar_views).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import msgspec
from typeid import TypeID

from app.audit.keys import Digester
from app.domain import deadlines
from app.domain.actors import Actor
from app.domain.breakers import Breaker, BreakerKind
from app.domain.dsars import CLOSED, DsarType, Move, Regulation, RequesterKind, Role, State, moved
from app.domain.errors import (
    IdentifierMissingError,
    IdentifierTooWeakError,
    InvalidFieldsError,
    KeyMissingError,
)
from app.domain.failpoints import failpoint
from app.domain.identifiers import Identifier, Kind, Subject, checked_identifier
from app.domain.steps import NewStep, StepKind
from app.services import entries
from app.services.calendars import calendar_of
from app.services.entries import Fact
from app.services.parts import Parts, Transaction
from app.store import dsars as store
from app.store import steps
from app.store.dsars import Digest, Dsar

MAX_IDENTIFIERS = 50
"""Of one kind, in one case."""
MAX_AGE = timedelta(days=366)
LEEWAY = timedelta(minutes=5)
"""How far ahead another system's clock may be."""


_SCOPE_ATTEMPTS = 50
"""The pauses between them grow to ten minutes: a lake that is away for a day is waited for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What came in for a new case."""

    type: DsarType
    regulation: Regulation
    requester_kind: RequesterKind
    user_id: str | None = field(default=None, repr=False)
    anon_ids: tuple[str, ...] = field(default=(), repr=False)
    device_fps: tuple[str, ...] = field(default=(), repr=False)
    role: Role = Role.CONTROLLER
    region: str | None = None
    controller_id: str | None = None
    proof_kind: str | None = None
    received_at: datetime | None = None
    language: str | None = None
    channel: str | None = None
    account_closed: bool = False
    external_ref: str | None = field(default=None, repr=False)
    note: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Submitted:
    """A new case, and the open ones that name the same person."""

    dsar: Dsar
    related: tuple[str, ...]


def submit(actor: Actor, tx: Transaction, *, parts: Parts, asked: Asked) -> Submitted:
    """Take a case in. The bell rings after the commit; nothing waits for it.

    IdentifierMissingError, IdentifierMalformedError, IdentifierTooWeakError, InvalidFieldsError:
    each names the place and no value.
    """
    given = _given(asked)
    now = tx.now()
    received_at = _received_at(asked, now)
    dsar_id = str(TypeID(prefix="dsar"))
    # The key is there before the row: a key without a row seals nothing, a row without its key
    # would be lost.
    parts.keys.create(dsar_id)
    failpoint("dsars.after_key")
    columns = _columns(actor, parts, asked, given, dsar_id, received_at)
    columns["breakers"] = store.breakers_row(_too_many_today(actor, tx, parts, now))
    case = store.insert_case(tx, columns)
    digester = parts.keys.digester()
    store.insert_digests(tx, dsar_id, _digests(digester, asked, given))
    related = store.open_cases_of(tx, _living(digester, given), besides=dsar_id)
    if asked.type is DsarType.ERASURE:
        look_for_scope(tx, dsar_id, at=now + parts.rules.scope_delay)
    failpoint("dsars.before_entry")
    salted = parts.keys.commitments(dsar_id)
    entries.record(
        actor,
        tx,
        verb="dsar.received",
        about=dsar_id,
        type=case.type.value,
        regulation=case.regulation.value,
        received_at=case.received_at.isoformat(),
        due_at=case.due_at.isoformat(),
        regime=case.regime,
        identifiers=dict(Counter(i.kind.value for i in given)),
        commitments=sorted(salted.of(i) for i in given),
        related=len(related),
        breakers=[b.kind.value for b in case.breakers],
    )
    return Submitted(case, tuple(related))


def look_for_scope(tx: Transaction, dsar_id: str, *, at: datetime) -> None:
    """Ring for the scope of a received case; a step that was parked begins anew. Before its time
    nobody could have it: then the reconciler rings.
    """
    step = NewStep(StepKind.SCOPE, dsar_id, not_before=at, max_attempts=_SCOPE_ATTEMPTS)
    put = steps.put(tx, [step])
    if at <= tx.now():
        tx.ring(put)


def move(
    actor: Actor,
    tx: Transaction,
    dsar_id: str,
    move: Move,
    *,
    verb: str,
    reason: str | None = None,
    until: datetime | None = None,
    **facts: Fact,
) -> Dsar:
    """Move a case by the table of moves, and write it down as `verb`.

    `reason` and `until`: what the case waits for now, from our own lists; they go into the entry
    too. IllegalMoveError names the legal moves. Call it late: the entry queues until the commit.
    """
    case = store.get(tx, dsar_id, lock=True)
    change(tx, case, move, waiting_reason=reason, waiting_until=until)
    after = store.get(tx, dsar_id)
    if reason is not None:
        facts["reason"] = reason
    if until is not None:
        facts["until"] = until.isoformat()
    entries.record(actor, tx, verb=verb, about=dsar_id, state=after.state.value, **facts)
    return after


_VOID: Mapping[str, None] = MappingProxyType(
    dict.fromkeys(
        (
            "approved_by", "approved_by_kind", "approved_at", "approved_scope", "shared_review",
            "accepted",
        )
    )
)  # fmt: skip
_REOPENED: Mapping[str, None] = MappingProxyType(dict.fromkeys(("closed_at", "retain_until")))
_TAKEN_BACK: Mapping[Move, Mapping[str, None]] = MappingProxyType(
    {Move.RESCOPE: _VOID, Move.PUT_BACK: _VOID, Move.RETAKE: _REOPENED}
)
"""What a move makes void, beside the state."""


def change(tx: Transaction, case: Dsar, move: Move, **columns: Any) -> None:
    """The move on the row alone; whoever calls it has locked the case and writes the entry."""
    is_approved = case.approved_scope is not None
    after = moved(case.state, move, type_=case.type, approved=is_approved)
    void = _TAKEN_BACK.get(move, {})
    waiting = {"waiting_reason": None, "waiting_until": None}
    store.put(tx, case.id, **{**waiting, **void, **columns, "state": after.value})


def close(tx: Transaction, *, parts: Parts, dsar_id: str) -> None:
    """Write down the end of a case, until when its bare record is kept, and when its keys go."""
    now = tx.now()
    store.put(tx, dsar_id, closed_at=now, retain_until=now + parts.rules.retain)
    step = NewStep(StepKind.SHRED, dsar_id, not_before=now + parts.rules.shred_after)
    tx.ring(steps.put(tx, [step]))


def is_closed(state: State) -> bool:
    """Whether a case has come to its end."""
    return state in CLOSED


# --- what is sealed --------------------------------------------------------------------------


def ref_key(dsar_id: str) -> str:
    """The key of what outlives the identifiers: external_ref and reasons, until retain_until."""
    return f"{dsar_id}.ref"


def row_of(column: str, dsar_id: str) -> str:
    """What sealed bytes are bound to."""
    return f"dsar/{column}/{dsar_id}"


def subject_of(parts: Parts, case: Dsar) -> Subject:
    """Who the case is about, as given; named by the case's id. KeyMissingError once shredded."""
    if case.sealed_subject is None:
        raise KeyMissingError("The identifiers of this case were destroyed.")
    opened = parts.keys.open_sealed(
        case.id, case.sealed_subject, aad=row_of("sealed_subject", case.id)
    )
    return Subject(case.id, tuple(msgspec.json.decode(opened, type=list[Identifier])))


def note_of(parts: Parts, case: Dsar) -> str | None:
    """The note that came with the case. KeyMissingError once shredded."""
    if case.sealed_note is None:
        return None
    opened = parts.keys.open_sealed(case.id, case.sealed_note, aad=row_of("sealed_note", case.id))
    return opened.decode()


def external_ref_of(parts: Parts, case: Dsar) -> str | None:
    """The number of the case in another system. KeyMissingError once shredded."""
    if case.sealed_external_ref is None:
        return None
    aad = row_of("sealed_external_ref", case.id)
    return parts.keys.open_sealed(ref_key(case.id), case.sealed_external_ref, aad=aad).decode()


def living_digests(parts: Parts, identifiers: Iterable[Identifier]) -> frozenset[Digest]:
    """Every digest under which a row about one of these may stand."""
    return _living(parts.keys.digester(), identifiers)


def external_identifier(external_ref: str) -> Identifier:
    """An external reference in the form that digests are made of."""
    return Identifier(Kind.DERIVED, f"external_ref={external_ref}")


# --- what came in ----------------------------------------------------------------------------


def _given(asked: Asked) -> tuple[Identifier, ...]:
    users = [asked.user_id] if asked.user_id is not None else []
    found = [checked_identifier(Kind.USER_ID, v, place="subject.user_id") for v in users]
    found += _all(Kind.ANON_ID, asked.anon_ids, place="subject.anon_ids")
    found += _all(Kind.DEVICE_FP, asked.device_fps, place="subject.device_fps")
    if not found:
        raise IdentifierMissingError("subject: name a user_id or an anon_id.")
    if all(i.kind is Kind.DEVICE_FP for i in found):
        raise IdentifierTooWeakError(
            "subject.device_fps: a device_fp alone is too weak to find one person by: "
            "give a user_id or an anon_id with it."
        )
    return tuple(sorted(set(found)))


def _too_many_today(
    actor: Actor, tx: Transaction, parts: Parts, now: datetime
) -> Iterator[Breaker]:
    limit = parts.rules.breakers.dsars_a_day
    since = now - timedelta(days=1)
    before = store.count_since(tx, requested_by=actor.id, since=since, limit=limit + 1)
    if before >= limit:
        yield Breaker(BreakerKind.TOO_MANY_TODAY, before + 1, limit)


def _all(kind: Kind, values: tuple[str, ...], *, place: str) -> list[Identifier]:
    if len(values) > MAX_IDENTIFIERS:
        raise InvalidFieldsError(
            "Too many identifiers for one case.",
            fields={f"body.{place}": f"at most {MAX_IDENTIFIERS}"},
        )
    return [checked_identifier(kind, v, place=f"{place}[{n}]") for n, v in enumerate(values)]


def _received_at(asked: Asked, now: datetime) -> datetime:
    if asked.received_at is None:
        return now
    if asked.received_at > now + LEEWAY:
        raise InvalidFieldsError(
            "The time of receipt lies in the future.",
            fields={"body.received_at": "not in the future"},
        )
    if asked.received_at < now - MAX_AGE:
        raise InvalidFieldsError(
            "The time of receipt is too long ago.", fields={"body.received_at": "within a year"}
        )
    return min(asked.received_at, now)


def _living(digester: Digester, identifiers: Iterable[Identifier]) -> frozenset[Digest]:
    return frozenset((d.generation, d.digest) for i in identifiers for d in digester.all_of(i))


def _digests(
    digester: Digester, asked: Asked, given: tuple[Identifier, ...]
) -> Iterator[tuple[Digest, str]]:
    named = [(i, i.kind.value) for i in given]
    if asked.external_ref is not None:
        named.append((external_identifier(asked.external_ref), "external_ref"))
    for identifier, kind in named:
        digest = digester.of(identifier)
        yield (digest.generation, digest.digest), kind


_AS_ASKED = (
    "type", "regulation", "requester_kind", "role", "region", "controller_id", "proof_kind",
    "language", "channel", "account_closed",
)  # fmt: skip


def _columns(
    actor: Actor,
    parts: Parts,
    asked: Asked,
    given: tuple[Identifier, ...],
    dsar_id: str,
    received_at: datetime,
) -> dict[str, Any]:
    calendar = calendar_of(asked.regulation, asked.region)
    clock = deadlines.clock_of(asked.regulation, asked.type, received_at, calendar=calendar)
    sealer = parts.keys.sealer(dsar_id)
    values: dict[str, Any] = {name: getattr(asked, name) for name in _AS_ASKED}
    values |= {
        "id": dsar_id,
        "state": State.RECEIVED,
        "received_at": received_at,
        "acknowledge_by": clock.acknowledge_by,
        "due_at": clock.due_at,
        "regime": clock.regime,
        "calendar": clock.calendar,
        "requested_by": actor.id,
        "sealed_subject": sealer.seal(
            msgspec.json.encode(given), aad=row_of("sealed_subject", dsar_id)
        ),
    }
    if asked.note is not None:
        note = asked.note.encode()
        values["sealed_note"] = sealer.seal(note, aad=row_of("sealed_note", dsar_id))
    if asked.external_ref is not None:
        parts.keys.create(ref_key(dsar_id))
        values["sealed_external_ref"] = parts.keys.seal(
            ref_key(dsar_id),
            asked.external_ref.encode(),
            aad=row_of("sealed_external_ref", dsar_id),
        )
    return values
