"""Whom an order under a legal hold names: looked for in the lake, and written down as digests.

From then on the hold is one on each of these people. Not here: holds themselves
(app.services.holds), reading rows (app.lake.order_rows).
"""

from __future__ import annotations

from app.domain.actors import WORKER
from app.domain.errors import StoppedError
from app.domain.failpoints import failpoint
from app.domain.identifiers import Identifier
from app.domain.steps import Step, StepEnd
from app.lake.mapcheck import check_map
from app.lake.order_rows import people_of_order
from app.lake.ports import Doors
from app.services import dsars, entries, holds
from app.services.leases import Lease
from app.services.parts import Lake, Parts, Transaction
from app.stages.resolving import lake_fingerprint
from app.store import holds as store
from app.store.holds import Hold


def look(step: Step, lease: Lease, parts: Parts) -> StepEnd:
    """The act of LOOK. Its target is the hold.

    1. Load the order. A released hold needs nothing.
    2. With no transaction open: fingerprint the lake, then read every row of the order.
    3. Record in one transaction whom they name; and everybody whom a run has begun with: whose rows
       were whose cannot be seen any more. Cases that are hit go on hold.
    """
    assert parts.lake is not None
    with parts.database.transaction() as tx:
        placed = store.get(tx, step.target)
    if placed.released_at is not None:
        return StepEnd(receipt={"people": 0})
    if lease.stop():
        raise StoppedError("Told to stop before the order was looked for.")
    with parts.lake.open() as doors:
        check_map(parts.lake.data_map, store=doors.reader, engine=doors.engine)
        fingerprint = lake_fingerprint(parts.lake.data_map, doors)
        found = _people(parts, parts.lake, doors, placed)
    failpoint("order_holds.looked")
    return _record(lease, parts, placed, found, fingerprint=fingerprint)


def look_again(lease: Lease, parts: Parts, doors: Doors) -> None:
    """Rows of a held order may have come since it was looked for: once more, where the lake has
    moved. Before a run knows its people; the caller holds the step.
    """
    assert parts.lake is not None
    with parts.database.transaction() as tx:
        placed = store.live_orders(tx)
    if not placed:
        return
    fingerprint = lake_fingerprint(parts.lake.data_map, doors)
    for one in placed:
        if one.fingerprint is not None and one.fingerprint != fingerprint:
            found = _people(parts, parts.lake, doors, one)
            failpoint("order_holds.looked_again")
            with parts.database.transaction() as tx:
                lease.guard(tx)
                if store.get(tx, one.id, lock=True).released_at is None:
                    _protect(tx, parts, one, found)
                    store.put(tx, one.id, fingerprint=fingerprint)


def _people(parts: Parts, lake: Lake, doors: Doors, placed: Hold) -> frozenset[Identifier]:
    order_id = holds.value_of(parts, placed)
    assert order_id is not None
    return people_of_order(order_id, data_map=lake.data_map, doors=doors)


def _record(
    lease: Lease,
    parts: Parts,
    placed: Hold,
    found: frozenset[Identifier],
    *,
    fingerprint: str,
) -> StepEnd:
    with parts.database.transaction() as tx:
        lease.guard(tx)
        if store.get(tx, placed.id, lock=True).released_at is not None:
            return StepEnd(receipt={"people": 0})
        _protect(tx, parts, placed, found)
        begun = store.protect_begun(tx, placed.id)
        store.put(tx, placed.id, fingerprint=fingerprint)
        held = holds.settle(tx)
        failpoint("order_holds.before_entry")
        counts = {"people": len(found), "begun": begun, "cases": held}
        entries.record(WORKER, tx, verb="hold.looked_for", about=placed.id, counts=counts)
    return StepEnd(receipt=counts)


def _protect(tx: Transaction, parts: Parts, placed: Hold, found: frozenset[Identifier]) -> None:
    store.add_digests(tx, placed.id, dsars.living_digests(parts, found))
