"""One snapshot, written by hand: own manifests, one manifest list, one compare-and-swap.

PyIceberg's own producers cannot remove delete files, nor look at the fresh head before the swap.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestWriterV2,
    write_manifest,
    write_manifest_list,
)
from pyiceberg.table import Table, TableProperties
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import (
    Operation,
    Snapshot,
    SnapshotSummaryCollector,
    Summary,
    update_snapshot_summaries,
)
from pyiceberg.table.update import (
    AddSnapshotUpdate,
    AssertRefSnapshotId,
    AssertTableUUID,
    SetSnapshotRefUpdate,
)

from app.domain.errors import CommitConflictError, LakeError
from app.domain.failpoints import failpoint
from app.lake.pyiceberg_engine.columns import schema_of
from app.lake.pyiceberg_engine.faults import lake_errors
from app.lake.pyiceberg_engine.listing import Listing, ManifestListing, list_snapshot
from app.lake.table_names import local_path, normalise

OURS = "clearlake-"
RUN = "clearlake.run-id"
STEP = "clearlake.step"


@dataclass(frozen=True, slots=True)
class Change:
    """What a snapshot changes against the head it was decided on. Paths are raw."""

    added: tuple[Any, ...] = ()
    """PyIceberg DataFile records, data and position deletes alike."""
    removed: frozenset[str] = frozenset()
    operation: Operation = Operation.OVERWRITE
    sweep: bool = False
    """Rewrite every manifest that still names files which are gone."""


class Staged(threading.local):
    """Metadata files that this thread's commits wrote before their swap."""

    def __init__(self) -> None:
        self.paths: list[str] = []


class _DeleteManifestWriter(ManifestWriterV2):  # type: ignore[misc]  # PyIceberg is untyped here
    """A manifest of delete files; PyIceberg writes only manifests of data files."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


@dataclass(slots=True)
class _Snapshot:
    """The files of one attempt, so that a failed one can be taken away again."""

    table: Table
    snapshot_id: int
    name: str
    written: list[str] = field(default_factory=list)
    numbers: Any = field(default_factory=count)

    def output(self, file_name: str) -> Any:
        path = self.table.location_provider().new_metadata_location(file_name)
        self.written.append(path)
        return self.table.io.new_output(path)

    def manifest(self, entries: Iterable[Any], *, spec_id: int, content: ManifestContent) -> Any:
        """Write entries into one new manifest and return its record."""
        metadata = self.table.metadata
        spec = metadata.specs()[spec_id]
        schema = schema_of(metadata, spec)
        if schema is None:
            raise LakeError("A partition spec is made of a column that no schema has.")
        output = self.output(f"{self.name}-m{next(self.numbers)}.avro")
        codec = _codec(self.table)
        if content == ManifestContent.DELETES:
            writer = _DeleteManifestWriter(spec, schema, output, self.snapshot_id, codec)
        else:
            writer = write_manifest(
                metadata.format_version, spec, schema, output, self.snapshot_id, codec
            )
        with writer:
            for entry in entries:
                writer.add_entry(entry)
        return writer.to_manifest_file()


def commit(
    catalog: Any,
    load: Callable[[], Table],
    *,
    decide: Callable[[Table, Listing], Change],
    marks: Mapping[str, str],
    attempts: int,
    staged: Staged,
    known: dict[str, Any],
) -> int:
    """Commit the change that `decide` makes of the fresh head; the new snapshot's id.

    A lost compare-and-swap decides again on the new head, up to `attempts` times, then
    CommitConflictError. An outcome that nobody knows is UnreachableError; its files stay.
    `staged` knows the metadata files that the catalog's client writes for this thread, `known`
    what `list_snapshot` read before.
    """
    for _ in range(attempts):
        with lake_errors("reading the table"):
            table = load()
            listing = list_snapshot(table, table.metadata.current_snapshot_id, known=known)
            change = decide(table, listing)
        attempt = _Snapshot(table, table.metadata.new_snapshot_id(), _name(marks))
        updates, requirements = _prepared(attempt, listing, change=change, marks=marks)
        failpoint("engine.before_swap")
        staged.paths.clear()
        try:
            with lake_errors("committing to the catalog"):
                catalog.commit_table(table, requirements, updates)
        except CommitFailedException:
            remove_files([*attempt.written, *staged.paths])
            continue
        failpoint("engine.after_swap")
        return attempt.snapshot_id
    raise CommitConflictError("The table was changed by others at every attempt. Try again.")


def _name(marks: Mapping[str, str]) -> str:
    """A run's files carry its id: what it leaves unreferenced is known for its own by that."""
    run = marks.get(RUN)
    return f"{OURS}{run}-{uuid.uuid4()}" if run is not None else str(uuid.uuid4())


def remove_files(paths: Iterable[str]) -> None:
    """Take away files of a failed attempt: nothing refers to them.

    Of a folder only. In a versioned bucket a delete hides bytes and removes none, an eraser has no
    right to it, and Arrow would leave folder keys behind: there the purge takes them, by exact
    version, knowing them by the run's id in their names.
    """
    for path in paths:
        local = local_path(normalise(path))
        if local is not None:
            with lake_errors("taking a failed commit's files away"), suppress(FileNotFoundError):
                os.unlink(local)


