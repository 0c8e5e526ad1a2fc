"""The report: true to its facts, the same bytes each time, and nobody's identifier in it."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.audit.canonical import NotCanonicalError
from app.audit.keys import Commitments
from app.audit.report_text import LIMITS
from app.audit.reports import run_report, subject_report
from app.audit.screening import WITHHELD, Screen
from app.domain.datasets import DownstreamNone
from app.domain.findings import Finding, Verdict, What
from app.domain.report_facts import subject_facts
from app.domain.reports import (
    Left,
    Outcome,
    RunFacts,
    SharedFacts,
    outcome_of,
    verdict_of,
)
from tests.audit.report_facts import (
    ANNA,
    BERT,
    NO_SCREEN,
    NOON,
    VALUES,
    clean_run,
    runs,
    subject,
    with_findings,
    with_kept,
    with_left,
)

GOLDEN = Path(__file__).parent / "golden-report.json"


def read(facts: RunFacts, index: int | None = 0) -> Any:
    if index is None:
        return json.loads(run_report(facts, screen=NO_SCREEN))
    return json.loads(subject_report(facts, index, screen=NO_SCREEN))


def found(what: What, *, who: int | None = None) -> Finding:
    return Finding(what, "bronze", "raw_events", "object 1", subject=who)


# --- page one ------------------------------------------------------------------------------------


def test_a_clean_run_says_the_sentence_and_no_more() -> None:
    page = read(clean_run())["verdict"]
    assert page["value"] == "VERIFIED"
    assert page["where"] == "in the declared lake"
    assert page["statement"] == (
        "For the 2 identifiers resolved at 2026-11-05T12:00:00.000Z, no occurrence was found in "
        "the 3 declared places up to 2026-11-05T13:00:00.000Z; it does not show that the list of "
        "identifiers or places is complete."
    )
    assert (page["outcome"], page["left"], page["kept"]) == ("fulfilled", [], [])


@pytest.mark.parametrize(
    ("what", "verdict", "outcome"),
    [
        (What.RESIDUE, Verdict.FAILED, Outcome.STUCK),
        (What.CANNOT_SEE, Verdict.FAILED, Outcome.STUCK),
        (What.ARITHMETIC, Verdict.FAILED, Outcome.STUCK),
        (What.UNREADABLE, Verdict.PARTIAL, Outcome.STUCK),
        (What.PARKED, Verdict.PARTIAL, Outcome.STUCK),
        (What.HELD, Verdict.PARTIAL, Outcome.ON_HOLD),
        (What.WITHHELD, Verdict.PARTIAL, Outcome.FULFILLED_WITH_WITHHELD),
        (What.DEFERRED, Verdict.DEFERRED, Outcome.PENDING_RETENTION),
        (What.NOTE, Verdict.VERIFIED, Outcome.FULFILLED),
    ],
)
def test_each_kind_of_finding_has_its_verdict_and_outcome(
    what: What, verdict: Verdict, outcome: Outcome
) -> None:
    facts = with_findings(clean_run(), found(what))
    page = read(facts)["verdict"]
    assert (page["value"], page["outcome"]) == (verdict.value, outcome.value)
    assert ("no occurrence was found in the 3" in page["statement"]) == (
        verdict is not Verdict.FAILED
    )
    assert page["statement"].endswith("list of identifiers or places is complete.")
    assert len(page["left"]) == (what is not What.NOTE)


def test_a_finding_about_somebody_else_is_not_this_persons() -> None:
    facts = with_findings(clean_run(), found(What.RESIDUE, who=1))
    assert verdict_of(facts, 0) is Verdict.VERIFIED
    assert verdict_of(facts, 1) is verdict_of(facts, None) is Verdict.FAILED


def test_a_finding_of_an_earlier_person_with_a_value_in_common_counts_for_both() -> None:
    facts = with_findings(clean_run(), found(What.RESIDUE, who=0))
    second = replace(facts.subjects[1], earlier=frozenset({0}))
    facts = replace(facts, subjects=(facts.subjects[0], second))
    assert verdict_of(facts, 1) is Verdict.FAILED


def test_what_nobody_can_be_ruled_out_of_counts_for_everybody() -> None:
    until = datetime(2027, 1, 1, tzinfo=UTC)
    facts = with_left(clean_run(), Left(What.DEFERRED, 3, "versions", until))
    assert {outcome_of(facts, n) for n in (0, 1, None)} == {Outcome.PENDING_RETENTION}
    page = read(facts)["verdict"]
    said = "raw_events: bytes that a COMPLIANCE lock protects (3 versions), until {}."
    assert page["left"] == [said.format("2027-01-01T00:00:00.000Z")]


def test_the_last_date_of_several_locks_is_the_one_promised() -> None:
    untils = [datetime(2027, m, 1, tzinfo=UTC) for m in (3, 9, 6)]
    facts = with_left(clean_run(), *(Left(What.DEFERRED, 1, "versions", u) for u in untils))
    entry = read(facts)["exceptions"][0]
    assert (entry["until"], entry["items"]) == ("2027-09-01T00:00:00.000Z", {"versions": 3})


def test_rows_kept_on_a_ground_are_named_with_it() -> None:
    facts = with_kept(clean_run(), rows=4)
    page = read(facts)["verdict"]
    assert (page["value"], page["outcome"]) == ("PARTIAL", "fulfilled_with_withheld")
    assert page["kept"] == [
        {
            "dataset": "fact_orders",
            "rows": 4,
            "values": 0,
            "grounds": [
                {
                    "ground": "GDPR 17(3)(e), open dispute",
                    "until": "2027-01-31",
                    "approved_by": None,
                }
            ],
        }
    ]
    assert read(facts, 1)["verdict"]["value"] == "VERIFIED"


def test_a_shared_value_that_is_kept_is_said_and_forbids_verified() -> None:
    facts = clean_run()
    kept = SharedFacts(facts.subjects[0].shared[0].kind, 3, "keep", "c" * 64)
    facts = replace(facts, subjects=(replace(facts.subjects[0], shared=(kept,)), subject("s2")))
    page = read(facts)["verdict"]
    assert (page["value"], page["kept"][0]["values"]) == ("PARTIAL", 1)


def test_a_person_nobody_met_is_not_found() -> None:
    facts = clean_run()
    nobody = replace(subject("s3", count=1), met=False)
    facts = replace(facts, subjects=(*facts.subjects, nobody))
    assert outcome_of(facts, 2) is Outcome.NOT_FOUND
    assert "nothing to erase" in read(facts, 2)["verdict"]["outcome_means"]
    assert outcome_of(facts, None) is Outcome.FULFILLED


def test_a_person_met_on_other_peoples_rows_only_was_found() -> None:
    facts = clean_run()
    facts = replace(facts, subjects=(*facts.subjects, subject("s3", count=1)))
    assert outcome_of(facts, 2) is Outcome.FULFILLED


def test_silence_about_copies_outside_the_lake_is_said() -> None:
    facts = clean_run()
    assert read(facts)["verdict"]["downstream"]["copies"][0]["state"] == "open"
    silent = read(replace(facts, downstream=()))["verdict"]["downstream"]
    assert (silent["declared"], silent["copies"]) == ("nothing", [])
    none = DownstreamNone("actor_1", "2026-11-01")
    attested = read(replace(facts, downstream=none))["verdict"]["downstream"]
    assert "attested as none by actor_1" in attested["said"]


# --- what was done -------------------------------------------------------------------------------


def test_run_totals_and_the_subjects_share_stand_beside_each_other() -> None:
    bronze = read(clean_run())["datasets"][0]
    assert bronze["run_totals"] == {
        "before": 1000,
        "after": 987,
        "deleted": 13,
        "tombstoned": 6,
        "co_owned": 1,
        "kept": 0,
        "values": 12,
        "parked": 0,
    }
    assert bronze["subject"] == {"deleted": 10, "tombstoned": 4, "co_owned": 1, "kept": 0}
    assert bronze["shares"] is None


def test_the_run_report_has_every_share_and_no_commitment() -> None:
    report = read(clean_run(), None)
    shares = report["datasets"][0]["shares"]
    assert {name: s["deleted"] for name, s in shares.items()} == {"s1": 10, "s2": 3}
    assert report["subject"] is None
    assert [s["outcome"] for s in report["subjects"]] == ["fulfilled", "fulfilled"]
    assert subject("s1").commitments[0].digest not in json.dumps(report)


def test_counts_that_do_not_add_up_give_a_failed_report_not_none() -> None:
    facts = clean_run()
    first, *rest = facts.datasets
    wrong = replace(first, counts=replace(first.counts, deleted=14))
    for index in (0, 1, None):
        report = read(replace(facts, datasets=(wrong, *rest)), index)
        assert report["verdict"]["value"] == "FAILED"
        assert "add up to 13" in report["verification"]["findings"][0]["detail"]


def test_parts_that_need_a_case_are_null_with_the_reason() -> None:
    report = read(clean_run())
    case = dict(report["case"])
    assert case.pop("absent") == "offline run: no case"
    assert set(case.values()) == {None}
    assert report["provenance"]["checkpoint"] is None
    assert report["provenance"]["absent"] == "offline run: no audit log"


def test_every_report_says_what_it_does_not_show() -> None:
    assert read(clean_run())["limits"] == list(LIMITS)


# --- the same bytes ------------------------------------------------------------------------------


def test_the_bytes_of_a_report_are_these() -> None:
    """A change here is a change of `clearlake.report/1`: readers of older reports must cope."""
    facts = with_left(
        with_kept(with_findings(clean_run(), found(What.NOTE, who=0)), rows=2),
        Left(What.DEFERRED, 3, "versions", datetime(2027, 1, 1, tzinfo=UTC), "COMPLIANCE lock"),
    )
    assert subject_report(facts, 0, screen=NO_SCREEN) == GOLDEN.read_bytes().rstrip(b"\n")


@given(facts=runs(), data=st.data())
def test_the_order_in_which_facts_came_in_does_not_change_a_byte(
    facts: RunFacts, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(facts.verification.findings))
    again = replace(
        with_findings(facts, *shuffled),
        times=dict(reversed(list(facts.times.items()))),
        reported_at=facts.reported_at.astimezone(timezone(timedelta(hours=5))),
    )
    assert subject_report(again, 0, screen=NO_SCREEN) == subject_report(facts, 0, screen=NO_SCREEN)


def test_a_time_without_a_zone_is_refused() -> None:
    facts = replace(clean_run(), reported_at=NOON.replace(tzinfo=None))
    with pytest.raises(NotCanonicalError):
        subject_report(facts, 0, screen=NO_SCREEN)


# --- nobody in it --------------------------------------------------------------------------------


def forms(value: str) -> set[bytes]:
    raw = value.encode()
    plain = {raw, raw.upper(), raw.lower(), raw[::-1], quote(value, safe="").encode()}
    plain |= {raw.hex().encode(), base64.b64encode(raw).rstrip(b"="), base64.b32encode(raw)}
    for name in ("md5", "sha1", "sha256", "sha512", "blake2b"):
        hashed = hashlib.new(name, raw)
        plain |= {hashed.hexdigest().encode(), base64.b64encode(hashed.digest())}
    return plain


def test_no_identifier_stands_in_a_report_in_any_form() -> None:
    """Even where careless text brings one in: a place, a warning, a reason, a column, a source."""
    people = (ANNA, BERT)
    careless = [f"at {value.upper()}!" for value in VALUES]
    who = tuple(
        replace(
            subject_facts(people, n, commit=Commitments(bytes([n]) * 32).of),
            sources=tuple(careless),
        )
        for n in range(2)
    )
    facts = replace(clean_run(), subjects=who)
    seen = [Finding(What.NOTE, "gold", "x", quote(v, safe=""), detail=f"in {v}") for v in VALUES]
    facts = with_findings(facts, *seen)
    facts = with_left(facts, *(Left(What.HELD, 1, "files", reason=text) for text in careless))
    first, *rest = facts.datasets
    first = replace(
        first,
        warnings=tuple(careless),
        counts=replace(first.counts, undeclared={f"payload.{v}": 1 for v in VALUES}),
    )
    facts = replace(facts, datasets=(first, *rest))
    screen = Screen.of(VALUES)
    for data in (*(subject_report(facts, n, screen=screen) for n in (0, 1)), run_report(
        facts, screen=screen
    )):  # fmt: skip
        assert [v for v in VALUES for form in forms(v) if form in data] == []
        assert WITHHELD.encode() in data


def test_a_text_without_an_identifier_passes_the_screen_as_it_is() -> None:
    screen = Screen.of(VALUES)
    assert (
        screen.clean("column page.path, usr_somebody_else") == "column page.path, usr_somebody_else"
    )
    assert screen.key("s3://analytics/raw/evt-1.ndjson") == "s3://analytics/raw/evt-1.ndjson"


def test_text_that_is_no_text_does_not_prevent_a_report() -> None:
    """A key in somebody's JSON can be a lone surrogate."""
    facts = clean_run()
    first, *rest = facts.datasets
    odd = replace(first, counts=replace(first.counts, undeclared={"payload.\ud800": 1}))
    report = read(replace(facts, datasets=(odd, *rest)))
    assert report["datasets"][0]["undeclared"] == {"payload.\\ud800": 1}


def test_a_value_that_is_no_text_is_still_screened() -> None:
    assert Screen.of(["usr_\ud800"]).holds("at usr_\ud800!")
