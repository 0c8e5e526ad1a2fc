"""The end of a run: the act of REPORT. One signed report a person, one for the run, the object
list; and how the run ended for each case.

Not here: what a report says and how it is judged (app.stages.evidence, app.domain.reports).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from app.domain.actors import WORKER
from app.domain.canary import Limit
from app.domain.dsars import State
from app.domain.failpoints import failpoint
from app.domain.findings import Verdict
from app.domain.identifiers import Identity
from app.domain.reports import CaseFacts, IdentityCheck, Outcome
from app.domain.steps import Step, StepEnd, StepState
from app.services import endings
from app.services.canaries import limit_in
from app.services.journal import LedgerJournal
from app.services.leases import Lease
from app.services.parts import Parts, Transaction
from app.services.run_people import SKIPPED
from app.services.run_stages import IDENTITIES
from app.stages.evidence import Built, build_reports
from app.stages.search import seeing
from app.store import audit, run_reports, runs, steps
from app.store import dsars as cases
from app.store.dsars import Dsar
from app.store.run_reports import NewReport
from app.store.runs import Run

_DONE = frozenset({Outcome.FULFILLED, Outcome.FULFILLED_WITH_WITHHELD, Outcome.NOT_FOUND})
_WHY = {
    Outcome.PENDING_RETENTION: "a retention lock protects the rest until then",
    Outcome.ON_HOLD: "a legal hold, or a right that is missing, protects the rest",
    Outcome.STUCK: "the second look found something that a person must look at",
}


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What a report says of cases, and which of them this pass reports on."""

    run: Run
    people: list[Identity] = field(repr=False)
    facts: Mapping[str, CaseFacts]
    current: frozenset[str]
    """Cases that are at work in this run; the others were reported before."""
    shredded: frozenset[str]
    """Cases whose own keys are gone."""
    until: datetime | None
    """When the last lock ends."""
    limit: Limit | None
    """To which part of the lake this pass was limited."""


def report(step: Step, lease: Lease, parts: Parts) -> StepEnd:
    """The act of REPORT.

    1. Load the people, what is known of their cases, and which of them this pass reports on.
    2. Build and sign every report from the journal alone.
    3. Record in one transaction: reports, findings in numbers, and where each case goes now.
    """
    assert step.run_id is not None
    assert parts.lake is not None
    journal = LedgerJournal.of(parts, step.run_id, guard=lease.guard)
    loaded = _load(parts, step.run_id, journal)
    if loaded is None:
        return StepEnd(receipt=SKIPPED)

    def case_key(dsar_id: str) -> str:
        # Once the key of a case is gone, its commitments are salted by the run's.
        is_done = dsar_id in loaded.shredded or dsar_id not in loaded.current
        return loaded.run.id if is_done else dsar_id

    built = build_reports(
        run_id=step.run_id,
        identities=loaded.people,
        data_map=parts.lake.data_map,
        journal=journal,
        keys=parts.keys,
        case_key=case_key,
        cases=loaded.facts,
        limit=loaded.limit,
    )
    failpoint("runs.reported")
    return _record(lease, parts, journal, loaded, built)


def _load(parts: Parts, run_id: str, journal: LedgerJournal) -> _Loaded | None:
    people = journal.document(IDENTITIES, list[Identity])
    assert people is not None
    verified_at = journal.fact("verified_at")
    assert verified_at is not None
    with parts.database.transaction() as tx:
        run = runs.get(tx, run_id)
        mine = runs.dsars_of(tx, run_id)
        if runs.fact(tx, run_id, _reported(run)) is not None:
            return None
        opened = {c.dsar_id: cases.get(tx, c.dsar_id) for c in mine}
        numbers = run_reports.numbers_of(tx, [c.dsar_id for c in mine])
        facts = {
            dsar_id: _case_facts(
                tx,
                case,
                addendum=numbers.get(dsar_id, 0),
                completed_at=datetime.fromisoformat(verified_at),
            )
            for dsar_id, case in opened.items()
        }
        limit = limit_in(runs.facts(tx, run_id))
        dates = [
            datetime.fromisoformat(str(s.receipt["last_until"]))
            for s in steps.of_run(tx, run_id)
            if s.state is StepState.DEFERRED and "last_until" in s.receipt
        ]
    return _Loaded(
        run=run,
        people=people,
        facts=facts,
        current=frozenset(c.dsar_id for c in mine if c.state is State.RUNNING),
        shredded=frozenset(k for k, case in opened.items() if case.shredded_at is not None),
        until=max(dates, default=None),
        limit=limit,
    )


