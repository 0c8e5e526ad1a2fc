"""From received cases to scopes that can be approved: the act of SCOPE, and what still fits one.

One look at the lake serves every case. Not here: what is shown of a scope (app.services.previews).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import msgspec

from app.domain.actors import WORKER, Actor
from app.domain.breakers import Breaker, BreakerKind, Touched, tripped
from app.domain.datasets import DataMap
from app.domain.dsars import Move, State
from app.domain.errors import ClearlakeError, StoppedError
from app.domain.failpoints import failpoint
from app.domain.identifiers import Identity, Subject
from app.domain.plans import DatasetPlan, Plan, scope_digest, subject_plan
from app.domain.steps import Step, StepEnd, StepState
from app.lake.mapcheck import check_map
from app.lake.ports import Doors
from app.lake.tally import Tally
from app.services import dsars, entries, holds
from app.services.leases import Lease
from app.services.parts import Lake, Parts, Transaction
from app.services.previews import MadeScope, Withheld, made_scope, sealed_row
from app.stages.planning import make_plan
from app.stages.resolving import lake_fingerprint, resolve_people
from app.store import dsars as store
from app.store import holds as hold_rows
from app.store.dsars import Dsar, ScopeRow

BATCH = 500
"""People of one look at the lake."""
_REVIEWED = ("tombstone", "keep")


@dataclass(frozen=True, slots=True)
class Look:
    """The lake as it stood: what any scope made from it has in common."""

    fingerprint: str = field(repr=False)
    plan: Plan
    """Of nobody: datasets and counts."""
    tally: Tally = field(default_factory=Tally, repr=False)
    """What was met of the people who were looked for in it."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """How one pass over the received cases went."""

    scoped: int = 0
    failed: tuple[str, ...] = ()
    """Ids of cases that could not be opened."""


def scope_cases(step: Step, lease: Lease, parts: Parts) -> StepEnd:
    """The act of SCOPE: every received case gets a scope; all of them from one look at the lake.

    1. Load the cases, open who they are about. One that cannot be opened is written down as such
       and stays; it does not stop the others.
    2. With no transaction open: check the map, resolve all of them, look at what would be read.
    3. Record each in a transaction of its own; one that was cancelled meanwhile is left alone.

    A repeat finds nobody and is a success. PARKED where this step's own case could not be opened.
    """
    done: set[str] = set()
    passed = _Pass()
    while cases := _load(parts, done):
        if lease.stop():
            raise StoppedError("Told to stop before the cases were resolved.")
        done |= {case.id for case in cases}
        opened, failed = _opened(parts, cases)
        scoped = _scope_all(lease, parts, opened) if opened else 0
        for case_id, code in failed.items():
            _record_failure(lease, parts, case_id, code)
        passed = _Pass(passed.scoped + scoped, (*passed.failed, *failed))
    receipt = {"scoped": passed.scoped, "failed": len(passed.failed)}
    if step.target in passed.failed:
        reason = "the identifiers of the case cannot be opened"
        return StepEnd(StepState.PARKED, receipt=receipt, reason=reason)
    return StepEnd(receipt=receipt)


def look_at(lake: Lake, doors: Doors) -> Look:
    """Look at the lake once: listings and table heads only."""
    # The fingerprint comes first: what lands between it and the reading makes the next one differ.
    fingerprint = lake_fingerprint(lake.data_map, doors)
    return Look(fingerprint, make_plan((), data_map=lake.data_map, doors=doors))


def scope_row(
    parts: Parts, identity: Identity, *, look: Look, data_map: DataMap, tx: Transaction
) -> ScopeRow:
    """The scope of one case (`identity.subject` is its id), undecided values as by the map."""
    identity = undecided(identity, data_map)
    plan = subject_plan(identity)
    now = tx.now()
    made = MadeScope(
        identifiers=plan.identifiers,
        shared=plan.shared,
        sources=plan.sources,
        datasets=tuple(_without_names(d, identity) for d in look.plan.datasets),
        expected=tuple(
            look.tally.expected(
                identity.subject,
                data_map.dataset(d.name),
                rows=d.rows,
                size=d.bytes,
                now=now,
            )
            for d in look.plan.datasets
        ),
        tags=data_map.tags,
        withheld=tuple(_withheld(data_map)),
        undo_window_seconds=look.plan.undo_window_seconds,
        decided={
            review: keyed_digest(parts, decided(identity, review), data_map=data_map)
            for review in _REVIEWED
        },
    )
    return ScopeRow(
        dsar_id=identity.subject,
        digest=keyed_digest(parts, identity, data_map=data_map),
        map_digest=data_map.digest,
        fingerprint=look.fingerprint,
        sealed_identity=parts.keys.seal(
            identity.subject, msgspec.json.encode(identity), aad=sealed_row(identity.subject)
        ),
        plan=msgspec.to_builtins(made),
        undecided=sum(s.decision == "review" for s in identity.shared),
        resolved_at=now,
    )


def _without_names(dataset: DatasetPlan, identity: Identity) -> DatasetPlan:
    """A tag or branch may be called after the person; then it is shown without its name."""
    values = [i.value for i in identity.identifiers]
    refs = tuple("*" if any(v in name for v in values) else name for name in dataset.refs)
    return replace(dataset, refs=refs)


def _breakers(parts: Parts, case: Dsar, identity: Identity, row: ScopeRow) -> tuple[Breaker, ...]:
    """What the scope trips, beside what the case tripped when it came."""
    kept = (b for b in case.breakers if b.kind is BreakerKind.TOO_MANY_TODAY)
    found = tripped(
        linked=len(identity.linked),
        touched=[Touched(e.dataset, e.touched, e.of_rows) for e in made_scope(row).expected],
        limits=parts.rules.breakers,
    )
    return (*kept, *found)


def keyed_digest(parts: Parts, identity: Identity, *, data_map: DataMap) -> str:
    """HMAC-SHA-256 of the scope under a secret of the case (`identity.subject`), in hex.

    Keyed, so that nobody can match it to a guessed identifier. Derived values are left out: an
    active person gets a new session with every visit, and new rows void no approval.
    """
    scope = scope_digest([replace(identity, derived=frozenset())], data_map)
    secret = parts.keys.secret(identity.subject, purpose="scope")
    return hmac.new(secret, scope.encode(), hashlib.sha256).hexdigest()


def decided(identity: Identity, shared_review: str | None) -> Identity:
    """The identity once an officer has decided what the map leaves to a person. Pure."""
    if shared_review is None:
        return identity
    shared = (
        replace(s, decision=shared_review) if s.decision == "review" else s for s in identity.shared
    )
    return replace(identity, shared=tuple(shared))


def undecided(identity: Identity, data_map: DataMap) -> Identity:
    """The identity with nothing but the map's own decisions. Pure; undoes `decided`."""
    shared = (
        replace(s, decision=data_map.shared.decision(s.identifier.kind, users=s.users))
        for s in identity.shared
    )
    return replace(identity, shared=tuple(shared))


