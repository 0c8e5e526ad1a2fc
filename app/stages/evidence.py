"""From the journal to signed reports in bytes: one a person, one for the run, and the object list.

Collects facts; what a report says and how it is judged is app.audit and app.domain.reports, where
the bytes go is the caller's.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

from app.audit.keys import KeyStore
from app.audit.objectlist import SEALED_BELOW, ObjectList, object_list, open_list, sealed_list
from app.audit.reports import run_report, subject_report
from app.audit.screening import Screen
from app.audit.signing import Signer
from app.domain.canary import Limit, only
from app.domain.datasets import DataMap, Dataset
from app.domain.failpoints import failpoint
from app.domain.findings import Finding, Seen, Verdict, What
from app.domain.identifiers import Identity
from app.domain.receipts import Counts, TableWork
from app.domain.report_facts import object_facts, subject_facts, table_facts
from app.domain.reports import (
    CaseFacts,
    DatasetFacts,
    MapFacts,
    Outcome,
    RunFacts,
    SubjectFacts,
    VerificationFacts,
    outcome_of,
    verdict_of,
)
from app.stages.anew import kept_aside
from app.stages.ports import Journal
from app.stages.search import Seeing, seeing
from app.stages.uploads import ended_uploads

_PARTS = ("clearlake", "pyarrow", "pyiceberg", "boto3", "ahocorasick-rs")
_TIMES = ("resolved", "planned", "erased", "checked", "purging", "purged", "verified")
_OBJECTS = "objects"
"""The document that keeps the sealed object list."""


@dataclass(frozen=True, slots=True)
class SignedDocument:
    """A report in canonical bytes, its detached signature, and how it ended."""

    document: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    verdict: Verdict
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Built:
    """Every report of a run, and what the commands show of it."""

    subjects: tuple[SignedDocument, ...]
    """In the order of the identities."""
    run: SignedDocument
    objects: bytes = field(repr=False)
    objects_sealed: bool
    public_pem: bytes
    key_id: str
    rows: list[dict[str, object]]
    """A line a dataset: layer, name and counts."""

    @property
    def verdict(self) -> Verdict:
        """Of the run."""
        return self.run.verdict

    @property
    def outcome(self) -> Outcome:
        """Of the run: its worst."""
        return self.run.outcome


def build_reports(
    *,
    run_id: str,
    identities: Sequence[Identity],
    data_map: DataMap,
    journal: Journal,
    keys: KeyStore,
    case_key: Callable[[str], str],
    cases: Mapping[str, CaseFacts] | None,
    reported_at: datetime | None = None,
    limit: Limit | None = None,
) -> Built:
    """Build and sign every report. The same journal (and cases) make the same bytes.

    `case_key`: a subject's name -> the id of the data key whose salt its commitments have; it is
    made unless it is there. `cases`: by subject's name; None in an offline run. `reported_at`: by
    default when the verify stage ended. `limit`: the part of the lake that this pass went over;
    what was not looked at is listed. KeyMissingError once a key was shredded.
    """
    gone_over = only(data_map, limit)
    screen = Screen.of(i.value for identity in identities for i in identity.identifiers)
    seen = seeing(journal, data_map, limit=limit)
    objects = _objects(
        run_id, gone_over, len(identities), journal=journal, keys=keys, screen=screen
    )
    times = _times(journal)
    signer = keys.signer()
    facts = RunFacts(
        run_id=run_id,
        subjects=_subjects(identities, keys, case_key=case_key, cases=cases),
        datasets=_datasets(gone_over, journal, seen=seen),
        verification=VerificationFacts(
            code="app.lake.verify",
            credential="verify",
            findings=seen.findings,
            undeclared=seen.undeclared,
        ),
        data_map=MapFacts(digest=data_map.digest),
        downstream=data_map.downstream,
        resolved_at=times["resolved"],
        horizon_at=seen.horizon_at,
        reported_at=reported_at or times["verified"],
        signing_key_id=signer.key_id,
        settings_digest=settings_digest(data_map),
        times=times,
        versions=_versions(),
        attachment=objects.facts,
    )
    return _signed(facts, objects, signer=signer, screen=screen)


def _signed(facts: RunFacts, objects: ObjectList, *, signer: Signer, screen: Screen) -> Built:
    def signed(document: bytes, subject: int | None) -> SignedDocument:
        return SignedDocument(
            document,
            signer.sign(document),
            verdict=verdict_of(facts, subject),
            outcome=outcome_of(facts, subject),
        )

    return Built(
        subjects=tuple(
            signed(subject_report(facts, n, screen=screen), n) for n in range(len(facts.subjects))
        ),
        run=signed(run_report(facts, screen=screen), None),
        objects=objects.data,
        objects_sealed=objects.facts.sealed,
        public_pem=signer.public_pem,
        key_id=signer.key_id,
        rows=[_row(d, facts.verification.findings) for d in facts.datasets],
    )


def _subjects(
    identities: Sequence[Identity],
    keys: KeyStore,
    *,
    case_key: Callable[[str], str],
    cases: Mapping[str, CaseFacts] | None,
) -> tuple[SubjectFacts, ...]:
    found = []
    for number, identity in enumerate(identities):
        key_id = case_key(identity.subject)
        keys.create(key_id)
        found.append(
            subject_facts(
                identities,
                number,
                commit=keys.commitments(key_id).of,
                met=bool(identity.sources or identity.linked or identity.derived),
                case=None if cases is None else cases[identity.subject],
            )
        )
    return tuple(found)


def _datasets(data_map: DataMap, journal: Journal, *, seen: Seeing) -> tuple[DatasetFacts, ...]:
    found = []
    for dataset in data_map.bronze:
        facts = object_facts(
            dataset,
            journal.works(dataset.name),
            horizon=seen.horizons[dataset.name],
            seen=seen.seen.get(dataset.name, Seen()),
        )
        facts = _with_uploads(facts, journal)
        earlier = journal.document(f"earlier:{dataset.name}", Counts) or Counts()
        found.append(_for_whom(replace(facts, counts=facts.counts + earlier), seen.findings))
    for dataset in data_map.tables:
        work = journal.table_work(dataset.name)
        assert work is not None
        facts = table_facts(
            dataset,
            work,
            horizon=seen.horizons[dataset.name],
            seen=seen.seen.get(dataset.name, Seen()),
        )
        found.append(
            _for_whom(_with_uploads(_with_earlier(facts, dataset, journal), journal), seen.findings)
        )
    return tuple(found)


def _with_earlier(facts: DatasetFacts, dataset: Dataset, journal: Journal) -> DatasetFacts:
    """With what an earlier, limited pass did to a table that was begun anew since."""
    before = journal.document(kept_aside(dataset.name), TableWork)
    if before is None:
        return facts
    earlier = table_facts(dataset, before, horizon="")
    return replace(
        facts,
        changed=facts.changed + earlier.changed,
        counts=facts.counts + earlier.counts,
        files_purged=facts.files_purged + earlier.files_purged,
        snapshots_added=facts.snapshots_added + earlier.snapshots_added,
        snapshots_expired=facts.snapshots_expired + earlier.snapshots_expired,
    )


def _with_uploads(facts: DatasetFacts, journal: Journal) -> DatasetFacts:
    number = ended_uploads(journal, facts.dataset.name)
    if not number:
        return facts
    said = f"Open uploads that were ended, because nobody can read what they hold: {number}."
    return replace(facts, warnings=(*facts.warnings, said))


def _for_whom(facts: DatasetFacts, findings: Sequence[Finding]) -> DatasetFacts:
    """Whom that which is left can hold: those the second look saw in it, since it read every
    version. Where it saw nothing of the kind, anybody.
    """
    seen: dict[What, set[int | None]] = {}
    for f in findings:
        if f.dataset == facts.dataset.name:
            seen.setdefault(f.what, set()).add(f.subject)

    def subjects(what: What) -> frozenset[int] | None:
        known = frozenset(s for s in seen.get(what, ()) if s is not None)
        return known if known and None not in seen[what] else None

    return replace(facts, left=tuple(replace(x, subjects=subjects(x.what)) for x in facts.left))


def _objects(
    run_id: str,
    data_map: DataMap,
    people: int,
    *,
    journal: Journal,
    keys: KeyStore,
    screen: Screen,
) -> ObjectList:
    """The object list; what was sealed once is kept, so that a repeat gives the same bytes."""
    tables = [(d, journal.table_work(d.name)) for d in data_map.tables]
    tables += [(d, journal.document(kept_aside(d.name), TableWork)) for d in data_map.tables]
    document = object_list(
        run_id,
        objects=[(d, w) for d in data_map.bronze for w in journal.works(d.name)],
        tables=[(d, w) for d, w in tables if w is not None],
        screen=screen,
    )
    if people >= SEALED_BELOW:
        return open_list(document)
    before = journal.document(_OBJECTS, bytes)
    listed = sealed_list(document, sealer=keys.sealer(run_id), before=before)
    if listed.data != before:
        failpoint("stages.before_objects")
        journal.put_document(_OBJECTS, listed.data)
        failpoint("stages.after_objects")
    return listed


def settings_digest(data_map: DataMap) -> str:
    """SHA-256 over the settings that decide what a run does, as far as the map sets them."""
    said = [
        data_map.unparsable, data_map.tags, str(data_map.reader_grace), str(data_map.undo_window),
        data_map.shared.anon_id, data_map.shared.device_fp, str(data_map.shared.review_above),
    ]  # fmt: skip
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


def _times(journal: Journal) -> dict[str, datetime]:
    said = {name: journal.fact(f"{name}_at") for name in _TIMES}
    times = {name: datetime.fromisoformat(at) for name, at in said.items() if at is not None}
    if "purging" in times:
        times["point_of_no_return"] = times.pop("purging")
    return times


def _versions() -> Mapping[str, str]:
    found = {"python": platform.python_version()}
    for part in _PARTS:
        try:
            found[part] = version(part)
        except PackageNotFoundError:
            found[part] = "not installed as a package"
    return found


def _row(facts: DatasetFacts, findings: Sequence[Finding]) -> dict[str, object]:
    """A line of the table at the end, and of `--json`."""
    mine = [f for f in findings if f.dataset == facts.dataset.name and f.what is not What.NOTE]
    return {
        "layer": facts.dataset.layer.value,
        "name": facts.dataset.name,
        "read": facts.read,
        "changed": facts.changed,
        "before": facts.counts.before,
        "deleted": facts.counts.deleted,
        "tombstoned": facts.counts.tombstoned,
        "co_owned": facts.counts.co_owned,
        "after": facts.counts.after,
        "versions_purged": facts.versions_purged,
        "files_purged": facts.files_purged,
        "findings": sum(f.count for f in mine),
    }
