"""What stands beside the bytes of an S3 object, and bodies that go in parts."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.domain.errors import (
    PreconditionFailedError,
)
from app.lake.ports import GOVERNANCE
from app.lake.s3.writing import ONE_PIECE
from tests.places import Place

SECRET = "usr_01JAAAAAAAAAAAAAAAAAAAAAAA"


def soon(**delta: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(**delta)


def where(uri: str) -> dict[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


# --- what stands beside the bytes -------------------------------------------------------------


def test_a_replacement_takes_over_what_stands_beside_its_base(place_s3: Place, admin: Any) -> None:
    uri = place_s3.root + "raw/a.ndjson"
    base = admin.put_object(
        **where(uri),
        Body=b"one\n",
        Metadata={"Source": "web", "clearlake-run": "an earlier one"},
        Tagging="team=data%20x&cost=1",
        ContentType="application/x-ndjson",
        ContentEncoding="gzip",
        CacheControl="no-cache",
        ContentDisposition="inline",
        ContentLanguage="en",
        StorageClass="STANDARD_IA",
    )["VersionId"]
    like = place_s3.eraser.info(uri, version_id=base)
    assert like.tags == {"team": "data x", "cost": "1"}
    assert like.headers["ContentEncoding"] == "gzip"
    marks = {"run": "run_1", "clearlake-digest": "d"}
    new = place_s3.eraser.put(
        uri, io.BytesIO(b"2"), if_match=like.etag, like=like, marks=marks, retain=False
    )
    got = place_s3.verifier.info(uri, version_id=new)
    assert got.metadata == {"source": "web", "clearlake-run": "run_1", "clearlake-digest": "d"}
    assert (got.tags, got.headers) == (like.tags, like.headers)
    assert (got.storage_class, got.encryption) == ("STANDARD_IA", like.encryption)
    with place_s3.verifier.open(uri, version_id=new) as stream:
        assert stream.info == got


def test_encryption_is_taken_over(place_s3: Place, admin: Any) -> None:
    uri = place_s3.root + "raw/a.ndjson"
    put = admin.put_object(**where(uri), Body=b"one\n", ServerSideEncryption="AES256")
    like = place_s3.eraser.info(uri, version_id=put["VersionId"])
    assert like.encryption == {"ServerSideEncryption": "AES256"}
    new = place_s3.eraser.put(
        uri, io.BytesIO(b"2"), if_match=like.etag, like=like, marks={}, retain=False
    )
    assert place_s3.reader.info(uri, version_id=new).encryption == like.encryption


def test_the_server_keeps_the_checksum_it_has_checked(place_s3: Place, admin: Any) -> None:
    uri = place_s3.root + "raw/a.ndjson"
    base = place_s3.loader.load(uri, b"one\n")
    like = place_s3.reader.info(uri, version_id=base)
    body = b"two\n"
    new = place_s3.eraser.put(
        uri, io.BytesIO(body), if_match=like.etag, like=like, marks={}, retain=False
    )
    head = admin.head_object(**where(uri), VersionId=new, ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(body).digest()).decode()


def test_a_large_body_goes_in_parts_and_whole_or_not_at_all(place_s3: Place, admin: Any) -> None:
    uri = place_s3.root + "raw/large.ndjson"
    base = place_s3.loader.load(uri, b"one\n", lock_mode=GOVERNANCE, retain_until=soon(days=1))
    like = place_s3.reader.info(uri, version_id=base)
    like = replace(like, metadata={"source": "web"}, tags={"team": "x"})
    body = os.urandom(1 << 20) * ((ONE_PIECE >> 20) + 1)
    put = place_s3.eraser.put
    with pytest.raises(PreconditionFailedError):
        put(uri, io.BytesIO(body), if_match='"0"', like=like, marks={}, retain=True)
    assert list(place_s3.reader.uploads(place_s3.root)) == []
    assert [v.version_id for v in place_s3.reader.versions(uri)] == [base]
    new = put(uri, io.BytesIO(body), if_match=like.etag, like=like, marks={"run": "r"}, retain=True)
    with place_s3.verifier.open(uri, version_id=new) as stream:
        digest = hashlib.sha256()
        while piece := stream.read(1 << 20):
            digest.update(piece)
    assert digest.digest() == hashlib.sha256(body).digest()
    got = stream.info
    assert (got.lock_mode, got.retain_until) == (GOVERNANCE, like.retain_until)
    assert got.metadata == {"source": "web", "clearlake-run": "r"}
    assert got.tags == {"team": "x"}
    assert place_s3.eraser.find_written(uri, marks={"run": "r"}, sha256="") == new
    assert list(place_s3.reader.uploads(place_s3.root)) == []
