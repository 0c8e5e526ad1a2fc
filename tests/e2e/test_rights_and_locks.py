"""What the lake itself forbids is named, dated where there is a date, and nothing is lost by it."""

from __future__ import annotations

import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from app.servers import Servers
from tests.e2e.storage import BucketStorage
from tests.e2e.worlds import World


def _bucket(world: World) -> tuple[Any, str]:
    assert isinstance(world.storage, BucketStorage)
    return world.storage.bucket.client, world.storage.bucket.name


def _key_of(world: World, user: str) -> str:
    found = world.storage.current("raw/")
    return next(k for k in sorted(found) if b'"user_id":"' + user.encode() in found[k])


def test_without_the_right_to_write_nothing_is_changed_and_it_is_said(
    s3_world: World, servers: Servers
) -> None:
    user = s3_world.cast.active_buyer
    before, gone = s3_world.records(), s3_world.gone(users=(user,))
    versions = s3_world.storage.versions()
    reader = servers.s3.credentials["verifier"]
    weak = {
        "CLEARLAKE_ERASE_S3_ACCESS_KEY": reader.access_key,
        "CLEARLAKE_ERASE_S3_SECRET_KEY": reader.secret_key,
    }
    done = s3_world.erase("--user-id", user, "--yes", "--purge-now", env=weak)
    assert done.code == 4, f"{done.code}: {done.out}{done.err}"
    assert "Traceback" not in done.err
    assert "right" in done.out + done.err or "[access_denied]" in done.err
    assert versions.items() <= s3_world.storage.versions().items()
    again = s3_world.erase("--user-id", user, "--yes", "--purge-now")
    assert again.code == 0, again.out + again.err
    s3_world.clean_of(gone, before=before)


def test_without_the_right_to_purge_it_is_said_and_done_later(
    s3_world: World, servers: Servers
) -> None:
    user = s3_world.cast.active_buyer
    before, gone = s3_world.records(), s3_world.gone(users=(user,))
    eraser = servers.s3.credentials["eraser"]
    weak = {
        "CLEARLAKE_PURGE_S3_ACCESS_KEY": eraser.access_key,
        "CLEARLAKE_PURGE_S3_SECRET_KEY": eraser.secret_key,
    }
    done = s3_world.erase("--user-id", user, "--yes", "--purge-now", env=weak)
    assert done.code == 4, f"{done.code}: {done.out}{done.err}"
    assert "Traceback" not in done.err
    assert not s3_world.records().settled.differences(before.without(gone))
    again = s3_world.erase("--user-id", user, "--yes", "--purge-now")
    assert again.code == 0, again.out + again.err
    s3_world.clean_of(gone, before=before)


def test_a_bucket_without_versioning_is_refused(s3_world: World, servers: Servers) -> None:
    client, name = _bucket(s3_world)
    plain = f"{name}-plain"
    client.create_bucket(Bucket=plain)
    client.put_object(Bucket=plain, Key="raw/evt-1.ndjson", Body=b"{}\n")
    s3_world.edit_map(f"{s3_world.root}raw/", f"s3://{plain}/raw/")
    done = s3_world.erase("--user-id", s3_world.cast.active_buyer, "--yes")
    assert done.code == 4, done.err
    assert "[not_versioned]" in done.err


def test_a_legal_hold_is_named_and_the_rest_is_erased(s3_world: World) -> None:
    client, name = _bucket(s3_world)
    user = s3_world.cast.active_buyer
    before, gone = s3_world.records(), s3_world.gone(users=(user,))
    key = _key_of(s3_world, user)
    client.put_object_legal_hold(Bucket=name, Key=key, LegalHold={"Status": "ON"})
    held = s3_world.erase("--user-id", user, "--yes", "--purge-now", "--json")
    assert held.code == 4, held.out + held.err
    assert held.document["outcome"] == "on_hold"
    assert "hold" in s3_world.report.read_text()
    assert {h.place.split()[0] for h in s3_world.storage.held(gone.values)} == {key}
    version = _oldest(client, name, key)
    client.put_object_legal_hold(
        Bucket=name, Key=key, VersionId=version, LegalHold={"Status": "OFF"}
    )
    again = s3_world.erase("--user-id", user, "--yes", "--purge-now")
    assert again.code == 0, again.out + again.err
    s3_world.clean_of(gone, before=before)


