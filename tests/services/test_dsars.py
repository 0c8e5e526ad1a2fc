"""Taking cases in: what is stored of them, what is refused, what it starts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from app.domain.dsars import DsarType, Move, Regulation, State, needs
from app.domain.errors import (
    IdentifierMalformedError,
    IdentifierMissingError,
    IdentifierTooWeakError,
    IllegalMoveError,
    InvalidFieldsError,
    KeyMissingError,
    NotFoundError,
)
from app.domain.identifiers import Identifier, Kind
from app.domain.steps import StepKind
from app.services import dsar_views, dsars
from app.services.dsars import Asked
from app.services.parts import Parts
from app.store import leases, steps
from app.store.transaction import Database
from tests.services.dsar_cases import (
    ANON,
    ASKED,
    ASKER,
    DEVICE,
    LONG_AGO,
    NOTE,
    OFFICER,
    PERSONAL,
    REF,
    USER,
    approve,
    dumped,
    entries_of,
    get,
    moved,
    scoped,
    somebody,
    submit,
)


def test_a_case_is_taken_in_with_its_clock_its_keys_and_a_step_that_looks_for_its_scope(
    parts: Parts, rung: list[str]
) -> None:
    case = submit(parts).dsar
    assert case.state is State.RECEIVED
    assert case.received_at < case.due_at <= case.received_at + timedelta(days=40)
    assert (case.regime, case.requested_by) == ("gdpr.12_3", ASKER.id)
    assert set(dsars.subject_of(parts, case).given) == {
        Identifier(Kind.USER_ID, USER),
        Identifier(Kind.ANON_ID, ANON),
        Identifier(Kind.DEVICE_FP, DEVICE),
    }
    assert dsars.note_of(parts, case) == NOTE
    assert dsars.external_ref_of(parts, case) == REF
    [step_id] = rung
    with parts.database.transaction() as tx:
        step = steps.get(tx, step_id)
    assert step is not None
    assert (step.kind, step.target) == (StepKind.SCOPE, case.id)


def test_nobody_is_woken_for_a_scope_whose_time_has_not_come(parts: Parts, rung: list[str]) -> None:
    waiting = replace(parts, rules=replace(parts.rules, scope_delay=timedelta(hours=1)))
    case = submit(waiting).dsar
    assert rung == []
    with parts.database.transaction() as tx:
        assert leases.unheard(tx, again=timedelta(hours=1), limit=9) == []
        tx.run(text("update clearlake.step set not_before = now()"))
        [step_id] = leases.unheard(tx, again=timedelta(hours=1), limit=9)
        step = steps.get(tx, step_id)
    assert step is not None
    assert step.target == case.id


def test_a_bell_that_nobody_hears_changes_nothing(parts: Parts, database_url: str) -> None:
    deaf = Database(database_url, ring=lambda _: False)
    case = submit(replace(parts, database=deaf)).dsar
    deaf.close()
    assert get(parts, case.id) == case
    with parts.database.transaction() as tx:
        [step_id] = leases.unheard(tx, again=timedelta(hours=1), limit=9)
        step = steps.get(tx, step_id)
    assert step is not None
    assert step.target == case.id


def test_nothing_personal_stands_in_any_column_that_is_not_sealed(
    parts: Parts, database_url: str
) -> None:
    case = scoped(parts)
    approve(parts, case)
    with parts.database.transaction() as tx:
        dsar_views.read_subject(OFFICER, tx, parts=parts, dsar_id=case.id)
    found = dumped(database_url)
    assert len(found.rows["dsar_digest"]) == 4
    assert case.id in found.text
    assert found.found(PERSONAL) == []


def test_the_entry_of_a_case_holds_commitments_that_its_key_alone_can_match(parts: Parts) -> None:
    case = submit(parts).dsar
    [(verb, facts)] = entries_of(parts, case.id)
    assert verb == "dsar.received"
    commitment = parts.keys.commitments(case.id).of(Identifier(Kind.USER_ID, USER))
    assert commitment in facts
    parts.keys.shred(case.id)
    with pytest.raises(KeyMissingError):
        parts.keys.commitments(case.id)


def test_a_second_open_case_of_the_same_person_is_taken_in_and_names_the_first(
    parts: Parts,
) -> None:
    first, stranger = submit(parts), submit(parts, somebody(1))
    assert first.related == stranger.related == ()
    again = replace(ASKED, user_id=None, anon_ids=(ANON,), device_fps=())
    assert submit(parts, again).related == (first.dsar.id,)
    # also after the digest key was rotated: older rows are found by the older key
    parts.keys.rotate_digest()
    assert first.dsar.id in submit(parts, again).related


def test_a_closed_case_is_not_related_to_a_new_one(parts: Parts) -> None:
    case = submit(parts).dsar
    moved(parts, case.id, Move.REJECT)
    assert submit(parts).related == ()


def test_other_types_are_accepted_and_wait_for_a_person(parts: Parts, rung: list[str]) -> None:
    for type_ in set(DsarType) - {DsarType.ERASURE}:
        case = submit(parts, replace(ASKED, type=type_)).dsar
        assert (case.state, rung) == (State.RECEIVED, [])
        assert needs(case.state, case.type).whose == "privacy_officer"
        for move in (Move.SCOPE, Move.APPROVE):
            with pytest.raises(IllegalMoveError) as refused:
                moved(parts, case.id, move)
            assert refused.value.legal == ("reject", "cancel")


REFUSED: list[tuple[Asked, type[Exception]]] = [
    (replace(ASKED, user_id=None, anon_ids=(), device_fps=()), IdentifierMissingError),
    (replace(ASKED, user_id=None, anon_ids=()), IdentifierTooWeakError),
    (replace(ASKED, user_id="null"), IdentifierMalformedError),
    (replace(ASKED, anon_ids=(ANON, "with space")), IdentifierMalformedError),
    (replace(ASKED, anon_ids=tuple(f"a_{n:022}" for n in range(51))), InvalidFieldsError),
    (replace(ASKED, received_at=LONG_AGO), InvalidFieldsError),
]


def test_a_case_that_names_nobody_or_too_much_is_refused_and_leaves_nothing(
    parts: Parts, database_url: str, rung: list[str]
) -> None:
    for asked, error in REFUSED:
        with pytest.raises(error) as refused:
            submit(parts, asked)
        values = {asked.user_id or USER, *asked.anon_ids, *asked.device_fps} - {"null"}
        assert not [v for v in values if v in str(refused.value)]
    assert dumped(database_url).rows["dsar"] == []
    assert rung == []
    assert list(parts.keys.folder.folder.rglob("data-dsar_*")) == []


def test_a_time_of_receipt_may_lie_a_little_ahead_but_never_counts_so(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        now = tx.now()
    ahead = submit(parts, replace(ASKED, received_at=now + timedelta(minutes=4))).dsar
    assert ahead.received_at < now + timedelta(minutes=1)
    with pytest.raises(InvalidFieldsError):
        submit(parts, replace(ASKED, received_at=now + timedelta(minutes=6)))
    before = submit(parts, replace(ASKED, received_at=now - timedelta(days=20))).dsar
    assert before.received_at == now - timedelta(days=20)
    assert before.due_at < ahead.due_at


def test_the_clock_is_that_of_the_law_named(parts: Parts) -> None:
    case = submit(parts, replace(ASKED, regulation=Regulation.CCPA)).dsar
    assert case.acknowledge_by is not None
    assert case.acknowledge_by < case.due_at
    assert case.regime == "ccpa.7021"


def test_a_move_is_checked_counted_and_written_down(parts: Parts) -> None:
    case = submit(parts).dsar
    before = case.version
    with parts.database.transaction() as tx:
        after = dsars.move(ASKER, tx, case.id, Move.SCOPE, verb="dsar.scoped", undecided=0)
    assert (after.state, after.version) == (State.AWAITING_APPROVAL, before + 1)
    assert entries_of(parts, case.id)[-1][0] == "dsar.scoped"
    with pytest.raises(IllegalMoveError), parts.database.transaction() as tx:
        dsars.move(ASKER, tx, case.id, Move.COMPLETE, verb="dsar.completed")
    assert get(parts, case.id).state is State.AWAITING_APPROVAL
    assert entries_of(parts, case.id)[-1][0] == "dsar.scoped"


def test_a_move_of_a_case_that_is_not_there_is_refused(parts: Parts) -> None:
    with pytest.raises(NotFoundError):
        moved(parts, "dsar_nobody", Move.CANCEL)


def test_what_a_case_waits_for_goes_with_the_next_move(parts: Parts) -> None:
    case = approve(parts, scoped(parts))
    moved(parts, case.id, Move.TAKE)
    with parts.database.transaction() as tx:
        until = tx.now() + timedelta(days=9)
        held = dsars.move(
            ASKER, tx, case.id, Move.DEFER, verb="dsar.deferred", reason="locked", until=until
        )
    assert (held.waiting_reason, held.waiting_until) == ("locked", until)
    after = moved(parts, case.id, Move.RETAKE)
    assert (after.waiting_reason, after.waiting_until) == (None, None)


def test_a_run_that_was_undone_leaves_the_case_to_be_approved_again(parts: Parts) -> None:
    case = approve(parts, scoped(parts))
    assert case.approved_scope
    after = moved(parts, case.id, Move.TAKE, Move.PUT_BACK)
    assert after.state is State.AWAITING_APPROVAL
    assert (after.approved_by, after.approved_scope, after.shared_review) == (None, None, None)


def test_cases_are_found_by_who_they_are_about_and_by_their_external_ref(parts: Parts) -> None:
    case, stranger = submit(parts).dsar, submit(parts, somebody(1)).dsar

    def found(**wanted: object) -> list[str]:
        with parts.database.transaction() as tx:
            filters = dsar_views.wanted(parts, **wanted)  # type: ignore[arg-type]  # by name
            return [s.id for s in dsar_views.summaries(tx, wanted=filters, limit=9, after=None)]

    assert found() == [stranger.id, case.id]
    assert found(subject=Identifier(Kind.USER_ID, USER)) == [case.id]
    assert found(subject=Identifier(Kind.ANON_ID, USER)) == []
    assert found(subject=Identifier(Kind.USER_ID, USER[:-1])) == []
    assert found(external_ref=REF) == [case.id]
    assert found(external_ref=USER) == []
    assert found(external_ref=REF, states=(State.QUEUED,)) == []
    assert found(type_=DsarType.ACCESS) == []
    assert found(due_before=case.due_at) == []
    assert found(due_before=case.due_at + timedelta(seconds=1)) == [stranger.id, case.id]
    parts.keys.rotate_digest()
    assert found(subject=Identifier(Kind.USER_ID, USER), external_ref=REF) == [case.id]
