"""What is deleted when a case or a run has ended. Not here: when, and the keys
(app.services.endings).
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, func, select

from app.domain.dsars import State
from app.store.dsars import put
from app.store.holds import forget_identity
from app.store.tables import dsar, dsar_digest, run_document, scope, work
from app.store.transaction import Transaction

EXTERNAL_REF = "external_ref"


def settling(tx: Transaction, *, until: datetime) -> list[str]:
    """Cases that were to settle until then, locked. One that somebody is changing now is left."""
    rows = tx.run(
        select(dsar.c.id)
        .where(dsar.c.state == State.SETTLING, dsar.c.settle_until <= until)
        .order_by(dsar.c.id)
        .with_for_update(skip_locked=True)
    )
    return list(rows.scalars())


def past_retention(tx: Transaction, *, limit: int) -> list[str]:
    """Closed cases whose stated end has come, locked, the oldest first."""
    rows = tx.run(
        select(dsar.c.id)
        .where(dsar.c.closed_at.is_not(None), dsar.c.retain_until <= func.now())
        .order_by(dsar.c.retain_until, dsar.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list(rows.scalars())


def clear_case(tx: Transaction, dsar_id: str, *, shredded_at: datetime) -> None:
    """Delete everything that leads to the person; external_ref and reasons stay sealed."""
    tx.run(delete(scope).where(scope.c.dsar_id == dsar_id))
    forget_identity(tx, dsar_id)
    mine = dsar_digest.c.dsar_id == dsar_id
    tx.run(delete(dsar_digest).where(mine, dsar_digest.c.kind != EXTERNAL_REF))
    put(tx, dsar_id, sealed_subject=None, sealed_note=None, shredded_at=shredded_at)


def forget(tx: Transaction, dsar_id: str) -> None:
    """Delete what outlived the identifiers. A closed case without retain_until is forgotten."""
    tx.run(delete(dsar_digest).where(dsar_digest.c.dsar_id == dsar_id))
    put(tx, dsar_id, sealed_external_ref=None, sealed_reason=None, retain_until=None)


def clear_run(tx: Transaction, run_id: str) -> None:
    """Delete a run's sealed documents and the records of its objects."""
    tx.run(delete(run_document).where(run_document.c.run_id == run_id))
    tx.run(delete(work).where(work.c.run_id == run_id))