def _oldest(client: Any, bucket: str, key: str) -> str:
    found = client.list_object_versions(Bucket=bucket, Prefix=key)["Versions"]
    return str(min(found, key=lambda v: v["LastModified"])["VersionId"])


def test_a_compliance_lock_is_dated_and_its_bytes_go_when_it_ends(s3_world: World) -> None:
    client, name = _bucket(s3_world)
    user = s3_world.cast.active_buyer
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=12)
    key = "raw/event_dt=2026-11-02/99/evt-locked.ndjson"
    body = s3_world.storage.current("raw/")[_key_of(s3_world, user)]
    client.put_object(
        Bucket=name,
        Key=key,
        Body=body,
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=until,
        ChecksumAlgorithm="SHA256",
    )
    before, gone = s3_world.records(), s3_world.gone(users=(user,))
    locked = s3_world.erase("--user-id", user, "--yes", "--purge-now", "--json")
    assert locked.code == 4, locked.out + locked.err
    assert locked.document["outcome"] == "pending_retention"
    assert f"{until:%Y-%m-%dT%H:%M:%S}" in s3_world.report.read_text()
    assert {h.place.split()[0] for h in s3_world.storage.held(gone.values)} == {key}
    time.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds()) + 1)
    again = s3_world.erase("--user-id", user, "--yes", "--purge-now")
    assert again.code == 0, again.out + again.err
    s3_world.clean_of(gone, before=before)


def test_a_server_that_is_away_is_said(s3_world: World) -> None:
    away = {"CLEARLAKE_S3_ENDPOINT": "http://127.0.0.1:9"}
    done = s3_world.erase("--user-id", s3_world.cast.active_buyer, env=away)
    assert (done.code, "Traceback" in done.err) == (6, False), done.err


def test_a_full_disk_is_said_and_the_same_command_goes_on(folder_world: World) -> None:
    """No file may grow beyond a limit: first the journal's, then a replacement's."""
    user = folder_world.cast.active_buyer
    before, gone = folder_world.records(), folder_world.gone(users=(user,))
    versions = folder_world.storage.versions()
    for limit in (2_000, 60_000, 100_000):
        full = folder_world.erase("--user-id", user, "--yes", "--purge-now", limit=limit)
        assert full.code in (6, 0), f"{full.code}: {full.out}{full.err}"
        assert "Traceback" not in full.err
        if full.code:
            assert "pace" in full.err or "full" in full.err or "arge" in full.err, full.err
    assert versions.keys()
    again = folder_world.erase("--user-id", user, "--yes", "--purge-now")
    assert again.code == 0, again.out + again.err
    folder_world.clean_of(gone, before=before)


def test_ctrl_c_in_the_middle_is_said_and_the_same_command_finishes(world: World) -> None:
    user = world.cast.active_buyer
    before, gone = world.records(), world.gone(users=(user,))
    line = world.erase_line("--user-id", user, "--yes", "--purge-now")
    for place in ("bronze.after_intent", "tables.committed", "purge_tables.before_purge"):
        passed = world.desk / "passed"
        passed.unlink(missing_ok=True)
        asked = {"": f"{place}=sleep:60", "_RECORD": str(passed)}
        running = world.start(
            *line, env={f"CLEARLAKE_FAILPOINTS{end}": value for end, value in asked.items()}
        )
        _wait_for(place, passed)
        running.signal(signal.SIGINT)
        done = running.end()
        assert done.code == 130, done.out + done.err
        assert "Interrupted." in done.err
        assert "Traceback" not in done.err
    again = world.erase("--user-id", user, "--yes", "--purge-now")
    assert again.code == 0, again.out + again.err
    world.clean_of(gone, before=before)


def _wait_for(place: str, passed: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if passed.exists() and place in passed.read_text(encoding="ascii").split():
            time.sleep(0.05)
            return
        time.sleep(0.02)
    raise AssertionError(f"{place} was never passed")
