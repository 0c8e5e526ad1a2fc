"""A run over a bucket under every lock at once: what goes, what stays until when, what is said."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest

from app.domain.errors import UnreachableError
from app.domain.findings import Finding, What
from app.domain.receipts import ObjectWork, WorkState
from app.lake.s3 import S3Purger
from app.offline.stages import check, erase, plan, purge, verify
from app.servers import Servers
from app.stages.search import seeing
from app.stages.uploads import end_uploads, ended_uploads
from tests.places import Place
from tests.stages.runs import Run
from tests.verify.material import event, user
from tests.verify.planted import TABLE, make_clean_lake, rows

NO_WAIT = timedelta(0)
MINE = event(7) + event(1)
AFTER = event(7)


@pytest.fixture
def run(place_s3: Place, tmp_path: Path) -> Run:
    """A run in a bucket."""
    make_clean_lake(place_s3)
    return Run(place_s3, tmp_path)


@pytest.fixture
def admin(servers: Servers) -> Iterator[Any]:
    """Somebody who may do everything."""
    key = servers.s3.credentials["admin"]
    client = boto3.client(
        "s3",
        endpoint_url=servers.s3.endpoint,
        region_name=servers.s3.region,
        aws_access_key_id=key.access_key,
        aws_secret_access_key=key.secret_key,
    )
    yield client
    client.close()


def where(uri: str) -> dict[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


def uri_of(run: Run, name: str) -> str:
    return f"{run.place.root}raw/event_dt=2026-10-01/02/{name}"


def soon(**delta: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(**delta)


def run_to_purged(run: Run) -> None:
    with run.acts() as acts:
        plan(acts)
        erase(acts)
        acts.journal.put_facts(erased_at=run.place.reader.now().isoformat())
        assert check(acts)
        purge(acts)


def work_of(run: Run, uri: str) -> ObjectWork:
    with run.journal() as journal:
        return next(w for w in journal.works("raw_events") if w.uri == uri)


def seen(run: Run) -> list[Finding]:
    with run.acts() as acts:
        verify(acts)
        return [f for f in seeing(acts.journal, run.data_map).findings if f.what is not What.NOTE]


def versions(run: Run, uri: str) -> list[str]:
    return [v.version_id for v in run.place.reader.versions(uri) if v.uri == uri]


# --- locks ---------------------------------------------------------------------------------------


def test_each_version_of_a_key_is_judged_by_its_own_lock(run: Run, admin: Any) -> None:
    uri, load = uri_of(run, "mixed.ndjson"), run.place.loader.load
    late, early = soon(days=2), soon(days=1)
    free = load(uri, MINE)
    governed = load(uri, MINE, lock_mode="GOVERNANCE", retain_until=soon(days=9))
    held = load(uri, MINE)
    locked = load(uri, MINE, lock_mode="COMPLIANCE", retain_until=late)
    clean = load(uri, AFTER, lock_mode="COMPLIANCE", retain_until=late)
    both = load(uri, MINE, lock_mode="COMPLIANCE", retain_until=soon(days=3))
    current = load(uri, MINE, lock_mode="COMPLIANCE", retain_until=early)
    for version in (held, both):
        admin.put_object_legal_hold(**where(uri), VersionId=version, LegalHold={"Status": "ON"})
    run_to_purged(run)
    work = work_of(run, uri)
    assert {s.version_id: (s.state, s.until) for s in work.superseded} == {
        free: (WorkState.PURGED, None),
        governed: (WorkState.PURGED, None),
        held: (WorkState.HELD, None),
        both: (WorkState.HELD, None),
        locked: (WorkState.DEFERRED, late),
        current: (WorkState.DEFERRED, early),
    }
    assert work.state is WorkState.HELD
    assert versions(run, uri) == [work.new_version, current, both, clean, locked, held]
    assert run.body(uri) == AFTER
    found = {f.version_id: f.what for f in seen(run)}
    assert found == {
        held: What.HELD, both: What.HELD, locked: What.DEFERRED, current: What.DEFERRED,
    }  # fmt: skip


@pytest.mark.long
def test_of_a_thousand_and_one_old_versions_all_are_read_and_those_that_hold_somebody_go(
    run: Run,
) -> None:
    uri, sibling = uri_of(run, "evt.ndjson"), uri_of(run, "evt.ndjson.copy")
    bodies = [MINE if n % 4 == 0 else AFTER for n in range(1001)]
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda body: run.place.loader.load(uri, body), bodies))
    clean = {version for version, body in zip(ids, bodies, strict=True) if body == AFTER}
    run.place.loader.load(uri, MINE)
    run.place.loader.load(sibling, AFTER)
    run_to_purged(run)
    work = work_of(run, uri)
    assert work.state is WorkState.PURGED
    assert len(work.superseded) == 1001 - len(clean) + 1
    assert set(versions(run, uri)) == {work.new_version, *clean}
    assert len(versions(run, sibling)) == 1
    assert seen(run) == []


@pytest.mark.parametrize("mode", ["COMPLIANCE", "GOVERNANCE"])
def test_a_default_retention_against_our_advice_dates_or_yields_for_table_files_too(
    run: Run, admin: Any, mode: str
) -> None:
    rule = {"DefaultRetention": {"Mode": mode, "Days": 1}}
    admin.put_object_lock_configuration(
        Bucket=where(run.place.root)["Bucket"],
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule},
    )
    run.place.engine.append(TABLE, rows({"user_id": user(1)}, {"user_id": user(7)}))
    uri = run.load("evt.ndjson", MINE)
    run_to_purged(run)
    with run.journal() as journal:
        table = journal.table_work("events")
    assert table is not None
    if mode == "GOVERNANCE":
        assert (table.state, work_of(run, uri).state) == (WorkState.PURGED, WorkState.PURGED)
        assert seen(run) == []
        return
    assert (table.state, work_of(run, uri).state) == (WorkState.DEFERRED, WorkState.DEFERRED)
    dates = {c.until for c in table.condemned if c.state is WorkState.DEFERRED}
    dates |= {old.until for old in work_of(run, uri).superseded}
    assert all(d is not None and soon(hours=23) < d < soon(hours=25) for d in dates)
    assert {f.what for f in seen(run)} == {What.DEFERRED}
    [hit] = [f for f in table.files if f.new_path is not None]
    with run.place.engine.open(hit.new_path or "") as file:
        assert pq.read_table(file)["user_id"].to_pylist() == [user(7)]


def test_each_file_of_a_table_is_judged_by_its_own_lock(run: Run, admin: Any) -> None:
    for _ in range(3):
        run.place.engine.append(TABLE, rows({"user_id": user(1)}, {"user_id": user(7)}))
    with run.acts() as acts:
        plan(acts)
        erase(acts)
        acts.journal.put_facts(erased_at=run.place.reader.now().isoformat())
        assert check(acts)
        table = acts.journal.table_work("events")
        assert table is not None
        held, governed, locked = [f.old_path for f in table.files]
    until = soon(days=1)
    admin.put_object_legal_hold(**where(held), LegalHold={"Status": "ON"})
    for path, mode in ((governed, "GOVERNANCE"), (locked, "COMPLIANCE")):
        retention = {"Mode": mode, "RetainUntilDate": until}
        admin.put_object_retention(**where(path), Retention=retention)
    with run.acts() as acts:
        purge(acts)
        table = acts.journal.table_work("events")
    assert table is not None
    assert table.state is WorkState.HELD
    left = {c.uri: (c.state, c.until) for c in table.condemned if c.state is not WorkState.PURGED}
    assert left == {held: (WorkState.HELD, None), locked: (WorkState.DEFERRED, until)}
    assert not list(run.place.reader.versions(governed))
    assert {f.uri: f.what for f in seen(run)} == {held: What.HELD, locked: What.DEFERRED}
    admin.put_object_legal_hold(**where(held), LegalHold={"Status": "OFF"})
    with run.acts() as acts:
        purge(acts)
        table = acts.journal.table_work("events")
    assert table is not None
    assert table.state is WorkState.DEFERRED
    assert not list(run.place.reader.versions(held))


def test_what_is_rewritten_and_not_purged_is_purged_by_a_retry_and_not_rewritten_again(
    run: Run,
) -> None:
    uri = run.load("evt.ndjson", MINE)
    good = run.doors
    away = S3Purger("http://127.0.0.1:9", "us-east-1", "a", "b", prefixes=[run.place.root])
    run.doors = replace(good, purger=away)
    with pytest.raises(UnreachableError):
        run_to_purged(run)
    away.close()
    work = work_of(run, uri)
    assert work.state is WorkState.CHECKED
    assert len(versions(run, uri)) == 2
    run.doors = good
    with run.acts() as acts:
        purge(acts)
    assert work_of(run, uri).state is WorkState.PURGED
    assert versions(run, uri) == [work.new_version]
    assert seen(run) == []


# --- what nobody can read ------------------------------------------------------------------------


def test_a_version_that_can_be_read_again_is_read_when_the_run_is_resumed(
    run: Run, admin: Any
) -> None:
    """As an archived one is once it was restored: the way out of being parked."""
    uri = uri_of(run, "evt.ndjson")
    sealed = admin.put_object(
        **where(uri), Body=MINE, SSECustomerAlgorithm="AES256", SSECustomerKey="k" * 32
    )["VersionId"]
    run.place.loader.load(uri, MINE)
    run_to_purged(run)
    [found] = seen(run)
    assert (found.what, found.detail, found.version_id) == (
        What.UNREADABLE, "object_sealed", sealed,
    )  # fmt: skip
    with run.acts() as acts:
        assert acts.open_datasets() == {"raw_events"}
    admin.delete_object(**where(uri), VersionId=sealed)
    run_to_purged(run)
    assert work_of(run, uri).state is WorkState.CLEAN
    assert seen(run) == []
    with run.acts() as acts:
        assert not acts.open_works()


def test_uploads_that_no_writer_can_finish_are_ended_and_the_others_named(
    run: Run, admin: Any
) -> None:
    mine = [uri_of(run, f"evt-{n}.ndjson") for n in range(2)]
    beside = f"{run.place.root}elsewhere/evt.ndjson"
    table = run.place.engine.head(TABLE).location
    for uri in (*mine, beside, f"{table}/data/part.parquet"):
        admin.create_multipart_upload(**where(uri))
    run_to_purged(run)
    assert len(list(run.place.reader.uploads(run.place.root))) == 4, "their writers may live"
    assert sorted((f.what, f.dataset) for f in seen(run)) == [
        (What.UNREADABLE, "events"),
        (What.UNREADABLE, "raw_events"),
        (What.UNREADABLE, "raw_events"),
    ]
    for _ in range(2):
        with run.acts() as acts:
            end_uploads(acts, run.raw, writers=NO_WAIT)
            end_uploads(acts, run.events, writers=NO_WAIT)
            assert ended_uploads(acts.journal, "raw_events") == 2
            assert ended_uploads(acts.journal, "events") == 1
    left = [u.uri for u in run.place.reader.uploads(run.place.root)]
    assert left == [beside], "what nobody declared is nobody's to end"
    assert seen(run) == []


def test_an_upload_that_may_not_be_ended_is_left_and_named(
    run: Run, admin: Any, servers: Servers
) -> None:
    admin.create_multipart_upload(**where(uri_of(run, "evt.ndjson")))
    run_to_purged(run)
    weak = servers.s3.credentials["reader"]
    purger = S3Purger(
        *(servers.s3.endpoint, servers.s3.region, weak.access_key, weak.secret_key),
        prefixes=[run.place.root],
    )
    run.doors = replace(run.doors, purger=purger)
    with run.acts() as acts:
        end_uploads(acts, run.raw, writers=NO_WAIT)
    purger.close()
    assert [f.what for f in seen(run)] == [What.UNREADABLE]
