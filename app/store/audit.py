"""The audit entries: append and read. Who may write what into them is app.services.entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, insert, select, text

from app.store.tables import audit_entry
from app.store.transaction import Transaction

_GAPLESS = text("select pg_advisory_xact_lock(4815162342)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One audit fact. `facts` is RFC 8785 canonical JSON."""

    seq: int
    at: datetime
    actor: str
    verb: str
    object: str
    facts: str


def take_turn(tx: Transaction) -> None:
    """Queue behind the other writers now, not at the first entry: what is read after this cannot
    change before the commit, if all who write it take their turn too.
    """
    tx.run(_GAPLESS)


def append(tx: Transaction, *, actor: str, verb: str, object_: str, facts: str) -> None:
    """Append one entry, right before the commit: writers queue there until they are durable, so
    that no number is missing, and nobody queues for longer than that.
    """
    tx.run_last(_written, {"actor": actor, "verb": verb, "object": object_, "facts": facts})


_APPEND = insert(audit_entry).values(
    seq=select(func.coalesce(func.max(audit_entry.c.seq), 0) + 1).scalar_subquery(),
    at=func.clock_timestamp(),
    **{name: bindparam(name) for name in ("actor", "verb", "object", "facts")},
)


def _written(tx: Transaction, entries: Sequence[Mapping[str, Any]]) -> None:
    take_turn(tx)
    for entry in entries:
        tx.run(_APPEND, entry)


def of_objects(
    tx: Transaction, objects: Sequence[str], *, after: int = 0, limit: int = 1000
) -> list[Entry]:
    """The entries about these objects, oldest first."""
    tx.settle()
    rows = tx.run(
        select(audit_entry)
        .where(audit_entry.c.object.in_(objects), audit_entry.c.seq > after)
        .order_by(audit_entry.c.seq)
        .limit(limit)
    )
    return [Entry(r.seq, r.at, r.actor, r.verb, r.object, r.facts) for r in rows]
