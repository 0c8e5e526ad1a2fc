"""What a snapshot lists: its manifests and entries, and which position deletes apply to which file.

Reads only. Position deletes are matched by what stands in them, not by bounds or partitions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFileContent, FileFormat, ManifestEntryStatus
from pyiceberg.table import Table

from app.lake.table_names import normalise
from app.lake.table_ports import DataFile, DeleteFile


@dataclass(frozen=True, slots=True)
class ManifestListing:
    """One manifest and its entries, DELETED ones among them."""

    manifest: Any
    entries: tuple[Any, ...]

    @property
    def live(self) -> list[Any]:
        """Entries whose file is in the snapshot."""
        return [e for e in self.entries if e.status != ManifestEntryStatus.DELETED]

    @property
    def dead(self) -> list[Any]:
        """Entries that name files which left with the snapshot that wrote the manifest."""
        return [e for e in self.entries if e.status == ManifestEntryStatus.DELETED]


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything that one snapshot lists."""

    manifests: tuple[ManifestListing, ...]

    def entries(self, content: DataFileContent) -> list[Any]:
        """Live entries of one kind of file."""
        return [
            e
            for m in self.manifests
            for e in m.live
            if e.data_file.content == content and not is_unread(e.data_file)
        ]

    @property
    def unread(self) -> list[Any]:
        """Live files of a shape that nobody reads here; what they hide or hold is unknown."""
        return [e.data_file for m in self.manifests for e in m.live if is_unread(e.data_file)]


def is_unread(record: Any) -> bool:
    """Equality deletes, deletion vectors, and whatever else is not Parquet."""
    return bool(
        record.content == DataFileContent.EQUALITY_DELETES
        or record.file_format != FileFormat.PARQUET
    )


@dataclass(slots=True)
class DeleteIndex:
    """Which data files a position delete file names. Delete files never change, so they are read
    once.
    """

    io: Any
    named: dict[str, frozenset[str]] = field(default_factory=dict)

    def names(self, path: str) -> frozenset[str]:
        """The data files (normalised) that the position delete file at `path` names."""
        known = self.named.get(path)
        if known is None:
            with self.io.new_input(path).open() as file:
                column = pq.read_table(file, columns=["file_path"])["file_path"]
            values = pc.unique(column).to_pylist()
            known = self.named[path] = frozenset(normalise(str(v)) for v in values)
        return known


def list_snapshot(table: Table, snapshot_id: int | None, *, known: dict[str, Any]) -> Listing:
    """List a snapshot; `known` keeps manifests and lists of them that were read before, by path."""
    if snapshot_id is None:
        return Listing(())
    snapshot = table.metadata.snapshot_by_id(snapshot_id)
    listings = []
    if snapshot.manifest_list not in known:
        known[snapshot.manifest_list] = tuple(snapshot.manifests(table.io))
    for manifest in known[snapshot.manifest_list]:
        entries = known.get(manifest.manifest_path)
        if entries is None:
            entries = tuple(manifest.fetch_manifest_entry(table.io, discard_deleted=False))
            known[manifest.manifest_path] = entries
        listings.append(ManifestListing(manifest, entries))
    return Listing(tuple(listings))


def data_files(listing: Listing, *, deletes: DeleteIndex) -> list[DataFile]:
    """The live data files with the position deletes that apply to each, sorted by path."""
    by_name = _deletes_by_name(listing, deletes=deletes)
    files = []
    for entry in listing.entries(DataFileContent.DATA):
        record = entry.data_file
        path = normalise(record.file_path)
        applied = sorted(
            {
                (normalise(d.data_file.file_path), d.data_file.record_count)
                for d in by_name.get(path, ())
                if (d.sequence_number or 0) >= (entry.sequence_number or 0)
            }
        )
        files.append(
            DataFile(
                path=path,
                rows=record.record_count,
                size=record.file_size_in_bytes,
                spec_id=record.spec_id,
                deletes=tuple(DeleteFile(p, rows) for p, rows in applied),
                handle=record,
            )
        )
    return sorted(files, key=lambda f: f.path)


def obsolete_deletes(
    listing: Listing, *, leaving: Iterable[str], deletes: DeleteIndex
) -> frozenset[str]:
    """Position delete files (raw paths) that no data file needs once `leaving` (URIs) have left."""
    staying = {
        normalise(e.data_file.file_path) for e in listing.entries(DataFileContent.DATA)
    } - set(leaving)
    return frozenset(
        e.data_file.file_path
        for e in listing.entries(DataFileContent.POSITION_DELETES)
        if not deletes.names(e.data_file.file_path) & staying
    )


def spent_deletes(listing: Listing) -> frozenset[str]:
    """Delete files that nobody reads here (raw paths), where none of them hides anything any more:
    every live data file is newer. Else empty: a manifest of some of them cannot be written anew.
    """
    numbers = [
        e.sequence_number or 0
        for m in listing.manifests
        for e in m.live
        if e.data_file.content == DataFileContent.DATA
    ]
    found = set()
    for manifest in listing.manifests:
        for entry in manifest.live:
            record, number = entry.data_file, entry.sequence_number or 0
            if record.content == DataFileContent.DATA or not is_unread(record):
                continue
            # An equality delete hides rows of older files, any other those of its own number too.
            last = number - 1 if record.content == DataFileContent.EQUALITY_DELETES else number
            if any(n <= last for n in numbers):
                return frozenset()
            found.add(record.file_path)
    return frozenset(found)


def _deletes_by_name(listing: Listing, *, deletes: DeleteIndex) -> dict[str, list[Any]]:
    by_name: dict[str, list[Any]] = {}
    for entry in listing.entries(DataFileContent.POSITION_DELETES):
        for name in deletes.names(entry.data_file.file_path):
            by_name.setdefault(name, []).append(entry)
    return by_name
