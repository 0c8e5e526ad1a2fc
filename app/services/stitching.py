"""The act of STITCH: dim_identity of the map, built anew from its links.

Not here: who keeps runs away meanwhile (app.store.leases), how it is built (app.lake.stitch).
"""

from __future__ import annotations

from app.domain.datasets import DataMap
from app.domain.errors import StageError, StoppedError
from app.domain.failpoints import failpoint
from app.domain.steps import Step, StepEnd, StepState
from app.lake.stitch import stitch
from app.services.leases import Lease
from app.services.parts import Parts

_NOTHING = StepEnd(reason="The map names no identity table and links in a table.")


def stitch_identities(step: Step, lease: Lease, parts: Parts) -> StepEnd:
    """Rebuild the identity table; nothing to do where the map has none. CommitConflictError, which
    may be tried again, when the table moved on meanwhile.
    """
    if parts.lake is None:
        raise StageError("This worker has no lake.")
    tables = tables_of(parts.lake.data_map)
    if tables is None:
        return _NOTHING
    events, identities = tables
    with parts.database.transaction() as tx:
        built_at = tx.now()
    with parts.lake.open() as doors:
        if doors.engine is None:
            return _NOTHING
        if lease.stop():
            raise StoppedError("The worker is to end.")
        failpoint("stitching.before")
        done = stitch(
            doors.engine,
            built_at=built_at,
            events_table=events,
            identity_table=identities,
            spool=parts.lake.spool,
        )
    return StepEnd(
        StepState.DONE,
        receipt={
            "identities": done.identities,
            "users": done.users,
            "links": done.links,
            "shared": done.shared,
            "rebuilt": int(done.rebuilt),
            "snapshot": str(done.snapshot_id),
        },
    )


def tables_of(data_map: DataMap) -> tuple[str, str] | None:
    """The tables of the links and of the identities; None when the map lacks one of them."""
    identity = next((d.table for d in data_map.tables if d.is_identity), None)
    if identity is None or data_map.links is None:
        return None
    events = data_map.dataset(data_map.links.dataset).table
    return None if events is None else (events, identity)
