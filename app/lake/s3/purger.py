"""Purger on S3: the one client that holds the bypass credential. Exact versions only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from app.domain.errors import ObjectMissingError
from app.domain.failpoints import failpoint
from app.lake.ports import Upload
from app.lake.s3.connection import Connection, split, told
from app.lake.warrant import Warrant


class S3Purger:
    """app.lake.ports.Purger. A delete of an exact version may be repeated: gone is success."""

    def __init__(
        self,
        endpoint: str | None,
        region: str,
        access_key: str | None = None,
        secret_key: str | None = None,
        *,
        prefixes: Iterable[str],
        per_hour: int = 100_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._warrant = Warrant(prefixes, per_hour=per_hour, clock=clock)
        self._connection = Connection(endpoint, region, access_key, secret_key)

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def allow(self, versions: Iterable[tuple[str, str]]) -> None:
        """(uri, version_id) pairs that the journal lists as superseded."""
        self._warrant.allow(versions)

    def purge(self, uri: str, *, version_id: str) -> None:
        """Destroy exactly this version or marker."""
        self._warrant.require_version(uri, version_id)
        bucket, key = split(uri)
        failpoint("s3.before_purge")
        with suppress(ObjectMissingError), told("purging a version", bucket):
            self._connection.reading.delete_object(
                Bucket=bucket, Key=key, VersionId=version_id, BypassGovernanceRetention=True
            )
        failpoint("s3.after_purge")

    def abort(self, upload: Upload) -> None:
        """End an open multipart upload."""
        self._warrant.require_prefix(upload.uri)
        bucket, key = split(upload.uri)
        failpoint("s3.before_abort")
        with suppress(ObjectMissingError), told("ending an upload", bucket):
            self._connection.reading.abort_multipart_upload(
                Bucket=bucket, Key=key, UploadId=upload.upload_id
            )
        failpoint("s3.after_abort")