def fits(parts: Parts, identity_now: Identity, case: Dsar) -> bool:
    """Whether what is found of a person now is what was approved, by the map as it is now.

    `identity_now`: with the officer's decisions in it (`decided`) or without; both are the same.
    """
    if case.approved_scope is None or parts.lake is None:
        return False
    identity = decided(undecided(identity_now, parts.lake.data_map), case.shared_review)
    now = keyed_digest(parts, identity, data_map=parts.lake.data_map)
    return hmac.compare_digest(now, case.approved_scope)


def rescope(actor: Actor, tx: Transaction, *, parts: Parts, identity: Identity, look: Look) -> Dsar:
    """The approval of a case no longer fits: store what was found now, and ask again.

    From awaiting_approval, queued or running (a run leaves it behind). IllegalMoveError else.
    """
    assert parts.lake is not None
    return store_scope(
        actor,
        tx,
        parts=parts,
        data_map=parts.lake.data_map,
        identity=identity,
        look=look,
        move=Move.RESCOPE,
        verb="dsar.scope_changed",
    )


# --- the act ---------------------------------------------------------------------------------


def _load(parts: Parts, done: set[str]) -> list[Dsar]:
    with parts.database.transaction() as tx:
        return store.received(tx, besides=done, limit=BATCH)


def _opened(parts: Parts, cases: Iterable[Dsar]) -> tuple[list[Subject], dict[str, str]]:
    opened: list[Subject] = []
    failed: dict[str, str] = {}
    for case in cases:
        try:
            opened.append(dsars.subject_of(parts, case))
        except ClearlakeError as err:
            failed[case.id] = err.code
    return opened, failed


