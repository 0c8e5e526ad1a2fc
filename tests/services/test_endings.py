"""How a case ends after its report, and that its keys, and a run's, go when they should."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from app.domain.actors import WORKER
from app.domain.consents import ConsentState, Named, Said
from app.domain.dsars import Move, State
from app.domain.errors import KeyMissingError
from app.domain.failpoints import FailpointError
from app.domain.findings import Verdict
from app.domain.identifiers import Identifier, Identity, Kind, Shared
from app.domain.receipts import ObjectWork
from app.domain.reports import Outcome
from app.domain.runs import Stage
from app.domain.steps import StepKind
from app.services import consents, dsars, endings
from app.services.journal import LedgerJournal
from app.services.ledger import Performed
from app.services.parts import Parts
from app.store import dsars as store
from app.store import runs as stored_runs
from app.store import suppression
from app.store.dsars import Dsar
from app.store.tables import step
from tests.services.dsar_cases import (
    ASKER,
    LINKED,
    SHARED,
    USER,
    entries_of,
    get,
    identity,
    moved,
)
from tests.services.erased import (
    NO_WAIT,
    act,
    end_run,
    finish,
    held,
    put_facts,
    queued,
    started,
    state_of,
    with_rules,
)

H = datetime(2026, 11, 5, 10, tzinfo=UTC)
_TEXT = re.compile(r"[A-Za-z0-9+/=_-]{8,}")


@pytest.fixture
def at_once(parts: Parts) -> Parts:
    """No writer outlives a run here, and keys go with the close."""
    return with_rules(parts, max_writer_lifetime=NO_WAIT, shred_after=NO_WAIT)


def taken(parts: Parts) -> tuple[str, Dsar]:
    """A case that a run has taken."""
    case = queued(parts)
    return started(parts), case


def swept(parts: Parts, at: datetime) -> None:
    with parts.database.transaction() as tx:
        suppression.put_marks(tx, {}, swept_at=at)


def settled(parts: Parts) -> int:
    with parts.database.transaction() as tx:
        return endings.settle_due(tx, parts)


def completed(parts: Parts) -> tuple[str, Dsar]:
    run_id, case = taken(parts)
    finish(parts, run_id, case.id)
    end_run(parts, run_id)
    return run_id, get(parts, case.id)


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Outcome.STUCK, State.STUCK),
        (Outcome.ON_HOLD, State.ON_HOLD),
        (Outcome.PENDING_RETENTION, State.PENDING_RETENTION),
        (Outcome.FULFILLED, State.SETTLING),
        (Outcome.FULFILLED_WITH_WITHHELD, State.SETTLING),
        (Outcome.NOT_FOUND, State.SETTLING),
    ],
)
def test_what_a_run_came_to_decides_where_its_case_goes(
    parts: Parts, outcome: Outcome, state: State
) -> None:
    run_id, case = taken(parts)
    assert finish(parts, run_id, case.id, outcome=outcome) is state
    after = get(parts, case.id)
    assert (after.state, after.outcome, after.verdict) == (state, outcome.value, "VERIFIED")
    assert (after.waiting_reason is None) is (state is State.SETTLING)


def test_a_deferred_case_waits_until_the_date_that_was_given(parts: Parts) -> None:
    run_id, case = taken(parts)
    with parts.database.transaction() as tx:
        endings.finish_case(
            WORKER,
            tx,
            parts=parts,
            dsar_id=case.id,
            run_id=run_id,
            outcome=Outcome.PENDING_RETENTION,
            verdict=Verdict.DEFERRED,
            until=H,
            reason="a COMPLIANCE lock",
        )
    after = get(parts, case.id)
    assert (after.waiting_until, after.waiting_reason) == (H, "a COMPLIANCE lock")


def test_a_case_settles_as_long_as_a_writer_may_live_after_the_latest_horizon(
    parts: Parts,
) -> None:
    run_id, case = taken(parts)
    ahead = datetime.now(UTC) + timedelta(hours=2)
    facts = {"horizon:raw": H.isoformat(), "horizon:more": ahead.isoformat(), "horizon:t": "77"}
    put_facts(parts, run_id, facts)
    finish(parts, run_id, case.id)
    assert get(parts, case.id).settle_until == ahead + parts.rules.max_writer_lifetime


def test_a_sweep_is_due_when_the_case_has_settled_one_for_all_of_a_run(parts: Parts) -> None:
    cases = [queued(parts), queued(parts)]
    run_id = started(parts)
    put_facts(parts, run_id, {"horizon:raw": datetime.now(UTC).isoformat()})
    for case in cases:
        finish(parts, run_id, case.id)
    with parts.database.transaction() as tx:
        found = tx.run(select(step).where(step.c.kind == StepKind.SWEEP)).all()
    (until,) = {get(parts, case.id).settle_until for case in cases}
    assert [(s.not_before, s.state) for s in found] == [(until, "ready")]


def test_a_horizon_long_past_settles_no_earlier_than_the_report(parts: Parts) -> None:
    """A sweep under way left what it found of the case to the run: only the next one counts."""
    run_id, case = taken(parts)
    put_facts(parts, run_id, {"horizon:raw": H.isoformat()})
    with parts.database.transaction() as tx:
        before = tx.now()
    finish(parts, run_id, case.id)
    until = get(parts, case.id).settle_until
    assert until is not None
    assert until >= before


def test_a_settling_case_is_completed_by_a_sweep_that_began_late_enough(parts: Parts) -> None:
    run_id, case = taken(parts)
    finish(parts, run_id, case.id)
    until = get(parts, case.id).settle_until
    assert until is not None
    assert settled(parts) == 0, "nobody has swept yet"
    swept(parts, until - timedelta(microseconds=1))
    assert settled(parts) == 0
    swept(parts, until)
    assert settled(parts) == 1
    assert state_of(parts, case.id) is State.COMPLETED
    assert settled(parts) == 0


def test_where_no_writer_lives_on_a_case_is_completed_with_its_report(at_once: Parts) -> None:
    run_id, case = taken(at_once)
    assert finish(at_once, run_id, case.id) is State.COMPLETED
    after = get(at_once, case.id)
    assert after.closed_at is not None
    assert after.retain_until == after.closed_at + at_once.rules.retain
    assert "dsar.completed" in [verb for verb, _ in entries_of(at_once, case.id)]


def test_a_follow_up_does_not_better_what_was_withheld(at_once: Parts) -> None:
    run_id, case = taken(at_once)
    withheld = Outcome.FULFILLED_WITH_WITHHELD
    finish(at_once, run_id, case.id, outcome=withheld, verdict=Verdict.PARTIAL)
    moved(at_once, case.id, Move.RETAKE)
    finish(at_once, run_id, case.id, outcome=Outcome.NOT_FOUND)
    after = get(at_once, case.id)
    assert (after.outcome, after.verdict) == (withheld.value, "PARTIAL")
    moved(at_once, case.id, Move.RETAKE)
    finish(at_once, run_id, case.id, outcome=Outcome.STUCK, verdict=Verdict.FAILED)
    assert get(at_once, case.id).outcome == "stuck"


# --- consents ------------------------------------------------------------------------------------


def consented(parts: Parts, subject: Named) -> str:
    """The key of the record of what somebody agreed to."""
    said = Said(subject, "newsletter", ConsentState.GIVEN, "v1", "web")
    with parts.database.transaction() as tx:
        return consents.record(ASKER, tx, parts=parts, said=said).consent.ref


def leads(parts: Parts, who: Identifier) -> bool:
    with parts.database.transaction() as tx:
        return bool(consents.in_force(ASKER, tx, parts=parts, who=who))


def test_with_the_case_its_persons_consent_records_lose_their_way_back_and_their_key(
    at_once: Parts,
) -> None:
    mine = consented(at_once, Named(user_id=Identifier(Kind.USER_ID, USER)))
    cookie = Identifier(Kind.ANON_ID, LINKED)
    my_cookie = consented(at_once, Named(anon_ids=(cookie,)))
    stranger = Identifier(Kind.USER_ID, "usr_0SOMEBODYELSE00000000001")
    theirs = consented(at_once, Named(user_id=stranger))
    _, case = completed(at_once)
    assert not leads(at_once, Identifier(Kind.USER_ID, USER))
    assert not leads(at_once, cookie)
    assert leads(at_once, stranger)
    act(at_once, StepKind.SHRED, endings.shred, case.id)
    assert [key_lives(at_once, k) for k in (mine, my_cookie, theirs)] == [False, False, True]


def test_a_consent_record_behind_a_shared_value_is_not_the_persons_to_erase(
    at_once: Parts,
) -> None:
    shared = Identifier(Kind.ANON_ID, SHARED)
    others = consented(at_once, Named(anon_ids=(shared,)))

    def person(dsar_id: str) -> Identity:
        found = identity(dsar_id, users=2, decision="tombstone")
        return replace(found, linked=frozenset({shared}), shared=(Shared(shared, 2, "tombstone"),))

    case = queued(at_once, of=person)
    finish(at_once, started(at_once), case.id)
    assert leads(at_once, shared)
    act(at_once, StepKind.SHRED, endings.shred, case.id)
    assert key_lives(at_once, others)


# --- keys ----------------------------------------------------------------------------------------


def key_lives(parts: Parts, key_id: str) -> bool:
    try:
        parts.keys.sealer(key_id)
    except KeyMissingError:
        return False
    return True


def test_the_keys_of_a_closed_case_go_and_what_leads_to_the_person(at_once: Parts) -> None:
    _, case = completed(at_once)
    assert act(at_once, StepKind.SHRED, endings.shred, case.id) is Performed.FINISHED
    after = get(at_once, case.id)
    assert after.shredded_at is not None
    assert (after.sealed_subject, after.sealed_note) == (None, None)
    assert not key_lives(at_once, case.id)
    with at_once.database.transaction() as tx:
        assert store.scope_of(tx, case.id) is None
        known = dsars.living_digests(at_once, [Identifier(Kind.USER_ID, USER)])
        assert store.open_cases_of(tx, known, besides="") == []
    assert key_lives(at_once, dsars.ref_key(case.id)), "external_ref is kept until its own end"


def test_shredding_twice_is_a_success_and_says_so_once(at_once: Parts) -> None:
    _, case = completed(at_once)
    for _ in range(2):
        assert act(at_once, StepKind.SHRED, endings.shred, case.id) is Performed.FINISHED
    assert [v for v, _ in entries_of(at_once, case.id)].count("dsar.shredded") == 1


def test_a_case_that_was_taken_again_keeps_its_key(at_once: Parts) -> None:
    _, case = completed(at_once)
    moved(at_once, case.id, Move.RETAKE)
    assert act(at_once, StepKind.SHRED, endings.shred, case.id) is Performed.FINISHED
    assert key_lives(at_once, case.id)
    assert get(at_once, case.id).shredded_at is None


@pytest.mark.parametrize(
    "place", ["endings.before_shred", "endings.shredded", "store.before_commit"]
)
def test_a_crash_while_shredding_is_made_good_by_the_next_attempt(
    at_once: Parts, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    _, case = completed(at_once)
    held_step, lease = held(at_once, StepKind.SHRED, case.id)
    monkeypatch.setattr("app.domain.failpoints._passed", Counter())
    turn = 3 if place == "store.before_commit" else 1
    monkeypatch.setenv("CLEARLAKE_FAILPOINTS", f"{place}=raise@{turn}")
    with pytest.raises(FailpointError):
        endings.shred(held_step, lease, at_once)
    monkeypatch.delenv("CLEARLAKE_FAILPOINTS")
    assert get(at_once, case.id).shredded_at is None, "nothing is said to be gone before it is"
    endings.shred(held_step, lease, at_once)
    assert get(at_once, case.id).shredded_at is not None
    assert not key_lives(at_once, case.id)


def test_a_runs_key_goes_when_it_has_ended_and_no_earlier(at_once: Parts) -> None:
    run_id, _ = taken(at_once)
    journal = LedgerJournal.of(at_once, run_id, guard=lambda _: None)
    journal.put_document("people", ["somebody"])
    journal.put_works("raw", [ObjectWork(uri="s3://lake/raw/somebody")])
    assert act(at_once, StepKind.SHRED, endings.shred, run_id) is Performed.FINISHED
    assert key_lives(at_once, run_id)
    end_run(at_once, run_id)
    for _ in range(2):
        assert act(at_once, StepKind.SHRED, endings.shred, run_id) is Performed.FINISHED
    assert not key_lives(at_once, run_id)
    with at_once.database.transaction() as tx:
        assert stored_runs.document(tx, run_id, "people") is None
        assert stored_runs.get(tx, run_id).shredded_at is not None
    assert [v for v, _ in entries_of(at_once, run_id)].count("run.shredded") == 1


def test_a_pending_runs_key_stays(at_once: Parts) -> None:
    run_id, _ = taken(at_once)
    end_run(at_once, run_id, Stage.PENDING)
    act(at_once, StepKind.SHRED, endings.shred, run_id)
    assert key_lives(at_once, run_id)


def test_the_bare_record_is_emptied_when_its_stated_end_has_come(at_once: Parts) -> None:
    _, kept = completed(at_once)
    with at_once.database.transaction() as tx:
        assert endings.forget_due(tx, at_once) == 0
    soon = with_rules(at_once, retain=NO_WAIT)
    _, case = completed(soon)
    with soon.database.transaction() as tx:
        assert endings.forget_due(tx, soon) == 1
    with soon.database.transaction() as tx:
        assert endings.forget_due(tx, soon) == 0
    after = get(soon, case.id)
    assert (after.sealed_external_ref, after.sealed_reason, after.retain_until) == (None,) * 3
    assert not key_lives(soon, dsars.ref_key(case.id))
    assert key_lives(soon, dsars.ref_key(kept.id))
