"""The consent ledger: what is in force, whose record it is, and what an erasure leaves."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import select

from app.domain.actors import WORKER
from app.domain.consents import SALE_SHARING
from app.domain.errors import (
    IdentifierMissingError,
    IdentifierTooWeakError,
    InvalidFieldsError,
    KeyMissingError,
    NotFoundError,
)
from app.domain.failpoints import FailpointError
from app.services import consents
from app.services.parts import Parts
from app.store import audit
from app.store.tables import consent, consent_digest, consent_subject, metadata
from tests.services.consent_cases import (
    A1,
    A2,
    D1,
    GIVEN,
    HOUR,
    OFFICER,
    REFUSED,
    U1,
    U2,
    WITHDRAWN,
    count,
    erase,
    now,
    record,
    said,
    state_of,
)

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
