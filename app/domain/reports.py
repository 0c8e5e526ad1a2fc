"""What a report is made of: the facts of a run, and the pure rules that judge them.

Not here: the document and its words (app.audit.reports), signing, and where the facts come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from app.domain.arithmetic import count_problems
from app.domain.datasets import Dataset, Downstream, DownstreamNone
from app.domain.findings import Finding, Seen, Verdict, What, verdict
from app.domain.identifiers import Kind
from app.domain.receipts import Counts, Share


class Outcome(StrEnum):
    """How it ended for one subject (or for the run: its worst)."""

    FULFILLED = "fulfilled"
    FULFILLED_WITH_WITHHELD = "fulfilled_with_withheld"
    NOT_FOUND = "not_found"
    PENDING_RETENTION = "pending_retention"
    ON_HOLD = "on_hold"
    STUCK = "stuck"
    LIMITED = "limited"
    """The run was limited to a part of the lake; it has yet to go over the whole."""


_STUCK = {What.RESIDUE, What.CANNOT_SEE, What.ARITHMETIC, What.UNREADABLE, What.PARKED}
_OUTCOMES = (
    (_STUCK, Outcome.STUCK),
    ({What.UNTOUCHED}, Outcome.LIMITED),
    ({What.HELD}, Outcome.ON_HOLD),
    ({What.DEFERRED}, Outcome.PENDING_RETENTION),
    ({What.WITHHELD}, Outcome.FULFILLED_WITH_WITHHELD),
)
"""The first row that meets what was seen decides."""


@dataclass(frozen=True, slots=True, order=True)
class Commitment:
    """An identifier as the report names it: without the salt of the case, nothing to match."""

    kind: Kind
    origin: str
    """given | linked | derived"""
    digest: str
    """HMAC-SHA-256 in hex (app.audit.keys, Commitments)."""


@dataclass(frozen=True, slots=True, order=True)
class SharedFacts:
    """A value of the subject that other people used too, and what was decided of it."""

    kind: Kind
    users: int
    decision: str
    """tombstone | keep | review"""
    digest: str


@dataclass(frozen=True, slots=True)
class IdentityCheck:
    """How somebody made sure that the person is who they say; no document of theirs."""

    asserted_by: str
    """The actor whose word it is."""
    method: str | None = None
    level: str | None = None


@dataclass(frozen=True, slots=True)
class CaseFacts:
    """The case of one person, as its report names it: ids, dates and decisions, no value.

    Times have a zone. Actors are named by their ids. Free text is screened on its way out.
    """

    dsar_id: str
    type: str
    """erasure, ..."""
    regulation: str
    """gdpr, ccpa, ..."""
    role: str
    """controller | processor"""
    received_at: datetime
    due_at: datetime
    requester_kind: str
    """self, agent, guardian, ..."""
    identity_check: IdentityCheck
    requested_by: str
    region: str | None = None
    acknowledged_at: datetime | None = None
    completed_at: datetime | None = None
    """Not printed while something of the person is left."""
    extension_reason: str | None = None
    approved_by: str | None = None
    approved_by_kind: str | None = None
    """personal | service; None exactly when nobody approved."""
    approved_at: datetime | None = None
    addendum: int = 0
    """0: the first report of the case; 1: the first addendum, and so on."""
    log_entries: tuple[int, int] | None = None
    """First and last sequence number of the case's entries in the audit log, so far."""


@dataclass(frozen=True, slots=True)
class SubjectFacts:
    """One person of a run, at the place (index) that Targets.subjects gives."""

    name: str
    commitments: tuple[Commitment, ...]
    """One for each identifier that the run erases; kept shared values are in `shared` only."""
    shared: tuple[SharedFacts, ...] = ()
    sources: tuple[str, ...] = ()
    """Where links were read (Identity.sources)."""
    earlier: frozenset[int] = frozenset()
    """Earlier subjects of the run with a value in common: such a value is counted for them only,
    so what is found of theirs is taken as this person's too.
    """
    met: bool = False
    """Whether resolving or planning met any of the values in the lake. A row that is counted for
    somebody else can hold one, so counts of zero alone do not show that a person was not found.
    """
    case: CaseFacts | None = None
    """None: an offline run, which knows no case."""


@dataclass(frozen=True, slots=True)
class Left:
    """Bytes or lines that the run could not finish with, and until when."""

    what: What
    """DEFERRED | HELD | PARKED"""
    count: int
    unit: str
    """objects | versions | lines | tables | files"""
    until: datetime | None = None
    reason: str = ""
    """In words, without a name or a key."""
    subjects: frozenset[int] | None = None
    """Whom it can hold; None: anybody of the run."""


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """What a run did to one dataset. app.domain.report_facts makes it from work records."""

    dataset: Dataset
    horizon: str
    """H: `snapshot 123`, or the listing time of Bronze in RFC 3339."""
    read: int
    """Objects or data files read."""
    changed: int
    """Objects or data files replaced or emptied."""
    counts: Counts
    versions_purged: int = 0
    files_purged: int = 0
    snapshots_added: int = 0
    snapshots_expired: int = 0
    left: tuple[Left, ...] = ()
    warnings: tuple[str, ...] = ()
    seen: Seen = Seen()
    """What the second look read here."""


