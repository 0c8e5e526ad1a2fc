"""From a journal to signed reports in bytes, with and without a case."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.audit.report_verify import StepState, require_valid, verify_report
from app.audit.signing import signature_holds, signature_path
from app.domain.errors import KeyMissingError
from app.domain.failpoints import FailpointError
from app.domain.findings import Verdict
from app.domain.reports import CaseFacts, IdentityCheck, Outcome
from app.stages.evidence import Built, build_reports
from tests.places import Place
from tests.stages.runs import AT, RUN, Run
from tests.verify.material import anon, person, user


def _case(name: str) -> CaseFacts:
    return CaseFacts(
        dsar_id=name,
        type="erasure",
        regulation="gdpr",
        role="controller",
        received_at=AT - timedelta(days=3),
        due_at=AT + timedelta(days=27),
        requester_kind="self",
        identity_check=IdentityCheck("key_desk", "signed in", "substantial"),
        requested_by="key_desk",
        approved_by="key_lead",
        approved_by_kind="personal",
        approved_at=AT - timedelta(days=2),
        completed_at=AT,
        log_entries=(12, 40),
    )


CASES = {p.subject: _case(f"dsar_{p.subject}") for p in (person(1), person(2))}


def _built(run: Run, **changes: Any) -> Built:
    """As another process would, later."""
    with run.journal() as journal:
        how: dict[str, Any] = {
            "run_id": RUN,
            "identities": run.people,
            "data_map": run.data_map,
            "journal": journal,
            "keys": run.keys,
            "case_key": lambda subject: f"{RUN}.{subject}",
            "cases": None,
        }
        return build_reports(**(how | changes))


def _checked(built: Built, folder: Path) -> list[dict[str, Any]]:
    """Every report, after it was verified as its reader would."""
    objects = folder / "objects"
    objects.write_bytes(built.objects)
    found = []
    for signed in (*built.subjects, built.run):
        path = folder / "report.json"
        path.write_bytes(signed.document)
        signature_path(path).write_bytes(signed.signature)
        steps = verify_report(path, public_key_pem=built.public_pem, attachment=objects)
        require_valid(steps)
        assert {s.state for s in steps} == {StepState.PASSED}
        found.append(json.loads(signed.document))
    return found


@pytest.fixture
def verified(place_file: Place, tmp_path: Path) -> Run:
    run = Run(place_file, tmp_path)
    run.verified()
    return run


def test_a_run_gives_a_report_a_person_one_of_its_own_and_the_object_list(
    verified: Run, tmp_path: Path
) -> None:
    built = _built(verified)
    first, second, whole = _checked(built, tmp_path)
    assert (built.verdict, built.outcome) == (Verdict.VERIFIED, Outcome.FULFILLED)
    assert [s.outcome for s in built.subjects] == [Outcome.FULFILLED] * 2
    assert (first["subject"]["name"], second["subject"]["name"]) == ("s1", "s2")
    assert whole["scope"] == "run"
    assert built.key_id == whole["signature"]["key_id"]
    assert built.objects_sealed
    assert whole["objects"]["sha256"] == hashlib.sha256(built.objects).hexdigest()
    assert [row["name"] for row in built.rows] == ["raw_events", "events"]
    assert first["case"]["absent"] == "offline run: no case"
    for value in (user(1), user(2), anon(1)):
        assert value.encode() not in b"".join(s.document for s in (*built.subjects, built.run))


def test_building_again_makes_the_same_bytes(verified: Run) -> None:
    assert _built(verified) == _built(verified)
    assert _built(verified, cases=CASES) == _built(verified, cases=CASES)


def test_killed_around_the_object_list_the_reports_are_built_whole_by_the_next(
    verified: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for place in ("stages.before_objects", "stages.after_objects"):
        with monkeypatch.context() as switched:
            switched.setenv("CLEARLAKE_FAILPOINTS", f"{place}=raise")
            with pytest.raises(FailpointError):
                _built(verified)
    first = _built(verified)
    _checked(first, tmp_path)
    assert _built(verified) == first


def test_a_case_is_in_the_report_on_its_person_and_nowhere_else(
    verified: Run, tmp_path: Path
) -> None:
    first, second, whole = _checked(_built(verified, cases=CASES), tmp_path)
    assert (first["case"]["id"], second["case"]["id"]) == ("dsar_s1", "dsar_s2")
    assert first["case"]["log_entries"] == {"first": 12, "last": 40}
    assert "dsar_s2" not in json.dumps(first)
    assert whole["case"]["id"] is None
    assert whole["case"]["absent"] == "a run of several cases: each is in the report on its person"


def test_an_addendum_says_its_number_and_when_it_was_made(verified: Run, tmp_path: Path) -> None:
    later = AT + timedelta(days=90)
    cases = {name: replace(case, addendum=2) for name, case in CASES.items()}
    first, *_ = _checked(_built(verified, cases=cases, reported_at=later), tmp_path)
    assert first["case"]["addendum"] == 2
    assert first["reported_at"] == "2027-02-03T12:00:00.000Z"


def test_commitments_hang_on_the_key_of_the_case(verified: Run) -> None:
    def commitments(built: Built) -> list[str]:
        said = json.loads(built.subjects[0].document)["subject"]["commitments"]
        return sorted(c["commitment"] for c in said)

    offline = commitments(_built(verified))
    own = commitments(_built(verified, case_key=lambda subject: f"dsar_{subject}"))
    assert not set(offline) & set(own)
    assert commitments(_built(verified, case_key=lambda subject: f"dsar_{subject}")) == own
    verified.keys.shred("dsar_s1")
    with pytest.raises(KeyMissingError):
        _built(verified, case_key=lambda subject: f"dsar_{subject}")


def test_the_object_list_of_many_people_is_open(place_file: Place, tmp_path: Path) -> None:
    run = Run(place_file, tmp_path, people=tuple(person(n) for n in range(1, 6)))
    run.verified()
    built = _built(run)
    assert not built.objects_sealed
    assert json.loads(built.objects)["schema"] == "clearlake.objects/1"
    assert built.subjects[4].outcome is Outcome.FULFILLED
    assert built == _built(run)
    for signed in built.subjects:
        assert signature_holds(signed.document, signed.signature, public_pem=built.public_pem)
