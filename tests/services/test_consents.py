"""The consent ledger: what is in force, whose record it is, and what an erasure leaves."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from time import sleep

import pytest
from sqlalchemy import func, select, text

from app.domain.actors import WORKER, Actor, ActorKind, Scope
from app.domain.consents import SALE_SHARING, ConsentState, Said, named
from app.domain.errors import (
    IdentifierMissingError,
    IdentifierTooWeakError,
    InvalidFieldsError,
    KeyMissingError,
    NotFoundError,
)
from app.domain.failpoints import FailpointError
from app.domain.identifiers import Identifier, Kind
from app.services import consents, entries
from app.services.consents import Recorded
from app.services.parts import Parts
from app.store import audit
from app.store.tables import consent, consent_digest, consent_subject, metadata

GIVEN, REFUSED, WITHDRAWN = ConsentState
OFFICER = Actor("key_officer", ActorKind.PERSONAL, frozenset({Scope.SUBJECT_READ}))
U1, U2 = "usr_CANARY_one", "usr_CANARY_two"
A1, A2 = "anon_CANARY_one", "anon_CANARY_two"
D1 = "fp_CANARY_one"
HOUR = timedelta(hours=1)
_ANYONE_WAITS = text(
    "select exists (select from pg_locks where not granted and database ="
    " (select oid from pg_database where datname = current_database()))"
)


def said(
    user: str | None = None,
    *anons: str,
    purpose: str = "newsletter",
    state: ConsentState = GIVEN,
    gpc: bool = False,
    at: datetime | None = None,
    devices: tuple[str, ...] = (),
) -> Said:
    subject = named(user_id=user, anon_ids=anons, device_fps=devices)
    evidence = {"form": "CANARY form 7"}
    return Said(subject, purpose, state, "2026-11", "web_banner", evidence, at, gpc)


def record(parts: Parts, what: Said) -> Recorded:
    with parts.database.transaction() as tx:
        return consents.record(WORKER, tx, parts=parts, said=what)


def ids(*values: str) -> list[Identifier]:
    kinds = {"usr": Kind.USER_ID, "anon": Kind.ANON_ID, "fp": Kind.DEVICE_FP}
    return [Identifier(kinds[value.partition("_")[0]], value) for value in values]


def erase(parts: Parts, *values: str) -> list[str]:
    with parts.database.transaction() as tx:
        return consents.erase_subject(WORKER, tx, parts=parts, identifiers=ids(*values))


def state_of(
    parts: Parts, who: str, purpose: str = "newsletter", at: datetime | None = None
) -> ConsentState | None:
    with parts.database.transaction() as tx:
        found = consents.in_force(WORKER, tx, parts=parts, who=ids(who)[0], purpose=purpose, at=at)
    return found[0].state if found else None


def count(parts: Parts, table: object) -> int:
    with parts.database.transaction() as tx:
        return int(tx.run(select(func.count()).select_from(table)).scalar_one())  # type: ignore[arg-type]  # any of our tables


def now(parts: Parts) -> datetime:
    with parts.database.transaction() as tx:
        return tx.now()


# --- what is in force -------------------------------------------------------------------------


def test_the_newest_said_counts_and_an_older_one_that_arrives_late_does_not(parts: Parts) -> None:
    began = now(parts)
    record(parts, said(U1, state=REFUSED, at=began - 2 * HOUR))
    record(parts, said(U1, state=GIVEN, at=began - 5 * HOUR))
    assert state_of(parts, U1) is REFUSED
    assert state_of(parts, U1, at=began - 3 * HOUR) is GIVEN
    assert state_of(parts, U1, at=began - 6 * HOUR) is None


def test_of_two_at_the_same_time_the_one_recorded_later_counts(parts: Parts) -> None:
    at = now(parts) - HOUR
    for state in (GIVEN, WITHDRAWN, GIVEN, REFUSED):
        record(parts, said(U1, state=state, at=at))
        assert state_of(parts, U1) is state


def test_nothing_can_be_said_in_the_future_but_a_clock_may_be_a_little_ahead(parts: Parts) -> None:
    for wrong in (now(parts) + timedelta(minutes=1), datetime(1, 1, 1, tzinfo=UTC)):
        with pytest.raises(InvalidFieldsError):
            record(parts, said(U1, at=wrong))
    done = record(parts, said(U1, at=now(parts) + timedelta(seconds=2)))
    assert done.consent.at == done.consent.created_at
    assert state_of(parts, U1) is GIVEN
    assert state_of(parts, U1, at=datetime.max.replace(tzinfo=UTC)) is GIVEN
    assert state_of(parts, U1, at=datetime.min.replace(tzinfo=UTC)) is None


def test_half_of_the_opt_out_of_sale_and_sharing_is_refused(parts: Parts) -> None:
    for purpose in ("sale", "sharing", "No Purpose", ""):
        with pytest.raises(InvalidFieldsError):
            record(parts, said(U1, purpose=purpose))
    assert count(parts, consent_subject) == 0


def test_somebody_must_be_named_and_a_fingerprint_names_nobody(parts: Parts) -> None:
    with pytest.raises(IdentifierMissingError):
        said()
    with pytest.raises(IdentifierTooWeakError):
        said(devices=(D1,))
    record(parts, said(U1, devices=(D1,)))
    assert state_of(parts, D1) is None


# --- the browser's signal ---------------------------------------------------------------------


def test_a_signal_adds_an_opt_out_to_whatever_was_said(parts: Parts) -> None:
    done = record(parts, said(U1, gpc=True))
    assert (done.consent.state, done.consent.gpc) == (GIVEN, True)
    (opt_out,) = done.opt_outs
    assert (opt_out.purpose, opt_out.state, opt_out.source) == (SALE_SHARING, REFUSED, "gpc")
    assert state_of(parts, U1) is GIVEN
    assert state_of(parts, U1, SALE_SHARING) is REFUSED


def test_a_signal_wins_over_the_sale_agreed_to_beside_it_until_it_is_agreed_to_without(
    parts: Parts,
) -> None:
    done = record(parts, said(U1, purpose=SALE_SHARING, state=GIVEN, gpc=True))
    assert done.consent.state is GIVEN, "what was said is kept as it was said"
    assert state_of(parts, U1, SALE_SHARING) is REFUSED
    record(parts, said(U1, purpose=SALE_SHARING, state=GIVEN))
    assert state_of(parts, U1, SALE_SHARING) is GIVEN


def test_a_signal_counts_for_every_profile_of_its_browser_and_names_no_other_user(
    parts: Parts,
) -> None:
    for user in (U1, U2):
        record(parts, said(user, A1, purpose=SALE_SHARING))
    done = record(parts, said(U2, A1, A2, gpc=True))
    assert len(done.opt_outs) == 2
    assert state_of(parts, U1, SALE_SHARING) is REFUSED
    with parts.database.transaction() as tx:
        _, opened = consents.read(OFFICER, tx, parts=parts, consent_id=done.opt_outs[1].id)
    assert opened is not None
    assert A1 in opened.document
    assert U2 not in opened.document
    assert A2 not in opened.document
    assert len(record(parts, said(U2, A1, gpc=True)).opt_outs) == 1, "the other has opted out"


# --- whose record -----------------------------------------------------------------------------


def test_what_a_browser_says_never_speaks_for_an_account(parts: Parts) -> None:
    first = record(parts, said(U1, A1, state=REFUSED)).consent
    second = record(parts, said(None, A1, state=GIVEN)).consent
    assert first.ref != second.ref
    assert state_of(parts, U1) is REFUSED


def test_of_several_records_of_a_browser_the_strictest_counts(parts: Parts) -> None:
    record(parts, said(U1, A1, state=REFUSED))
    record(parts, said(U2, A1, state=GIVEN))
    assert state_of(parts, A1) is REFUSED
    assert state_of(parts, U2) is GIVEN
    record(parts, said(U1, A1, state=GIVEN))
    assert state_of(parts, A1) is GIVEN


def test_a_browser_becomes_the_account_it_is_named_with_once(parts: Parts) -> None:
    anonymous = record(parts, said(None, A1)).consent
    account = record(parts, said(U1, A1, purpose="profiling")).consent
    other = record(parts, said(U2, A1)).consent
    assert account.ref == anonymous.ref
    assert state_of(parts, U1) is GIVEN
    assert other.ref != anonymous.ref


def test_the_record_of_the_user_id_wins_over_that_of_a_browser(parts: Parts) -> None:
    record(parts, said(None, A1))
    user = record(parts, said(U1)).consent
    both = record(parts, said(U1, A1)).consent
    assert both.ref == user.ref
    assert count(parts, consent_subject) == 2


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


def test_an_older_generation_of_digests_still_leads_and_new_identifiers_get_the_newest(
    parts: Parts,
) -> None:
    before = record(parts, said(U1)).consent
    parts.keys.rotate_digest()
    assert record(parts, said(U1, A1)).consent.ref == before.ref
    with parts.database.transaction() as tx:
        rows = tx.run(select(consent_digest.c.generation, consent_digest.c.kind)).all()
    assert sorted(map(tuple, rows)) == [(1, "user_id"), (2, "anon_id")]
    erase(parts, U1)
    assert count(parts, consent_digest) == 0


# --- sealed, and proved -----------------------------------------------------------------------


def everything_in(parts: Parts) -> bytes:
    with parts.database.transaction() as tx:
        tables = [tx.run(select(table)).all() for table in metadata.sorted_tables]
    return repr(tables).encode()


def test_no_table_holds_an_identifier_or_the_evidence(parts: Parts) -> None:
    record(parts, said(U1, A1, devices=(D1,), gpc=True))
    erase(parts, U1, A1)
    assert b"CANARY" not in everything_in(parts)


def test_the_proof_is_of_exactly_what_was_recorded(parts: Parts) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    done = record(parts, said(U1, A1, state=WITHDRAWN, at=at)).consent
    with parts.database.transaction() as tx:
        _, opened = consents.read(OFFICER, tx, parts=parts, consent_id=done.id)
    assert opened is not None
    proof = partial(hmac.new, bytes.fromhex(opened.salt), digestmod=hashlib.sha256)
    assert proof(opened.document.encode()).hexdigest() == done.proof
    altered = opened.document.replace("withdrawn", "given")
    assert proof(altered.encode()).hexdigest() != done.proof
    assert json.loads(opened.document) == {
        "schema": "clearlake.consent/1",
        "id": done.id,
        "subject": {"user_id": U1, "anon_ids": [A1], "device_fps": []},
        "purpose": "newsletter",
        "state": "withdrawn",
        "policy_version": "2026-11",
        "source": "web_banner",
        "gpc": False,
        "at": "2026-01-02T03:04:05.000000+00:00",
        "evidence": {"form": "CANARY form 7"},
    }
    assert "CANARY" not in repr(opened)


def test_evidence_is_for_those_who_may_read_subjects_and_reading_it_is_an_entry(
    parts: Parts,
) -> None:
    done = record(parts, said(U1)).consent
    with parts.database.transaction() as tx:
        assert consents.read(WORKER, tx, parts=parts, consent_id=done.id)[1] is None
        assert verbs_of(parts, done.id) == ["consent.recorded"]
        assert consents.read(OFFICER, tx, parts=parts, consent_id=done.id)[1] is not None
    assert verbs_of(parts, done.id) == ["consent.recorded", "consent.evidence_read"]
    with parts.database.transaction() as tx, pytest.raises(NotFoundError):
        consents.read(OFFICER, tx, parts=parts, consent_id="con_nobody")


def verbs_of(parts: Parts, object_: str) -> list[str]:
    with parts.database.transaction() as tx:
        return [e.verb for e in audit.of_objects(tx, [object_])]


# --- an erasure -------------------------------------------------------------------------------


def test_after_an_erasure_entries_stay_and_nothing_leads_to_them(parts: Parts) -> None:
    kept = record(parts, said(U1, A1)).consent
    with parts.database.transaction() as tx:
        _, receipt = consents.read(OFFICER, tx, parts=parts, consent_id=kept.id)
    keys = erase(parts, U1)
    assert keys == [kept.ref]
    assert count(parts, consent_digest) == 0
    assert state_of(parts, U1) is state_of(parts, A1) is None
    for key in keys:
        parts.keys.shred(key)
    with parts.database.transaction() as tx:
        after, opened = consents.read(OFFICER, tx, parts=parts, consent_id=kept.id)
    assert opened is None
    assert after.erased
    assert (after.purpose, after.state, after.at, after.proof) == (
        kept.purpose, kept.state, kept.at, kept.proof,
    )  # fmt: skip
    assert after.sealed_evidence == kept.sealed_evidence
    assert receipt is not None
    with pytest.raises(KeyMissingError):
        parts.keys.open_sealed(kept.ref, kept.sealed_evidence, aad="any")
    assert erase(parts, U1) == [], "twice is a success"


def test_an_erased_persons_evidence_is_closed_before_its_key_is_gone(parts: Parts) -> None:
    kept = record(parts, said(U1)).consent
    erase(parts, U1)
    with parts.database.transaction() as tx:
        assert consents.read(OFFICER, tx, parts=parts, consent_id=kept.id)[1] is None


def test_the_same_person_later_is_somebody_new(parts: Parts) -> None:
    before = record(parts, said(U1)).consent
    erase(parts, U1)
    after = record(parts, said(U1, state=REFUSED)).consent
    assert after.ref != before.ref
    assert state_of(parts, U1) is REFUSED
    assert state_of(parts, U1, at=before.at) is None


def test_an_erasure_leaves_the_record_of_another_user_of_the_browser_alone(parts: Parts) -> None:
    theirs = record(parts, said(U2, A1)).consent
    mine = record(parts, said(U1, A1)).consent
    anonymous = record(parts, said(None, A1)).consent
    assert sorted(erase(parts, U1, A1, D1)) == sorted([mine.ref, anonymous.ref])
    assert state_of(parts, U2) is GIVEN
    with parts.database.transaction() as tx:
        found, opened = consents.read(OFFICER, tx, parts=parts, consent_id=theirs.id)
    assert (found, opened is None) == (theirs, False)


def test_a_crash_before_the_keys_are_shredded_is_made_good(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = record(parts, said(U1)).consent, record(parts, said(U2)).consent
    erase(parts, U1, U2)
    with monkeypatch.context() as broken:
        broken.setenv("CLEARLAKE_FAILPOINTS", "consents.before_shred=raise@2")
        with pytest.raises(FailpointError):
            consents.shred_erased(parts)
    assert consents.shred_erased(parts) == 2
    assert consents.shred_erased(parts) == 0
    for entry in (first, second):
        with pytest.raises(KeyMissingError):
            parts.keys.sealer(entry.ref)
        assert verbs_of(parts, entry.ref) == ["consent.subject_erased", "consent.key_shredded"]


def test_a_crash_leaves_either_all_of_a_consent_or_nothing(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setenv("CLEARLAKE_FAILPOINTS", "consents.before_entry=raise@2")
        with pytest.raises(FailpointError):
            record(parts, said(U1, gpc=True))
    assert count(parts, consent) == count(parts, consent_digest) == 0
    assert state_of(parts, U1) is None
    record(parts, said(U1, gpc=True))
    assert count(parts, consent) == 2


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
