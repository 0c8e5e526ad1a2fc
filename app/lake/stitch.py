"""The nightly job: identity.link events of Silver become gold.dim_identity, rebuilt in full.

Not here: what an erasure takes for a person (app.lake.identities reads the links themselves). The
caller keeps runs away meanwhile: a stitch that read before an erasure would write the person back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from app.domain.failpoints import failpoint
from app.lake.stitch_rows import Link, Person, living, people_of, read_events
from app.lake.table_ports import TableEngine
from app.lake.table_settings import table_properties

__all__ = ["SCHEMA", "Link", "Stitched", "stitch"]

_TEXTS, _TIME = pa.list_(pa.string()), pa.timestamp("us", tz="UTC")

SCHEMA = pa.schema(
    [
        ("identity_id", pa.string()),
        ("user_id", pa.string()),
        ("anon_ids", _TEXTS),
        ("device_fps", _TEXTS),
        ("current_anon_ids", _TEXTS),
        ("first_seen", _TIME),
        ("last_seen", _TIME),
        ("role", pa.string()),
        ("country", pa.string()),
        ("built_at", _TIME),
    ]
)
"""gold.dim_identity."""


@dataclass(frozen=True, slots=True)
class Stitched:
    """What was built. Counts only."""

    identities: int
    users: int
    """Identities with a user_id; the others are visitors."""
    links: int
    shared: int
    """Linked values that more than one user_id has used."""
    snapshot_id: int


def stitch(
    engine: TableEngine,
    *,
    built_at: datetime,
    events_table: str = "lake.events",
    identity_table: str = "gold.dim_identity",
    also_links: Iterable[Link] = (),
) -> Stitched:
    """Rebuild the identity table. CommitConflictError: it moved on meanwhile, stitch again.

    1. Remember the table's head, and the identity_id of everybody in it.
    2. Read the events once: who was seen when, and every link; add `also_links` (Bronze not yet
       loaded).
    3. A user_id anchors an identity with everything ever linked to it. An anon_id never linked is
       an identity of its own. Tombstones are nobody.
    4. Replace all rows, only if the head is still the one remembered.
    """
    engine.create_table(
        identity_table, SCHEMA, partition_by=None, properties=table_properties(SCHEMA.names)
    )
    base = engine.head(identity_table).snapshot_id
    known = _known_ids(engine, identity_table)
    seen, links = read_events(engine, events_table)
    links += living(also_links)
    people = people_of(seen, links, known=known)
    failpoint("stitch.before_overwrite")
    snapshot_id = engine.overwrite(
        identity_table, _rows(people, built_at=built_at), base_snapshot=base
    )
    failpoint("stitch.after_overwrite")
    return Stitched(
        identities=len(people),
        users=sum(p.user_id is not None for p in people),
        links=len(links),
        shared=_shared(links),
        snapshot_id=snapshot_id,
    )


def _known_ids(engine: TableEngine, table: str) -> dict[str, str]:
    """user_id, or the anon_ids of a visitor, to identity_id."""
    known: dict[str, str] = {}
    for batch in engine.batches(table, columns=["identity_id", "user_id", "anon_ids"]):
        for identity_id, user_id, anon_ids in zip(
            *(batch.column(name).to_pylist() for name in batch.schema.names), strict=True
        ):
            for value in [user_id] if user_id is not None else anon_ids or []:
                known[value] = identity_id
    return known


def _rows(people: list[Person], *, built_at: datetime) -> pa.Table:
    columns = {
        name: [getattr(person, name) for person in people]
        for name in SCHEMA.names
        if name != "built_at"
    }
    return pa.table({**columns, "built_at": [built_at] * len(people)}, schema=SCHEMA)


def _shared(links: Iterable[Link]) -> int:
    users: dict[str, set[str]] = {}
    for link in links:
        for value in (link.anon_id, link.device_fp):
            if value is not None:
                users.setdefault(value, set()).add(link.user_id)
    return sum(len(u) > 1 for u in users.values())
