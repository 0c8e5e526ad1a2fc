"""Who the people of a run are: the act of RESOLVE. Those whose scope is no longer what was approved
leave the run; the others go on.

Not here: how an identity is found (app.lake.identities), what fits (app.services.scopes).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from app.domain.actors import WORKER
from app.domain.canary import Limit, narrowed
from app.domain.errors import NotFoundError, StoppedError
from app.domain.failpoints import failpoint
from app.domain.identifiers import Identity, Kind, Subject
from app.domain.steps import Step, StepEnd
from app.lake.mapcheck import check_map
from app.lake.ports import Doors
from app.services import dsars, entries, held_runs, order_holds, scopes, suppression
from app.services.canaries import limit_in
from app.services.journal import RunSeal
from app.services.leases import Lease
from app.services.parts import Lake, Parts, Transaction
from app.services.previews import identity_of
from app.services.run_stages import IDENTITIES, LATE_DATA, course_facts
from app.services.scopes import Look
from app.stages.resolving import lake_fingerprint, resolve_people
from app.store import dsars as cases
from app.store import runs
from app.store.dsar_records import runs_of
from app.store.dsars import Dsar, ScopeRow

SKIPPED: Mapping[str, int | str] = {"skipped": 1}
"""The receipt of a step that an undo has overtaken."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """Whose erasure was approved."""

    cases: tuple[Dsar, ...]
    scopes: Mapping[str, ScopeRow]
    known: tuple[Identity, ...] | None = field(default=None, repr=False)
    """The people, where they were written down already: a repeat, a later pass, a follow-up."""
    limit: Limit | None = None
    again: frozenset[str] = frozenset()
    """Cases that an earlier run took: it may have destroyed some of what leads to the person."""


@dataclass(frozen=True, slots=True)
class _Found:
    """Who stays in the run, as approved, and who leaves it, as found now."""

    stays: tuple[Identity, ...] = field(repr=False)
    leaves: tuple[Identity, ...] = field(default=(), repr=False)
    look: Look | None = None

    def without(self, held: frozenset[str]) -> _Found:
        """The same without cases that went on hold."""
        stays = tuple(i for i in self.stays if i.subject not in held)
        return _Found(stays, tuple(i for i in self.leaves if i.subject not in held), self.look)


def resolve(step: Step, lease: Lease, parts: Parts) -> StepEnd:
    """The act of RESOLVE.

    1. Load the cases of the run with their approved scopes.
    2. With no transaction open: where nothing in the lake has moved since they were scoped, take
       what was found then; else look again, once for all of them.
    3. Record in one transaction: who leaves (a changed scope, a legal hold); who stays, sealed;
       suppression rows, before any scan.
    """
    assert step.run_id is not None
    assert parts.lake is not None
    asked = _load(parts, step.run_id)
    if asked is None:
        return StepEnd(receipt=SKIPPED)
    if lease.stop():
        raise StoppedError("Told to stop before the people were resolved.")
    with parts.lake.open() as doors:
        narrowed(parts.lake.data_map, asked.limit)  # refused before anything is written down
        check_map(parts.lake.data_map, store=doors.reader, engine=doors.engine)
        order_holds.look_again(lease, parts, doors)
        found = _find(parts, parts.lake, doors, asked)
    failpoint("runs.resolved")
    return _record(lease, parts, step.run_id, asked, found)


def _load(parts: Parts, run_id: str) -> _Asked | None:
    with parts.database.transaction() as tx:
        if runs.get(tx, run_id).undo_requested:
            return None
        mine = [cases.get(tx, c.dsar_id) for c in runs.dsars_of(tx, run_id)]
        found = {case.id: cases.scope_of(tx, case.id) for case in mine}
        sealed = runs.document(tx, run_id, IDENTITIES)
        limit = limit_in(runs.facts(tx, run_id))
        taken = runs_of(tx, [case.id for case in mine])
    known = None
    if sealed is not None:
        seal = RunSeal.of(parts.keys, run_id)
        known = tuple(seal.opened_document(IDENTITIES, sealed, list[Identity]))
    return _Asked(
        cases=tuple(mine),
        scopes={k: v for k, v in found.items() if v is not None},
        known=known,
        limit=limit,
        again=frozenset(dsar_id for dsar_id, every in taken.items() if len(every) > 1),
    )


def _find(parts: Parts, lake: Lake, doors: Doors, asked: _Asked) -> _Found:
    if asked.known is not None:
        return _Found(_with_derived(lake, doors, asked.known))
    unmoved = _unmoved(parts, lake, doors, asked)
    if unmoved is not None and all(_fits(parts, asked, unmoved)):
        return _Found(_decided(lake, asked, unmoved))
    look = scopes.look_at(lake, doors)
    subjects = [dsars.subject_of(parts, case) for case in asked.cases]
    found = resolve_people(
        subjects, data_map=lake.data_map, doors=doors, shared_review=None, tally=look.tally
    )
    people = [_remembering(parts, asked, identity) for identity in found]
    fitting = list(_fits(parts, asked, people))
    stays = [i for i, fits in zip(people, fitting, strict=True) if fits]
    leaves = [i for i, fits in zip(people, fitting, strict=True) if not fits]
    return _Found(_decided(lake, asked, stays), tuple(leaves), look)


def _remembering(parts: Parts, asked: _Asked, identity: Identity) -> Identity:
    """Of a case that was in a run before: nothing of its approved scope is forgotten."""
    row = asked.scopes.get(identity.subject)
    if identity.subject not in asked.again or row is None:
        return identity
    return identity.remembering(identity_of(parts, row))


def _with_derived(lake: Lake, doors: Doors, known: tuple[Identity, ...]) -> tuple[Identity, ...]:
    """Late data brings sessions of its own: they are harvested as for a first erasure. Links are
    not followed: nothing but what came late, and follows from it, was approved.
    """
    late = [i for i in known if i.sources == LATE_DATA and i.values(Kind.USER_ID)]
    if not late:
        return known
    subjects = [Subject(i.subject, tuple(sorted(i.given))) for i in late]
    found = resolve_people(subjects, data_map=lake.data_map, doors=doors, shared_review=None)
    derived = {i.subject: i.derived for i in found}
    sources = (*LATE_DATA, "values derived from its rows")
    return tuple(
        replace(i, derived=derived[i.subject], sources=sources) if i.subject in derived else i
        for i in known
    )


def _unmoved(parts: Parts, lake: Lake, doors: Doors, asked: _Asked) -> list[Identity] | None:
    """What was found when the cases were scoped, if the lake is still as it was then."""
    rows = [asked.scopes.get(case.id) for case in asked.cases]
    fingerprint = lake_fingerprint(lake.data_map, doors)
    people = []
    for row in rows:
        if row is None or row.fingerprint != fingerprint:
            return None
        people.append(identity_of(parts, row))
    return people


def _fits(parts: Parts, asked: _Asked, people: Iterable[Identity]) -> Iterable[bool]:
    pairs = zip(people, asked.cases, strict=True)
    return (scopes.fits(parts, identity, case) for identity, case in pairs)


def _decided(lake: Lake, asked: _Asked, people: Iterable[Identity]) -> tuple[Identity, ...]:
    """With what each approver decided of shared values."""
    reviews = {case.id: case.shared_review for case in asked.cases}
    return tuple(
        scopes.decided(scopes.undecided(i, lake.data_map), reviews[i.subject]) for i in people
    )


def _record(lease: Lease, parts: Parts, run_id: str, asked: _Asked, found: _Found) -> StepEnd:
    assert parts.lake is not None
    with parts.database.transaction() as tx:
        run = runs.locked(tx, run_id)
        lease.guard(tx)
        if run.undo_requested:
            return StepEnd(receipt=SKIPPED)
        wait = held_runs.wait_for_looks(tx)
        if wait is not None:
            return wait
        runs.lock_dsars(tx, run_id)
        left = held_runs.leave(tx, run)
        found = found.without(left)
        sealed = RunSeal.of(parts.keys, run_id).document(IDENTITIES, list(found.stays))
        runs.put_document(tx, run_id, IDENTITIES, sealed)
        runs.put_facts(tx, run_id, course_facts(parts.lake.data_map, asked.limit))
        for identity in found.leaves:
            _leave(tx, parts, run_id, identity, found.look)
        _suppress(tx, parts, run_id, asked, found)
        failpoint("runs.before_resolved")
    gone = len(found.leaves) + len(left)
    return StepEnd(receipt={"people": len(found.stays), "left": gone})


def _leave(
    tx: Transaction, parts: Parts, run_id: str, identity: Identity, look: Look | None
) -> None:
    if look is None:
        raise NotFoundError("Nobody leaves a run without a new look at the lake.")
    runs.leave(tx, run_id, identity.subject)
    entries.record(WORKER, tx, verb="run.left", about=run_id, dsar=identity.subject)
    scopes.rescope(WORKER, tx, parts=parts, identity=identity, look=look)


def _suppress(tx: Transaction, parts: Parts, run_id: str, asked: _Asked, found: _Found) -> None:
    closed = {case.id: case.account_closed for case in asked.cases}
    if found.stays:
        suppression.suppress(
            WORKER,
            tx,
            parts=parts,
            run_id=run_id,
            identities=found.stays,
            account_closed={i.subject: closed[i.subject] for i in found.stays},
        )
