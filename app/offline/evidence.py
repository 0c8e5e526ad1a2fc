"""From the journal to signed reports beside each other: one a person, one for the run.

Collects facts and writes files; what a report says and how it is judged is not here.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from app.audit.files import write_durably
from app.audit.keys import KeyStore
from app.audit.objectlist import (
    SEALED_BELOW,
    object_list,
    write_object_list,
    write_sealed_object_list,
)
from app.audit.reports import run_report, subject_report
from app.audit.screening import Screen
from app.audit.signing import write_signed
from app.domain.datasets import DataMap, Dataset
from app.domain.findings import Finding, Seen, Verdict, What
from app.domain.identifiers import Identity
from app.domain.receipts import Counts
from app.domain.reports import (
    AttachmentFacts,
    DatasetFacts,
    MapFacts,
    Outcome,
    RunFacts,
    VerificationFacts,
    object_facts,
    outcome_of,
    subject_facts,
    table_facts,
    verdict_of,
)
from app.offline.journal import Journal
from app.offline.search import Seeing

_PARTS = ("clearlake", "pyarrow", "pyiceberg", "boto3", "ahocorasick-rs")
_TIMES = ("resolved", "planned", "erased", "checked", "purging", "purged", "verified")


@dataclass(frozen=True, slots=True)
class Written:
    """The files of a finished report, and what the commands show of it."""

    reports: tuple[Path, ...]
    """One a subject, in order; then the run's own."""
    public_key: Path
    verdict: Verdict
    outcome: Outcome
    outcomes: tuple[Outcome, ...]
    rows: list[dict[str, object]]


def write_reports(
    report: Path,
    *,
    run_id: str,
    identities: Sequence[Identity],
    data_map: DataMap,
    journal: Journal,
    keys: KeyStore,
) -> Written:
    """Build, sign and write every report. The same journal makes the same bytes.

    `report` is the file of a single person; for several, and for the run, `-NAME` goes before
    its suffix.
    """
    screen = Screen.of(i.value for identity in identities for i in identity.identifiers)
    datasets = _dataset_facts(data_map, journal)
    attachment = _write_objects(
        _beside(report, "objects"), run_id, data_map, journal=journal, keys=keys, screen=screen
    )
    facts = _run_facts(
        run_id, identities, datasets, data_map=data_map, journal=journal, keys=keys,
        attachment=attachment,
    )  # fmt: skip
    signer = keys.signer()
    single = len(identities) == 1
    paths = [report if single else _beside(report, i.subject) for i in identities]
    for index, path in enumerate(paths):
        write_signed(path, subject_report(facts, index, screen=screen), signer=signer)
    run_path = _beside(report, "run")
    write_signed(run_path, run_report(facts, screen=screen), signer=signer)
    public_key = report.with_name("clearlake-public.pem")
    write_durably(public_key, signer.public_pem)
    return Written(
        reports=(*paths, run_path),
        public_key=public_key,
        verdict=verdict_of(facts, None),
        outcome=outcome_of(facts, None),
        outcomes=tuple(outcome_of(facts, index) for index in range(len(identities))),
        rows=[_row(d, facts.verification.findings) for d in datasets],
    )


def _beside(report: Path, name: str) -> Path:
    return report.with_name(f"{report.stem}-{name}{report.suffix}")


def _run_facts(
    run_id: str,
    identities: Sequence[Identity],
    datasets: tuple[DatasetFacts, ...],
    *,
    data_map: DataMap,
    journal: Journal,
    keys: KeyStore,
    attachment: AttachmentFacts,
) -> RunFacts:
    seeing = journal.document("seeing", Seeing)
    assert seeing is not None
    for identity in identities:
        keys.create(f"{run_id}.{identity.subject}")
    times = {name: t for name in _TIMES if (t := _time(journal, f"{name}_at")) is not None}
    if "purging" in times:
        times["point_of_no_return"] = times.pop("purging")
    reported_at = times["verified"]
    return RunFacts(
        run_id=run_id,
        subjects=tuple(
            subject_facts(
                identities,
                n,
                commit=keys.commitments(f"{run_id}.{identity.subject}").of,
                met=bool(identity.sources or identity.linked or identity.derived),
            )
            for n, identity in enumerate(identities)
        ),
        datasets=datasets,
        verification=VerificationFacts(
            code="app.lake.verify",
            credential="verify",
            findings=seeing.findings,
            undeclared=seeing.undeclared,
        ),
        data_map=MapFacts(digest=data_map.digest),
        downstream=data_map.downstream,
        resolved_at=times["resolved"],
        horizon_at=seeing.horizon_at,
        reported_at=reported_at,
        signing_key_id=keys.signer().key_id,
        settings_digest=settings_digest(data_map),
        times=times,
        versions=_versions(),
        attachment=attachment,
    )


def settings_digest(data_map: DataMap) -> str:
    """SHA-256 over the settings that decide what a run does, as far as the map sets them."""
    said = [
        data_map.unparsable, data_map.tags, str(data_map.reader_grace), str(data_map.undo_window),
        data_map.shared.anon_id, data_map.shared.device_fp, str(data_map.shared.review_above),
    ]  # fmt: skip
    return hashlib.sha256("\n".join(said).encode()).hexdigest()


def _time(journal: Journal, name: str) -> datetime | None:
    text = journal.fact(name)
    return None if text is None else datetime.fromisoformat(text)


def _versions() -> Mapping[str, str]:
    found = {"python": platform.python_version()}
    for part in _PARTS:
        try:
            found[part] = version(part)
        except PackageNotFoundError:
            found[part] = "not installed as a package"
    return found


def _dataset_facts(data_map: DataMap, journal: Journal) -> tuple[DatasetFacts, ...]:
    seeing = journal.document("seeing", Seeing)
    assert seeing is not None
    found = []
    for dataset in data_map.bronze:
        facts = object_facts(
            dataset,
            journal.works(dataset.name),
            horizon=seeing.horizons[dataset.name],
            seen=seeing.seen.get(dataset.name, Seen()),
        )
        earlier = journal.document(f"earlier:{dataset.name}", Counts) or Counts()
        found.append(replace(facts, counts=facts.counts + earlier))
    for dataset in data_map.tables:
        work = journal.table_work(dataset.name)
        assert work is not None
        found.append(
            table_facts(
                dataset,
                work,
                horizon=seeing.horizons[dataset.name],
                seen=seeing.seen.get(dataset.name, Seen()),
            )
        )
    return tuple(found)


def _write_objects(
    path: Path,
    run_id: str,
    data_map: DataMap,
    *,
    journal: Journal,
    keys: KeyStore,
    screen: Screen,
) -> AttachmentFacts:
    tables = [(d, journal.table_work(d.name)) for d in data_map.tables]
    document = object_list(
        run_id,
        objects=[(d, w) for d in data_map.bronze for w in journal.works(d.name)],
        tables=[(d, w) for d, w in tables if w is not None],
        screen=screen,
    )
    if int(journal.fact("subjects") or 0) < SEALED_BELOW:
        sealed = path.with_name(path.name + ".sealed")
        return write_sealed_object_list(sealed, document, sealer=keys.sealer(run_id))
    return write_object_list(path, document)


def _row(facts: DatasetFacts, findings: Sequence[Finding]) -> dict[str, object]:
    """A line of the table at the end, and of `--json`."""
    dataset: Dataset = facts.dataset
    mine = [f for f in findings if f.dataset == dataset.name and f.what is not What.NOTE]
    return {
        "layer": dataset.layer.value,
        "name": dataset.name,
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
