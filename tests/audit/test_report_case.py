"""The case in a report: ids, dates and decisions as they were given, and nothing it may not say."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.audit.canonical import canonical_bytes
from app.audit.report_verify import Step, StepState, verify_report
from app.audit.reports import run_report, subject_report
from app.audit.screening import WITHHELD, Screen
from app.audit.signing import Signer, write_signed
from app.domain.findings import What
from app.domain.reports import CaseFacts, IdentityCheck, Left, RunFacts
from tests.audit.report_facts import NO_SCREEN, NOON, VALUES, clean_run, with_left

SIGNER = Signer.of_seed(bytes(range(32)))
CASE = CaseFacts(
    dsar_id="dsar_01test",
    type="erasure",
    regulation="gdpr",
    region="DE",
    role="controller",
    received_at=NOON - timedelta(days=9),
    acknowledged_at=NOON - timedelta(days=8),
    due_at=NOON + timedelta(days=22),
    completed_at=NOON,
    extension_reason="many systems",
    requester_kind="guardian",
    identity_check=IdentityCheck("key_desk", method="signed in", level="substantial"),
    requested_by="key_desk",
    approved_by="key_lead",
    approved_by_kind="personal",
    approved_at=NOON - timedelta(days=1),
    log_entries=(3, 17),
)
Change = Callable[[dict[str, Any]], None]


def with_case(case: CaseFacts | None, facts: RunFacts | None = None) -> RunFacts:
    facts = replace(facts or clean_run(), signing_key_id=SIGNER.key_id, attachment=None)
    return replace(facts, subjects=tuple(replace(s, case=case) for s in facts.subjects))


def read(facts: RunFacts, *, screen: Screen = NO_SCREEN) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(subject_report(facts, 0, screen=screen))
    return found


def checked(folder: Path, data: bytes) -> list[Step]:
    path = folder / "report.json"
    write_signed(path, data, signer=SIGNER)
    return verify_report(path, public_key_pem=SIGNER.public_pem, attachment=None)


def failure(steps: list[Step]) -> str:
    [failed] = [s for s in steps if s.state is StepState.FAILED]
    assert failed.number == 3
    return failed.detail


def test_a_case_is_printed_whole_and_the_report_verifies(tmp_path: Path) -> None:
    facts = with_case(CASE)
    assert read(facts)["case"] == {
        "id": "dsar_01test",
        "type": "erasure",
        "regulation": "gdpr",
        "region": "DE",
        "role": "controller",
        "received_at": "2026-10-27T12:00:00.000Z",
        "acknowledged_at": "2026-10-28T12:00:00.000Z",
        "due_at": "2026-11-27T12:00:00.000Z",
        "completed_at": "2026-11-05T12:00:00.000Z",
        "extension": "many systems",
        "requester": "guardian",
        "identity_check": "signed in, level substantial; asserted by key_desk",
        "requested_by": "key_desk",
        "approved_by": "key_lead",
        "approved_at": "2026-11-04T12:00:00.000Z",
        "approval": "approved by a person",
        "addendum": 0,
        "log_entries": {"first": 3, "last": 17},
        "absent": None,
    }
    assert read(facts)["provenance"]["absent"] != "offline run: no audit log"
    for data in (subject_report(facts, 0, screen=NO_SCREEN), run_report(facts, screen=NO_SCREEN)):
        assert all(s.passed for s in checked(tmp_path, data))


def test_what_is_not_known_of_a_case_is_null_or_said(tmp_path: Path) -> None:
    bare = replace(
        CASE,
        region=None,
        acknowledged_at=None,
        completed_at=None,
        extension_reason=None,
        identity_check=IdentityCheck("key_desk"),
        approved_by=None,
        approved_by_kind=None,
        approved_at=None,
        log_entries=None,
    )
    case = read(with_case(bare))["case"]
    assert case["identity_check"] == "no method recorded; asserted by key_desk"
    assert case["approval"] == "not approved"
    nothing = {name for name, value in case.items() if value is None}
    assert nothing == {
        "region", "acknowledged_at", "completed_at", "extension", "approved_by", "approved_at",
        "log_entries", "absent",
    }  # fmt: skip
    data = subject_report(with_case(bare), 0, screen=NO_SCREEN)
    assert all(s.passed for s in checked(tmp_path, data))


def test_an_approval_by_a_service_key_is_said_in_words(tmp_path: Path) -> None:
    facts = with_case(replace(CASE, approved_by_kind="service"))
    said = read(facts)["case"]["approval"]
    assert said == "approved by a service key: allowed in the demo only"
    data = subject_report(facts, 0, screen=NO_SCREEN)
    assert all(s.passed for s in checked(tmp_path, data))


@pytest.mark.parametrize("what", [What.PARKED, What.HELD, What.DEFERRED])
def test_a_case_is_never_said_to_be_completed_while_something_is_left(
    what: What, tmp_path: Path
) -> None:
    facts = with_left(with_case(CASE), Left(what, 1, "versions"))
    report = read(facts)
    assert report["case"]["completed_at"] is None
    report["case"]["completed_at"] = "2026-11-05T12:00:00.000Z"
    steps = checked(tmp_path, canonical_bytes(report))
    assert failure(steps) == "The case is said to be completed while something is left."


def test_free_text_that_names_the_person_is_withheld() -> None:
    value = VALUES[0]
    careless = replace(
        CASE,
        region=value,
        extension_reason=f"see {value}",
        requester_kind=value,
        identity_check=IdentityCheck(value, method=value),
        requested_by=value,
        approved_by=value,
    )
    data = subject_report(with_case(careless), 0, screen=Screen.of(VALUES))
    assert value.encode() not in data
    assert json.loads(data)["case"]["extension"] == WITHHELD


def test_two_cases_of_a_run_do_not_stand_in_each_others_reports() -> None:
    facts = with_case(CASE)
    first, second = facts.subjects
    other = replace(second, case=replace(CASE, dsar_id="dsar_other"))
    facts = replace(facts, subjects=(first, other))
    assert b"dsar_other" not in subject_report(facts, 0, screen=NO_SCREEN)
    assert b"dsar_01test" not in subject_report(facts, 1, screen=NO_SCREEN)
    whole = run_report(facts, screen=NO_SCREEN)
    assert b"dsar_" not in whole


def _without(name: str) -> Change:
    return lambda case: case.pop(name)


def _saying(**fields: Any) -> Change:
    return lambda case: case.update(fields)


WRONG: dict[str, tuple[CaseFacts | None, Change, str]] = {
    "an id is missing": (CASE, _saying(id=None), "not whole"),
    "a date is missing": (CASE, _saying(due_at=None), "not whole"),
    "a date is none": (CASE, _saying(received_at="yesterday"), "received_at"),
    "an approval without an approver": (CASE, _saying(approved_by=None), "its approval"),
    "an approver who did not approve": (CASE, _saying(approval="not approved"), "its approval"),
    "words of its own for an approval": (CASE, _saying(approval="fine"), "approval"),
    "a part left out": (CASE, _without("role"), "not whole"),
    "a number below nought": (CASE, _saying(addendum=-1), "addendum"),
    "a case that is absent": (CASE, _saying(absent="offline run: no case"), "absent"),
    "something of a case that is not": (None, _saying(type="erasure"), "absent"),
    "a part of a case that is not": (None, _saying(addendum=0), "absent"),
    "silence": (None, _saying(absent=None), "not whole"),
    "an unknown field": (CASE, _saying(more=1), "case"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_case_that_does_not_hold_together_is_refused(name: str, tmp_path: Path) -> None:
    case, change, said = WRONG[name]
    report = read(with_case(case))
    change(report["case"])
    assert said in failure(checked(tmp_path, canonical_bytes(report)))


def test_a_case_in_the_report_of_a_run_is_refused(tmp_path: Path) -> None:
    facts = with_case(CASE)
    whole = json.loads(run_report(facts, screen=NO_SCREEN))
    whole["case"] = read(facts)["case"]
    assert failure(checked(tmp_path, canonical_bytes(whole))) == "The case of a run is not one."
