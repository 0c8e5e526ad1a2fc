"""What all snapshots of a table reach, what they list, and expiring them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import Table, TableProperties
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.update import (
    AssertTableUUID,
    RemovePartitionStatisticsUpdate,
    RemovePropertiesUpdate,
    RemoveSnapshotRefUpdate,
    RemoveSnapshotsUpdate,
    RemoveStatisticsUpdate,
    SetPropertiesUpdate,
)

from app.domain.errors import CommitConflictError, LakeError
from app.domain.failpoints import failpoint
from app.lake.pyiceberg_engine.faults import lake_errors
from app.lake.pyiceberg_engine.listing import list_snapshot
from app.lake.table_names import normalise
from app.lake.table_ports import Reach

ATTEMPTS = 20
LOG_LENGTH = TableProperties.METADATA_PREVIOUS_VERSIONS_MAX
LOG_LENGTH_BEFORE = "clearlake.previous-versions-max"
"""Holds the table's own setting while the metadata log is cut short; empty: it had none."""


def reach(table: Table, *, known: dict[str, Any]) -> Reach:
    """Which paths what reaches. A snapshot also *names* files that left with it. `known`: as
    `list_snapshot` takes it.
    """
    metadata = table.metadata
    live: dict[int, set[str]] = {}
    named: dict[int, frozenset[str]] = {}
    unread: set[str] = set()
    for snapshot in metadata.snapshots:
        listing = list_snapshot(table, snapshot.snapshot_id, known=known)
        paths = {snapshot.manifest_list}
        dead: set[str] = set()
        for manifest in listing.manifests:
            paths.add(manifest.manifest.manifest_path)
            paths.update(e.data_file.file_path for e in manifest.live)
            dead.update(e.data_file.file_path for e in manifest.dead)
        unread.update(normalise(record.file_path) for record in listing.unread)
        live[snapshot.snapshot_id] = {normalise(p) for p in paths}
        named[snapshot.snapshot_id] = frozenset(normalise(p) for p in dead)
    log = [table.metadata_location, *(e.metadata_file for e in metadata.metadata_log)]
    return Reach(
        by_snapshot={i: frozenset(paths) for i, paths in live.items()},
        metadata=frozenset(normalise(p) for p in log),
        named=named,
        statistics={
            normalise(s.statistics_path): s.snapshot_id
            for s in (*metadata.statistics, *metadata.partition_statistics)
        },
        unread=frozenset(unread),
    )


def records(table: Table, *, paths: Iterable[str], known: dict[str, Any]) -> dict[str, Any]:
    """The records of data and delete files as the newest snapshot that has them lists them."""
    wanted = set(paths)
    found: dict[str, Any] = {}
    for snapshot in sorted(table.metadata.snapshots, key=lambda s: -(s.sequence_number or 0)):
        for manifest in list_snapshot(table, snapshot.snapshot_id, known=known).manifests:
            for entry in manifest.live:
                path = normalise(entry.data_file.file_path)
                if path in wanted:
                    found.setdefault(path, entry.data_file)
        if found.keys() == wanted:
            return found
    raise LakeError("A replaced file is in no snapshot any more: it cannot be put back.")


@dataclass(frozen=True, slots=True)
class Leaving:
    """What the metadata must name no more."""

    snapshots: frozenset[int]
    statistics: frozenset[str]
    """Paths of statistics files, whatever becomes of their snapshots."""

    def takes(self, listed: Any) -> bool:
        """Whether an entry of the statistics leaves."""
        path = normalise(listed.statistics_path)
        return listed.snapshot_id in self.snapshots or path in self.statistics


def expire(catalog: Any, load: Callable[[], Table], *, leaving: Leaving) -> None:
    """Expire exactly these snapshots, tags on them first; then shorten the metadata log, so that
    it names no metadata file that lists them.
    """
    if not leaving.snapshots and not leaving.statistics:
        return
    failpoint("engine.before_expire")
    _change(catalog, load, decide=lambda table: _expiry(table, leaving=leaving))
    failpoint("engine.after_expire")
    if _log_lists(load(), leaving=leaving):
        _change(catalog, load, decide=_shorten)
    failpoint("engine.log_shortened")
    _change(catalog, load, decide=_lengthen)


def _change(catalog: Any, load: Callable[[], Table], *, decide: Callable[[Table], Any]) -> None:
    for _ in range(ATTEMPTS):
        table = load()
        updates = decide(table)
        if not updates:
            return
        try:
            with lake_errors("committing to the catalog"):
                requirement = AssertTableUUID(uuid=table.metadata.table_uuid)
                catalog.commit_table(table, (requirement,), tuple(updates))
        except CommitFailedException:
            continue
        return
    raise CommitConflictError("The table was changed by others at every attempt. Try again.")


def _expiry(table: Table, *, leaving: Leaving) -> list[Any]:
    metadata, ids = table.metadata, leaving.snapshots
    gone = sorted(s.snapshot_id for s in metadata.snapshots if s.snapshot_id in ids)
    if metadata.current_snapshot_id in ids:
        raise LakeError("The current snapshot cannot be expired.")
    refs = [
        RemoveSnapshotRefUpdate(ref_name=name)
        for name, ref in metadata.refs.items()
        if ref.snapshot_id in ids and name != MAIN_BRANCH
    ]
    statistics = [
        kind(snapshot_id=snapshot)
        for kind, listed in (
            (RemoveStatisticsUpdate, metadata.statistics),
            (RemovePartitionStatisticsUpdate, metadata.partition_statistics),
        )
        for snapshot in sorted({s.snapshot_id for s in listed if leaving.takes(s)})
    ]
    remove = [RemoveSnapshotsUpdate(snapshot_ids=gone)] if gone else []
    return [*refs, *statistics, *remove]


def _log_lists(table: Table, *, leaving: Leaving) -> bool:
    """Whether a metadata file of the log lists one of these snapshots or files, or is gone."""
    for entry in table.metadata.metadata_log:
        try:
            old = FromInputFile.table_metadata(table.io.new_input(entry.metadata_file))
        except FileNotFoundError:
            return True
        if any(s.snapshot_id in leaving.snapshots for s in old.snapshots):
            return True
        if any(leaving.takes(s) for s in (*old.statistics, *old.partition_statistics)):
            return True
    return False


def _shorten(table: Table) -> list[Any]:
    before = table.properties.get(LOG_LENGTH_BEFORE, table.properties.get(LOG_LENGTH, ""))
    stamp = str(table.metadata.last_updated_ms)
    return [
        SetPropertiesUpdate(
            updates={LOG_LENGTH: "1", LOG_LENGTH_BEFORE: before, "clearlake.cut": stamp}
        )
    ]


def _lengthen(table: Table) -> list[Any]:
    before = table.properties.get(LOG_LENGTH_BEFORE)
    if before is None:
        return []
    updates: list[Any] = [RemovePropertiesUpdate(removals=[LOG_LENGTH_BEFORE, "clearlake.cut"])]
    if before:
        return [*updates, SetPropertiesUpdate(updates={LOG_LENGTH: before})]
    return [RemovePropertiesUpdate(removals=[LOG_LENGTH_BEFORE, "clearlake.cut", LOG_LENGTH])]
