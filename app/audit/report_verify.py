"""Checks a report offline, step by step: bytes, fields, signature, attachment, arithmetic, verdict.

Shares no judgement with the builder: what a report must say is written down here a second time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import UNSET

from app.audit.canonical import NotCanonicalError, canonical_bytes, parse_json
from app.audit.report_schema import Dataset, Report, Share, read_report
from app.audit.signing import SIGNATURE_BYTES, key_id_of, signature_holds, signature_path
from app.domain.errors import ReportInvalidError

MAX_REPORT_BYTES = 64 * 1024 * 1024
_SENTENCE = re.compile(
    r"For the (\d+) identifiers? resolved at (\S+), .* in the (\d+) declared places? up to "
    r"([^\s;]+).*; it does not show that the list of identifiers or places is complete\."
)
_CLEAN_SENTENCE = re.compile(
    r"For the \d+ identifiers? resolved at \S+, no occurrence was found in the \d+ declared "
    r"places? up to \S+; it does not show that the list of identifiers or places is complete\."
)
_FAILED = {"residue", "cannot_see", "arithmetic"}
_PARTIAL = {"withheld", "held", "parked", "unreadable", "untouched"}
_COMPLETED = {"fulfilled", "fulfilled_with_withheld", "not_found"}
_STUCK = {"residue", "cannot_see", "arithmetic", "unreadable", "parked"}


class StepState(StrEnum):
    """How one step of the check ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    """It could not be looked at, and says what was missing. Not a failure."""
    NOT_REACHED = "not_reached"
    """A step before it failed."""


