"""What Object Lock, legal holds, delete markers and defaults of a bucket change for an erasure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from app.domain.datasets import KeepWhen, Where
from app.domain.receipts import MISSING_RIGHT, ObjectWork, WorkState
from app.lake.ports import ObjectInfo
from app.lake.s3 import S3Purger, S3Store
from tests.lake.bronze_world import OTHER, USER, Lake, erased, event, plan_objects, text

MINE = text([event(OTHER), event(USER)])
AFTER = erased(MINE)[0]
NAME = "evt-1.ndjson"


class Bucket:
    """What an administrator does to a place's bucket."""

    def __init__(self, client: Any, lake: Lake) -> None:
        self.client = client
        self.name = lake.place.root.removeprefix("s3://").rstrip("/")

    def hold(self, name: str, version_id: str, status: str) -> None:
        self.client.put_object_legal_hold(
            Bucket=self.name,
            Key=f"raw/{name}",
            VersionId=version_id,
            LegalHold={"Status": status},
        )

    def default(self, mode: str) -> None:
        self.client.put_object_lock_configuration(
            Bucket=self.name,
            ObjectLockConfiguration={
                "ObjectLockEnabled": "Enabled",
                "Rule": {"DefaultRetention": {"Mode": mode, "Days": 1}},
            },
        )

    def mark(self, name: str) -> str:
        answer = self.client.delete_object(Bucket=self.name, Key=f"raw/{name}")
        version: str = answer["VersionId"]
        return version

    def tag(self, name: str) -> None:
        tags = {"TagSet": [{"Key": "team", "Value": "ä b"}]}
        self.client.put_object_tagging(Bucket=self.name, Key=f"raw/{name}", Tagging=tags)


@pytest.fixture
def lake(place_s3: Any, tmp_path: Path) -> Lake:
    return Lake(place_s3, tmp_path / "spool")


@pytest.fixture
def bucket(lake: Lake, servers: Any) -> Iterator[Bucket]:
    key = servers.s3.credentials["admin"]
    client = boto3.client(
        "s3",
        endpoint_url=servers.s3.endpoint,
        region_name=servers.s3.region,
        aws_access_key_id=key.access_key,
        aws_secret_access_key=key.secret_key,
        config=Config(s3={"addressing_style": "path"}),
    )
    yield Bucket(client, lake)
    client.close()


def soon(**more: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(**more)


def info(lake: Lake, work: ObjectWork) -> ObjectInfo:
    found: ObjectInfo = lake.place.reader.info(work.uri, version_id=work.new_version or "")
    return found


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
def test_a_replacement_has_the_same_lock_as_its_base(lake: Lake, mode: str) -> None:
    until = soon(days=3)
    lake.load(NAME, MINE, lock_mode=mode, retain_until=until)
    (work,) = lake.erase()
    found = info(lake, work)
    assert (found.lock_mode, found.retain_until) == (mode, until)
    assert found.metadata["clearlake-run"] == "run_1"
    assert found.metadata["clearlake-sha256"] == work.sha256
    assert found.metadata["clearlake-base"] == work.base_version
    assert lake.body(NAME) == AFTER


def test_a_governance_lock_is_passed_by_the_purger_alone(lake: Lake) -> None:
    lake.load(NAME, MINE, lock_mode="GOVERNANCE", retain_until=soon(days=3))
    (work,) = lake.purge(lake.erase())
    assert work.state is WorkState.PURGED
    assert [v.version_id for v in lake.versions(NAME)] == [work.new_version]


def test_a_compliance_lock_defers_the_purge_until_its_date(lake: Lake) -> None:
    until = soon(seconds=3)
    base = lake.load(NAME, MINE, lock_mode="COMPLIANCE", retain_until=until)
    (work,) = lake.purge(lake.erase())
    assert work.state is WorkState.DEFERRED
    assert [(s.version_id, s.state, s.until) for s in work.superseded] == [
        (base, WorkState.DEFERRED, until)
    ]
    assert lake.body(NAME) == AFTER
    time.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds() + 1))
    (work,) = lake.purge([work.to(WorkState.CHECKED)])
    assert work.state is WorkState.PURGED
    assert [v.version_id for v in lake.versions(NAME)] == [work.new_version]


