"""What officers decide: four eyes, the digest that is signed, races, closing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest

from app.domain.actors import WORKER, Actor, ActorKind, Scope
from app.domain.dsars import Move, State
from app.domain.errors import (
    FourEyesError,
    IllegalMoveError,
    InvalidFieldsError,
    NotReadyError,
    ScopeChangedError,
    StaleError,
)
from app.domain.identifiers import Identifier, Kind
from app.domain.runs import Stage
from app.domain.steps import StepKind
from app.services import actors, decisions, dsars, previews, runs, scopes
from app.services.decisions import Approval
from app.services.parts import Parts, Transaction
from app.store import runs as stored_runs
from app.store import steps
from app.store.dsars import Dsar
from tests.services.dsar_cases import (
    ASKER,
    LOOK,
    MAP,
    OFFICER,
    REASON,
    SERVICE,
    approve,
    digest_of,
    dumped,
    entries_of,
    get,
    identity,
    moved,
    put_scope,
    scoped,
    submit,
)


def test_an_approval_by_another_person_queues_the_case(parts: Parts) -> None:
    case = approve(parts, scoped(parts))
    assert case.state is State.QUEUED
    assert (case.approved_by, case.approved_by_kind) == (OFFICER.id, "personal")
    assert case.approved_at is not None
    assert entries_of(parts, case.id)[-1][0] == "dsar.approved"
    assert decisions.reasons_of(parts, case) == {"approve": REASON}


@pytest.mark.parametrize("actor", [ASKER, SERVICE, WORKER], ids=lambda a: a.id)
def test_neither_the_requester_nor_a_service_key_nor_a_worker_approves(
    parts: Parts, actor: Actor
) -> None:
    case = scoped(parts)
    with pytest.raises(FourEyesError):
        approve(parts, case, actor=actor)
    assert get(parts, case.id).state is State.AWAITING_APPROVAL


def test_two_keys_in_one_hand_are_one_person(parts: Parts) -> None:
    """Whoever made the approver's key, or whose key the approver made, may hold both."""
    with parts.database.transaction() as tx:
        admin = made_by(actors.OPERATOR, tx, parts)
        second = made_by(admin, tx, parts)
        third = made_by(second, tx, parts)
        other = made_by(actors.OPERATOR, tx, parts)
    for asker, officer in ((admin, third), (third, admin), (admin, second)):
        case = asked_by(parts, asker)
        with pytest.raises(FourEyesError):
            approve(parts, case, actor=officer)
    assert approve(parts, asked_by(parts, third), actor=other).state is State.QUEUED
    demo = replace(parts, rules=replace(parts.rules, service_keys_may_approve=True))
    assert approve(demo, asked_by(parts, admin), actor=second).state is State.QUEUED


def asked_by(parts: Parts, asker: Actor) -> Dsar:
    case = submit(parts, actor=asker).dsar
    return put_scope(parts, identity(case.id))


def made_by(maker: Actor, tx: Transaction, parts: Parts) -> Actor:
    key, _ = actors.create(
        maker,
        tx,
        parts=parts,
        name="one",
        kind=ActorKind.PERSONAL,
        scopes=list(Scope),
        expires_at=None,
    )
    return Actor(key.id, key.kind, key.scopes)


def test_a_service_key_approves_only_where_the_rules_say_so_and_never_its_own(
    parts: Parts,
) -> None:
    demo = replace(parts, rules=replace(parts.rules, service_keys_may_approve=True))
    case = scoped(parts)
    with pytest.raises(FourEyesError):
        approve(demo, case, actor=ASKER)
    with pytest.raises(FourEyesError):
        approve(demo, case, actor=WORKER)
    assert approve(demo, case, actor=SERVICE).approved_by_kind == "service"


def test_an_approval_of_another_scope_than_the_stored_one_is_refused(parts: Parts) -> None:
    case = scoped(parts)
    other = digest_of(parts, scoped(parts).id)
    for digest in (other, "0" * 64):
        with pytest.raises(ScopeChangedError):
            approve(parts, case, digest=digest)
    assert get(parts, case.id).state is State.AWAITING_APPROVAL


def test_a_case_without_a_scope_cannot_be_approved(parts: Parts) -> None:
    case = submit(parts).dsar
    with pytest.raises(IllegalMoveError) as refused:
        approve(parts, case, digest="0" * 64)
    assert refused.value.legal == ("reject", "cancel")
    moved(parts, case.id, Move.SCOPE)
    with pytest.raises(NotReadyError):
        approve(parts, case, digest="0" * 64)


def test_values_that_many_share_are_decided_by_the_approver_and_by_nobody_else(
    parts: Parts,
) -> None:
    undecided, plain = scoped(parts, users=9), scoped(parts, users=2)
    with pytest.raises(InvalidFieldsError):
        approve(parts, undecided, review=None)
    with pytest.raises(InvalidFieldsError):
        approve(parts, plain, review="keep")
    assert approve(parts, plain, review=None).shared_review is None
    assert approve(parts, undecided, review="keep").shared_review == "keep"


