"""What is shown of a case: enough to follow it by one GET, and no identifier.

Identifiers have a door of their own here (`read_subject`), and opening it is an audit entry.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from app.domain import deadlines
from app.domain.actors import Actor
from app.domain.breakers import Breaker
from app.domain.dsars import DsarType, Needs, State, needs
from app.domain.errors import KeyMissingError, NotFoundError
from app.domain.holds import Hit, needs_on_hold
from app.domain.identifiers import Identifier, Kind
from app.services import decisions, dsars, entries
from app.services.parts import Parts, Transaction
from app.services.previews import identity_or_none
from app.store import dsar_records as records
from app.store import dsars as store
from app.store import holds
from app.store.dsar_records import RunOfCase
from app.store.dsars import Dsar, Wanted

__all__ = [
    "Clock", "Overview", "ReportLink", "SubjectView", "Summary", "Wanted", "days_left", "overview",
    "read_subject", "summaries", "wanted",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Summary:
    """A case in a list."""

    id: str
    type: DsarType
    status: State
    regulation: str
    created_at: datetime
    due_at: datetime
    days_left: int | None
    """Whole days until due_at, negative once it has passed; null when the case is closed."""
    identity_counts: Mapping[str, int] | None
    """Kind -> values that would be erased; null before they were looked for."""
    shared_count: int | None
    runs: tuple[str, ...]
    outcome: str | None
    verdict: str | None
    needs: Needs
    holds: tuple[str, ...]
    """Live legal holds that hit it."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The legal clock. Times are the last moment of the day in the place that counts."""

    received_at: datetime
    acknowledge_by: datetime | None
    due_at: datetime
    days_left: int | None
    regime: str
    calendar: str


@dataclass(frozen=True, slots=True)
class ReportLink:
    """A signed report of the case."""

    id: str
    addendum: int
    """0: the first; later ones add what was done since."""
    verdict: str | None
    outcome: str | None
    sha256: str
    key_id: str
    created_at: datetime
    href: str
    signature_href: str


@dataclass(frozen=True, slots=True)
class Overview:
    """A case, with what it waits for and whose move that is."""

    id: str
    type: DsarType
    status: State
    regulation: str
    region: str | None
    role: str
    controller_id: str | None
    language: str | None
    channel: str | None
    requester_kind: str
    proof_kind: str | None
    account_closed: bool
    created_at: datetime
    clock: Clock
    needs: Needs
    legal_moves: tuple[str, ...]
    """What a person may do with it now."""
    waiting_until: datetime | None
    waiting_reason: str | None
    settle_until: datetime | None
    identity_counts: Mapping[str, int] | None
    shared_count: int | None
    undecided: int
    """Shared values that wait for the approver's decision."""
    shared_review: str | None
    holds: tuple[str, ...]
    """Live legal holds that hit it."""
    breakers: tuple[Breaker, ...]
    """Numbers that look like a mistake; the approver accepts each by its kind."""
    accepted: tuple[str, ...]
    requested_by: str
    approved_by: str | None
    approved_at: datetime | None
    runs: tuple[RunOfCase, ...]
    outcome: str | None
    verdict: str | None
    reports: tuple[ReportLink, ...]
    closed_at: datetime | None
    retain_until: datetime | None
    """Until when the bare record is kept."""
    identifiers_destroyed_at: datetime | None
    version: int


@dataclass(frozen=True, slots=True)
class SharedView:
    """A value that others use too."""

    kind: Kind
    value: str = field(repr=False)
    users: int
    decision: str


@dataclass(frozen=True, slots=True)
class IdentifierView:
    """A value that points at the person."""

    kind: Kind
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class SubjectView:
    """Who the case is about, and the texts that came with it."""

    dsar_id: str
    given: tuple[IdentifierView, ...]
    linked: tuple[IdentifierView, ...]
    """Found in the lake, for the user_id given."""
    derived: int
    """How many values of the person's own rows (sessions, tokens) are erased too."""
    shared: tuple[SharedView, ...]
    external_ref: str | None = field(repr=False)
    note: str | None = field(repr=False)
    reasons: Mapping[str, str] = field(repr=False)
    """Move -> the reason that was given."""


def overview(tx: Transaction, *, dsar_id: str) -> Overview:
    """A case as it stands. NotFoundError."""
    case = store.get(tx, dsar_id)
    scope = store.scope_of(tx, dsar_id)
    hits = holds.hits_of(tx, [dsar_id]).get(dsar_id, ())
    return Overview(
        id=case.id,
        type=case.type,
        status=case.state,
        regulation=case.regulation.value,
        region=case.region,
        role=case.role.value,
        controller_id=case.controller_id,
        language=case.language,
        channel=case.channel,
        requester_kind=case.requester_kind.value,
        proof_kind=case.proof_kind,
        account_closed=case.account_closed,
        created_at=case.created_at,
        clock=Clock(
            received_at=case.received_at,
            acknowledge_by=case.acknowledge_by,
            due_at=case.due_at,
            days_left=days_left(case, tx.now()),
            regime=case.regime,
            calendar=case.calendar,
        ),
        needs=_needs(case, hits),
        legal_moves=tuple(m.value for m in decisions.legal_of(tx, case)),
        waiting_until=case.waiting_until,
        waiting_reason=_waiting_reason(tx, case),
        settle_until=case.settle_until,
        identity_counts=case.identity_counts,
        shared_count=case.shared_count,
        undecided=scope.undecided if scope and case.state is State.AWAITING_APPROVAL else 0,
        shared_review=case.shared_review,
        holds=tuple(h.hold_id for h in hits),
        breakers=case.breakers,
        accepted=case.accepted,
        requested_by=case.requested_by,
        approved_by=case.approved_by,
        approved_at=case.approved_at,
        runs=records.runs_of(tx, [dsar_id]).get(dsar_id, ()),
        outcome=case.outcome,
        verdict=case.verdict,
        reports=_links(tx, dsar_id),
        closed_at=case.closed_at,
        retain_until=case.retain_until,
        identifiers_destroyed_at=case.shredded_at,
        version=case.version,
    )