def _prepared(
    attempt: _Snapshot, listing: Listing, *, change: Change, marks: Mapping[str, str]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    done = False
    try:
        with lake_errors("writing manifests"):
            result = _prepare(attempt, listing, change=change, marks=marks)
        done = True
        return result
    finally:
        if not done:
            remove_files(attempt.written)


def _prepare(
    attempt: _Snapshot, listing: Listing, *, change: Change, marks: Mapping[str, str]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Manifests, the list, and what the catalog is asked to swap."""
    metadata = attempt.table.metadata
    removed = [
        e for m in listing.manifests for e in m.live if e.data_file.file_path in change.removed
    ]
    manifests = [
        *_added(attempt, change.added),
        *_deleted(attempt, removed),
        *_kept(attempt, listing, change=change),
    ]
    snapshot = Snapshot(
        snapshot_id=attempt.snapshot_id,
        parent_snapshot_id=metadata.current_snapshot_id,
        manifest_list=_manifest_list(attempt, manifests),
        sequence_number=metadata.next_sequence_number(),
        summary=_summary(attempt.table, change, removed=removed, marks=marks),
        schema_id=metadata.current_schema_id,
    )
    updates = (
        AddSnapshotUpdate(snapshot=snapshot),
        SetSnapshotRefUpdate(
            ref_name=MAIN_BRANCH, snapshot_id=snapshot.snapshot_id, type=SnapshotRefType.BRANCH
        ),
    )
    requirements = (
        AssertTableUUID(uuid=metadata.table_uuid),
        AssertRefSnapshotId(ref=MAIN_BRANCH, snapshot_id=metadata.current_snapshot_id),
    )
    return updates, requirements


def _added(attempt: _Snapshot, records: Iterable[Any]) -> list[Any]:
    entries = [
        ManifestEntry.from_args(
            status=ManifestEntryStatus.ADDED,
            snapshot_id=attempt.snapshot_id,
            sequence_number=None,
            file_sequence_number=None,
            data_file=record,
        )
        for record in records
    ]
    return _grouped(attempt, entries)


def _deleted(attempt: _Snapshot, entries: Iterable[Any]) -> list[Any]:
    """Entries of files that leave, without their bounds: those quote what stood in the file."""
    gone = []
    for entry in entries:
        old = entry.data_file
        bare = DataFile.from_args(
            content=old.content,
            file_path=old.file_path,
            file_format=old.file_format,
            partition=old.partition,
            record_count=old.record_count,
            file_size_in_bytes=old.file_size_in_bytes,
        )
        bare.spec_id = old.spec_id
        gone.append(
            ManifestEntry.from_args(
                status=ManifestEntryStatus.DELETED,
                snapshot_id=attempt.snapshot_id,
                sequence_number=entry.sequence_number,
                file_sequence_number=entry.file_sequence_number,
                data_file=bare,
            )
        )
    return _grouped(attempt, gone)


def _grouped(attempt: _Snapshot, entries: Iterable[Any]) -> list[Any]:
    """One manifest for each partition spec and kind of file."""
    groups: dict[tuple[int, ManifestContent], list[Any]] = {}
    for entry in entries:
        record = entry.data_file
        kind = (
            ManifestContent.DATA
            if record.content == DataFileContent.DATA
            else ManifestContent.DELETES
        )
        groups.setdefault((record.spec_id, kind), []).append(entry)
    return [attempt.manifest(g, spec_id=s, content=kind) for (s, kind), g in groups.items()]


def _kept(attempt: _Snapshot, listing: Listing, *, change: Change) -> list[Any]:
    """Manifests that stay: as they are, or written anew without what leaves."""
    kept = []
    for manifest in listing.manifests:
        staying = [e for e in manifest.live if e.data_file.file_path not in change.removed]
        untouched = len(staying) == len(manifest.live)
        if not staying:
            continue
        if untouched and not (change.sweep and manifest.dead):
            kept.append(manifest.manifest)
        else:
            kept.append(_without_the_rest(attempt, manifest, staying=staying))
    return kept


def _without_the_rest(
    attempt: _Snapshot, manifest: ManifestListing, *, staying: Iterable[Any]
) -> Any:
    entries = [
        ManifestEntry.from_args(
            status=ManifestEntryStatus.EXISTING,
            snapshot_id=e.snapshot_id,
            sequence_number=e.sequence_number,
            file_sequence_number=e.file_sequence_number,
            data_file=e.data_file,
        )
        for e in staying
    ]
    old = manifest.manifest
    return attempt.manifest(entries, spec_id=old.partition_spec_id, content=old.content)


def _manifest_list(attempt: _Snapshot, manifests: list[Any]) -> str:
    metadata = attempt.table.metadata
    output = attempt.output(f"snap-{attempt.snapshot_id}-0-{attempt.name}.avro")
    with write_manifest_list(
        format_version=metadata.format_version,
        output_file=output,
        snapshot_id=attempt.snapshot_id,
        parent_snapshot_id=metadata.current_snapshot_id,
        sequence_number=metadata.next_sequence_number(),
        avro_compression=_codec(attempt.table),
    ) as writer:
        writer.add_manifests(manifests)
    return str(output.location)


def _summary(
    table: Table, change: Change, *, removed: Iterable[Any], marks: Mapping[str, str]
) -> Summary:
    """Totals only: a summary by partition would write partition values into metadata.json."""
    metadata = table.metadata
    collector = SnapshotSummaryCollector(partition_summary_limit=0)
    specs = metadata.specs()
    for record in change.added:
        collector.add_file(record, metadata.schema(), specs[record.spec_id])
    for entry in removed:
        collector.remove_file(entry.data_file, metadata.schema(), specs[entry.data_file.spec_id])
    head = metadata.current_snapshot()
    counts = {k: v for k, v in collector.build().items() if not k.startswith("partition")}
    return update_snapshot_summaries(
        summary=Summary(operation=change.operation, **counts, **marks),
        previous_summary=head.summary if head is not None else None,
    )


def _codec(table: Table) -> Any:
    return table.properties.get(
        TableProperties.WRITE_AVRO_COMPRESSION, TableProperties.WRITE_AVRO_COMPRESSION_DEFAULT
    )
