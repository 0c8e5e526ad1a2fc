"""What is written down of the erased, so that nobody comes back; and when that ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from app.audit.keys import KeyInUseError
from app.domain.identifiers import Identifier, Identity, Kind
from app.services import suppression
from app.services.parts import Parts
from app.store import suppression as store
from app.store.suppression import Suppressed
from tests.services.dsar_cases import (
    ANON,
    DERIVED,
    DEVICE,
    LINKED,
    SHARED,
    USER,
    dumped,
    entries_of,
    identity,
)
from tests.services.erased import queued, started, suppress, with_rules

U, A, D, L = (
    Identifier(Kind.USER_ID, USER),
    Identifier(Kind.ANON_ID, ANON),
    Identifier(Kind.DEVICE_FP, DEVICE),
    Identifier(Kind.ANON_ID, LINKED),
)
OTHERS = (Identifier(Kind.DEVICE_FP, SHARED), Identifier(Kind.DERIVED, DERIVED))


def rows_of(parts: Parts, identifier: Identifier) -> list[Suppressed]:
    digests = [(d.generation, d.digest) for d in parts.keys.digester().all_of(identifier)]
    with parts.database.transaction() as tx:
        return store.suppressed(tx, digests)


def taken(parts: Parts) -> tuple[str, Identity]:
    """A run, and the identity of its one case, with a shared value and a derived one."""
    case = queued(parts)
    return started(parts), identity(case.id, users=2, decision="tombstone")


def test_everything_that_is_the_persons_alone_is_suppressed_up_to_now(parts: Parts) -> None:
    run_id, person = taken(parts)
    with parts.database.transaction() as tx:
        now = tx.now()
    assert suppress(parts, run_id, person) == 4
    for identifier in (U, A, D, L):
        (row,) = rows_of(parts, identifier)
        assert (row.dsar_id, row.scope, row.at_work) == (person.subject, "before", True)
        assert now <= row.fence


@pytest.mark.parametrize("decision", ["tombstone", "keep"])
def test_a_shared_value_and_a_derived_one_are_never_suppressed(parts: Parts, decision: str) -> None:
    run_id, person = taken(parts)
    shared = replace(person, shared=tuple(replace(s, decision=decision) for s in person.shared))
    suppress(parts, run_id, shared)
    assert [rows_of(parts, i) for i in OTHERS] == [[], []]


def test_only_the_user_id_of_a_closed_account_matches_later_events_too(parts: Parts) -> None:
    run_id, person = taken(parts)
    suppress(parts, run_id, person, closed={person.subject: True})
    scopes = {i.kind: row.scope for i in (U, A, D) for row in rows_of(parts, i)}
    assert scopes == {Kind.USER_ID: "all", Kind.ANON_ID: "before", Kind.DEVICE_FP: "before"}


def test_a_repeat_leaves_the_rows_and_their_fence_as_they_are(parts: Parts) -> None:
    run_id, person = taken(parts)
    suppress(parts, run_id, person)
    before = rows_of(parts, U)
    assert suppress(parts, run_id, person) == 0
    parts.keys.rotate_digest()
    assert suppress(parts, run_id, person) == 0
    assert rows_of(parts, U) == before
    assert [v for v, _ in entries_of(parts, run_id)].count("suppression.written") == 1


def test_rows_of_every_generation_that_lives_are_found(parts: Parts) -> None:
    run_id, person = taken(parts)
    suppress(parts, run_id, replace(person, linked=frozenset(), given=frozenset({U})))
    parts.keys.rotate_digest()
    suppress(parts, run_id, replace(person, linked=frozenset(), given=frozenset({A})))
    assert len(rows_of(parts, U)) == len(rows_of(parts, A)) == 1
    with parts.database.transaction() as tx:
        assert len(set(store.living_digests(tx))) == 2


def test_a_digest_key_lives_until_its_last_row_has_ended(parts: Parts) -> None:
    run_id, person = taken(parts)
    soon = with_rules(parts, suppress=timedelta(0))
    suppress(soon, run_id, person)
    parts.keys.rotate_digest()
    with parts.database.transaction() as tx:
        rows = suppression.digest_rows(tx, 1)
        others = rows - len((U, A, D, L))
    assert others > 0, "the case itself is found by its digests"
    with pytest.raises(KeyInUseError):
        parts.keys.destroy_digest(1, rows=rows)
    with parts.database.transaction() as tx:
        assert suppression.expire(tx) == 4
        assert suppression.digest_rows(tx, 1) == others
        assert suppression.expire(tx) == 0


def test_what_is_past_its_end_matches_nothing_and_is_deleted(parts: Parts) -> None:
    run_id, person = taken(parts)
    suppress(with_rules(parts, suppress=timedelta(0)), run_id, person)
    assert rows_of(parts, U) == []
    with parts.database.transaction() as tx:
        assert list(store.living_digests(tx)) == []
        suppression.expire(tx)
    assert ("suppression.expired", '{"rows":4}') in entries_of(parts, "suppression")


def test_an_undone_run_lifts_what_it_wrote_and_nothing_else(parts: Parts) -> None:
    run_id, person = taken(parts)
    suppress(parts, run_id, person)
    with parts.database.transaction() as tx:
        assert suppression.lift(tx, run_id="run_another", dsar_ids=[person.subject]) == 0
    assert rows_of(parts, U)
    with parts.database.transaction() as tx:
        assert suppression.lift(tx, run_id=run_id, dsar_ids=[person.subject]) == 4
    assert rows_of(parts, U) == []


def test_nothing_but_keyed_digests_is_written(parts: Parts, database_url: str) -> None:
    run_id, person = taken(parts)
    suppress(parts, run_id, person)
    rows = dumped(database_url)
    assert len(rows.rows["suppression"]) == 4
    assert rows.found([USER, ANON, DEVICE, LINKED]) == []
