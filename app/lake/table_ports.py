"""The door to tables: what an engine must do, in MUST words, and the values it speaks in.

Not here: objects (app.lake.ports).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


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
    plain: Mapping[str, str] = field(default_factory=dict)
    """The same paths -> as a data map writes them, steps into lists and maps left out."""
    mapped: Mapping[str, int] | None = None
    """The table's name mapping: dotted names in a file that has no field ids -> field id."""
    spec_id: int = 0
    """The partition spec of files that are written from now on."""
    keys: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Partition spec -> the columns it is made of; void fields aside."""
    parents: Mapping[int, int | None] = field(default_factory=dict)
    """Snapshot -> the one it was committed upon."""
    sort_keys: tuple[str, ...] = ()
    """Columns that any sort order of the table is made of."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Which paths what reaches."""

    by_snapshot: Mapping[int, frozenset[str]] = field(repr=False)
    """Snapshot -> its manifest list, manifests, live data and delete files."""
    metadata: frozenset[str] = field(repr=False)
    """The current metadata.json and those of the metadata log."""
    named: Mapping[int, frozenset[str]] = field(default_factory=dict, repr=False)
    """Snapshot -> files its manifests still name as deleted, with bounds that may quote them."""
    statistics: Mapping[str, int] = field(default_factory=dict, repr=False)
    """Statistics and partition statistics files -> the snapshot they are of, there or gone."""
    unread: frozenset[str] = field(default_factory=frozenset, repr=False)
    """Live files, of whatever snapshot, in a shape that nobody reads here: what they hold is
    unknown. Those of the current snapshot are refused.
    """


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

    def prepare(self, table: str, *, since: int | None) -> None:
        """Write the current rows anew where files are of a shape that is erased only after that.

        MUST leave every row as it was, in new snapshots beside the old ones, and destroy nothing;
        a table with nothing to prepare gets no snapshot. `since`: the head that the plan saw; what
        an earlier attempt has prepared from there on is looked at again. CheckFailedError: the rows
        are not the same.
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

    def expire(
        self, table: str, snapshot_ids: Iterable[int], *, statistics: Iterable[str] = ()
    ) -> None:
        """Expire exactly these snapshots, and name these statistics files no more (already gone is
        success). Deletes no file.
        """
        ...

    def set_properties(self, table: str, changes: Mapping[str, str | None]) -> None:
        """Set each property, or take it away (None), in ONE commit without a snapshot.

        CommitConflictError when others were faster each time, and nothing is changed.
        UnreachableError: the outcome is unknown, look at `head`.
        """
        ...

    def batches(
        self, table: str, *, columns: Iterable[str], files: Collection[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The current rows, these dotted columns only, as flat columns named by their paths, a few
        files at a time. `files`: of these data files only; CommitConflictError when one of them is
        not live any more.
        """
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

    def overwrite(
        self, table: str, rows: pa.Table | Iterable[pa.Table], *, base_snapshot: int | None
    ) -> int:
        """Replace all rows in one commit, only if the head is still `base_snapshot`; else
        CommitConflictError. Rows in pieces are written as they come, no more than one is held.
        """
        ...
