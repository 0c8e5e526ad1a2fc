"""The nightly job: identity.link events of Silver become gold.dim_identity.

Built from the rows of the night before and the files that came since, or from everything; either
gives the same rows. Not here: what an erasure takes for a person (app.lake.identities reads the
links themselves). The caller keeps runs away meanwhile: a stitch that read before an erasure would
write the person back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from app.domain.failpoints import failpoint
from app.lake.stitch_merge import SCHEMA, Merge
from app.lake.stitch_rows import COLUMNS, Link, facts_of_events, facts_of_links
from app.lake.table_ports import DataFile, TableEngine, TableHead
from app.lake.table_settings import table_properties

__all__ = ["SCHEMA", "Link", "Stitched", "stitch"]

MARK = "clearlake.stitched"
"""Property of the identity table: which snapshot of it was built from which one of the events."""
_FORM = 1
"""Goes up when the same events would give other rows."""
_ROWS_A_PART = 250_000
_FORMAT = 2
"""Of a later format files are not told with their deletion vectors."""
_PARTS = 64
"""Where nobody says how many rows there are."""


@dataclass(frozen=True, slots=True)
class Stitched:
    """What was built. Counts only."""

    identities: int
    users: int
    """Identities with a user_id; the others are visitors."""
    links: int
    """That were read: all, or those that came since."""
    shared: int
    """Linked values that more than one user_id has used."""
    snapshot_id: int
    rebuilt: bool = True
    """From everything; else from the rows of the last time and what came since."""


@dataclass(frozen=True, slots=True)
class _Source:
    """The events at one snapshot, and which of their files are to be read."""

    head: TableHead
    files: list[DataFile] | None
    """None: all, whichever they are."""
    rebuilt: bool

    @property
    def paths(self) -> list[str] | None:
        return None if self.files is None else [file.path for file in self.files]


def stitch(
    engine: TableEngine,
    *,
    built_at: datetime,
    events_table: str = "lake.events",
    identity_table: str = "gold.dim_identity",
    also_links: Iterable[Link] = (),
    spool: Path | None = None,
) -> Stitched:
    """Build the identity table anew. CommitConflictError: a table moved on meanwhile, stitch again.

    1. Remember the heads of both tables.
    2. Only if nobody has written to the identity table since the last stitch, and every file of the
       events that it read is still there as it was: take its rows, and read the files that came
       since. Else keep the identity_ids alone, and read everything: what an erasure (or anybody)
       took away must not stay in what was built from it.
    3. Add `also_links` (Bronze not yet loaded).
    4. A user_id anchors an identity with everything ever linked to it. An anon_id never linked is
       an identity of its own. Tombstones are nobody.
    5. Replace all rows, only if the head is still the one remembered.
    6. Mark what was built from what.

    `spool`: a private folder for what memory does not hold.
    """
    engine.create_table(
        identity_table, SCHEMA, partition_by=None, properties=table_properties(SCHEMA.names)
    )
    before = engine.head(identity_table)
    source = _source(engine, engine.head(events_table), before)
    with Merge(parts=_parts(engine, source, before), folder=spool) as merge:
        if source.rebuilt:
            merge.know(engine.batches(identity_table, columns=Merge.KNOWN))
        else:
            merge.take(engine.batches(identity_table, columns=SCHEMA.names))
        read = engine.batches(events_table, columns=COLUMNS, files=source.paths)
        for facts in facts_of_events(read):
            merge.add(facts)
        also = facts_of_links(also_links)
        merge.add(also)
        failpoint("stitch.before_overwrite")
        snapshot_id = engine.overwrite(
            identity_table, merge.rows(built_at=built_at), base_snapshot=before.snapshot_id
        )
    failpoint("stitch.after_overwrite")
    mark = _mark(source.head, source.head.snapshot_id, identities=snapshot_id)
    # without a mark of this snapshot the next one reads everything: so it does after a crash here,
    # and where links were given that are in no file yet
    if mark is not None and not also.links and source.files is not None:
        engine.set_properties(identity_table, {MARK: mark})
    return Stitched(
        identities=merge.identities,
        users=merge.users,
        links=merge.links,
        shared=merge.shared,
        snapshot_id=snapshot_id,
        rebuilt=source.rebuilt,
    )


def _source(engine: TableEngine, events: TableHead, identities: TableHead) -> _Source:
    """What is to be read. Everything, unless it is certain that the rest is in the rows."""
    if events.snapshot_id is None:
        return _Source(events, [], rebuilt=True)
    if events.format_version > _FORMAT:
        return _Source(events, None, rebuilt=True)
    files = engine.files(events.table, snapshot_id=events.snapshot_id)
    since = _marked(events, identities)
    if since is None:
        return _Source(events, files, rebuilt=True)
    there = {(f.path, f.deletes) for f in files}
    read = {(f.path, f.deletes) for f in engine.files(events.table, snapshot_id=since)}
    if not read <= there:
        return _Source(events, files, rebuilt=True)
    return _Source(events, [f for f in files if (f.path, f.deletes) not in read], rebuilt=False)


def _mark(events: TableHead, since: int | None, *, identities: int | None) -> str | None:
    if since is None or identities is None:
        return None
    columns = ".".join(str(events.field_ids[name]) for name in COLUMNS if name in events.field_ids)
    return f"{_FORM}/{identities}/{events.uuid}/{columns}/{since}"


def _marked(events: TableHead, identities: TableHead) -> int | None:
    """The snapshot of the events that the rows there now were built from, if it can be had."""
    mark = identities.properties.get(MARK)
    if mark is None or not set(SCHEMA.names) <= set(identities.plain.values()):
        return None  # a table that was made before it had the columns that say when
    for since in events.snapshots:
        if mark == _mark(events, since, identities=identities.snapshot_id):
            return since
    return None


def _parts(engine: TableEngine, source: _Source, identities: TableHead) -> int:
    """So many that the rows of one fit into memory."""
    if source.files is None:
        return _PARTS
    files = list(source.files)
    if identities.snapshot_id is not None:
        files += engine.files(identities.table, snapshot_id=identities.snapshot_id)
    return sum(file.rows for file in files) // _ROWS_A_PART + 1
