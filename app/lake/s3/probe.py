"""One credential's plain calls, for `clearlake doctor`: what a bucket says of itself, and acts on
objects that doctor itself made. Nothing here is for a lake's own objects.

Not here: what should be allowed or refused, and what to do about it (app.doctor).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from app.lake.ports import GOVERNANCE, Upload
from app.lake.s3.connection import code_of, split, told
from app.lake.s3.store import S3Store

_T = TypeVar("_T")
_NOTHING = frozenset(
    {
        "ObjectLockConfigurationNotFoundError",
        "NoSuchLifecycleConfiguration",
        "ReplicationConfigurationNotFoundError",
        "NotImplemented",
    }
)
"""Codes of servers that say: there is none of this here."""
ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Storage classes that cannot be read until somebody restores the object."""


@dataclass(frozen=True, slots=True)
class LockSettings:
    """Object Lock of a bucket, and the retention that it gives every new object by itself."""

    enabled: bool
    mode: str | None = None
    """GOVERNANCE | COMPLIANCE | None: no default retention."""
    days: int = 0


@dataclass(frozen=True, slots=True)
class LifecycleRule:
    """An enabled rule, as far as it matters to an erasure."""

    name: str
    prefix: str
    archives: bool
    """Moves versions to where they cannot be read."""
    forgets_days: int | None
    """Removes superseded versions by itself after so many days."""


class S3Probe:
    """The calls of one credential. Errors as those of app.lake.ports.ObjectStore."""

    def __init__(
        self,
        endpoint: str | None,
        region: str,
        access_key: str | None = None,
        secret_key: str | None = None,
    ) -> None:
        self.store = S3Store(endpoint, region, access_key, secret_key)
        self._connection = self.store._connection

    def close(self) -> None:
        """Close the connections."""
        self.store.close()

    # --- what a bucket says of itself ---------------------------------------------------------

    def versioning(self, bucket: str) -> str:
        """Enabled | Suspended | off."""
        client = self._connection.reading
        with told("reading the versioning", bucket):
            return client.get_bucket_versioning(Bucket=bucket).get("Status") or "off"

    def lock(self, bucket: str) -> LockSettings:
        """Object Lock, and the default retention."""
        client = self._connection.reading
        answer = self._unless_none(
            "reading the lock settings",
            bucket,
            lambda: client.get_object_lock_configuration(Bucket=bucket),
        )
        found: Mapping[str, Any] = answer.get("ObjectLockConfiguration", {})
        default = found.get("Rule", {}).get("DefaultRetention", {})
        return LockSettings(
            enabled=found.get("ObjectLockEnabled") == "Enabled",
            mode=default.get("Mode"),
            days=int(default.get("Days", 0)) + 366 * int(default.get("Years", 0)),
        )

    def lifecycle(self, bucket: str) -> tuple[LifecycleRule, ...]:
        """The enabled rules."""
        client = self._connection.reading
        answer = self._unless_none(
            "reading the lifecycle rules",
            bucket,
            lambda: client.get_bucket_lifecycle_configuration(Bucket=bucket),
        )
        rules = answer.get("Rules", [])
        return tuple(_rule(rule) for rule in rules if rule.get("Status") == "Enabled")

    def replication(self, bucket: str) -> tuple[str, ...]:
        """Buckets that the enabled rules copy to."""
        client = self._connection.reading
        answer = self._unless_none(
            "reading the replication rules",
            bucket,
            lambda: client.get_bucket_replication(Bucket=bucket),
        )
        rules = answer.get("ReplicationConfiguration", {}).get("Rules", [])
        targets = (r["Destination"]["Bucket"] for r in rules if r.get("Status") == "Enabled")
        return tuple(sorted({target.rpartition(":")[2] for target in targets}))

    # --- acts on doctor's own objects ---------------------------------------------------------

    def put(self, uri: str, body: bytes) -> str:
        """A new version; its id."""
        return self._put(uri, body)

    def put_over(self, uri: str, body: bytes, *, etag: str) -> str:
        """The same, only over the version with that ETag (If-Match)."""
        return self._put(uri, body, IfMatch=etag)

    def put_first(self, uri: str, body: bytes) -> str:
        """The same, only where nothing is (If-None-Match)."""
        return self._put(uri, body, IfNoneMatch="*")

    def put_claiming(self, uri: str, body: bytes, *, sha256: str) -> str:
        """The same, with this base64 checksum, right or wrong."""
        return self._put(uri, body, ChecksumSHA256=sha256)

    def put_locked(self, uri: str, body: bytes, *, until: datetime) -> str:
        """The same, under GOVERNANCE."""
        return self._put(uri, body, ObjectLockMode=GOVERNANCE, ObjectLockRetainUntilDate=until)

    def etag(self, uri: str, *, version_id: str) -> str:
        """Of exactly this version."""
        return self.store.info(uri, version_id=version_id).etag

    def delete_version(self, uri: str, *, version_id: str) -> None:
        """Destroy exactly this version."""
        self._delete(uri, VersionId=version_id)

    def delete_locked(self, uri: str, *, version_id: str) -> None:
        """The same, going around a GOVERNANCE lock."""
        self._delete(uri, VersionId=version_id, BypassGovernanceRetention=True)

    def hide(self, uri: str) -> None:
        """Delete without naming a version: a marker covers what is there."""
        self._delete(uri)

    def start_upload(self, uri: str) -> Upload:
        """Open a multipart upload without parts."""
        bucket, key = split(uri)
        with told("opening an upload", bucket):
            made = self._connection.once.create_multipart_upload(Bucket=bucket, Key=key)
        return Upload(uri=uri, upload_id=made["UploadId"], initiated=self.store.now())

    def end_upload(self, upload: Upload) -> None:
        """Abort an open multipart upload."""
        bucket, key = split(upload.uri)
        with told("ending an upload", bucket):
            self._connection.once.abort_multipart_upload(
                Bucket=bucket, Key=key, UploadId=upload.upload_id
            )

    def _put(self, uri: str, body: bytes, **beside: Any) -> str:
        bucket, key = split(uri)
        with told("writing to the scratch prefix", bucket):
            answer = self._connection.once.put_object(Bucket=bucket, Key=key, Body=body, **beside)
        return answer.get("VersionId") or "null"

    def _delete(self, uri: str, **beside: Any) -> None:
        bucket, key = split(uri)
        with told("deleting from the scratch prefix", bucket):
            self._connection.once.delete_object(Bucket=bucket, Key=key, **beside)

    def _unless_none(self, what: str, bucket: str, call: Callable[[], Any]) -> Mapping[str, Any]:
        with told(what, bucket):
            try:
                answer: Mapping[str, Any] = call()
            except ClientError as err:
                if code_of(err)[1] not in _NOTHING:
                    raise
                return {}
        return answer


def _rule(rule: Mapping[str, Any]) -> LifecycleRule:
    narrowed = rule.get("Filter", {})
    prefix = narrowed.get("Prefix") or narrowed.get("And", {}).get("Prefix") or rule.get("Prefix")
    moves = [*rule.get("Transitions", []), *rule.get("NoncurrentVersionTransitions", [])]
    forgets = rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays")
    return LifecycleRule(
        name=rule.get("ID", "without a name"),
        prefix=prefix or "",
        archives=any(move.get("StorageClass") in ARCHIVES for move in moves),
        forgets_days=int(forgets) if forgets is not None else None,
    )
