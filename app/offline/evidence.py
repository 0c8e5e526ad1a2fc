"""The files of a finished run: reports with their signatures, the object list, the public key.

What stands in them is app.stages.evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.audit.files import write_durably
from app.audit.signing import signature_path
from app.domain.failpoints import failpoint
from app.domain.findings import Verdict
from app.domain.reports import Outcome
from app.stages.evidence import Built, SignedDocument


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


def write_reports(report: Path, built: Built, *, subjects: Sequence[str]) -> Written:
    """Write every file of these reports. Twice is the same.

    `report` is the file of a single person; for several, and for the run, `-NAME` goes before
    its suffix.
    """
    objects = _beside(report, "objects")
    if built.objects_sealed:
        objects = objects.with_name(objects.name + ".sealed")
    failpoint("report.before_objects")
    write_durably(objects, built.objects)
    failpoint("report.after_objects")
    single = len(subjects) == 1
    paths = [report if single else _beside(report, name) for name in subjects]
    paths.append(_beside(report, "run"))
    for path, document in zip(paths, (*built.subjects, built.run), strict=True):
        _write_signed(path, document)
    public_key = report.with_name("clearlake-public.pem")
    write_durably(public_key, built.public_pem)
    return Written(
        reports=tuple(paths),
        public_key=public_key,
        verdict=built.verdict,
        outcome=built.outcome,
        outcomes=tuple(s.outcome for s in built.subjects),
        rows=built.rows,
    )


def _write_signed(path: Path, signed: SignedDocument) -> None:
    """The signature first: a crash between leaves no file that looks signed and is not."""
    failpoint("report.before_signature")
    write_durably(signature_path(path), signed.signature)
    failpoint("report.after_signature")
    write_durably(path, signed.document)
    failpoint("report.after_file")


def _beside(report: Path, name: str) -> Path:
    return report.with_name(f"{report.stem}-{name}{report.suffix}")
