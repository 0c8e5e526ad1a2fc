"""Checking a report offline: what was signed passes, anything else fails with a name."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from app.audit.canonical import canonical_bytes
from app.audit.keys import KeyStore
from app.audit.objectlist import object_list, open_list, sealed_list
from app.audit.report_verify import Step, StepState, require_valid, verify_report
from app.audit.reports import run_report, subject_report
from app.audit.screening import Screen
from app.audit.signing import Signer, signature_path, write_signed
from app.domain.datasets import Dataset, Layer
from app.domain.errors import ReportInvalidError, UsageError
from app.domain.findings import Finding, What
from app.domain.receipts import Condemned, FileWork, ObjectWork, Superseded, TableWork, WorkState
from app.domain.reports import RunFacts
from tests.audit.report_facts import NO_SCREEN, clean_run, runs, with_findings

SIGNER = Signer.of_seed(bytes(range(32)))
BRONZE = Dataset("raw_events", Layer.BRONZE, location="s3://analytics/raw/")
SILVER = Dataset("events", Layer.SILVER, table="lake.events")
OBJECTS = [
    (BRONZE, ObjectWork("s3://analytics/raw/2.ndjson", WorkState.PURGED, base_version="v1",
                        new_version="v2", superseded=(Superseded("v1", WorkState.PURGED),))),
    (BRONZE, ObjectWork("s3://analytics/raw/usr_anna.ndjson", WorkState.PURGED)),
    (BRONZE, ObjectWork("s3://analytics/raw/1.ndjson", WorkState.CLEAN)),
]  # fmt: skip
TABLES = [
    (SILVER, TableWork("lake.events", WorkState.PURGED,
                       files=(FileWork("s3://analytics/a", "s3://analytics/b"),),
                       condemned=(Condemned("s3://analytics/a", "v", "data"),), commits=(1,))),
]  # fmt: skip


@dataclass(frozen=True)
class Signed:
    path: Path
    objects: Path

    def check(self) -> list[Step]:
        return verify_report(self.path, public_key_pem=SIGNER.public_pem, attachment=self.objects)

    def failure(self) -> Step:
        return next(s for s in self.check() if s.state is StepState.FAILED)

    def rewrite(self, change: Callable[[Any], None]) -> None:
        """Alter the document and sign it again, as a builder with a fault would."""
        document = json.loads(self.path.read_bytes())
        change(document)
        write_signed(self.path, canonical_bytes(document), signer=SIGNER)


def the_objects() -> dict[str, Any]:
    screen = Screen.of(["usr_anna"])
    return object_list("run_01test", objects=OBJECTS, tables=TABLES, screen=screen)


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    objects = tmp_path / "objects.json"
    listed = open_list(the_objects())
    objects.write_bytes(listed.data)
    facts = replace(clean_run(), attachment=listed.facts, signing_key_id=SIGNER.key_id)
    facts = with_findings(facts, Finding(What.DEFERRED, "bronze", "raw_events", "object 1"))
    path = tmp_path / "report.json"
    write_signed(path, subject_report(facts, 0, screen=NO_SCREEN), signer=SIGNER)
    return Signed(path, objects)


def test_what_was_signed_passes_every_step(signed: Signed) -> None:
    steps = signed.check()
    assert [s.number for s in steps] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert {s.state for s in steps} == {StepState.PASSED}
    require_valid(steps)


def test_without_the_object_list_that_step_is_skipped_and_said(signed: Signed) -> None:
    steps = verify_report(signed.path, public_key_pem=SIGNER.public_pem, attachment=None)
    assert steps[5].state is StepState.SKIPPED
    assert steps[5].detail == "The object list was not given."
    assert all(s.passed for s in steps)


@given(facts=runs())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_every_report_that_can_be_built_passes(tmp_path: Path, facts: RunFacts) -> None:
    facts = replace(facts, signing_key_id=SIGNER.key_id)
    path = tmp_path / "report.json"
    documents = [subject_report(facts, n, screen=NO_SCREEN) for n in range(len(facts.subjects))]
    for data in (*documents, run_report(facts, screen=NO_SCREEN)):
        write_signed(path, data, signer=SIGNER)
        require_valid(verify_report(path, public_key_pem=SIGNER.public_pem, attachment=None))


def test_a_failed_run_has_a_report_that_passes(tmp_path: Path) -> None:
    """It is a true statement that the numbers do not add up."""
    facts = replace(clean_run(), signing_key_id=SIGNER.key_id)
    first, *rest = facts.datasets
    wrong = replace(first, counts=replace(first.counts, deleted=14))
    facts = replace(facts, datasets=(wrong, *rest))
    path = tmp_path / "report.json"
    write_signed(path, run_report(facts, screen=NO_SCREEN), signer=SIGNER)
    require_valid(verify_report(path, public_key_pem=SIGNER.public_pem, attachment=None))


# --- altered bytes -------------------------------------------------------------------------------


def test_500_altered_bytes_of_report_and_signature_are_all_refused(signed: Signed) -> None:
    chosen = random.Random(13)
    for target in (signed.path,) * 436 + (signature_path(signed.path),) * 64:
        original = target.read_bytes()
        altered = bytearray(original)
        place = chosen.randrange(len(original))
        altered[place] ^= chosen.randrange(1, 256)
        target.write_bytes(altered)
        failed = signed.failure()
        assert failed.number <= 5
        assert failed.detail
        target.write_bytes(original)
    require_valid(signed.check())


@pytest.mark.parametrize("cut", [0, 1, 63])
def test_a_shortened_signature_is_refused(signed: Signed, cut: int) -> None:
    path = signature_path(signed.path)
    path.write_bytes(path.read_bytes()[:cut])
    assert signed.failure().number == 4


@pytest.mark.parametrize(
    ("break_it", "number"),
    [
        (lambda data: data[:0], 1),
        (lambda data: data[:-1], 1),
        (lambda data: data + b"\n", 2),
        (lambda data: b"\xef\xbb\xbf" + data, 1),
        (lambda data: data.replace(b'":', b'": ', 1), 2),
        (lambda data: data.replace(b"report/1", b"report/2"), 3),
        (lambda data: data.replace(b'"scope":"subject"', b'"scope":"run"'), 3),
        (lambda data: data.replace(b'"read":40', b'"read":41'), 5),
        (lambda data: data.replace(b'"read":40', b'"read":-4'), 3),
        (lambda data: data.replace(b'"read":40', b'"read":4.5'), 2),
        (lambda data: data.replace(SIGNER.key_id.encode(), b"0" * 16), 4),
    ],
)
def test_each_way_to_break_it_names_its_step(
    signed: Signed, break_it: Callable[[bytes], bytes], number: int
) -> None:
    data = signed.path.read_bytes()
    assert break_it(data) != data
    signed.path.write_bytes(break_it(data))
    steps = signed.check()
    assert [s.state for s in steps[: number - 1]] == [StepState.PASSED] * (number - 1)
    assert steps[number - 1].state is StepState.FAILED
    assert {s.state for s in steps[number:]} == {StepState.NOT_REACHED}
    assert not any(s.passed for s in steps[number - 1 :])
    with pytest.raises(ReportInvalidError, match=f"Step {number}"):
        require_valid(steps)


def test_a_missing_file_is_said(signed: Signed) -> None:
    signature_path(signed.path).unlink()
    assert "no signature file" in signed.failure().detail
    signed.path.unlink()
    assert "No such file" in signed.failure().detail


def test_another_key_is_named_before_the_signature_is_tried(signed: Signed) -> None:
    other = Signer.of_seed(bytes(32)).public_pem
    steps = verify_report(signed.path, public_key_pem=other, attachment=None)
    assert steps[3].detail == "The report names another key than the one given."


def test_a_key_that_is_none_is_a_usage_error(signed: Signed) -> None:
    with pytest.raises(UsageError):
        verify_report(signed.path, public_key_pem=b"nothing", attachment=None)


# --- signed, and wrong all the same --------------------------------------------------------------


def _totals(document: Any) -> Any:
    return document["datasets"][0]["run_totals"]


@pytest.mark.parametrize(
    ("change", "number", "words"),
    [
        (lambda d: d.update(extra=1), 3, r"missing, unknown or wrong"),
        (lambda d: d.pop("limits"), 3, r"missing, unknown or wrong"),
        (lambda d: _totals(d).update(after=1), 7, r"datasets\[0\]: after is not before less"),
        (lambda d: d["datasets"][1]["subject"].update(deleted=99), 7, "share is more"),
        (lambda d: _totals(d).update(co_owned=99), 7, "more rows changed"),
        (lambda d: d["subject"]["commitments"].pop(), 7, "commitments do not agree"),
        (lambda d: d["datasets"].pop(), 7, "number of places"),
        (lambda d: d["verdict"].update(value="VERIFIED"), 8, "verdict does not follow"),
        (lambda d: d["verdict"].update(outcome="fulfilled"), 8, "outcome does not follow"),
        (lambda d: d["verdict"].update(statement="All is well."), 8, "statement does not say"),
        (lambda d: d["verdict"].update(left=[]), 8, "every exception"),
        (lambda d: d.update(exceptions=[]), 8, "not among the exceptions"),
    ],
)
def test_a_report_that_contradicts_itself_is_refused_though_it_is_signed(
    signed: Signed, change: Callable[[Any], None], number: int, words: str
) -> None:
    signed.rewrite(change)
    failed = signed.failure()
    assert failed.number == number
    with pytest.raises(ReportInvalidError, match=words):
        require_valid(signed.check())


def test_a_clean_sentence_under_another_verdict_is_refused(signed: Signed) -> None:
    def change(document: Any) -> None:
        page = document["verdict"]
        page["statement"] = page["statement"].replace(
            " but in bytes that a COMPLIANCE lock protects, until the dates listed", ""
        )

    signed.rewrite(change)
    assert signed.failure().detail == "The statement says something else than the verdict."


# --- the object list -----------------------------------------------------------------------------


def test_another_object_list_is_refused(signed: Signed) -> None:
    signed.objects.write_bytes(signed.objects.read_bytes() + b" ")
    assert signed.failure().number == 6


def test_the_object_list_names_what_was_changed_and_hides_keys_that_name_a_person() -> None:
    document = the_objects()
    assert [o["key"] for o in document["objects"]] == ["s3://analytics/raw/2.ndjson", None]
    assert document["tables"][0]["files"][0]["new"] == "s3://analytics/b"
    assert "usr_anna" not in json.dumps(document)


def test_a_sealed_object_list_stays_the_same_bytes_and_opens_until_it_is_shredded(
    tmp_path: Path,
) -> None:
    keys = KeyStore.open(tmp_path / "keys")
    keys.create("run_01test")
    sealer = keys.sealer("run_01test")
    first = sealed_list(the_objects(), sealer=sealer, before=None)
    assert sealed_list(the_objects(), sealer=sealer, before=first.data) == first
    assert (first.facts.sealed, first.facts.entries) == (True, 4)
    assert b"analytics" not in first.data
    opened = sealer.open(first.data, aad="clearlake.objects/1/run_01test")
    assert opened == canonical_bytes(the_objects())


def test_a_sealed_list_of_something_else_is_replaced(tmp_path: Path) -> None:
    keys = KeyStore.open(tmp_path / "keys")
    keys.create("run_01test")
    sealer = keys.sealer("run_01test")
    other = object_list("run_01test", objects=(), tables=(), screen=Screen.of([]))
    stale = sealed_list(other, sealer=sealer, before=None).data
    for before in (b"something else", stale):
        now = sealed_list(the_objects(), sealer=sealer, before=before)
        opened = sealer.open(now.data, aad="clearlake.objects/1/run_01test")
        assert opened == canonical_bytes(the_objects())


# --- speed ---------------------------------------------------------------------------------------


def test_a_check_takes_less_than_300_ms(signed: Signed) -> None:
    signed.check()
    started = time.process_time()
    signed.check()
    assert time.process_time() - started < 0.3
