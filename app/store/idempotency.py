"""Stored answers of POSTs: found again by the actor and a digest of the Idempotency-Key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Text, bindparam, delete, func, insert, select

from app.store.tables import idempotency
from app.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What was answered. `answer` holds ids and states only."""

    route: str
    body_digest: str
    status: int
    headers: Mapping[str, str]
    answer: str = field(repr=False)


_CLAIM = select(
    func.pg_try_advisory_xact_lock(func.hashtextextended(bindparam("name", type_=Text), 4815162343))
)
_FIND = select(idempotency).where(
    idempotency.c.actor_id == bindparam("who"), idempotency.c.key_digest == bindparam("which")
)
_PUT = insert(idempotency)


def claim(tx: Transaction, *, actor_id: str, key_digest: str) -> bool:
    """Take this key until the transaction ends; False when another one has it now."""
    return bool(tx.run(_CLAIM, {"name": f"{actor_id}/{key_digest}"}).scalar_one())


def find(tx: Transaction, *, actor_id: str, key_digest: str) -> StoredAnswer | None:
    """The answer that was stored for this key. Look after `claim`: a statement of its own."""
    row = tx.run(_FIND, {"who": actor_id, "which": key_digest}).one_or_none()
    if row is None:
        return None
    return StoredAnswer(row.route, row.body_digest, row.status, row.headers, row.answer)


def put(tx: Transaction, stored: StoredAnswer, *, actor_id: str, key_digest: str) -> None:
    """Store an answer in the transaction that did what it says."""
    values = {
        "actor_id": actor_id,
        "key_digest": key_digest,
        "route": stored.route,
        "body_digest": stored.body_digest,
        "status": stored.status,
        "headers": dict(stored.headers),
        "answer": stored.answer,
    }
    tx.run(_PUT, values)


def forget(tx: Transaction, *, before: datetime) -> int:
    """Delete the answers stored before a time; how many."""
    return tx.run(delete(idempotency).where(idempotency.c.created_at < before)).rowcount
