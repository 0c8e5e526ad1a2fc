"""`clearlake.objects/1`: which objects and files a run replaced and purged, without counts.

An attachment of every report of the run. Of few people it is a diary, so it is sealed then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from app.audit.canonical import canonical_bytes
from app.audit.keys import SealBrokenError, Sealer
from app.audit.report_text import text_of
from app.audit.screening import Screen
from app.domain.datasets import Dataset
from app.domain.receipts import Condemned, FileWork, ObjectWork, Superseded, TableWork, WorkState
from app.domain.reports import AttachmentFacts

OBJECTS_SCHEMA = "clearlake.objects/1"
SEALED_BELOW = 5
"""People. The list of a smaller run is sealed and goes with the case."""

Document = dict[str, Any]


def object_list(
    run_id: str,
    *,
    objects: Iterable[tuple[Dataset, ObjectWork]],
    tables: Iterable[tuple[Dataset, TableWork]],
    screen: Screen,
) -> Document:
    """What was changed, or could not be. Keys that hold an identifier are null."""
    return {
        "schema": OBJECTS_SCHEMA,
        "run_id": run_id,
        "objects": [
            _object(dataset, work, screen=screen)
            for dataset, work in sorted(objects, key=lambda o: (o[0].name, o[1].uri))
            if work.state is not WorkState.CLEAN
        ],
        "tables": [
            _table(dataset, work, screen=screen)
            for dataset, work in sorted(tables, key=lambda t: t[0].name)
        ],
    }


def entries(document: Document) -> int:
    """How many objects and files it lists."""
    tables = document["tables"]
    return len(document["objects"]) + sum(len(t["files"]) + len(t["purged"]) for t in tables)


@dataclass(frozen=True, slots=True)
class ObjectList:
    """The list as a file's bytes, and what the reports say of it."""

    data: bytes = field(repr=False)
    facts: AttachmentFacts


def open_list(document: Document) -> ObjectList:
    """As it is, for a run of many people."""
    data = canonical_bytes(document)
    return ObjectList(data, _facts(data, document, sealed=False))


def sealed_list(document: Document, *, sealer: Sealer, before: bytes | None) -> ObjectList:
    """Sealed, for a run of few. `before`: the bytes of an earlier call. They stay where they hold
    the same: sealing is random, and the reports carry the digest of these bytes.
    """
    plain = canonical_bytes(document)
    row = f"{OBJECTS_SCHEMA}/{document['run_id']}"
    if before is not None and _holds(before, plain, sealer=sealer, row=row):
        sealed = before
    else:
        sealed = sealer.seal(plain, aad=row)
    return ObjectList(sealed, _facts(sealed, document, sealed=True))


def _holds(sealed: bytes, plain: bytes, *, sealer: Sealer, row: str) -> bool:
    try:
        return sealer.open(sealed, aad=row) == plain
    except SealBrokenError:
        # Another run's list, or another key's: this run's takes its place.
        return False


def _facts(data: bytes, document: Document, *, sealed: bool) -> AttachmentFacts:
    return AttachmentFacts(hashlib.sha256(data).hexdigest(), entries(document), sealed)


def _object(dataset: Dataset, work: ObjectWork, *, screen: Screen) -> Document:
    return {
        "dataset": dataset.name,
        "key": screen.key(work.uri),
        "state": work.state.value,
        "base_version": work.base_version,
        "new_version": work.new_version,
        "sha256_after": work.sha256,
        "superseded": [_version(v) for v in work.superseded],
    }


def _version(version: Superseded) -> Document:
    return {
        "version": version.version_id,
        "state": version.state.value,
        "until": text_of(version.until) if version.until else None,
        "marker": version.is_marker,
    }


def _table(dataset: Dataset, work: TableWork, *, screen: Screen) -> Document:
    return {
        "dataset": dataset.name,
        "state": work.state.value,
        "snapshots_added": [str(s) for s in work.commits],
        "snapshots_expired": [str(s) for s in work.expired],
        "files": [
            _file(f, screen=screen)
            for f in sorted(work.files, key=lambda f: f.old_path)
            if f.state is not WorkState.CLEAN
        ],
        "purged": [
            _condemned(c, screen=screen)
            for c in sorted(work.condemned, key=lambda c: (c.uri, c.version_id))
        ],
    }


def _file(file: FileWork, *, screen: Screen) -> Document:
    return {
        "old": screen.key(file.old_path),
        "new": None if file.new_path is None else screen.key(file.new_path),
        "state": file.state.value,
        "sha256_after": file.sha256,
    }


def _condemned(file: Condemned, *, screen: Screen) -> Document:
    return {
        "key": screen.key(file.uri),
        "version": file.version_id,
        "what": file.what,
        "state": file.state.value,
        "until": text_of(file.until) if file.until else None,
    }
