"""Versions that are there and cannot be read: named, never passed over, and the rest is erased.

SeaweedFS reads what S3 keeps in an archive, so archives are closed here by a store of our own; what
S3 answers there is put to the real client in test_an_archive_is_told_by_its_name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from app.domain.errors import AccessDeniedError, ObjectArchivedError, ObjectSealedError
from app.domain.findings import What
from app.domain.receipts import ObjectWork, WorkState
from app.lake.link_rows import bronze_rows
from app.lake.ports import ARCHIVES
from app.lake.s3 import S3Store
from app.lake.s3.store import S3Stream
from app.lake.verify import check_objects
from tests.canned_http import Canned, serving
from tests.lake.bronze_world import OTHER, TARGETS, USER, Lake, erased, event, text

MINE = text([event(OTHER), event(USER)])
AFTER = erased(MINE)[0]
SSE_C: dict[str, Any] = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}


class Closed(S3Store):
    """A store whose archives are closed, as S3's are until a version is restored."""

    @contextmanager
    def open(self, uri: str, *, version_id: str) -> Iterator[S3Stream]:
        """As the real one, but for archives."""
        with super().open(uri, version_id=version_id) as stream:
            if stream.info.storage_class in ARCHIVES:
                raise ObjectArchivedError("reading a version: it is archived")
            yield stream


@pytest.fixture
def lake(place_s3: Any, tmp_path: Path) -> Lake:
    return Lake(place_s3, tmp_path / "spool")


@pytest.fixture
def closed(lake: Lake, servers: Any) -> Iterator[S3Store]:
    """Archives cannot be read by anybody who looks at this lake."""
    key, s3 = servers.s3.credentials["eraser"], servers.s3
    store = Closed(s3.endpoint, s3.region, key.access_key, key.secret_key)
    lake.place = replace(lake.place, reader=store, eraser=store, verifier=store)
    yield store
    store.close()


@pytest.fixture
def admin(servers: Any) -> Iterator[Any]:
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


def put(admin: Any, lake: Lake, name: str, body: bytes = MINE, **more: Any) -> str:
    bucket = lake.place.root.removeprefix("s3://").rstrip("/")
    version: str = admin.put_object(Bucket=bucket, Key=f"raw/{name}", Body=body, **more)[
        "VersionId"
    ]
    return version


def by_name(works: list[ObjectWork]) -> dict[str, ObjectWork]:
    return {w.uri.rpartition("/")[2]: w for w in works}


@pytest.mark.parametrize("storage_class", sorted(ARCHIVES))
def test_an_archived_object_is_parked_by_name_and_the_others_are_erased(
    lake: Lake, admin: Any, closed: S3Store, storage_class: str
) -> None:
    put(admin, lake, "cold.ndjson", StorageClass=storage_class)
    put(admin, lake, "warm.ndjson", StorageClass="GLACIER_IR")
    works = by_name(lake.purge(lake.erase()))
    assert works["warm.ndjson"].state is WorkState.PURGED
    assert lake.body("warm.ndjson") == AFTER
    assert works["cold.ndjson"].state is WorkState.PARKED
    assert (works["cold.ndjson"].reason or "").startswith("object_archived: ")
    assert len(lake.versions("cold.ndjson")) == 1


def test_an_archived_older_version_is_parked_and_the_current_one_is_erased(
    lake: Lake, admin: Any, closed: S3Store
) -> None:
    cold = put(admin, lake, "a.ndjson", StorageClass="GLACIER")
    base = put(admin, lake, "a.ndjson")
    works = lake.erase()
    assert not check_objects(
        works, dataset=lake.dataset, targets=TARGETS, store=closed, unparsable="park"
    )
    (work,) = lake.purge(works)
    assert work.state is WorkState.PARKED
    assert {s.version_id: s.state for s in work.superseded} == {
        base: WorkState.PURGED,
        cold: WorkState.PARKED,
    }
    assert {v.version_id for v in lake.versions("a.ndjson")} == {work.new_version, cold}


@pytest.mark.parametrize("storage_class", sorted(ARCHIVES))
def test_the_replacement_of_a_restored_copy_can_be_read_and_says_where_it_is(
    lake: Lake, admin: Any, storage_class: str
) -> None:
    put(admin, lake, "a.ndjson", StorageClass=storage_class)
    (work,) = lake.erase()
    found = lake.place.reader.info(work.uri, version_id=work.new_version or "")
    assert found.storage_class in (None, "STANDARD")
    assert storage_class in work.warnings[0]
    assert not check_objects(
        [work], dataset=lake.dataset, targets=TARGETS, store=lake.place.verifier, unparsable="park"
    )


def test_another_storage_class_than_the_bases_is_seen(lake: Lake, admin: Any) -> None:
    base = put(admin, lake, "a.ndjson", StorageClass="STANDARD_IA")
    (work,) = lake.erase()
    moved = put(admin, lake, "a.ndjson", AFTER, StorageClass="ONEZONE_IA")
    findings = check_objects(
        [replace(work, new_version=moved, base_version=base)],
        dataset=lake.dataset,
        targets=TARGETS,
        store=lake.place.verifier,
        unparsable="park",
    )
    assert [f.what for f in findings if f.place.endswith("storage class")] == [What.ARITHMETIC]


def test_what_only_its_writer_can_decrypt_is_parked_by_name(lake: Lake, admin: Any) -> None:
    sealed = put(admin, lake, "sealed.ndjson", **SSE_C)
    older = put(admin, lake, "older.ndjson", **SSE_C)
    put(admin, lake, "older.ndjson")
    put(admin, lake, "plain.ndjson", ServerSideEncryption="AES256")
    works = by_name(lake.purge(lake.erase()))
    assert works["plain.ndjson"].state is WorkState.PURGED
    assert (works["sealed.ndjson"].reason or "").startswith("object_sealed: ")
    assert [v.version_id for v in lake.versions("sealed.ndjson")] == [sealed]
    assert [s.version_id for s in works["older.ndjson"].superseded if s.reason] == [older]
    with pytest.raises(ObjectSealedError):
        lake.place.reader.info(lake.uri("sealed.ndjson"), version_id=sealed)


def test_resolving_goes_on_past_what_nobody_can_read(lake: Lake, admin: Any) -> None:
    put(admin, lake, "sealed.ndjson", **SSE_C)
    put(admin, lake, "plain.ndjson")
    rows = list(bronze_rows(lake.place.reader, lake.dataset, links=None, values={USER}))
    assert [row.owners for row in rows] == [{USER}]


def test_an_archive_is_told_by_its_name() -> None:
    body = b"<Error><Code>InvalidObjectState</Code><StorageClass>GLACIER</StorageClass></Error>"
    told = {"Content-Type": "application/xml"}
    with serving(Canned(status=403, headers=told, body=body)) as server:
        store = S3Store(server.endpoint, "us-east-1", "a", "b")
        with pytest.raises(ObjectArchivedError), store.open("s3://b/k", version_id="v"):
            pass
        server.body = b"<Error><Code>AccessDenied</Code></Error>"
        with pytest.raises(AccessDeniedError) as caught, store.open("s3://b/k", version_id="v"):
            pass
        store.close()
    assert caught.value.code == "access_denied"
