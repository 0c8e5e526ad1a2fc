"""What the protocols rely on of a bucket is seen where it is, and missed where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.doctor import scratch as scratches
from app.doctor.folders import Folder, examine_folder
from app.doctor.results import Outcome
from app.doctor.storage import LEGAL_DAYS, SETTINGS, Bucket, examine_bucket, harms
from app.domain.deadlines import REGIMES, Unit
from app.domain.failpoints import FailpointError
from app.lake.s3.probe import LifecycleRule, S3Probe
from tests.canned_http import Canned, serving
from tests.doctor.conftest import failing, outcomes, versions_in
from tests.doctor.lax_s3 import lax_s3

At = Callable[..., Bucket]
ACTS = {"if_match", "if_none_match", "checksum", "exact_delete", "lock_holds", "bypass"}


def _look(bucket: Bucket) -> Any:
    return list(examine_bucket(bucket, name="here"))


def _default(admin: Any, name: str, mode: str, days: int) -> None:
    rule = {"DefaultRetention": {"Mode": mode, "Days": days}}
    settings = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    admin.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=settings)


def test_a_bucket_as_it_should_be_passes_and_is_left_as_it_was(
    bucket_at: At, name: str, admin: Any
) -> None:
    found = outcomes(_look(bucket_at(name)))
    assert set(found.values()) == {Outcome.PASS}
    assert found.keys() >= ACTS | {"versioning", "object_lock", "default_retention", "clock"}
    assert versions_in(admin, name) == []


@pytest.mark.parametrize("suspended", [False, True], ids=["never on", "suspended"])
def test_a_bucket_without_versions_fails_and_nothing_is_tried_in_it(
    bucket_at: At, admin: Any, suspended: bool
) -> None:
    name = f"plain-{uuid4().hex[:12]}"
    admin.create_bucket(Bucket=name)
    if suspended:
        for status in ("Enabled", "Suspended"):
            admin.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": status})
    found = _look(bucket_at(name))
    assert failing(found) == {"versioning", "object_lock"}
    assert {outcomes(found)[act] for act in ACTS} == {Outcome.NOT_APPLICABLE}
    assert versions_in(admin, name) == []


def test_object_lock_is_not_asked_of_a_bucket_without_locked_bronze(
    bucket_at: At, admin: Any
) -> None:
    name = f"plain-{uuid4().hex[:12]}"
    admin.create_bucket(Bucket=name)
    admin.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    found = outcomes(_look(bucket_at(name, worm=False)))
    assert Outcome.FAIL not in found.values()
    assert found["object_lock"] is found["bypass"] is Outcome.NOT_APPLICABLE
    assert found["if_match"] is found["exact_delete"] is Outcome.PASS


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
def test_a_default_retention_where_tables_lie_fails(
    bucket_at: At, name: str, admin: Any, mode: str
) -> None:
    _default(admin, name, mode, 1)
    assert failing(_look(bucket_at(name))) == {"default_retention"}
    assert versions_in(admin, name) == []


def test_a_default_retention_where_only_bronze_lies_passes(
    bucket_at: At, name: str, admin: Any
) -> None:
    _default(admin, name, "GOVERNANCE", 30)
    assert set(outcomes(_look(bucket_at(name, tables=False))).values()) == {Outcome.PASS}
    assert versions_in(admin, name) == []


def test_a_default_compliance_retention_beyond_the_deadline_fails_and_nothing_is_tried(
    bucket_at: At, name: str, admin: Any
) -> None:
    _default(admin, name, "COMPLIANCE", 16)
    found = _look(bucket_at(name, tables=False))
    assert failing(found) == {"default_retention"}
    assert {outcomes(found)[act] for act in ACTS} == {Outcome.NOT_APPLICABLE}
    _default(admin, name, "COMPLIANCE", 15)
    assert failing(_look(bucket_at(name, tables=False))) == set()
    assert versions_in(admin, name) == []


def test_the_deadline_is_the_shortest_of_any_law() -> None:
    days = {Unit.DAYS: 1, Unit.WORKING_DAYS: 1, Unit.MONTHS: 28}
    dues = [regime.due for regimes in REGIMES.values() for regime in regimes]
    assert min(due.number * days[due.unit] for due in dues) == LEGAL_DAYS


def test_a_clock_that_is_a_day_off_fails(bucket_at: At, name: str) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert failing(_look(bucket_at(name, now=lambda: tomorrow))) == {"clock"}


def test_a_bucket_that_is_not_there_fails(bucket_at: At) -> None:
    found = _look(bucket_at("no-such-bucket"))
    assert "reachable" in failing(found)


def test_a_server_that_is_away_is_unreachable_and_not_asked_again() -> None:
    probe = S3Probe("http://127.0.0.1:1", "us-east-1", "key", "secret")
    found = _look(_bucket("lake", probe))
    probe.close()
    assert [(p.check, p.outcome) for p in found] == [("reachable", Outcome.UNREACHABLE)]


def test_a_server_that_keeps_no_promise_is_seen_through() -> None:
    with lax_s3() as endpoint:
        probe = S3Probe(endpoint, "us-east-1", "key", "secret")
        found = _look(_bucket("lake", probe))
        probe.close()
    assert failing(found) == {
        *("if_match", "if_none_match", "checksum", "exact_delete", "lock_holds"),
    }


def test_a_purging_credential_without_its_rights_fails_and_what_stays_is_counted(
    bucket_at: At, name: str, admin: Any
) -> None:
    found = _look(bucket_at(name, doors={"purge": "eraser"}))
    assert failing(found) == {"exact_delete", "bypass", "scratch_removed"}
    left = next(p.saw for p in found if p.check == "scratch_removed")
    assert f"{len(versions_in(admin, name))} versions" in left
    assert f"s3://{name}/clearlake-doctor/" in left


# --- rules that copy, archive and forget ----------------------------------------------------------


def _bucket(name: str, probe: S3Probe) -> Bucket:
    return Bucket(
        name=name,
        doors=dict.fromkeys(("read", "erase", "purge", "verify"), probe),
        prefixes=("raw/",),
        worm=True,
        tables=False,
        known=frozenset({name, "declared"}),
        now=lambda: datetime.now(UTC),
        undo_window=timedelta(days=1),
    )


@contextmanager
def _settings_of(body: str) -> Iterator[S3Probe]:
    """The settings as a server tells them that answers everything with this."""
    with serving(Canned(status=200, body=body.encode())) as server:
        probe = S3Probe(server.endpoint, "us-east-1", "key", "secret")
        try:
            yield probe
        finally:
            probe.close()


@pytest.mark.parametrize(("target", "fails"), [("declared", False), ("elsewhere", True)])
def test_a_replica_that_the_map_does_not_know_fails(target: str, fails: bool) -> None:
    rule = f"<Rule><Status>Enabled</Status><Destination><Bucket>arn:aws:s3:::{target}</Bucket>"
    body = f"<R>{rule}</Destination></Rule></R>"
    with _settings_of(body) as probe:
        checks = dict(SETTINGS)
        verdict = checks["replication"](_bucket("lake", probe))
    assert (verdict.outcome is Outcome.FAIL) is fails
    assert target in verdict.saw


@pytest.mark.parametrize(("prefix", "fails"), [("", True), ("raw/", True), ("exports/", False)])
def test_a_rule_that_archives_fails_where_it_meets_the_map(prefix: str, fails: bool) -> None:
    moves = "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>"
    rule = f"<ID>old</ID><Status>Enabled</Status><Filter><Prefix>{prefix}</Prefix></Filter>{moves}"
    with _settings_of(f"<L><Rule>{rule}</Rule></L>") as probe:
        checks = dict(SETTINGS)
        verdict = checks["lifecycle"](_bucket("lake", probe))
    assert (verdict.outcome is Outcome.FAIL) is fails


def test_a_rule_that_forgets_within_the_undo_window_does_harm() -> None:
    window = timedelta(days=2)
    for days, harm in ((1, True), (2, True), (3, False), (None, False)):
        rule = LifecycleRule("r", "", archives=False, forgets_days=days)
        assert harms(rule, window) is harm


# --- the scratch prefix ---------------------------------------------------------------------------


def test_what_was_tried_is_removed_after_a_failure_too(
    bucket_at: At, name: str, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARLAKE_FAILPOINTS", "doctor.after_put=raise@2")
    with pytest.raises(FailpointError):
        _look(bucket_at(name))
    assert versions_in(admin, name) == []


def test_what_a_killed_doctor_left_goes_with_a_later_one_and_nothing_else(
    bucket_at: At, name: str, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.put_object(Bucket=name, Key="clearlake-doctor/earlier/victim-1", Body=b"x")
    admin.create_multipart_upload(Bucket=name, Key="clearlake-doctor/earlier/upload-2")
    admin.put_object(Bucket=name, Key="raw/clearlake-doctor/1", Body=b"x")
    _look(bucket_at(name))
    assert len(versions_in(admin, name)) == 3, "one that runs beside this one keeps its objects"
    # nobody waits for an hour
    monkeypatch.setattr(scratches, "ABANDONED", timedelta(seconds=-5))
    _look(bucket_at(name))
    assert versions_in(admin, name) == ["raw/clearlake-doctor/1"]


# --- folders --------------------------------------------------------------------------------------


def test_a_folder_passes_and_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "evt-1.ndjson").write_text("{}\n")
    found = outcomes(examine_folder(Folder(f"file://{tmp_path}/", "here")))
    assert found == {"writable": Outcome.PASS, "worm": Outcome.NOT_APPLICABLE}
    assert [p.name for p in tmp_path.rglob("*")] == ["evt-1.ndjson"]


def test_a_folder_that_is_not_there_fails(tmp_path: Path) -> None:
    found = list(examine_folder(Folder(f"file://{tmp_path}/none/", "here")))
    assert failing(found) == {"writable"}
    assert not (tmp_path / "none").exists()
