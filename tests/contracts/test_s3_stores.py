"""What only S3 has: locks, delete markers, uploads, metadata, rights, and a network in between."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import boto3
import pytest

from app.domain.errors import (
    AccessDeniedError,
    LakeError,
    NotVersionedError,
    ObjectMissingError,
    PreconditionFailedError,
    PurgeRefusedError,
)
from app.lake.ports import COMPLIANCE, GOVERNANCE
from app.lake.s3 import S3Purger, S3Store
from app.servers import Servers
from tests.places import Place

SECRET = "usr_01JAAAAAAAAAAAAAAAAAAAAAAA"


def soon(**delta: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(**delta)


@contextmanager
def store_of(servers: Servers, role: str) -> Iterator[S3Store]:
    key = servers.s3.credentials[role]
    store = S3Store(servers.s3.endpoint, servers.s3.region, key.access_key, key.secret_key)
    yield store
    store.close()


def where(uri: str) -> dict[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


def locked(place: Place, mode: str, *, days: int = 1) -> tuple[str, str, datetime]:
    uri, until = place.root + "raw/a.ndjson", soon(days=days)
    return uri, place.loader.load(uri, b"one\n", lock_mode=mode, retain_until=until), until


def purge(place: Place, uri: str, version: str) -> None:
    purger = place.purger()
    purger.allow([(uri, version)])
    purger.purge(uri, version_id=version)


# --- locks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [GOVERNANCE, COMPLIANCE])
def test_a_replacement_keeps_the_lock_of_its_base_when_it_is_to(place_s3: Place, mode: str) -> None:
    uri, base, until = locked(place_s3, mode)
    like = place_s3.reader.info(uri, version_id=base)
    assert (like.lock_mode, like.retain_until, like.legal_hold) == (mode, until, False)
    put = place_s3.eraser.put
    same = put(uri, io.BytesIO(b"2"), if_match=like.etag, like=like, marks={}, retain=True)
    kept = place_s3.reader.info(uri, version_id=same)
    assert (kept.lock_mode, kept.retain_until) == (mode, until)
    free = put(uri, io.BytesIO(b"3"), if_match=kept.etag, like=like, marks={}, retain=False)
    loose = place_s3.reader.info(uri, version_id=free)
    assert (loose.lock_mode, loose.retain_until) == (None, None)


def test_governance_yields_to_the_purger_and_to_nobody_else(
    place_s3: Place, servers: Servers
) -> None:
    uri, version, _ = locked(place_s3, GOVERNANCE)
    for role in ("reader", "writer", "eraser", "verifier"):
        key = servers.s3.credentials[role]
        other = S3Purger(
            *(servers.s3.endpoint, servers.s3.region, key.access_key, key.secret_key),
            prefixes=[place_s3.root],
        )
        other.allow([(uri, version)])
        with pytest.raises(AccessDeniedError):
            other.purge(uri, version_id=version)
        other.close()
    assert place_s3.reader.info(uri, version_id=version).size == 4
    purge(place_s3, uri, version)
    assert list(place_s3.reader.versions(uri)) == []


def test_compliance_yields_to_nobody_and_says_until_when(place_s3: Place) -> None:
    uri, version, until = locked(place_s3, COMPLIANCE)
    with pytest.raises(AccessDeniedError):
        purge(place_s3, uri, version)
    info = place_s3.reader.info(uri, version_id=version)
    assert (info.lock_mode, info.retain_until) == (COMPLIANCE, until)


def test_a_legal_hold_forbids_and_is_seen(place_s3: Place, admin: Any) -> None:
    uri = place_s3.root + "raw/a.ndjson"
    version = place_s3.loader.load(uri, b"one\n")
    admin.put_object_legal_hold(**where(uri), VersionId=version, LegalHold={"Status": "ON"})
    with pytest.raises(AccessDeniedError):
        purge(place_s3, uri, version)
    assert place_s3.reader.info(uri, version_id=version).legal_hold
    with place_s3.reader.open(uri, version_id=version) as stream:
        assert stream.info.legal_hold
    admin.put_object_legal_hold(**where(uri), VersionId=version, LegalHold={"Status": "OFF"})
    purge(place_s3, uri, version)
    assert list(place_s3.reader.versions(uri)) == []


def test_a_governance_retention_is_released_by_who_may_bypass(
    place_s3: Place, servers: Servers
) -> None:
    uri, version, until = locked(place_s3, GOVERNANCE)
    with pytest.raises(AccessDeniedError):
        place_s3.eraser.release_retention(uri, version_id=version)
    assert place_s3.reader.info(uri, version_id=version).retain_until == until
    with store_of(servers, "purger") as bypassing:
        bypassing.release_retention(uri, version_id=version)
    end = place_s3.reader.info(uri, version_id=version).retain_until
    assert end is None or end <= soon(seconds=3)


def test_a_compliance_retention_is_released_by_nobody(place_s3: Place, servers: Servers) -> None:
    uri, version, until = locked(place_s3, COMPLIANCE)
    with store_of(servers, "purger") as bypassing, pytest.raises(AccessDeniedError):
        bypassing.release_retention(uri, version_id=version)
    assert place_s3.reader.info(uri, version_id=version).retain_until == until


# --- rights -----------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["reader", "verifier", "purger"])
def test_who_reads_or_purges_cannot_write(place_s3: Place, servers: Servers, role: str) -> None:
    uri = place_s3.root + "raw/a.ndjson"
    version = place_s3.loader.load(uri, b"one\n")
    with store_of(servers, role) as store:
        like = store.info(uri, version_id=version)
        with store.open(uri, version_id=version) as stream:
            assert stream.read() == b"one\n"
        with pytest.raises(AccessDeniedError):
            store.put(uri, io.BytesIO(b"2"), if_match=like.etag, like=like, marks={}, retain=False)
    assert [v.version_id for v in place_s3.reader.versions(uri)] == [version]


@pytest.mark.parametrize("role", ["reader", "verifier", "purger"])
def test_who_may_not_write_cannot_even_hide(place_s3: Place, servers: Servers, role: str) -> None:
    uri = place_s3.root + "raw/a.ndjson"
    version = place_s3.loader.load(uri, b"one\n")
    key = servers.s3.credentials[role]
    client: Any = boto3.client(
        "s3",
        endpoint_url=servers.s3.endpoint,
        region_name=servers.s3.region,
        aws_access_key_id=key.access_key,
        aws_secret_access_key=key.secret_key,
    )
    with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
        client.delete_object(**where(uri))
    client.close()
    assert [v.version_id for v in place_s3.reader.versions(uri)] == [version]


def test_a_wrong_secret_is_denied_not_missing(place_s3: Place, servers: Servers) -> None:
    uri = place_s3.root + f"raw/{SECRET}"
    version = place_s3.loader.load(uri, b"one\n")
    key = servers.s3.credentials["reader"]
    store = S3Store(servers.s3.endpoint, servers.s3.region, key.access_key, "wrong")
    with pytest.raises(AccessDeniedError) as caught:
        store.info(uri, version_id=version)
    with pytest.raises(AccessDeniedError):
        list(store.versions(uri))
    assert SECRET not in str(caught.value)
    assert "wrong" not in str(caught.value)
    store.close()


def test_a_missing_bucket_is_never_taken_for_gone_objects(place_s3: Place) -> None:
    uri = f"s3://lake-{uuid4().hex[:12]}/raw/a"
    purger = place_s3.purger(uri)
    looks: list[Callable[[], object]] = [
        lambda: place_s3.reader.info(uri, version_id="0" * 32),
        lambda: list(place_s3.reader.versions(uri)),
        lambda: place_s3.reader.open(uri, version_id="0" * 32).__enter__(),
        lambda: place_s3.reader.require_versioned(uri),
    ]
    for look in looks:
        with pytest.raises(LakeError) as caught:
            look()
        assert not isinstance(caught.value, ObjectMissingError)
    with pytest.raises(PurgeRefusedError):
        purger.purge(uri, version_id="0" * 32)


# --- listings ---------------------------------------------------------------------------------


def test_a_thousand_and_one_versions_of_a_key_are_all_listed(place_s3: Place) -> None:
    uri = place_s3.root + "raw/a.ndjson"
    with ThreadPoolExecutor(8) as pool:
        written = set(pool.map(lambda n: place_s3.loader.load(uri, b"%d" % n), range(1001)))
    last = place_s3.loader.load(uri, b"last")
    place_s3.loader.load(uri + ".gz", b"sibling")
    listed = [v for v in place_s3.reader.versions(uri) if v.uri == uri]
    assert listed[0].version_id == last
    assert [v.is_latest for v in listed] == [True] + [False] * 1001
    assert {v.version_id for v in listed} == written | {last}
    assert len(listed) == 1002


def test_delete_markers_stand_in_their_place_and_go_by_their_id(
    place_s3: Place, admin: Any
) -> None:
    uri = place_s3.root + "raw/a.ndjson"
    first = place_s3.loader.load(uri, b"one\n")
    marker_1 = admin.delete_object(**where(uri))["VersionId"]
    second = place_s3.loader.load(uri, b"two\n")
    marker_2 = admin.delete_object(**where(uri))["VersionId"]
    place_s3.loader.load(uri + ".gz", b"sibling")
    listed = [v for v in place_s3.reader.versions(uri) if v.uri == uri]
    assert [v.version_id for v in listed] == [marker_2, second, marker_1, first]
    assert [v.is_marker for v in listed] == [True, False, True, False]
    assert [v.is_latest for v in listed] == [True, False, False, False]
    assert [v.size for v in listed] == [0, 4, 0, 4]
    with pytest.raises(ObjectMissingError):
        place_s3.reader.info(uri, version_id=marker_2)
    like = place_s3.reader.info(uri, version_id=second)
    with pytest.raises(PreconditionFailedError):
        place_s3.eraser.put(
            uri, io.BytesIO(b"3"), if_match=like.etag, like=like, marks={}, retain=False
        )
    for version in (marker_2, first, marker_1):
        purge(place_s3, uri, version)
    [left] = [v for v in place_s3.reader.versions(uri) if v.uri == uri]
    assert (left.version_id, left.is_latest) == (second, True)


def test_open_uploads_are_listed_and_ended(place_s3: Place, admin: Any) -> None:
    names = ["raw/a b+%é.ndjson", "raw/b.ndjson", "silver/c"]
    for name in names:
        admin.create_multipart_upload(**where(place_s3.root + name))
    uploads = list(place_s3.reader.uploads(place_s3.root + "raw/"))
    assert [u.uri for u in uploads] == [place_s3.root + name for name in names[:2]]
    assert all(abs(u.initiated - datetime.now(UTC)) < timedelta(minutes=1) for u in uploads)
    purger = place_s3.purger(place_s3.root + "raw/")
    for upload in (*uploads, *uploads):
        purger.abort(upload)
    assert list(place_s3.reader.uploads(place_s3.root + "raw/")) == []
    assert len(list(place_s3.reader.uploads(place_s3.root))) == 1


def test_versioning_that_is_off_or_suspended_is_refused(place_s3: Place, admin: Any) -> None:
    bucket = f"lake-{uuid4().hex[:12]}"
    admin.create_bucket(Bucket=bucket)
    with pytest.raises(NotVersionedError):
        place_s3.reader.require_versioned(f"s3://{bucket}/raw/")
    admin.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    with pytest.raises(NotVersionedError):
        place_s3.reader.require_versioned(f"s3://{bucket}/raw/")


def test_a_lakes_bucket_locks_nothing_by_itself(place_s3: Place, admin: Any) -> None:
    bucket = where(place_s3.root)["Bucket"]
    config = admin.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
    assert config == {"ObjectLockEnabled": "Enabled"}


def test_a_bucket_that_locks_by_default_is_known_and_so_is_one_that_does_not_tell(
    place_s3: Place, admin: Any
) -> None:
    bucket, eraser = where(place_s3.root)["Bucket"], place_s3.eraser
    assert not eraser.locks_by_default(place_s3.root)
    plain = f"plain-{uuid4().hex[:12]}"
    admin.create_bucket(Bucket=plain)
    assert not eraser.locks_by_default(f"s3://{plain}/raw/")
    rule = {"DefaultRetention": {"Mode": GOVERNANCE, "Days": 1}}
    admin.put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    assert eraser.locks_by_default(place_s3.root)
    assert eraser.locks_by_default(f"s3://not-there-{uuid4().hex[:12]}/raw/")


# --- clients ---------------------------------------------------------------------------------


def test_a_proxy_of_the_environment_is_not_asked_for_the_loopback(
    monkeypatch: pytest.MonkeyPatch, place_s3: Place, servers: Servers
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    uri = place_s3.root + "raw/a"
    version = place_s3.loader.load(uri, b"one\n")
    with store_of(servers, "reader") as store:
        assert store.info(uri, version_id=version).size == 4


def test_a_client_serves_many_threads(place_s3: Place) -> None:
    uris = [place_s3.root + f"raw/{n}" for n in range(40)]
    with ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(lambda uri: place_s3.loader.load(uri, uri.encode()), uris))

        def read(pair: tuple[str, str]) -> bytes:
            with place_s3.reader.open(pair[0], version_id=pair[1]) as stream:
                return stream.read()

        assert list(pool.map(read, zip(uris, ids, strict=True))) == [u.encode() for u in uris]
    with suppress(PurgeRefusedError):
        place_s3.purger().purge(uris[0], version_id=ids[0])
    assert place_s3.reader.info(uris[0], version_id=ids[0]).size == len(uris[0])
