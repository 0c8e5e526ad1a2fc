"""`clearlake.report/1`: the document for one subject, or for a run, from facts alone.

Pure, and the same facts make the same bytes. Judging is app.domain.reports, checking report_verify.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.audit.canonical import canonical_bytes
from app.audit.report_people import case_part, subject_lines, subject_part
from app.audit.report_text import (
    HOW_TO_VERIFY,
    LIMITS,
    OUTCOME_MEANS,
    amounts,
    left_sentence,
    statement,
    text_of,
)
from app.audit.screening import Screen
from app.audit.signing import ALGORITHM
from app.domain.datasets import Dataset, DownstreamNone
from app.domain.findings import Seen, What
from app.domain.receipts import Share
from app.domain.reports import (
    DatasetFacts,
    RunFacts,
    findings_of,
    kept_values,
    left_of,
    outcome_of,
    seen_kinds,
    share_of,
    verdict_of,
)

SCHEMA = "clearlake.report/1"
NO_LOG = "offline run: no audit log"
LOG_IN_CASE = "the entries are numbered in each person's report; no checkpoint was made"

Document = dict[str, Any]


def subject_report(facts: RunFacts, subject: int, *, screen: Screen) -> bytes:
    """The report on one person, in canonical bytes, ready to be signed.

    `screen` knows the run's values: text that holds one is withheld.
    """
    return canonical_bytes(_document(facts, subject, screen=screen))


def run_report(facts: RunFacts, *, screen: Screen) -> bytes:
    """The report on the whole run, for operators: no commitments, shares by subject's name."""
    return canonical_bytes(_document(facts, None, screen=screen))


def _document(facts: RunFacts, subject: int | None, *, screen: Screen) -> Document:
    exceptions = _exceptions(facts, subject, screen=screen)
    return {
        "schema": SCHEMA,
        "scope": "run" if subject is None else "subject",
        "run_id": facts.run_id,
        "reported_at": text_of(facts.reported_at),
        "verdict": _verdict(facts, subject, exceptions=exceptions),
        "case": case_part(facts, subject, screen=screen),
        "subject": None if subject is None else subject_part(facts, subject, screen=screen),
        "subjects": None if subject is not None else subject_lines(facts),
        "datasets": [_dataset(facts, d, subject, screen=screen) for d in facts.datasets],
        "objects": _objects(facts),
        "exceptions": exceptions,
        "verification": _verification(facts, subject, screen=screen),
        "provenance": _provenance(facts),
        "limits": list(LIMITS),
        "how_to_verify": list(HOW_TO_VERIFY),
        "signature": {"algorithm": ALGORITHM, "key_id": facts.signing_key_id},
    }


# --- 1. page one -----------------------------------------------------------------------------


def _verdict(facts: RunFacts, subject: int | None, *, exceptions: list[Document]) -> Document:
    verdict, outcome = verdict_of(facts, subject), outcome_of(facts, subject)
    kinds = sorted(seen_kinds(facts, subject))
    return {
        "value": verdict.value,
        "where": "in the declared lake",
        "outcome": outcome.value,
        "outcome_means": OUTCOME_MEANS[outcome],
        "statement": statement(
            verdict,
            identifiers=_identifiers(facts, subject),
            places=len(facts.datasets),
            resolved_at=text_of(facts.resolved_at),
            horizon_at=text_of(facts.horizon_at),
            kinds=kinds,
        ),
        "identifiers": _identifiers(facts, subject),
        "places": len(facts.datasets),
        "resolved_at": text_of(facts.resolved_at),
        "horizon_at": text_of(facts.horizon_at),
        "left": [_in_words(e) for e in exceptions if e["what"] != What.NOTE.value],
        "kept": _kept(facts, subject),
        "downstream": _downstream(facts),
        "data_map": {
            "author": facts.data_map.author,
            "approved_by": facts.data_map.approved_by,
            "absent": None if facts.data_map.approved_by else "nobody is recorded as approver",
        },
    }


def _identifiers(facts: RunFacts, subject: int | None) -> int:
    people = facts.subjects if subject is None else (facts.subjects[subject],)
    return sum(len(person.commitments) for person in people)


def _in_words(exception: Document) -> str:
    counted = {**exception["items"], "occurrences": exception["occurrences"]}
    return left_sentence(
        What(exception["what"]),
        dataset=exception["dataset"] or "run",
        amounts=amounts(counted),
        until=exception["until"],
        reasons=exception["reasons"],
    )


def _kept(facts: RunFacts, subject: int | None) -> list[Document]:
    """Rows kept on a ground, and shared values left where they are, each with its reason."""
    rows: list[Document] = [
        {
            "dataset": facts_of.dataset.name,
            "rows": share_of(facts_of, subject).kept,
            "values": 0,
            "grounds": _grounds(facts_of.dataset),
        }
        for facts_of in facts.datasets
        if share_of(facts_of, subject).kept
    ]
    values = len(kept_values(facts, subject))
    if values:
        ground = {
            "ground": "shared with other people; the data map says keep",
            "until": None,
            "approved_by": facts.data_map.approved_by,
        }
        rows.append({"dataset": None, "rows": 0, "values": values, "grounds": [ground]})
    return rows


def _grounds(dataset: Dataset) -> list[Document]:
    treatment = dataset.treatment
    found: list[Document] = []
    if treatment.kind == "keep":
        found.append(
            {
                "ground": treatment.ground or "not stated",
                "until": treatment.until.isoformat() if treatment.until else None,
                "approved_by": treatment.approved_by,
            }
        )
    found += [
        {"ground": rule.ground, "until": rule.until.isoformat(), "approved_by": None}
        for rule in dataset.keep_when
    ]
    return found