def _scope_all(lease: Lease, parts: Parts, subjects: list[Subject]) -> int:
    assert parts.lake is not None
    lake = parts.lake
    with lake.open() as doors:
        check_map(lake.data_map, store=doors.reader, engine=doors.engine)
        look = look_at(lake, doors)
        identities = resolve_people(
            subjects, data_map=lake.data_map, doors=doors, shared_review=None, tally=look.tally
        )
    failpoint("scopes.resolved")
    return sum(
        _record(lease, parts, identity, look=look, data_map=lake.data_map)
        for identity in identities
    )


def _record(
    lease: Lease, parts: Parts, identity: Identity, *, look: Look, data_map: DataMap
) -> bool:
    """Whether the case was still waiting for its scope."""
    with parts.database.transaction() as tx:
        lease.guard(tx)
        if store.get(tx, identity.subject, lock=True).state is not State.RECEIVED:
            return False
        store_scope(
            WORKER,
            tx,
            parts=parts,
            data_map=data_map,
            identity=identity,
            look=look,
            move=Move.SCOPE,
            verb="dsar.scoped",
        )
    failpoint("scopes.recorded")
    return True


def store_scope(
    actor: Actor,
    tx: Transaction,
    *,
    parts: Parts,
    data_map: DataMap,
    identity: Identity,
    look: Look,
    move: Move,
    verb: str,
) -> Dsar:
    """Store what was found of a case, move it (SCOPE or RESCOPE), write it down."""
    case = store.get(tx, identity.subject, lock=True)
    row = scope_row(parts, identity, look=look, data_map=data_map, tx=tx)
    counts: dict[str, int] = row.plan["identifiers"]
    store.put_scope(tx, row)
    holds.protects(tx, parts, identity)
    breakers = _breakers(parts, case, identity, row)
    dsars.change(
        tx,
        case,
        move,
        identity_counts=counts,
        shared_count=len(identity.shared),
        breakers=store.breakers_row(breakers),
    )
    failpoint("scopes.before_entry")
    entries.record(
        actor,
        tx,
        verb=verb,
        about=case.id,
        scope_digest=row.digest,
        map_digest=row.map_digest,
        identifiers=counts,
        shared=len(identity.shared),
        undecided=row.undecided,
        breakers=sorted({b.kind.value for b in breakers}),
    )
    if hits := hold_rows.hits_of(tx, [case.id]).get(case.id):
        return holds.hold(WORKER, tx, case.id, hits=hits)
    return store.get(tx, case.id)


def _record_failure(lease: Lease, parts: Parts, dsar_id: str, code: str) -> None:
    with parts.database.transaction() as tx:
        lease.guard(tx)
        case = store.get(tx, dsar_id, lock=True)
        if case.state is State.RECEIVED and case.waiting_reason != code:
            store.put(tx, dsar_id, waiting_reason=code)
            entries.record(WORKER, tx, verb="dsar.scope_failed", about=dsar_id, code=code)


def _withheld(data_map: DataMap) -> Iterator[Withheld]:
    for dataset in data_map.datasets:
        treatment = dataset.treatment
        if treatment.kind == "keep":
            until = None if treatment.until is None else treatment.until.isoformat()
            yield Withheld(dataset.name, treatment.ground, until, only_some=False)
        for rule in dataset.keep_when:
            yield Withheld(dataset.name, rule.ground, rule.until.isoformat(), only_some=True)
