"""ObjectStore on S3: listing, reading, and the conditional write of a replacement.

Not here: destroying versions (purger), making buckets and first objects (loader).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from botocore.exceptions import ClientError

from app.domain.errors import (
    AccessDeniedError,
    LakeError,
    NotVersionedError,
    ObjectMissingError,
    UnreachableError,
)
from app.lake.ports import COMPLIANCE, GOVERNANCE, ObjectInfo, Upload, Version
from app.lake.s3.connection import Connection, code_of, split, told
from app.lake.s3.writing import MARK, marked, put_replacement

if TYPE_CHECKING:
    from botocore.response import StreamingBody

HEADERS = (
    *("ContentType", "ContentEncoding", "CacheControl", "ContentDisposition"),
    "ContentLanguage",
)
ENCRYPTION = ("ServerSideEncryption", "SSEKMSKeyId")
_KINDS = re.compile(rb"<(Version|DeleteMarker)>")
RELEASE_AFTER = timedelta(seconds=2)


class S3Store:
    """app.lake.ports.ObjectStore. Reads are repeated when they fail on the way; writes never are.

    `None` for the keys: boto3's own chain (environment, profile, instance role).
    """

    def __init__(
        self,
        endpoint: str | None,
        region: str,
        access_key: str | None = None,
        secret_key: str | None = None,
    ) -> None:
        self._connection = Connection(endpoint, region, access_key, secret_key)
        # botocore parses versions and markers into two lists; their common order is in the XML
        self._connection.reading.meta.events.register(
            "after-call.s3.ListObjectVersions", _keep_order
        )

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def require_versioned(self, uri: str) -> None:
        """NotVersionedError unless the bucket's versioning is on (suspended is not on)."""
        bucket, _ = split(uri)
        with told("reading the versioning", bucket):
            status = self._connection.reading.get_bucket_versioning(Bucket=bucket).get("Status")
        if status != "Enabled":
            raise NotVersionedError(
                f"Versioning of bucket {bucket} is {status or 'off'}: a rewrite would destroy the "
                "old bytes at once. Turn versioning on."
            )

    def now(self) -> datetime:
        """The Date of a fresh answer; a refusal has one too."""
        with told("asking for the time", "the server"):
            try:
                answer: Any = self._connection.reading.list_buckets(MaxBuckets=1)
            except ClientError as err:
                if code_of(err)[0] >= 500:
                    raise
                answer = err.response
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        if date is None:
            raise LakeError("The server tells no time (no Date header).")
        return parsedate_to_datetime(date).astimezone(UTC)

    def versions(self, prefix: str) -> Iterator[Version]:
        """Every version and marker, key by key, newest first, past any page limit."""
        bucket, key = split(prefix)
        pages = self._connection.reading.get_paginator("list_object_versions")
        with told("listing versions", bucket):
            for page in pages.paginate(Bucket=bucket, Prefix=key):
                yield from _versions(page, bucket)

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """Open multipart uploads under the prefix."""
        bucket, key = split(prefix)
        pages = self._connection.reading.get_paginator("list_multipart_uploads")
        with told("listing uploads", bucket):
            for page in pages.paginate(Bucket=bucket, Prefix=key):
                for upload in page.get("Uploads", []):
                    yield Upload(
                        uri=_uri(bucket, upload["Key"]),
                        upload_id=upload["UploadId"],
                        initiated=upload["Initiated"].astimezone(UTC),
                    )

    def info(self, uri: str, *, version_id: str) -> ObjectInfo:
        """Everything beside the bytes of exactly this version."""
        bucket, key = split(uri)
        with told("looking at a version", bucket):
            try:
                answer = self._connection.reading.head_object(
                    Bucket=bucket, Key=key, VersionId=version_id
                )
            except ClientError as err:
                if code_of(err)[0] == 404:  # HEAD has no body: a missing bucket looks the same
                    self._connection.reading.get_bucket_versioning(Bucket=bucket)
                if code_of(err)[0] == 400:  # and so does a key that only its writer holds
                    self._connection.reading.get_object(
                        Bucket=bucket, Key=key, VersionId=version_id
                    )
                raise
        return self._info(uri, version_id, answer)

    @contextmanager
    def open(self, uri: str, *, version_id: str) -> Iterator[S3Stream]:
        """The bytes of exactly this version, and what the same answer says of them."""
        bucket, key = split(uri)
        with told("reading a version", bucket):
            answer = self._connection.reading.get_object(
                Bucket=bucket, Key=key, VersionId=version_id
            )
        body = answer["Body"]
        try:
            yield S3Stream(self._info(uri, version_id, answer), body, bucket)
        finally:
            body.close()

    def put(
        self,
        uri: str,
        body: BinaryIO,
        *,
        if_match: str,
        like: ObjectInfo,
        marks: Mapping[str, str],
        retain: bool,
    ) -> str:
        """Erasure.md C6: a new current version, only over the one with that ETag, sent once."""
        return put_replacement(
            self._connection,
            uri,
            body,
            if_match=if_match,
            like=like,
            marks=marks,
            retain=retain,
        )

    def find_written(self, uri: str, *, marks: Mapping[str, str], sha256: str) -> str | None:
        """The newest version of exactly this key that carries the marks."""
        wanted = marked(marks).items()
        for version in self.versions(uri):
            if version.uri != uri or version.is_marker:
                continue
            try:
                info = self.info(uri, version_id=version.version_id)
            except ObjectMissingError:
                continue
            if wanted <= info.metadata.items():
                return version.version_id
        return None

    def locks_by_default(self, uri: str) -> bool:
        """Whether the bucket has a default retention, or does not tell."""
        bucket, _ = split(uri)
        try:
            with told("reading the lock settings", bucket):
                answer = self._connection.reading.get_object_lock_configuration(Bucket=bucket)
        except ObjectMissingError:
            return False  # a bucket without Object Lock
        except LakeError:
            return True
        rule = answer.get("ObjectLockConfiguration", {}).get("Rule", {})
        return bool(rule.get("DefaultRetention"))

    def release_retention(self, uri: str, *, version_id: str) -> None:
        """Clear a GOVERNANCE retention. Servers that cannot clear one get it ended at once."""
        mode = self.info(uri, version_id=version_id).lock_mode
        if mode == COMPLIANCE:
            raise AccessDeniedError("COMPLIANCE: nobody can release it before its date.")
        if mode is None:
            return
        bucket, key = split(uri)
        where: dict[str, Any] = {"Bucket": bucket, "Key": key, "VersionId": version_id}
        where["BypassGovernanceRetention"] = True
        client = self._connection.once
        with told("releasing a retention", bucket):
            try:
                none: Any = {}
                client.put_object_retention(Retention=none, **where)
            except ClientError as err:
                if code_of(err)[0] != 400:
                    raise
                ended: Any = {"Mode": GOVERNANCE, "RetainUntilDate": self.now() + RELEASE_AFTER}
                client.put_object_retention(Retention=ended, **where)

    def _info(self, uri: str, version_id: str, answer: Mapping[str, Any]) -> ObjectInfo:
        until = answer.get("ObjectLockRetainUntilDate")
        return ObjectInfo(
            uri=uri,
            version_id=version_id,
            etag=answer["ETag"],
            size=answer["ContentLength"],
            modified=answer["LastModified"].astimezone(UTC),
            lock_mode=answer.get("ObjectLockMode"),
            retain_until=until.astimezone(UTC) if until else None,
            legal_hold=answer.get("ObjectLockLegalHoldStatus") == "ON",
            metadata=dict(answer.get("Metadata", {})),
            tags=self._tags(uri, version_id) if answer.get("TagCount") else {},
            storage_class=answer.get("StorageClass"),
            encryption=_encryption(answer),
            headers=_headers(answer),
        )

    def _tags(self, uri: str, version_id: str) -> dict[str, str]:
        bucket, key = split(uri)
        with told("reading tags", bucket):
            answer = self._connection.reading.get_object_tagging(
                Bucket=bucket, Key=key, VersionId=version_id
            )
        return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}