def _downstream(facts: RunFacts) -> Document:
    """Silence is not an answer, and is said."""
    if isinstance(facts.downstream, DownstreamNone):
        said = f"attested as none by {facts.downstream.attested_by} on {facts.downstream.at}"
        return {"declared": "none", "copies": [], "said": said}
    if not facts.downstream:
        said = "nothing was declared about copies outside the lake; there may be some"
        return {"declared": "nothing", "copies": [], "said": said}
    copies = [
        {"name": c.name, "kind": c.kind, "action": c.action, "state": "open"}
        for c in facts.downstream
    ]
    said = "the copies listed are outside the lake and still have to be dealt with"
    return {"declared": "copies", "copies": copies, "said": said}


# --- 4. what was done ------------------------------------------------------------------------


def _dataset(
    facts: RunFacts, done: DatasetFacts, subject: int | None, *, screen: Screen
) -> Document:
    counts, treatment = done.counts, done.dataset.treatment
    shares: Document | None = None
    if subject is None:
        shares = {s.name: _share(share_of(done, i)) for i, s in enumerate(facts.subjects)}
    return {
        "layer": done.dataset.layer.value,
        "name": done.dataset.name,
        "horizon": done.horizon,
        "treatment": {
            "kind": treatment.kind,
            "purpose": treatment.purpose,
            "legal_basis": treatment.legal_basis,
            "ground": treatment.ground,
        },
        "read": done.read,
        "changed": done.changed,
        "run_totals": {
            "before": counts.before,
            "after": counts.after,
            **_share(share_of(done, None)),
            "values": counts.values,
            "parked": counts.parked,
        },
        "subject": None if subject is None else _share(share_of(done, subject)),
        "shares": shares,
        "undeclared": _undeclared(counts.undeclared, screen=screen),
        "versions_purged": done.versions_purged,
        "files_purged": done.files_purged,
        "snapshots_added": done.snapshots_added,
        "snapshots_expired": done.snapshots_expired,
        "warnings": [screen.clean(w) for w in done.warnings],
    }


def _share(share: Share) -> Document:
    return {
        "deleted": share.deleted,
        "tombstoned": share.tombstoned,
        "co_owned": share.co_owned,
        "kept": share.kept,
    }


def _undeclared(found: Mapping[str, int], *, screen: Screen) -> Document:
    cleaned: Counter[str] = Counter()
    for column, number in found.items():
        cleaned[screen.clean(column)] += number
    return dict(cleaned)


def _objects(facts: RunFacts) -> Document | None:
    if facts.attachment is None:
        return None
    return {
        "sha256": facts.attachment.sha256,
        "entries": facts.attachment.entries,
        "sealed": facts.attachment.sealed,
    }


# --- 5. exceptions ---------------------------------------------------------------------------


def _exceptions(facts: RunFacts, subject: int | None, *, screen: Screen) -> list[Document]:
    """What was seen and what was left, one entry a kind and dataset, worst first."""
    occurrences: Counter[tuple[What, str, str]] = Counter()
    items: defaultdict[tuple[What, str, str], Counter[str]] = defaultdict(Counter)
    untils: defaultdict[tuple[What, str, str], list[datetime]] = defaultdict(list)
    reasons: defaultdict[tuple[What, str, str], set[str]] = defaultdict(set)
    for finding in findings_of(facts, subject):
        place = (finding.what, finding.layer, _place_name(facts, finding.dataset, screen=screen))
        occurrences[place] += finding.count
    for done, left in left_of(facts, subject):
        place = (left.what, done.dataset.layer.value, done.dataset.name)
        items[place][left.unit] += left.count
        untils[place] += [left.until] if left.until else []
        reasons[place] |= {screen.clean(left.reason)} if left.reason else set()
    order = list(What)
    places = sorted({*occurrences, *items}, key=lambda p: (order.index(p[0]), p[1], p[2]))
    return [
        {
            "what": place[0].value,
            "layer": place[1],
            "dataset": place[2],
            "occurrences": occurrences[place],
            "items": dict(items[place]),
            "until": text_of(max(untils[place])) if untils[place] else None,
            "reasons": sorted(reasons[place]),
        }
        for place in places
    ]


def _place_name(facts: RunFacts, name: str, *, screen: Screen) -> str:
    """A dataset of the map as it is; a place beside them through the screen."""
    return name if name in {d.dataset.name for d in facts.datasets} else screen.clean(name)


# --- 6. and 7. how it was seen, and with what ------------------------------------------------


def _verification(facts: RunFacts, subject: int | None, *, screen: Screen) -> Document:
    seen = sum((d.seen for d in facts.datasets), Seen())
    return {
        "code": facts.verification.code,
        "credential": facts.verification.credential,
        "seen": {
            "objects": seen.objects,
            "versions": seen.versions,
            "bytes": seen.bytes,
            "rows": seen.rows,
        },
        "findings": [
            {
                "what": f.what.value,
                "layer": f.layer,
                "dataset": _place_name(facts, f.dataset, screen=screen),
                "place": screen.clean(f.place),
                "detail": screen.clean(f.detail),
                "count": f.count,
            }
            for f in findings_of(facts, subject)
        ],
        "undeclared_places": [screen.clean(p) for p in facts.verification.undeclared],
    }


def _provenance(facts: RunFacts) -> Document:
    return {
        "versions": dict(facts.versions),
        "settings_digest": facts.settings_digest,
        "data_map_digest": facts.data_map.digest,
        "times": {stage: text_of(time) for stage, time in facts.times.items()},
        "database_time": None,
        "log_entries": None,
        "checkpoint": None,
        "absent": LOG_IN_CASE if any(s.case for s in facts.subjects) else NO_LOG,
    }
