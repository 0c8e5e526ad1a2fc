"""One table as its metadata shows it now: which files it needs, and whether all were there with all
their rows (E0). Searching them is the whole-lake look's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from app.domain.datasets import Dataset
from app.domain.errors import LakeError
from app.domain.findings import Finding, What
from app.lake.verify.content import Opened
from app.lake.verify.metadata import (
    Entry,
    TableMetadata,
    avro,
    live_entries,
    manifest_paths,
    table_metadata,
)
from app.lake.verify.places import Sight, full_uri
from app.lake.verify.sources import Files, Neighbours, Source


@dataclass(frozen=True, slots=True)
class TableView:
    """A table's files by URI, and everything its metadata names."""

    metadata: TableMetadata
    entries: Mapping[str, Entry] = field(repr=False)
    named: frozenset[str] = field(repr=False)

    def not_seen(self, dataset: Dataset, rows: Mapping[str, int | None]) -> list[Finding]:
        """E0: every file that the metadata names was opened, and had the rows it should have."""
        findings: list[Finding] = []
        for uri in sorted(self.named):
            sight = Sight.of(dataset, uri)
            entry = self.entries.get(uri)
            if uri not in rows:
                sight.saw(What.CANNOT_SEE, "file", detail="named by the metadata and not there")
            elif entry is not None and rows[uri] != entry.rows:
                detail = f"the manifest says {entry.rows} rows, {rows[uri]} were read"
                sight.saw(What.CANNOT_SEE, "file", detail=detail)
            findings += sight.findings
        return findings


def read_table(metadata_location: str, source: Source) -> TableView:
    """Read metadata, manifest lists and manifests. LakeError when any cannot be read."""
    where = full_uri(metadata_location)
    files = Neighbours(source)
    metadata = table_metadata(_text(where, files))
    entries: dict[str, Entry] = {}
    named = {where, *(full_uri(p) for p in metadata.statistics)}
    manifests: dict[str, int] = {}
    for snapshot in metadata.snapshots:
        named.add(full_uri(snapshot.manifest_list))
        manifests.update(manifest_paths(_records(snapshot.manifest_list, files)))
    for path, sequence in manifests.items():
        named.add(full_uri(path))
        for entry in live_entries(_records(path, files), sequence=sequence):
            entries[full_uri(entry.path)] = entry
    return TableView(metadata, entries, frozenset({*named, *entries}))


def table_location(metadata_location: str, source: Source) -> str:
    """Where the table lies. LakeError when its metadata cannot be read."""
    return table_metadata(_text(full_uri(metadata_location), source)).location


def outside(view: TableView, prefixes: Iterable[str]) -> list[str]:
    """Files of the table that lie under none of the listed prefixes."""
    listed = tuple(prefixes)
    return sorted(u for u in view.named if not u.startswith(listed))


def _text(uri: str, source: Files) -> bytes:
    with source.open(source.latest(uri)) as body:
        return b"".join(Opened(body.stream).text())


def _records(path: str, source: Files) -> list[dict[str, object]]:
    with source.open(source.latest(full_uri(path))) as body:
        stream = Opened(body.stream)
        with closing(stream.whole()) as file:
            records: list[dict[str, object]] = avro(file)[1]
            return records


def cannot_read(dataset: Dataset, table: str, err: LakeError) -> Finding:
    """A table whose metadata cannot be read."""
    sight = Sight.of(dataset, table)
    sight.saw(What.CANNOT_SEE, "table metadata", detail=err.code)
    return sight.findings[0]