@dataclass(frozen=True, slots=True)
class MapFacts:
    """Who vouches for the data map. None: not recorded."""

    digest: str
    author: str | None = None
    approved_by: str | None = None


@dataclass(frozen=True, slots=True)
class VerificationFacts:
    """Who looked again, and with what."""

    code: str
    """The module that looked, e.g. `app.lake.verify`."""
    credential: str
    """The name of the credential, e.g. `verify`; never the credential."""
    findings: tuple[Finding, ...] = ()
    """Of the whole run."""
    undeclared: tuple[str, ...] = ()
    """Places beside the declared ones that nobody declared."""


@dataclass(frozen=True, slots=True)
class AttachmentFacts:
    """The object list of the run, as the file that was written."""

    sha256: str
    """Of the file's bytes (of the sealed bytes where it is sealed)."""
    entries: int
    sealed: bool


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Everything a report says, as the journal holds it: the same facts make the same bytes."""

    run_id: str
    subjects: tuple[SubjectFacts, ...]
    datasets: tuple[DatasetFacts, ...]
    verification: VerificationFacts
    data_map: MapFacts
    downstream: tuple[Downstream, ...] | DownstreamNone
    resolved_at: datetime
    horizon_at: datetime
    """The earliest of the datasets' horizons (server's clock): up to here all was searched."""
    reported_at: datetime
    """Journalled before the report is built, so that a retry says the same."""
    signing_key_id: str
    settings_digest: str
    times: Mapping[str, datetime] = field(default_factory=dict)
    """Stage to when it ended: erased, checked, point_of_no_return, purged, verified."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Part to version: clearlake, python, pyarrow, pyiceberg, boto3, ..."""
    attachment: AttachmentFacts | None = None
    arithmetic: tuple[Finding, ...] = field(init=False)
    """Counts that cannot be true. Each makes the verdict FAILED; there is a report all the same.
    Worked out once, because every subject's report needs it.
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "arithmetic", tuple(self._arithmetic()))

    def _arithmetic(self) -> Iterator[Finding]:
        for done in self.datasets:
            layer, name = done.dataset.layer.value, done.dataset.name
            for problem in count_problems(done.counts, subjects=len(self.subjects)):
                yield Finding(What.ARITHMETIC, layer, name, place="run totals", detail=problem)


# --- judging ---------------------------------------------------------------------------------


def findings_of(facts: RunFacts, subject: int | None) -> tuple[Finding, ...]:
    """What the second look and the arithmetic say of a subject (None: of the run), sorted."""
    every = facts.verification.findings + facts.arithmetic
    mine = _counted_for(facts, subject)
    found = [f for f in every if f.subject is None or mine is None or f.subject in mine]
    return tuple(sorted(found, key=_finding_order))


def left_of(facts: RunFacts, subject: int | None) -> tuple[tuple[DatasetFacts, Left], ...]:
    """What the run could not finish with that can hold this subject (None: anybody)."""
    mine = _counted_for(facts, subject)
    return tuple(
        (dataset, left)
        for dataset in facts.datasets
        for left in dataset.left
        if mine is None or left.subjects is None or left.subjects & mine
    )


def share_of(dataset: DatasetFacts, subject: int | None) -> Share:
    """The counts of one subject, or of the run (None)."""
    counts = dataset.counts
    if subject is None:
        return Share(counts.deleted, counts.tombstoned, counts.co_owned, counts.kept)
    return counts.shares.get(subject, Share())


def kept_values(facts: RunFacts, subject: int | None) -> tuple[SharedFacts, ...]:
    """Shared values that were left where they are."""
    mine = facts.subjects if subject is None else (facts.subjects[subject],)
    return tuple(s for person in mine for s in person.shared if s.decision == "keep")


def seen_kinds(facts: RunFacts, subject: int | None) -> frozenset[What]:
    """Every kind of thing that stands between this subject and VERIFIED, and notes."""
    kinds = {f.what for f in findings_of(facts, subject)}
    kinds |= {left.what for _, left in left_of(facts, subject)}
    if kept_values(facts, subject) or any(share_of(d, subject).kept for d in facts.datasets):
        kinds.add(What.WITHHELD)
    return frozenset(kinds)


def verdict_of(facts: RunFacts, subject: int | None) -> Verdict:
    """The verdict on a subject (None: on the run)."""
    return verdict(Finding(what, "", "", "") for what in seen_kinds(facts, subject))


def outcome_of(facts: RunFacts, subject: int | None) -> Outcome:
    """How it ended for a subject (None: for the run)."""
    kinds = seen_kinds(facts, subject)
    for decisive, outcome in _OUTCOMES:
        if kinds & decisive:
            return outcome
    mine = _counted_for(facts, subject)
    looked_at = range(len(facts.subjects)) if mine is None else sorted(mine)
    found = any(
        facts.subjects[i].met or any(share_of(d, i) != Share() for d in facts.datasets)
        for i in looked_at
    )
    return Outcome.FULFILLED if found else Outcome.NOT_FOUND


def _counted_for(facts: RunFacts, subject: int | None) -> frozenset[int] | None:
    return None if subject is None else facts.subjects[subject].earlier | {subject}


def _finding_order(f: Finding) -> tuple[str, ...]:
    parts = (f.what.value, f.layer, f.dataset, f.place, f.detail, f.subject, f.count)
    return tuple(map(str, parts))
