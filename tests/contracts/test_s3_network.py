"""S3 over a network that fails: said as it is, repeated where that is safe, sent once where not."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from app.domain.errors import (
    AccessDeniedError,
    LakeError,
    ObjectConflictError,
    PreconditionFailedError,
    UnreachableError,
)
from app.lake.ports import ObjectInfo
from app.lake.s3 import S3Store
from tests.canned_http import Canned, serving

SECRET = "usr_01JAAAAAAAAAAAAAAAAAAAAAAA"
LIKE = ObjectInfo("s3://b/k", "v", '"e"', 1, datetime(2026, 1, 1, tzinfo=UTC))


# --- the network in between -------------------------------------------------------------------


def put_to(canned: Canned) -> None:
    store = S3Store(canned.endpoint, "us-east-1", "a", "s")
    try:
        store.put(
            f"s3://b/{SECRET}", io.BytesIO(b"x"), if_match='"e"', like=LIKE, marks={}, retain=False
        )
    finally:
        store.close()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (500, UnreachableError),
        (503, UnreachableError),
        (409, ObjectConflictError),
        (412, PreconditionFailedError),
        (404, PreconditionFailedError),
        (403, AccessDeniedError),
        (400, LakeError),
    ],
)
def test_a_conditional_put_is_sent_once_whatever_is_answered(
    status: int, error: type[LakeError]
) -> None:
    body = b"<Error><Code>Strange</Code><Message>m</Message></Error>"
    with serving(Canned(status=status, body=body)) as canned, pytest.raises(error) as caught:
        put_to(canned)
    assert [method for method, _ in canned.asked] == ["PUT"]
    assert type(caught.value) is error
    assert SECRET not in str(caught.value)


def test_an_answer_that_never_comes_leaves_the_outcome_unknown() -> None:
    with serving(Canned(status=0)) as canned, pytest.raises(UnreachableError) as caught:
        put_to(canned)
    assert [method for method, _ in canned.asked] == ["PUT"]
    assert SECRET not in str(caught.value)


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(UnreachableError) as caught:
        put_to(Canned(endpoint="http://127.0.0.1:9"))
    assert SECRET not in str(caught.value)


HEADERS = {
    "ETag": '"e"',
    "Last-Modified": "Mon, 23 Nov 2026 05:08:11 GMT",
    "x-amz-version-id": "v",
}


@contextmanager
def reading(canned: Canned) -> Iterator[S3Store]:
    with serving(canned):
        store = S3Store(canned.endpoint, "us-east-1", "a", "s")
        yield store
        store.close()


def read_all(store: S3Store, got: list[bytes], *, size: int) -> None:
    with store.open("s3://b/k", version_id="v") as stream:
        while piece := stream.read(size):
            got.append(piece)


@pytest.mark.parametrize("size", [-1, 4, 3, 1000])
def test_a_short_body_never_looks_like_the_end(size: int) -> None:
    canned = Canned(status=200, headers=HEADERS, body=b"12345678", announced=9)
    got: list[bytes] = []
    with reading(canned) as store, pytest.raises(UnreachableError):
        read_all(store, got, size=size)
    assert sum(map(len, got)) < 9


@pytest.mark.parametrize("size", [-1, 4, 8, 1000])
def test_damaged_bytes_are_never_given_out_as_whole(size: int) -> None:
    right = base64.b64encode(hashlib.sha256(b"1234567X").digest()).decode()
    headers = HEADERS | {"x-amz-checksum-sha256": right}
    canned = Canned(status=200, headers=headers, body=b"12345678")
    got: list[bytes] = []
    with reading(canned) as store, pytest.raises(UnreachableError):
        read_all(store, got, size=size)
    assert sum(map(len, got)) < 8


def test_an_archived_object_is_denied_and_says_what_to_do() -> None:
    body = b"<Error><Code>InvalidObjectState</Code><Message>m</Message></Error>"
    canned = Canned(status=403, body=body)
    with reading(canned) as store, pytest.raises(AccessDeniedError, match="archive"):
        read_all(store, [], size=-1)


def test_reads_are_repeated_when_the_server_fails() -> None:
    canned = Canned(status=503)
    with reading(canned) as store, pytest.raises(UnreachableError):
        store.info("s3://b/k", version_id="v")
    assert len(canned.asked) > 1
