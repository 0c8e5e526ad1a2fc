"""Consents that are recorded at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import sleep

from sqlalchemy import select, text

from app.domain.actors import WORKER
from app.services import consents, entries
from app.services.parts import Parts
from app.store import audit
from app.store.tables import consent, consent_digest, consent_subject
from tests.services.consent_cases import (
    A1,
    U1,
    count,
    ids,
    record,
    said,
)

_ANYONE_WAITS = text(
    "select exists (select from pg_locks where not granted and database ="
    " (select oid from pg_database where datname = current_database()))"
)


def test_ten_first_consents_at_once_make_one_record(parts: Parts) -> None:
    with ThreadPoolExecutor(10) as pool:
        done = list(pool.map(lambda _: record(parts, said(U1, A1)), range(10)))
    assert len({d.consent.ref for d in done}) == 1
    assert count(parts, consent) == 10


def test_who_waits_for_the_turn_while_the_digest_key_is_rotated_finds_the_record(
    parts: Parts,
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with parts.database.transaction() as tx:
            audit.take_turn(tx)
            waiting = pool.submit(record, parts, said(U1))
            while not tx.run(_ANYONE_WAITS).scalar_one():
                sleep(0.005)
            parts.keys.rotate_digest()
            first = consents.record(WORKER, tx, parts=parts, said=said(U1)).consent
        assert waiting.result().consent.ref == first.ref


def test_erasures_in_the_middle_of_new_consents_leave_no_way_to_what_was_erased(
    parts: Parts,
) -> None:
    """Half of the erasures come late in a transaction that already queued for the audit log."""

    def give(number: int) -> None:
        record(parts, said(U1, A1, f"anon_CANARY_{number}", gpc=True))

    def forget(number: int) -> None:
        with parts.database.transaction() as tx:
            if number % 8 == 3:
                entries.record(WORKER, tx, verb="dsar.completed", about="dsar_x")
            consents.erase_subject(WORKER, tx, parts=parts, identifiers=ids(U1, A1))
        consents.shred_erased(parts)

    acts: list[Callable[[int], None]] = [give, give, give, forget]
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(acts[n % 4], n) for n in range(60)]:
            done.result()
    with parts.database.transaction() as tx:
        reached = select(consent_digest.c.ref)
        living = select(consent_subject.c.ref).where(consent_subject.c.erased_at.is_(None))
        assert set(tx.run(reached).scalars()) == set(tx.run(living).scalars())
        for ref in tx.run(living).scalars():
            parts.keys.sealer(ref)
    assert count(parts, consent) == 90
