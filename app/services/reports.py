"""Handing out signed reports, byte for byte as they were signed. Every download is an entry.

Not here: how a report is made and judged (app.stages.evidence, app.audit).
"""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.actors import Actor
from app.domain.dsars import needs
from app.domain.errors import NotReadyError
from app.domain.failpoints import failpoint
from app.services import entries
from app.services.parts import Parts, Transaction
from app.store import dsar_records as records
from app.store import dsars as store
from app.store.dsar_records import SignedReport


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half of a key that signs, or signed, reports here."""

    key_id: str
    pem: str


def read_report(
    actor: Actor, tx: Transaction, *, dsar_id: str, addendum: int | None = None
) -> SignedReport:
    """The newest signed report of a case, or the one with that addendum number.

    NotReadyError says what is awaited; NotFoundError for an unknown case.
    """
    found = _found(tx, dsar_id, addendum)
    failpoint("reports.before_entry")
    entries.record(
        actor,
        tx,
        verb="report.read",
        about=dsar_id,
        report=found.id,
        addendum=found.addendum,
        sha256=found.sha256,
    )
    return found


def signature_of(tx: Transaction, *, dsar_id: str, addendum: int | None = None) -> SignedReport:
    """The same report for its signature: that says nothing of the person and is no entry."""
    return _found(tx, dsar_id, addendum)


def public_keys(parts: Parts) -> list[PublicKey]:
    """Every public key that ever signed here, so that anybody can check a report offline."""
    found = parts.keys.public_keys()
    return [PublicKey(key_id, pem.decode("ascii")) for key_id, pem in sorted(found.items())]


def _found(tx: Transaction, dsar_id: str, addendum: int | None) -> SignedReport:
    case = store.get(tx, dsar_id)
    found = records.signed_report(tx, dsar_id, addendum=addendum)
    if found is None:
        awaited = needs(case.state, case.type).what
        raise NotReadyError(f"There is no such report. What is awaited: {awaited}.")
    return found
