"""What a step did, and what it must remember to be repeated, checked, undone and purged.

A work record holds keys, versions and digests (sealed with the run). A receipt holds counts only.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

MISSING_RIGHT = "a right that it needs is missing"
"""The reason of what is HELD without a legal hold."""


class WorkState(StrEnum):
    """Where one object or file stands. Moves only forward, or back to PLANNED."""

    PLANNED = "planned"
    CLEAN = "clean"
    """Read; holds nobody of this run; nothing to do."""
    READY = "ready"
    """The intent is journalled: base, replacement digest, superseded versions."""
    WRITTEN = "written"
    """The replacement is durably current (Bronze) or beside the old file (tables)."""
    CHECKED = "checked"
    """The second look agrees."""
    COMMITTED = "committed"
    """Tables: the replacement is in the table's current snapshot."""
    PURGED = "purged"
    UNDONE = "undone"
    DEFERRED = "deferred"
    """A COMPLIANCE lock forbids the purge until `until`."""
    HELD = "held"
    """A legal hold, or a right that is missing, forbids the change or the purge."""
    PARKED = "parked"
    """A person must look; `reason` says at what."""


@dataclass(frozen=True, slots=True)
class Share:
    """One subject's part of a count. The shares of all subjects add up to the run's number."""

    deleted: int = 0
    tombstoned: int = 0
    co_owned: int = 0
    kept: int = 0

    def __add__(self, other: Share) -> Share:
        return Share(
            self.deleted + other.deleted,
            self.tombstoned + other.tombstoned,
            self.co_owned + other.co_owned,
            self.kept + other.kept,
        )


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows (or NDJSON lines) of one object or file, or of many added up. after = before - deleted,
    always.
    """

    before: int = 0
    deleted: int = 0
    tombstoned: int = 0
    """Rows that stay and had at least one value replaced; co_owned rows are among them."""
    co_owned: int = 0
    kept: int = 0
    """Rows that hold the person and stay as they are, on a legal ground."""
    values: int = 0
    """Single values replaced."""
    parked: int = 0
    """Lines that could not be parsed and hold an identifier."""
    shares: dict[int, Share] = field(default_factory=dict)
    """By subject index. A deleted row counts for its owner, any other for the first subject of its
    values.
    """
    undeclared: dict[str, int] = field(default_factory=dict)
    """Values replaced where the map declares nothing, by column path (list indexes and dynamic keys
    left out).
    """

    @property
    def after(self) -> int:
        """Rows that remain."""
        return self.before - self.deleted

    @property
    def hit(self) -> bool:
        """Whether bytes must change."""
        return self.deleted > 0 or self.values > 0

    def __add__(self, other: Counts) -> Counts:
        shares = dict(self.shares)
        for subject, share in other.shares.items():
            shares[subject] = shares.get(subject, Share()) + share
        undeclared = dict(self.undeclared)
        for path, number in other.undeclared.items():
            undeclared[path] = undeclared.get(path, 0) + number
        return Counts(
            before=self.before + other.before,
            deleted=self.deleted + other.deleted,
            tombstoned=self.tombstoned + other.tombstoned,
            co_owned=self.co_owned + other.co_owned,
            kept=self.kept + other.kept,
            values=self.values + other.values,
            parked=self.parked + other.parked,
            shares=shares,
            undeclared=undeclared,
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands inside an object: line number (from 1) and byte offset of the decoded
    stream.
    """

    line: int
    offset: int


@dataclass(frozen=True, slots=True)
class Superseded:
    """An exact version that holds the person and goes once its replacement is checked."""

    version_id: str
    state: WorkState = WorkState.PLANNED
    until: datetime | None = None
    reason: str | None = None
    is_marker: bool = False


@dataclass(frozen=True, slots=True)
class ObjectWork:
    """One Bronze object (key) in a run. `uri` may name a person, so this is sealed, never a
    receipt.
    """

    uri: str = field(repr=False)
    state: WorkState = WorkState.PLANNED
    base_version: str | None = None
    base_etag: str | None = None
    new_version: str | None = None
    """The replacement; None while not written, and where the current version is a delete marker or
    needs no rewrite.
    """
    sha256: str | None = None
    """Of the replacement as stored (compressed)."""
    bytes_before: int = 0
    bytes_after: int = 0
    superseded: tuple[Superseded, ...] = ()
    """Exact versions to purge, the base among them."""
    counts: Counts = Counts()
    parked: tuple[Place, ...] = ()
    reason: str | None = None
    rounds: int = 0
    warnings: tuple[str, ...] = ()

    def to(self, state: WorkState, *, reason: str | None = None) -> ObjectWork:
        """The same object in another state."""
        return replace(self, state=state, reason=reason)


@dataclass(frozen=True, slots=True)
class FileWork:
    """One data file of a table in a run: A, its delete files, and A' (None when no row is left)."""

    old_path: str = field(repr=False)
    new_path: str | None = field(default=None, repr=False)
    state: WorkState = WorkState.PLANNED
    delete_paths: tuple[str, ...] = field(default=(), repr=False)
    """Position delete files that apply to A: A' has them applied, and they go with A."""
    hidden: int = 0
    """Rows of A that its position deletes hide; they are not in A' and not in counts.before."""
    sha256: str | None = None
    """Of A'."""
    counts: Counts = Counts()
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Condemned:
    """An exact file version under a table's location that must go: nothing live references it."""

    uri: str = field(repr=False)
    version_id: str
    what: str
    """data | delete | manifest | manifest-list | metadata | statistics | orphan | marker"""
    state: WorkState = WorkState.PLANNED
    until: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class TableWork:
    """One table in a run, from plan to purge."""

    table: str
    state: WorkState = WorkState.PLANNED
    uuid: str | None = None
    base_snapshot: int | None = None
    """Head when the plan was made: what undo goes back to."""
    files: tuple[FileWork, ...] = field(default=(), repr=False)
    commits: tuple[int, ...] = ()
    """Snapshots of ours, in order."""
    horizon: int | None = None
    """H: the snapshot up to which everything was looked at."""
    flushed: bool = False
    candidates: tuple[str, ...] = field(default=(), repr=False)
    """Paths that only snapshots to be expired reach; written down BEFORE expiring."""
    expire: tuple[int, ...] = ()
    expired: tuple[int, ...] = ()
    condemned: tuple[Condemned, ...] = field(default=(), repr=False)
    counts: Counts = Counts()
    files_read: int = 0
    rounds: int = 0
    reason: str | None = None
    warnings: tuple[str, ...] = ()
