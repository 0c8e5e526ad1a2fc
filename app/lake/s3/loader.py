"""Loader on S3: makes a bucket as a lake needs it, and first objects with their own retention."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from app.lake.s3.connection import Connection, code_of, split, told


class S3Loader:
    """app.lake.ports.Loader."""

    def __init__(
        self,
        endpoint: str | None,
        region: str,
        access_key: str | None = None,
        secret_key: str | None = None,
    ) -> None:
        self._connection = Connection(endpoint, region, access_key, secret_key)

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def ensure_bucket(self, uri: str, *, object_lock: bool) -> None:
        """A versioned bucket, with Object Lock where wanted and no default retention."""
        bucket, _ = split(uri)
        client = self._connection.reading
        with told("making a bucket", bucket):
            try:
                client.head_bucket(Bucket=bucket)
            except ClientError as err:
                if code_of(err)[0] != 404:
                    raise
                self._make(bucket, object_lock=object_lock)

    def load(
        self,
        uri: str,
        body: bytes,
        *,
        lock_mode: str | None = None,
        retain_until: datetime | None = None,
    ) -> str:
        """Write an object under its own retention."""
        bucket, key = split(uri)
        lock: dict[str, Any] = {}
        if lock_mode is not None and retain_until is not None:
            lock = {"ObjectLockMode": lock_mode, "ObjectLockRetainUntilDate": retain_until}
        with told("loading an object", bucket):
            answer = self._connection.reading.put_object(
                Bucket=bucket, Key=key, Body=body, ChecksumAlgorithm="SHA256", **lock
            )
        return answer["VersionId"]

    def _make(self, bucket: str, *, object_lock: bool) -> None:
        client, region = self._connection.reading, self._connection.region
        where: dict[str, Any] = {}
        if region != "us-east-1":
            where = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=object_lock, **where)
        except ClientError as err:
            if code_of(err)[1] != "BucketAlreadyOwnedByYou":  # another loader was faster
                raise
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
