"""The two doors of the lake: objects and tables. Contracts in MUST words; one contract test runs on
every kind of each.

Everything is named by URI (`s3://bucket/key`, `file:///path`). Errors are those of
app.domain.errors and name URIs only where the caller already had them; none quotes content.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

GOVERNANCE = "GOVERNANCE"
COMPLIANCE = "COMPLIANCE"


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
        AccessDeniedError when a storage class or a right forbids it.
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
        are taken over from `like`; `marks` are added to the metadata. `retain`: the same lock mode
        and retain-until as `like` too. The body MUST be checked by a checksum on the way. MUST NOT
        be repeated by the SDK. PreconditionFailedError (412), ObjectConflictError (409),
        UnreachableError when the outcome is unknown: look with `find_written`.
        """
        ...

    def find_written(self, uri: str, *, marks: Mapping[str, str], sha256: str) -> str | None:
        """The version that an earlier `put` with these marks (or, in a folder, this digest) left,
        if any.
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
class DeleteFile:
    """A position delete file."""

    path: str = field(repr=False)
    rows: int


@dataclass(frozen=True, slots=True)
class DataFile:
    """A live data file of one snapshot."""

    path: str = field(repr=False)
    rows: int
    size: int
    """Bytes."""
    spec_id: int
    deletes: tuple[DeleteFile, ...] = ()
    handle: object = field(default=None, repr=False, compare=False)
    """The engine's own record of the file; nobody else looks inside."""


@dataclass(frozen=True, slots=True)
class TableHead:
    """A table as the catalog shows it now."""

    table: str
    uuid: str
    location: str
    metadata_location: str
    format_version: int
    snapshot_id: int | None
    snapshots: tuple[int, ...]
    refs: Mapping[str, int]
    """Tag and branch names to snapshot ids, `main` among them."""
    properties: Mapping[str, str]
    columns: Mapping[str, str]
    """Dotted leaf path -> Iceberg type, lists as `name.element`."""
    field_ids: Mapping[str, int] = field(default_factory=dict)
    """The same paths -> field ids: a file of an older schema has the column under another name."""
    keys: tuple[str, ...] = ()
    """Columns that any partition spec of the table is made of."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Which paths what reaches."""

    by_snapshot: Mapping[int, frozenset[str]] = field(repr=False)
    """Snapshot -> its manifest list, manifests, live data and delete files, statistics files."""
    metadata: frozenset[str] = field(repr=False)
    """The current metadata.json and those of the metadata log."""
    named: Mapping[int, frozenset[str]] = field(default_factory=dict, repr=False)
    """Snapshot -> files its manifests still name as deleted, with bounds that may quote them."""


class TableEngine(Protocol):
    """Iceberg tables in one catalog. Table names are dotted (`lake.events`)."""

    def exists(self, table: str) -> bool:
        """Whether the catalog has it."""
        ...

    def tables(self) -> list[str]:
        """Every table of the catalog, sorted. MUST go into nested namespaces, and MUST raise
        LakeError when one cannot be listed (AccessDeniedError: a right is missing), never leave
        it out.
        """
        ...

    def head(self, table: str) -> TableHead:
        """Fresh from the catalog. LakeError when the table is missing."""
        ...

    def refusals(self, table: str) -> tuple[str, ...]:
        """Why this table cannot be erased by this engine: each a sentence with the way out. Empty:
        it can.
        """
        ...

    def files(self, table: str, *, snapshot_id: int) -> list[DataFile]:
        """The live data files of a snapshot with the position deletes that apply to each, sorted by
        path.
        """
        ...

    def open(self, path: str) -> BinaryIO:
        """A seekable reader of a file by its path. ObjectMissingError when gone."""
        ...

    def create(self, path: str) -> BinaryIO:
        """A writer of a new file; durable on close."""
        ...

    def discard(self, paths: Iterable[str]) -> None:
        """Take away files that `create` made and no commit has taken up. Gone already is
        success; where only a purger can remove bytes, they are left to it.
        """
        ...

    def new_data_path(self, table: str, old: DataFile, *, name: str) -> str:
        """A path beside `old` (same partition folder) for its replacement."""
        ...

    def replace(
        self, table: str, pairs: Iterable[tuple[DataFile, str | None]], *, run_id: str, step_id: str
    ) -> int:
        """Replace every old file by its new one (None: drop it) in ONE snapshot and return its id.

        MUST look at the fresh head first: every old file live and with the same delete files, else
        CommitConflictError and nothing is changed. Delete files that only the old files need go
        too. The snapshot's summary carries `clearlake.run-id` and `clearlake.step`.
        UnreachableError: the outcome is unknown, look with `find_commit`. A failed commit MUST
        leave no manifest or list of its own behind; where only a purger can remove bytes, their
        names MUST carry the run's id.
        """
        ...

    def find_commit(self, table: str, *, run_id: str, step_id: str) -> int | None:
        """The snapshot that an earlier attempt of this step left, if any."""
        ...

    def restore(
        self,
        table: str,
        *,
        back: Mapping[str, str | None],
        deletes: Iterable[str],
        run_id: str,
        step_id: str,
    ) -> int:
        """Undo of `replace`: every old file (key) back for its new one (None: it had none), and
        these position delete files with them, in ONE snapshot.

        CommitConflictError when a new file is not live as it was written; LakeError when an old
        one is in no snapshot any more.
        """
        ...

    def flush(self, table: str, *, run_id: str, step_id: str) -> int:
        """One empty commit, so that DELETED entries and their bounds leave the live manifests.
        Returns its id.
        """
        ...

    def reach(self, table: str) -> Reach:
        """What every snapshot, and the metadata log, reaches now."""
        ...

    def expire(self, table: str, snapshot_ids: Iterable[int]) -> None:
        """Expire exactly these snapshots (already gone is success). Deletes no file."""
        ...

    def batches(self, table: str, *, columns: Iterable[str]) -> Iterator[pa.RecordBatch]:
        """The current rows, these dotted columns only, as flat columns named by their paths."""
        ...

    def create_table(
        self,
        table: str,
        schema: pa.Schema,
        *,
        partition_by: str | None,
        properties: Mapping[str, str],
    ) -> None:
        """Make an empty table (identity partition on one column) unless it is there."""
        ...

    def append(self, table: str, rows: pa.Table) -> int:
        """Add rows in one commit; the new snapshot's id."""
        ...

    def overwrite(self, table: str, rows: pa.Table, *, base_snapshot: int | None) -> int:
        """Replace all rows in one commit, only if the head is still `base_snapshot`; else
        CommitConflictError.
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
