"""The doors of the lake, that of tables in table_ports. Contracts in MUST words; one contract test
runs on every kind of each.

Everything is named by URI (`s3://bucket/key`, `file:///path`). Errors are those of
app.domain.errors and name URIs only where the caller already had them; none quotes content.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO, Protocol

from app.lake.table_ports import TableEngine

GOVERNANCE = "GOVERNANCE"
COMPLIANCE = "COMPLIANCE"
ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Storage classes whose bytes nobody reads before they are restored."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object, or a delete marker, as a listing tells it."""

    uri: str = field(repr=False)
    version_id: str
    etag: str
    size: int
    """Bytes as stored; 0 for a delete marker."""
    modified: datetime
    """UTC, by the server's clock."""
    is_latest: bool
    is_marker: bool = False


@dataclass(frozen=True, slots=True)
class Upload:
    """An open multipart upload: bytes that no listing of objects shows."""

    uri: str = field(repr=False)
    upload_id: str
    initiated: datetime


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What stands beside the bytes of one version. Times are UTC."""

    uri: str = field(repr=False)
    version_id: str
    etag: str
    size: int
    modified: datetime
    lock_mode: str | None = None
    """GOVERNANCE | COMPLIANCE | None"""
    retain_until: datetime | None = None
    legal_hold: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    tags: Mapping[str, str] = field(default_factory=dict, repr=False)
    storage_class: str | None = None
    encryption: Mapping[str, str] = field(default_factory=dict)
    """Header arguments of a put that encrypt likewise, e.g. ServerSideEncryption, SSEKMSKeyId."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """ContentType, ContentEncoding, CacheControl, ContentDisposition, ContentLanguage where set."""


class ObjectStream(Protocol):
    """The bytes of one version, read once from the front."""

    @property
    def info(self) -> ObjectInfo:
        """What the same answer said of the version: the bytes read are these and no others."""
        ...

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes; b'' at the end. A short body MUST raise UnreachableError, never look
        like the end.
        """
        ...


class ObjectStore(Protocol):
    """A versioned store of immutable objects. Every method may raise UnreachableError or
    AccessDeniedError.
    """

    def require_versioned(self, uri: str) -> None:
        """MUST raise NotVersionedError when old bytes at this URI would be lost by a put."""
        ...

    def now(self) -> datetime:
        """The server's clock (UTC); never the worker's."""
        ...

    def versions(self, prefix: str) -> Iterator[Version]:
        """Every version and delete marker whose URI starts with `prefix`, key by key, newest first
        within a key.

        MUST go on past any page limit. An exact key is asked for by its whole URI; the caller drops
        siblings.
        """
        ...

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """Open multipart uploads under the prefix. A folder has none."""
        ...

    def info(self, uri: str, *, version_id: str) -> ObjectInfo:
        """All of ObjectInfo, tags read only where there are some. ObjectMissingError when the
        version is gone.
        """
        ...

    def open(self, uri: str, *, version_id: str) -> AbstractContextManager[ObjectStream]:
        """The version's bytes; `stream.info` as `info()`. ObjectMissingError when gone,
        ObjectUnreadableError when a storage class or a key of its writer's own forbids it,
        AccessDeniedError when a right does.
        """
        ...

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
        """Write a new current version and return its id, only if the current one still has the ETag
        `if_match`.

        `body` is seekable and read from 0. Headers, metadata, tags, storage class and encryption
        are taken over from `like` (but for ARCHIVES, in which a replacement could not be checked:
        it goes to the standard class); `marks` are added to the metadata. `retain`: the same lock
        mode and retain-until as `like` too. The body MUST be checked by a checksum on the way.
        MUST NOT be repeated by the SDK. PreconditionFailedError (412), ObjectConflictError (409),
        UnreachableError when the outcome is unknown: look with `find_written`.
        """
        ...

    def find_written(self, uri: str, *, marks: Mapping[str, str], sha256: str) -> str | None:
        """The version that an earlier `put` with these marks (or, in a folder, this digest) left,
        if any.
        """
        ...

    def locks_by_default(self, uri: str) -> bool:
        """Whether a version that is put here without a lock may get one by itself: True where that
        cannot be told.
        """
        ...

    def release_retention(self, uri: str, *, version_id: str) -> None:
        """Clear a GOVERNANCE retention (bypass right). COMPLIANCE raises AccessDeniedError."""
        ...


class Purger(Protocol):
    """The one door that destroys. It holds the bypass credential, and refuses with
    PurgeRefusedError: a version not handed to `allow` before, a URI outside the prefixes it was
    built for, and more than its number an hour.
    """

    def allow(self, versions: Iterable[tuple[str, str]]) -> None:
        """(uri, version_id) pairs that the journal lists as superseded."""
        ...

    def purge(self, uri: str, *, version_id: str) -> None:
        """Destroy exactly this version (or marker). Gone already is success.

        AccessDeniedError when a lock, a hold or a missing right forbids it: `ObjectStore.info`
        tells which.
        """
        ...

    def abort(self, upload: Upload) -> None:
        """End an open multipart upload under an allowed prefix. Gone already is success."""
        ...


class Loader(Protocol):
    """What a loader does to a lake: makes its bucket and writes new objects. Used to make lakes and
    by tests.
    """

    def ensure_bucket(self, uri: str, *, object_lock: bool) -> None:
        """Make the bucket (versioned, Object Lock on, NO default retention) or the folder, unless
        it is there.
        """
        ...

    def load(
        self,
        uri: str,
        body: bytes,
        *,
        lock_mode: str | None = None,
        retain_until: datetime | None = None,
    ) -> str:
        """Write an object with, where the store has locks, its own retention. Returns the version
        id.
        """
        ...


@dataclass(frozen=True, slots=True)
class Doors:
    """All doors to one lake, each with its own credential. Built by app.wiring."""

    reader: ObjectStore
    eraser: ObjectStore
    verifier: ObjectStore
    purger: Purger
    engine: TableEngine | None
    """None when the map names no table."""
    verify_engine: TableEngine | None
    """The same tables with the read-only credential, to open files and find metadata."""