@pytest.mark.parametrize("mode", ["GOVERNANCE", "COMPLIANCE"])
def test_a_lock_that_is_about_to_end_or_has_ended_is_not_repeated(lake: Lake, mode: str) -> None:
    ended = soon(seconds=2)
    lake.load("ended.ndjson", MINE, lock_mode=mode, retain_until=ended)
    lake.load("ending.ndjson", MINE, lock_mode=mode, retain_until=soon(seconds=290))
    lake.load("free.ndjson", MINE)
    time.sleep(max(0.0, (ended - datetime.now(UTC)).total_seconds() + 1))
    works = lake.erase()
    assert [w.state for w in works] == [WorkState.WRITTEN] * 3
    for work in works:
        assert info(lake, work).lock_mode is None
        assert work.warnings == ()


def test_a_lock_by_the_buckets_default_is_told_or_taken_off(lake: Lake, bucket: Bucket) -> None:
    lake.load(NAME, MINE)
    bucket.default("COMPLIANCE")
    (work,) = lake.erase()
    assert work.state is WorkState.WRITTEN
    assert info(lake, work).lock_mode == "COMPLIANCE"
    assert len(work.warnings) == 1
    assert "COMPLIANCE" in work.warnings[0]


def test_a_governance_default_is_cleared_where_the_right_is_there(
    lake: Lake, bucket: Bucket, servers: Any
) -> None:
    lake.load(NAME, MINE)
    lake.load("evt-2.ndjson", MINE)
    bucket.default("GOVERNANCE")
    first, second = plan_objects(lake.place.eraser, lake.dataset)
    (first,) = lake.erase([first])
    assert "GOVERNANCE" in first.warnings[0], "the eraser has no right to pass a lock"
    assert (info(lake, first).retain_until or soon()) > soon(hours=23)
    key, s3 = servers.s3.credentials["admin"], servers.s3
    store = S3Store(s3.endpoint, s3.region, key.access_key, key.secret_key)
    (second,) = lake.erase([second], store=store)
    store.close()
    assert second.warnings == ()
    assert (info(lake, second).retain_until or soon()) < soon(seconds=10)


def test_a_legal_hold_on_the_current_version_holds_the_object(lake: Lake, bucket: Bucket) -> None:
    base = lake.load(NAME, MINE)
    bucket.hold(NAME, base, "ON")
    (work,) = lake.purge(lake.erase())
    assert work.state is WorkState.HELD
    assert lake.body(NAME) == MINE
    assert len(lake.versions(NAME)) == 1
    bucket.hold(NAME, base, "OFF")
    (work,) = lake.purge(lake.erase([work.to(WorkState.PLANNED)]))
    assert work.state is WorkState.PURGED
    assert lake.body(NAME) == AFTER


def test_a_legal_hold_on_somebody_elses_object_is_no_matter(lake: Lake, bucket: Bucket) -> None:
    bucket.hold(NAME, lake.load(NAME, AFTER), "ON")
    (work,) = lake.erase()
    assert work.state is WorkState.CLEAN


def test_a_hold_set_half_way_or_on_an_older_version_holds_the_purge(
    lake: Lake, bucket: Bucket
) -> None:
    older = lake.load(NAME, MINE)
    base = lake.load(NAME, MINE + MINE)
    bucket.hold(NAME, older, "ON")
    (work,) = lake.purge(lake.erase())
    assert work.state is WorkState.HELD
    assert {s.version_id: s.state for s in work.superseded} == {
        base: WorkState.PURGED,
        older: WorkState.HELD,
    }
    bucket.hold(NAME, older, "OFF")
    (work,) = lake.purge([work.to(WorkState.CHECKED)])
    assert work.state is WorkState.PURGED
    assert len(lake.versions(NAME)) == 1


def test_a_missing_right_holds_the_purge_and_says_so(lake: Lake, servers: Any) -> None:
    lake.load(NAME, MINE, lock_mode="GOVERNANCE", retain_until=soon(days=1))
    works = lake.erase()
    key, s3 = servers.s3.credentials["writer"], servers.s3
    purger = S3Purger(
        s3.endpoint, s3.region, key.access_key, key.secret_key, prefixes=(lake.place.root,)
    )
    lake.place.purger_of = lambda _: purger
    (work,) = lake.purge(works)
    purger.close()
    assert work.state is WorkState.HELD
    assert [s.reason for s in work.superseded] == [MISSING_RIGHT]
    assert len(lake.versions(NAME)) == 2