def summaries(
    tx: Transaction, *, wanted: Wanted, limit: int, after: tuple[datetime, str] | None
) -> list[Summary]:
    """Cases, the newest first, from behind `after` (created_at, id) on."""
    cases = store.page(tx, wanted, limit=limit, after=after)
    runs = records.runs_of(tx, [case.id for case in cases])
    hits = holds.hits_of(tx, [case.id for case in cases])
    now = tx.now()
    return [
        Summary(
            id=case.id,
            type=case.type,
            status=case.state,
            regulation=case.regulation.value,
            created_at=case.created_at,
            due_at=case.due_at,
            days_left=days_left(case, now),
            identity_counts=case.identity_counts,
            shared_count=case.shared_count,
            runs=tuple(r.id for r in runs.get(case.id, ())),
            outcome=case.outcome,
            verdict=case.verdict,
            needs=_needs(case, hits.get(case.id, ())),
            holds=tuple(h.hold_id for h in hits.get(case.id, ())),
        )
        for case in cases
    ]


def wanted(
    parts: Parts,
    *,
    states: tuple[State, ...] = (),
    type_: DsarType | None = None,
    due_before: datetime | None = None,
    external_ref: str | None = None,
    subject: Identifier | None = None,
) -> Wanted:
    """A filter. Exact values are looked up by their keyed digests and travel no further."""
    sought = [subject] if subject is not None else []
    if external_ref is not None:
        sought.append(dsars.external_identifier(external_ref))
    return Wanted(
        states=states,
        type=type_,
        due_before=due_before,
        digests=tuple(dsars.living_digests(parts, [i]) for i in sought),
    )


def read_subject(actor: Actor, tx: Transaction, *, parts: Parts, dsar_id: str) -> SubjectView:
    """The identifiers of a case, and an entry that says who read them. NotFoundError once they
    were destroyed.
    """
    case = store.get(tx, dsar_id)
    try:
        given = dsars.subject_of(parts, case).given
        note = dsars.note_of(parts, case)
    except KeyMissingError as err:
        raise NotFoundError("The identifiers of this case were destroyed.") from err
    identity = identity_or_none(parts, store.scope_of(tx, dsar_id))
    linked = sorted(identity.linked) if identity else []
    counts = Counter(i.kind.value for i in (*given, *linked))
    entries.record(
        actor, tx, verb="dsar.subject_read", about=dsar_id, identifiers=dict(sorted(counts.items()))
    )
    return SubjectView(
        dsar_id=dsar_id,
        given=tuple(IdentifierView(i.kind, i.value) for i in given),
        linked=tuple(IdentifierView(i.kind, i.value) for i in linked),
        derived=len(identity.derived) if identity else 0,
        shared=tuple(
            SharedView(s.identifier.kind, s.identifier.value, s.users, s.decision)
            for s in (identity.shared if identity else ())
        ),
        external_ref=dsars.external_ref_of(parts, case),
        note=note,
        reasons=decisions.reasons_of(parts, case),
    )


def days_left(case: Dsar, now: datetime) -> int | None:
    """Whole days until it is due; None once it is closed."""
    return None if dsars.is_closed(case.state) else deadlines.days_left(case.due_at, now)


def _needs(case: Dsar, hits: Iterable[Hit]) -> Needs:
    """What it waits for, as far as the state alone does not say it."""
    if case.state is State.ON_HOLD and hits:
        return needs_on_hold(hits)
    plain = needs(case.state, case.type, outcome=case.outcome)
    if case.state is State.AWAITING_APPROVAL and case.breakers:
        named = ", ".join(sorted({b.kind.value for b in case.breakers}))
        return Needs(f"{plain.what}, and accepts what looks like a mistake ({named})", plain.whose)
    return plain


def _waiting_reason(tx: Transaction, case: Dsar) -> str | None:
    """From our own lists. Of a case whose scope cannot be looked for: why."""
    if case.state is State.RECEIVED and case.waiting_reason is None:
        return records.scope_trouble(tx, case.id)
    return case.waiting_reason


def _links(tx: Transaction, dsar_id: str) -> tuple[ReportLink, ...]:
    place = f"/v1/dsars/{dsar_id}/report"
    return tuple(
        ReportLink(
            id=r.id,
            addendum=r.addendum,
            verdict=r.verdict,
            outcome=r.outcome,
            sha256=r.sha256,
            key_id=r.key_id,
            created_at=r.created_at,
            href=f"{place}.json?addendum={r.addendum}",
            signature_href=f"{place}.sig?addendum={r.addendum}",
        )
        for r in records.reports_of(tx, dsar_id)
    )