def _reported(run: Run) -> str:
    """The fact that says that this pass was reported."""
    return f"reported:{run.addendum}"


def _case_facts(tx: Transaction, case: Dsar, *, addendum: int, completed_at: datetime) -> CaseFacts:
    entries = audit.of_objects(tx, [case.id])
    return CaseFacts(
        dsar_id=case.id,
        type=case.type.value,
        regulation=case.regulation.value,
        role=case.role.value,
        received_at=case.received_at,
        due_at=case.due_at,
        requester_kind=case.requester_kind.value,
        identity_check=IdentityCheck(asserted_by=case.requested_by, method=case.proof_kind),
        requested_by=case.requested_by,
        region=case.region,
        acknowledged_at=case.acknowledged_at,
        completed_at=completed_at,
        approved_by=case.approved_by,
        approved_by_kind=case.approved_by_kind,
        approved_at=case.approved_at,
        addendum=addendum,
        log_entries=(entries[0].seq, entries[-1].seq) if entries else None,
    )


def _record(
    lease: Lease, parts: Parts, journal: LedgerJournal, loaded: _Loaded, built: Built
) -> StepEnd:
    assert parts.lake is not None
    run = loaded.run
    findings = seeing(journal, parts.lake.data_map, limit=loaded.limit).findings
    with parts.database.transaction() as tx:
        runs.locked(tx, run.id)
        lease.guard(tx)
        runs.lock_dsars(tx, run.id)
        run_reports.insert_reports(tx, _reports(loaded, built))
        runs.put_findings(tx, run.id, findings, addendum=run.addendum)
        left = 0
        for dsar_id, outcome, verdict in _outcomes(loaded, built):
            left += outcome not in _DONE
            runs.ended(tx, run.id, dsar_id, outcome=outcome.value, verdict=verdict.value)
        runs.put_facts(tx, run.id, {_reported(run): "1", "left": "1" if left else "0"})
        for dsar_id, outcome, verdict in _outcomes(loaded, built):
            endings.finish_case(
                WORKER,
                tx,
                parts=parts,
                dsar_id=dsar_id,
                run_id=run.id,
                outcome=outcome,
                verdict=verdict,
                until=loaded.until if outcome is Outcome.PENDING_RETENTION else None,
                reason=_WHY.get(outcome),
            )
        failpoint("runs.before_reported")
    return StepEnd(receipt={"reports": len(loaded.current) + 1, "left": left})


def _outcomes(loaded: _Loaded, built: Built) -> Iterator[tuple[str, Outcome, Verdict]]:
    for identity, signed in zip(loaded.people, built.subjects, strict=True):
        if identity.subject in loaded.current:
            yield identity.subject, signed.outcome, signed.verdict


def _reports(loaded: _Loaded, built: Built) -> Iterator[NewReport]:
    run = loaded.run
    for identity, signed in zip(loaded.people, built.subjects, strict=True):
        if identity.subject in loaded.current:
            yield NewReport(
                run_id=run.id,
                kind="subject",
                document=signed.document,
                key_id=built.key_id,
                dsar_id=identity.subject,
                addendum=loaded.facts[identity.subject].addendum,
                signature=signed.signature,
                verdict=signed.verdict.value,
                outcome=signed.outcome.value,
            )
    yield NewReport(
        run_id=run.id,
        kind="run",
        document=built.run.document,
        key_id=built.key_id,
        addendum=run.addendum,
        signature=built.run.signature,
        verdict=built.verdict.value,
        outcome=built.outcome.value,
    )
    yield NewReport(
        run_id=run.id,
        kind="objects",
        document=built.objects,
        key_id=run.id if built.objects_sealed else built.key_id,
        addendum=run.addendum,
    )