class S3Stream:
    """app.lake.ports.ObjectStream: checked for its length, and its checksum where it has one."""

    def __init__(self, info: ObjectInfo, body: StreamingBody, bucket: str) -> None:
        self._info, self._body, self._bucket = info, body, bucket
        self._left = info.size

    @property
    def info(self) -> ObjectInfo:
        """What the answer that carries these bytes says of the version."""
        return self._info

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes. The last piece is given out only once the whole was checked."""
        if size == 0 or not self._left:
            return b""
        with told("reading a version", self._bucket):
            piece: bytes = self._body.read(None if size < 0 else size)
            self._left -= len(piece)
            if not piece or self._left < 0:
                raise UnreachableError("reading a version: its length is not what was announced")
            if not self._left and size > 0:
                self._body.read(1)  # makes botocore check length and checksum
        return piece


def _versions(page: Mapping[str, Any], bucket: str) -> Iterator[Version]:
    encoded = page.get("EncodingType") == "url"
    lists = {
        "Version": iter(page.get("Versions", [])),
        "DeleteMarker": iter(page.get("DeleteMarkers", [])),
    }
    for kind in page["ClearlakeOrder"]:
        item = next(lists[kind])
        name = item["Key"]
        if not encoded and "\ufffd" in name:
            raise LakeError(f"listing versions in {bucket}: a key that the server cannot spell out")
        yield Version(
            uri=_uri(bucket, name),
            version_id=item["VersionId"],
            etag=item.get("ETag", ""),
            size=item.get("Size", 0),
            modified=item["LastModified"].astimezone(UTC),
            is_latest=item["IsLatest"],
            is_marker=kind == "DeleteMarker",
        )


def _keep_order(http_response: Any, parsed: dict[str, Any], **_: object) -> None:
    found = _KINDS.findall(http_response.content)
    parsed["ClearlakeOrder"] = [kind.decode("ascii") for kind in found]


def _encryption(answer: Mapping[str, Any]) -> dict[str, str]:
    found = {name: answer[name] for name in ENCRYPTION if answer.get(name)}
    if answer.get("BucketKeyEnabled"):
        found["BucketKeyEnabled"] = "true"
    return found


def _headers(answer: Mapping[str, Any]) -> dict[str, str]:
    found = {name: answer[name] for name in HEADERS if answer.get(name)}
    if "ContentEncoding" in found:  # aws-chunked is how bytes travelled, not what they are
        codings = [c.strip() for c in found["ContentEncoding"].split(",")]
        kept = ",".join(c for c in codings if c and c != "aws-chunked")
        found = {**found, "ContentEncoding": kept}
    return {name: value for name, value in found.items() if value}


def _uri(bucket: str, key: str) -> str:
    return f"s3://{bucket}/{key}"


__all__ = ["MARK", "S3Store", "S3Stream"]