@dataclass(frozen=True, slots=True)
class Step:
    """One numbered step, in words for whoever reads the result."""

    number: int
    name: str
    state: StepState
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing was found wrong. A step that was not reached has not passed."""
        return self.state in {StepState.PASSED, StepState.SKIPPED}


class _BrokenError(Exception):
    """What is wrong, in a sentence."""


@dataclass(slots=True)
class _Bench:
    """What lies on the table while a report is checked."""

    path: Path
    public_pem: bytes
    attachment: Path | None
    data: bytes = b""
    report: Report = field(init=False)


def verify_report(path: Path, *, public_key_pem: bytes, attachment: Path | None) -> list[Step]:
    """Check a report against its signature beside it and, where given, the run's object list.

    Every step is in the answer. The first that fails ends the check, and names what broke.
    UsageError when the key is not an Ed25519 public key.
    """
    bench = _Bench(path, public_key_pem, attachment)
    key_id_of(public_key_pem)
    steps: list[Step] = []
    failed = False
    for number, (name, check) in enumerate(_STEPS, 1):
        if failed:
            steps.append(Step(number, name, StepState.NOT_REACHED))
            continue
        try:
            missing = check(bench)
        except (_BrokenError, NotCanonicalError, OSError) as err:
            failed = True
            steps.append(Step(number, name, StepState.FAILED, _in_words(err)))
        else:
            state = StepState.SKIPPED if missing else StepState.PASSED
            steps.append(Step(number, name, state, missing or ""))
    return steps


def require_valid(steps: list[Step]) -> None:
    """ReportInvalidError that names the step that failed."""
    for step in steps:
        if step.state is StepState.FAILED:
            raise ReportInvalidError(f"Step {step.number}, {step.name}: {step.detail}")


def _in_words(err: Exception) -> str:
    if isinstance(err, OSError):
        return f"A file cannot be read: {err.strerror or 'refused'}."
    return str(err)


# --- 1. to 3. the file -----------------------------------------------------------------------


def _readable(bench: _Bench) -> None:
    with bench.path.open("rb") as file:
        bench.data = file.read(MAX_REPORT_BYTES + 1)
    if len(bench.data) > MAX_REPORT_BYTES:
        raise _BrokenError("The file is larger than any report.")
    parse_json(bench.data)


def _canonical(bench: _Bench) -> None:
    if canonical_bytes(parse_json(bench.data)) != bench.data:
        raise _BrokenError("The bytes are not the canonical form of their content (RFC 8785).")


def _fields(bench: _Bench) -> None:
    try:
        bench.report = report = read_report(bench.data)
    except msgspec.ValidationError as err:
        place = str(err).rpartition("`$")[2].rstrip("`")
        raise _BrokenError(f"A field is missing, unknown or wrong at ${place}.") from err
    one = report.scope == "subject"
    if (report.subject is not None) != one or (report.subjects is None) != one:
        raise _BrokenError("The scope and the subject do not agree.")
    if any((d.subject is not None) != one or (d.shares is None) != one for d in report.datasets):
        raise _BrokenError("The scope and the shares of a dataset do not agree.")
    if problem := _case_problem(report):
        raise _BrokenError(f"The case {problem}.")


def _case_problem(report: Report) -> str | None:
    case = report.case
    always = (
        case.id, case.type, case.regulation, case.received_at, case.due_at, case.requester,
        case.identity_check, case.requested_by,
    )  # fmt: skip
    sometimes = (case.acknowledged_at, case.completed_at, case.extension, case.approved_by)
    added = (
        case.region, case.role, case.approved_at, case.approval, case.addendum, case.log_entries
    )  # fmt: skip
    if case.absent is not None:
        empty = {*always, *sometimes} == {None} and set(added) == {UNSET}
        return None if empty else "is said to be absent, and something is said of it"
    if report.scope == "run":
        return "of a run is not one"
    if None in always or UNSET in added:
        return "is not whole"
    approved = case.approved_by is not None
    if (case.approved_at is not None) != approved or (case.approval == "not approved") == approved:
        return "does not agree with itself about its approval"
    if case.completed_at is not None and report.verdict.outcome not in _COMPLETED:
        return "is said to be completed while something is left"
    return None


# --- 4. and 5. the signature -----------------------------------------------------------------


def _key(bench: _Bench) -> None:
    signature = signature_path(bench.path)
    if not signature.is_file():
        raise _BrokenError("There is no signature file (REPORT.json.sig) beside the report.")
    if signature.stat().st_size != SIGNATURE_BYTES:
        raise _BrokenError(f"The signature file does not have {SIGNATURE_BYTES} bytes.")
    if bench.report.signature.key_id != key_id_of(bench.public_pem):
        raise _BrokenError("The report names another key than the one given.")


def _signature(bench: _Bench) -> None:
    signature = signature_path(bench.path).read_bytes()
    if not signature_holds(bench.data, signature, public_pem=bench.public_pem):
        raise _BrokenError("The signature is not one of these bytes by this key.")


# --- 6. the attachment -----------------------------------------------------------------------


def _attachment(bench: _Bench) -> str | None:
    objects = bench.report.objects
    if objects is None:
        if bench.attachment is not None:
            raise _BrokenError("The report has no object list, but one was given.")
        return "The report has no object list."
    if bench.attachment is None:
        return "The object list was not given."
    with bench.attachment.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != objects.sha256:
            raise _BrokenError("The object list is not the one that the report names.")
    return None


# --- 7. and 8. what it says ------------------------------------------------------------------


def _arithmetic(bench: _Bench) -> None:
    report = bench.report
    named = {e.dataset for e in report.exceptions if e.what == "arithmetic"}
    for number, dataset in enumerate(report.datasets):
        problem = _problem(dataset)
        # A run whose counts do not add up is reported as such, and that report is a true one.
        if problem and dataset.name not in named:
            raise _BrokenError(f"datasets[{number}]: {problem}.")
    identifiers = report.verdict.identifiers
    if report.subject is not None:
        subject = report.subject
        numbers = {len(subject.commitments), sum(subject.counts.values())}
        if numbers != {identifiers} or sum(subject.origins.values()) != identifiers:
            raise _BrokenError("The number of identifiers and the commitments do not agree.")
    elif sum(s.identifiers for s in report.subjects or ()) != identifiers:
        raise _BrokenError("The numbers of identifiers do not add up.")
    if len(report.datasets) != report.verdict.places:
        raise _BrokenError("The number of places and the datasets do not agree.")


def _problem(dataset: Dataset) -> str | None:
    totals = dataset.run_totals
    if totals.after != totals.before - totals.deleted:
        return "after is not before less deleted"
    if totals.deleted + totals.tombstoned > totals.before or totals.co_owned > totals.tombstoned:
        return "more rows changed than there were"
    whole = (totals.deleted, totals.tombstoned, totals.co_owned, totals.kept)
    shares = list((dataset.shares or {}).values())
    if shares and tuple(map(sum, zip(*map(_numbers, shares), strict=True))) != whole:
        return "the shares do not add up to the run's numbers"
    mine = dataset.subject
    if mine and any(p > w for p, w in zip(_numbers(mine), whole, strict=True)):
        return "the subject's share is more than the run's number"
    return None


def _numbers(share: Share) -> tuple[int, int, int, int]:
    return (share.deleted, share.tombstoned, share.co_owned, share.kept)


def _verdict(bench: _Bench) -> None:
    report = bench.report
    page = report.verdict
    kinds: set[str] = {e.what for e in report.exceptions}
    listed = {(e.what, e.layer, e.dataset) for e in report.exceptions}
    if not {(f.what, f.layer, f.dataset) for f in report.verification.findings} <= listed:
        raise _BrokenError("A finding is not among the exceptions.")
    kinds |= {"withheld"} if page.kept else set()
    if page.value != _verdict_of(kinds):
        raise _BrokenError("The verdict does not follow from what the report lists.")
    outcomes = _outcomes_of(kinds)
    if page.outcome not in outcomes:
        raise _BrokenError("The outcome does not follow from what the report lists.")
    said = _SENTENCE.fullmatch(page.statement)
    expected = (str(page.identifiers), page.resolved_at, str(page.places), page.horizon_at)
    if said is None or said.groups() != expected:
        raise _BrokenError("The statement does not say what the report lists.")
    if (_CLEAN_SENTENCE.fullmatch(page.statement) is not None) != (page.value == "VERIFIED"):
        raise _BrokenError("The statement says something else than the verdict.")
    if len(page.left) != sum(e.what != "note" for e in report.exceptions):
        raise _BrokenError("Page one does not list every exception.")


def _verdict_of(kinds: set[str]) -> str:
    if kinds & _FAILED:
        return "FAILED"
    if kinds & _PARTIAL:
        return "PARTIAL"
    return "DEFERRED" if "deferred" in kinds else "VERIFIED"


def _outcomes_of(kinds: set[str]) -> set[str]:
    if kinds & _STUCK:
        return {"stuck"}
    if "untouched" in kinds:
        return {"limited"}
    if "held" in kinds:
        return {"on_hold"}
    if "deferred" in kinds:
        return {"pending_retention"}
    return {"fulfilled_with_withheld"} if "withheld" in kinds else {"fulfilled", "not_found"}


_STEPS: tuple[tuple[str, Callable[[_Bench], str | None]], ...] = (
    ("the file is readable JSON", _readable),
    ("the bytes are canonical", _canonical),
    ("the schema is known and the fields are right", _fields),
    ("the signature is there and names this key", _key),
    ("the signature holds", _signature),
    ("the object list is the one named", _attachment),
    ("the numbers add up", _arithmetic),
    ("the verdict follows from the evidence", _verdict),
)