@pytest.mark.parametrize("review", ["tombstone", "keep"])
def test_what_is_approved_is_the_scope_after_the_decision_and_a_run_must_find_the_same(
    parts: Parts, lake_of_nothing: Parts, review: str
) -> None:
    here = lake_of_nothing
    case = approve(parts, scoped(parts), review=review)
    found = identity(case.id)
    assert case.approved_scope != digest_of(parts, case.id)
    assert scopes.fits(here, found, case)
    assert scopes.fits(here, scopes.decided(found, review), case)
    other = "keep" if review == "tombstone" else "tombstone"
    assert not scopes.fits(here, found, replace(case, shared_review=other))
    assert not scopes.fits(here, found, replace(case, approved_scope=None))


def test_a_new_linked_value_voids_an_approval_and_a_new_session_does_not(
    parts: Parts, lake_of_nothing: Parts
) -> None:
    here = lake_of_nothing
    case = approve(parts, scoped(parts), review="keep")
    found = identity(case.id)
    linked = sorted(found.linked)
    assert scopes.fits(here, replace(found, derived=frozenset()), case)
    for others in (linked[1:], [*linked, Identifier(Kind.ANON_ID, "a_NEW")]):
        assert not scopes.fits(here, replace(found, linked=frozenset(others)), case)
    # used by two people only, the value is the map's to decide: not what was approved
    assert not scopes.fits(here, identity(case.id, users=2), case)


def test_a_changed_map_voids_an_approval(parts: Parts, lake_of_nothing: Parts) -> None:
    case = approve(parts, scoped(parts))
    assert lake_of_nothing.lake is not None
    changed = replace(lake_of_nothing.lake, data_map=replace(MAP, digest="1" * 64))
    assert not scopes.fits(replace(lake_of_nothing, lake=changed), identity(case.id), case)


def test_a_scope_that_changed_asks_for_another_approval(
    parts: Parts, lake_of_nothing: Parts
) -> None:
    case = approve(parts, scoped(parts))
    moved(parts, case.id, Move.TAKE)
    digest = digest_of(parts, case.id)
    found = scopes.decided(replace(identity(case.id), linked=frozenset()), "tombstone")
    with parts.database.transaction() as tx:
        after = scopes.rescope(WORKER, tx, parts=lake_of_nothing, identity=found, look=LOOK)
    assert after.state is State.AWAITING_APPROVAL
    assert (after.approved_by, after.approved_scope, after.shared_review) == (None, None, None)
    assert entries_of(parts, case.id)[-1][0] == "dsar.scope_changed"
    with pytest.raises(ScopeChangedError):
        approve(parts, case, digest=digest)
    # what was decided before is open again
    with parts.database.transaction() as tx:
        assert previews.preview(tx, parts=parts, dsar_id=case.id).undecided == 1
    assert approve(parts, case).state is State.QUEUED


def test_of_two_approvals_at_once_one_wins_and_the_other_is_told_what_is_legal(
    parts: Parts,
) -> None:
    case = scoped(parts)
    digest = digest_of(parts, case.id)
    second = replace(OFFICER, id="key_second")
    barrier = Barrier(2)

    def attempt(actor: Actor) -> Dsar | IllegalMoveError:
        barrier.wait()
        try:
            return approve(parts, case, actor=actor, digest=digest)
        except IllegalMoveError as err:
            return err

    with ThreadPoolExecutor(2) as pool:
        first, other = pool.map(attempt, (OFFICER, second))
    won, lost = (first, other) if isinstance(first, Dsar) else (other, first)
    assert isinstance(won, Dsar)
    assert isinstance(lost, IllegalMoveError)
    assert lost.legal == ("reject", "cancel")
    assert get(parts, case.id).approved_by == won.approved_by
    assert [v for v, _ in entries_of(parts, case.id)].count("dsar.approved") == 1


def test_an_approval_and_a_cancellation_at_once_end_cancelled_or_refused_never_both_lost(
    parts: Parts,
) -> None:
    case = scoped(parts)
    digest = digest_of(parts, case.id)
    barrier = Barrier(2)

    def approving() -> str:
        barrier.wait()
        try:
            approve(parts, case, digest=digest)
        except IllegalMoveError:
            return "refused"
        return "approved"

    def cancelling() -> str:
        barrier.wait()
        with parts.database.transaction() as tx:
            decisions.cancel(ASKER, tx, parts=parts, dsar_id=case.id, reason=REASON)
        return "cancelled"

    with ThreadPoolExecutor(2) as pool:
        pending = pool.submit(approving), pool.submit(cancelling)
        assert pending[1].result() == "cancelled"
        assert pending[0].result() in ("refused", "approved")
    # a queued case can still be cancelled: whoever was first, it ends cancelled
    assert get(parts, case.id).state is State.CANCELLED