def test_nothing_is_written_over_a_delete_marker(lake: Lake, bucket: Bucket) -> None:
    lake.load(NAME, MINE)
    bucket.mark(NAME)
    (work,) = lake.erase()
    assert (work.state, work.new_version) == (WorkState.WRITTEN, None)
    assert len(lake.versions(NAME)) == 2
    (work,) = lake.purge([work])
    assert work.state is WorkState.PURGED
    assert lake.versions(NAME) == []


def test_a_marker_stays_above_a_version_that_stays(lake: Lake, bucket: Bucket) -> None:
    lake.load(NAME, MINE)
    clean = lake.load(NAME, AFTER)
    marker = bucket.mark(NAME)
    lake.load("evt-2.ndjson", MINE, lock_mode="COMPLIANCE", retain_until=soon(days=1))
    second = bucket.mark("evt-2.ndjson")
    works = lake.purge(lake.erase())
    assert [w.state for w in works] == [WorkState.PURGED, WorkState.DEFERRED]
    assert [v.version_id for v in lake.versions(NAME)] == [marker, clean]
    assert lake.versions("evt-2.ndjson")[0].version_id == second
    assert len(lake.versions("evt-2.ndjson")) == 2


def test_a_marker_under_the_current_version_is_no_matter(lake: Lake, bucket: Bucket) -> None:
    lake.load(NAME, MINE)
    marker = bucket.mark(NAME)
    lake.load(NAME, MINE + MINE)
    (work,) = lake.purge(lake.erase())
    assert [v.version_id for v in lake.versions(NAME)] == [work.new_version, marker]
    assert lake.body(NAME) == AFTER + AFTER


def test_an_object_deleted_between_read_and_put_is_not_brought_back(
    lake: Lake, bucket: Bucket
) -> None:
    lake.load(NAME, MINE)

    def record(works: list[ObjectWork]) -> None:
        if not lake.journal.calls:
            bucket.mark(NAME)
        lake.journal(works)

    (work,) = lake.erase(record=record)
    assert (work.state, work.new_version, work.rounds) == (WorkState.WRITTEN, None, 1)
    assert lake.versions(NAME)[0].is_marker


def test_lines_kept_by_law_in_an_older_version_alone_are_not_destroyed(lake: Lake) -> None:
    where = Where((("name", ("refund.*",)),))
    lake.dataset = replace(
        lake.dataset, keep_when=(KeepWhen(where, "GDPR 17(3)(e)", date(2030, 1, 1)),)
    )
    kept = text([event(USER, name="refund.failed")])
    lake.load(NAME, MINE + kept)
    lake.load(NAME, MINE)
    lake.load("evt-2.ndjson", MINE + kept)
    lake.load("evt-2.ndjson", MINE + kept)
    first, second = lake.purge(lake.erase())
    assert first.state is WorkState.PARKED
    assert lake.body(NAME) == MINE
    assert len(lake.versions(NAME)) == 2
    assert second.state is WorkState.PURGED
    assert lake.body("evt-2.ndjson") == AFTER + kept


def test_tags_headers_and_metadata_are_taken_over(lake: Lake, bucket: Bucket) -> None:
    bucket.client.put_object(
        Bucket=bucket.name,
        Key=f"raw/{NAME}",
        Body=MINE,
        ContentType="application/x-ndjson",
        Metadata={"source": "loader-7"},
    )
    bucket.tag(NAME)
    (work,) = lake.erase()
    found = info(lake, work)
    assert found.tags == {"team": "ä b"}
    assert found.headers["ContentType"] == "application/x-ndjson"
    assert found.metadata["source"] == "loader-7"
    (work,) = lake.undo([work])
    current = lake.versions(NAME)[0]
    restored = lake.place.reader.info(current.uri, version_id=current.version_id)
    assert restored.tags == found.tags
    assert restored.metadata["source"] == "loader-7"
    assert lake.body(NAME) == MINE
