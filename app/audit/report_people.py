"""The parts of a report on the case and on its person: ids, dates, decisions and commitments.

Pure. Not here: what was done and seen (app.audit.reports), and the sentences (report_text).
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from app.audit.report_text import APPROVAL, identity_check_sentence, text_of
from app.audit.screening import Screen
from app.domain.identifiers import Kind
from app.domain.reports import (
    CaseFacts,
    Outcome,
    RunFacts,
    SharedFacts,
    outcome_of,
    verdict_of,
)

NO_CASE = "offline run: no case"
CASES_APART = "a run of several cases: each is in the report on its person"
_COMPLETED = frozenset({Outcome.FULFILLED, Outcome.FULFILLED_WITH_WITHHELD, Outcome.NOT_FOUND})
_FIELDS = (
    "id",
    "type",
    "regulation",
    "received_at",
    "acknowledged_at",
    "due_at",
    "completed_at",
    "extension",
    "requester",
    "identity_check",
    "requested_by",
    "approved_by",
)

Document = dict[str, Any]


def case_part(facts: RunFacts, subject: int | None, *, screen: Screen) -> Document:
    """The case of one person; in a run's report, and offline, why there is none."""
    case = None if subject is None else facts.subjects[subject].case
    if case is not None:
        return _case(case, completed=outcome_of(facts, subject) in _COMPLETED, screen=screen)
    absent = CASES_APART if any(s.case for s in facts.subjects) else NO_CASE
    return {**dict.fromkeys(_FIELDS), "absent": absent}


def _case(case: CaseFacts, *, completed: bool, screen: Screen) -> Document:
    def said(text: str | None) -> str | None:
        return None if text is None else screen.clean(text)

    return {
        "id": case.dsar_id,
        "type": case.type,
        "regulation": case.regulation,
        "region": said(case.region),
        "role": case.role,
        "received_at": text_of(case.received_at),
        "acknowledged_at": _time(case.acknowledged_at),
        "due_at": text_of(case.due_at),
        # Never said while something of the person is left, whatever the caller says.
        "completed_at": _time(case.completed_at) if completed else None,
        "extension": said(case.extension_reason),
        "requester": said(case.requester_kind),
        "identity_check": said(identity_check_sentence(case.identity_check)),
        "requested_by": said(case.requested_by),
        "approved_by": said(case.approved_by),
        "approved_at": _time(case.approved_at),
        "approval": APPROVAL[case.approved_by_kind],
        "addendum": case.addendum,
        "log_entries": _log_entries(case),
        "absent": None,
    }


def _log_entries(case: CaseFacts) -> Document | None:
    if case.log_entries is None:
        return None
    first, last = case.log_entries
    return {"first": first, "last": last}


def _time(time: datetime | None) -> str | None:
    return None if time is None else text_of(time)


def subject_part(facts: RunFacts, subject: int, *, screen: Screen) -> Document:
    """The person: commitments and counts, what was shared, where links were read."""
    person = facts.subjects[subject]
    counted = Counter(c.kind for c in person.commitments)
    origins = Counter(c.origin for c in person.commitments)
    return {
        "name": person.name,
        "counts": {kind.value: counted[kind] for kind in Kind},
        "origins": {name: origins[name] for name in ("given", "linked", "derived")},
        "commitments": [
            {"kind": c.kind.value, "origin": c.origin, "commitment": c.digest}
            for c in sorted(person.commitments)
        ],
        "commitment_form": "HMAC-SHA-256 under a salt that is destroyed with the case",
        "shared": [_shared(s) for s in sorted(person.shared)],
        "sources": [screen.clean(s) for s in person.sources],
    }


def _shared(shared: SharedFacts) -> Document:
    return {
        "kind": shared.kind.value,
        "users": shared.users,
        "decision": shared.decision,
        "commitment": shared.digest,
    }


def subject_lines(facts: RunFacts) -> list[Document]:
    """A line a person, for the run's report."""
    return [
        {
            "name": subject.name,
            "identifiers": len(subject.commitments),
            "verdict": verdict_of(facts, index).value,
            "outcome": outcome_of(facts, index).value,
        }
        for index, subject in enumerate(facts.subjects)
    ]
