"""The conditional write of a replacement (erasure.md C6), in one piece or in parts. Sent once.

Not here: deciding to write, and looking whether an unknown write took place (S3Store.find_written).
"""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, BinaryIO

from app.domain.errors import (
    LakeError,
    NotVersionedError,
    ObjectMissingError,
    PreconditionFailedError,
)
from app.domain.failpoints import failpoint
from app.lake.ports import ARCHIVES, ObjectInfo
from app.lake.s3.connection import Connection, split, told

MARK = "clearlake-"
ONE_PIECE = 64 << 20
PART = 16 << 20
MOST_PARTS = 10_000


def marked(marks: Mapping[str, str]) -> dict[str, str]:
    """Marks as user metadata: `run` becomes `clearlake-run`."""
    return {name if name.startswith(MARK) else MARK + name: value for name, value in marks.items()}


def put_replacement(
    connection: Connection,
    uri: str,
    body: BinaryIO,
    *,
    if_match: str,
    like: ObjectInfo,
    marks: Mapping[str, str],
    retain: bool,
) -> str:
    """The id of the new current version. 404 means what 412 means: the base is not there."""
    bucket, key = split(uri)
    where = {"Bucket": bucket, "Key": key}
    size = body.seek(0, os.SEEK_END)
    body.seek(0)
    failpoint("s3.before_put")
    beside = _beside(like, marks, retain=retain)
    try:
        if size <= ONE_PIECE:
            version = _in_one_piece(connection, where, body, if_match=if_match, beside=beside)
        else:
            version = _in_parts(
                connection, where, body, size=size, if_match=if_match, beside=beside
            )
    except ObjectMissingError as err:
        raise PreconditionFailedError(f"{err}: the object was deleted") from None
    failpoint("s3.after_put")
    return version


def _in_one_piece(
    connection: Connection,
    where: Mapping[str, Any],
    body: BinaryIO,
    *,
    if_match: str,
    beside: dict[str, Any],
) -> str:
    with told("writing a replacement", where["Bucket"]):
        answer = connection.once.put_object(**where, Body=body, IfMatch=if_match, **beside)
    return _version_in(answer)


def _in_parts(
    connection: Connection,
    where: Mapping[str, Any],
    body: BinaryIO,
    *,
    size: int,
    if_match: str,
    beside: dict[str, Any],
) -> str:
    part_size = max(PART, -(-size // MOST_PARTS))
    once, again = connection.once, connection.reading
    at: dict[str, Any] = dict(where)
    with told("writing a replacement in parts", where["Bucket"]):
        at["UploadId"] = once.create_multipart_upload(**where, **beside)["UploadId"]
        try:
            parts: list[Any] = []
            while piece := body.read(part_size):
                number = len(parts) + 1
                failpoint("s3.before_part")
                part = again.upload_part(
                    **at, PartNumber=number, Body=piece, ChecksumAlgorithm="SHA256"
                )
                checked = {"ChecksumSHA256": part["ChecksumSHA256"]}
                parts.append({"PartNumber": number, "ETag": part["ETag"], **checked})
            failpoint("s3.before_complete")
            done = once.complete_multipart_upload(
                **at, MultipartUpload={"Parts": parts}, IfMatch=if_match
            )
        except BaseException:
            # an upload left open holds bytes that no listing shows; verify would find it
            with suppress(LakeError), told("ending an upload", where["Bucket"]):
                again.abort_multipart_upload(**at)
            raise
    return _version_in(done)


def _version_in(answer: Mapping[str, Any]) -> str:
    version: str | None = answer.get("VersionId")
    if version is None:
        raise NotVersionedError("A write made no version: versioning was turned off meanwhile.")
    return version


def _beside(like: ObjectInfo, marks: Mapping[str, str], *, retain: bool) -> dict[str, Any]:
    """The arguments that take over what stands beside the base's bytes."""
    kept = {name: value for name, value in like.metadata.items() if not name.startswith(MARK)}
    beside: dict[str, Any] = {
        **like.headers,
        **like.encryption,
        "Metadata": {**kept, **marked(marks)},
        "ChecksumAlgorithm": "SHA256",
    }
    if "BucketKeyEnabled" in beside:
        beside["BucketKeyEnabled"] = True
    if like.tags:
        beside["Tagging"] = urllib.parse.urlencode(like.tags, quote_via=urllib.parse.quote)
    if like.storage_class and like.storage_class not in ARCHIVES:
        beside["StorageClass"] = like.storage_class
    if retain and like.lock_mode and like.retain_until:
        beside["ObjectLockMode"] = like.lock_mode
        beside["ObjectLockRetainUntilDate"] = like.retain_until
    return beside