@pytest.mark.parametrize("decide", [decisions.reject, decisions.cancel])
def test_a_case_that_is_closed_has_its_end_its_retention_and_a_step_that_destroys_its_keys(
    parts: Parts, rung: list[str], decide: object, database_url: str
) -> None:
    case = scoped(parts)
    with parts.database.transaction() as tx:
        after = decide(OFFICER, tx, parts=parts, dsar_id=case.id, reason=REASON)  # type: ignore[operator]  # one of two functions
    assert after.state in (State.REJECTED, State.CANCELLED)
    assert after.retain_until == after.closed_at + parts.rules.retain
    assert list(decisions.reasons_of(parts, after).values()) == [REASON]
    with parts.database.transaction() as tx:
        step = steps.get(tx, rung[-1])
    assert step is not None
    assert (step.kind, step.target) == (StepKind.SHRED, case.id)
    assert step.not_before == after.closed_at + parts.rules.shred_after
    assert dumped(database_url).found([REASON]) == []
    with pytest.raises(IllegalMoveError) as refused:
        approve(parts, case)
    assert refused.value.legal == ()


def test_a_case_that_a_run_has_taken_can_be_neither_cancelled_nor_rejected(parts: Parts) -> None:
    case = approve(parts, scoped(parts))
    moved(parts, case.id, Move.TAKE)
    for decide in (decisions.reject, decisions.cancel):
        with pytest.raises(IllegalMoveError), parts.database.transaction() as tx:
            decide(OFFICER, tx, parts=parts, dsar_id=case.id, reason=REASON)
    assert get(parts, case.id).state is State.RUNNING


def test_whoever_has_read_an_older_version_is_told_so(parts: Parts) -> None:
    case = scoped(parts)
    approval = Approval(digest_of(parts, case.id), "keep")

    def attempt(version: int) -> Dsar:
        with parts.database.transaction() as tx:
            return decisions.approve(
                OFFICER,
                tx,
                parts=parts,
                dsar_id=case.id,
                approval=approval,
                expected_version=version,
            )

    with pytest.raises(StaleError):
        attempt(case.version - 1)
    assert attempt(case.version).version > case.version


def test_a_preview_counts_and_names_nothing(parts: Parts) -> None:
    case = submit(parts).dsar
    with pytest.raises(NotReadyError), parts.database.transaction() as tx:
        previews.preview(tx, parts=parts, dsar_id=case.id)
    put_scope(parts, identity(case.id))
    with parts.database.transaction() as tx:
        seen = previews.preview(tx, parts=parts, dsar_id=case.id)
    assert seen.identity_counts == {"anon_id": 2, "derived": 1, "device_fp": 2, "user_id": 1}
    assert [(s.kind, s.users, s.decision) for s in seen.shared] == [("device_fp", 9, "review")]
    assert (seen.undecided, seen.undo_window_seconds) == (1, 86400)
    assert (seen.bytes, seen.estimate_seconds) == (1_100_000_000, 25)
    assert [(w.dataset, w.only_some) for w in seen.withheld] == [
        (d.name, True) for d in MAP.datasets for _ in d.keep_when
    ]
    assert seen.scope_digest == digest_of(parts, case.id)


def test_two_cases_of_one_person_have_digests_that_cannot_be_told_to_be_of_one(
    parts: Parts,
) -> None:
    digests = {digest_of(parts, scoped(parts).id) for _ in range(2)}
    assert len(digests) == 2


def test_the_end_of_a_case_is_dated_by_the_database(parts: Parts) -> None:
    case = submit(parts).dsar
    with parts.database.transaction() as tx:
        now = tx.now()
        after = decisions.cancel(ASKER, tx, parts=parts, dsar_id=case.id, reason=REASON)
    assert after.closed_at == now
    assert after.retain_until == now + timedelta(days=730)


def test_a_stuck_case_is_rejected_only_once_no_run_has_it(parts: Parts) -> None:
    case = approve(parts, scoped(parts))
    with parts.database.transaction() as tx:
        run_id = runs.start(WORKER, tx, parts=parts)
        assert run_id is not None
        dsars.move(WORKER, tx, case.id, Move.STICK, verb="dsar.stuck")
    assert Move.REJECT not in legal(parts, case)
    with pytest.raises(IllegalMoveError), parts.database.transaction() as tx:
        decisions.reject(OFFICER, tx, parts=parts, dsar_id=case.id, reason=REASON)
    with parts.database.transaction() as tx:
        stored_runs.put(tx, run_id, stage=Stage.CLOSED)
    assert Move.REJECT in legal(parts, case)
    with parts.database.transaction() as tx:
        rejected = decisions.reject(OFFICER, tx, parts=parts, dsar_id=case.id, reason=REASON)
    assert rejected.state is State.REJECTED


def legal(parts: Parts, case: Dsar) -> tuple[Move, ...]:
    with parts.database.transaction() as tx:
        return decisions.legal_of(tx, get(parts, case.id))
