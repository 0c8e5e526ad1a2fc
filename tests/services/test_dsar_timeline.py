"""A case in plain sentences, and the reports that are handed out of it."""

from __future__ import annotations

import hashlib
import re

import pytest
from sqlalchemy import insert

from app.audit.signing import signature_holds
from app.domain.dsars import Move, State
from app.domain.errors import NotFoundError, NotReadyError
from app.services import dsar_views, entries, reports, timeline
from app.services.parts import Parts
from app.store.dsar_records import SignedReport
from app.store.tables import report, run, run_dsar, step
from tests.services.dsar_cases import (
    ASKER,
    OFFICER,
    PERSONAL,
    approve,
    entries_of,
    moved,
    scoped,
    submit,
)

RUN = "run_01test"


def put_run(parts: Parts, dsar_id: str, *, run_id: str = RUN, stage: str = "pending") -> None:
    """A run that took a case."""
    with parts.database.transaction() as tx:
        tx.run(insert(run).values(id=run_id, stage=stage, started_by="worker"))
        tx.run(insert(run_dsar).values(run_id=run_id, dsar_id=dsar_id, position=0))


def put_report(
    parts: Parts, dsar_id: str, *, addendum: int = 0, document: bytes = b'{"verdict":"VERIFIED"}'
) -> bytes:
    """A signed report of a run's case."""
    signer = parts.keys.signer()
    with parts.database.transaction() as tx:
        tx.run(
            insert(report).values(
                id=f"rep_{addendum}",
                run_id=RUN,
                dsar_id=dsar_id,
                kind="subject",
                addendum=addendum,
                verdict="VERIFIED",
                outcome="fulfilled",
                document=document,
                signature=signer.sign(document),
                sha256=hashlib.sha256(document).hexdigest(),
                key_id=signer.key_id,
            )
        )
    return document


def test_a_case_is_told_in_sentences_with_its_runs_and_without_a_person(parts: Parts) -> None:
    case = approve(parts, scoped(parts))
    put_run(parts, case.id)
    with parts.database.transaction() as tx:
        dsar_views.read_subject(OFFICER, tx, parts=parts, dsar_id=case.id)
        entries.record(ASKER, tx, verb="run.stage_reached", about=RUN, stage="planned")
        entries.record(ASKER, tx, verb="run.stage_reached", about="run_other", stage="erased")
        entries.record(ASKER, tx, verb="step.finished", about=RUN, kind="erase")
        entries.record(ASKER, tx, verb="moon.landed", about=RUN, rows=3)
    with parts.database.transaction() as tx:
        told = timeline.timeline(tx, dsar_id=case.id)
        later = timeline.timeline(tx, dsar_id=case.id, after=told[1].seq, limit=2)
    assert [t.verb for t in told] == [
        "dsar.received",
        "dsar.scoped",
        "dsar.approved",
        "dsar.subject_read",
        "run.stage_reached",
        "moon.landed",
    ]
    assert told[0].text.startswith("The case was received (erasure, gdpr); it is due 20")
    assert "2 device_fp" in told[3].text
    assert told[4].text == "The run reached the stage planned."
    assert (told[5].text, told[5].facts) == ("Recorded: moon.landed.", {"rows": 3})
    assert later == told[2:4]
    assert all("commitments" not in t.facts for t in told)
    assert not [v for v in PERSONAL for t in told if v in f"{t.text} {t.facts}"]


def test_every_sentence_is_whole_and_its_gaps_are_names_of_facts() -> None:
    for verb, text in timeline.SENTENCES.items():
        gaps = re.findall(r"{(\w+)}", text)
        assert timeline.sentence(verb, dict.fromkeys(gaps, 1)).endswith(".")
        if gaps:
            assert timeline.sentence(verb, {}) == f"Recorded: {verb}."


def test_nobody_is_told_of_a_case_that_is_not_there(parts: Parts) -> None:
    with pytest.raises(NotFoundError), parts.database.transaction() as tx:
        timeline.timeline(tx, dsar_id="dsar_nobody")


def test_a_stream_is_told_how_far_each_stage_is_and_when_it_is_over(parts: Parts) -> None:
    case = approve(parts, scoped(parts))
    put_run(parts, case.id)
    with parts.database.transaction() as tx:
        for number, (target, state) in enumerate(
            [("raw_events/0", "done"), ("raw_events/1", "running"), ("events", "parked")]
        ):
            values = {"id": f"step_{number}", "run_id": RUN, "kind": "erase", "target": target}
            tx.run(insert(step).values(**values, state=state))
    with parts.database.transaction() as tx:
        polled = timeline.poll(tx, dsar_id=case.id, after=0)
    assert {(p.stage, p.dataset, p.done, p.total) for p in polled.progress} == {
        ("erase", "raw_events", 1, 2),
        ("erase", "events", 1, 1),
    }
    assert (polled.is_over, polled.status) == (False, State.QUEUED)
    moved(parts, case.id, Move.CANCEL)
    with parts.database.transaction() as tx:
        polled = timeline.poll(tx, dsar_id=case.id, after=polled.told[-1].seq)
    assert [t.verb for t in polled.told] == ["dsar.cancel"]
    assert (polled.is_over, polled.status) == (True, State.CANCELLED)


def test_the_newest_report_is_handed_out_as_it_was_signed_and_that_is_an_entry(
    parts: Parts,
) -> None:
    case = submit(parts).dsar
    with pytest.raises(NotReadyError, match="resolves who this is"):
        read(parts, case.id)
    assert [v for v, _ in entries_of(parts, case.id)] == ["dsar.received"]
    put_run(parts, case.id)
    first = put_report(parts, case.id)
    second = put_report(parts, case.id, addendum=1, document=b'{"verdict":"PARTIAL"}')
    assert read(parts, case.id).document == second
    assert read(parts, case.id, addendum=0).document == first
    with pytest.raises(NotReadyError):
        read(parts, case.id, addendum=2)
    found = read(parts, case.id)
    [key] = [k for k in reports.public_keys(parts) if k.key_id == found.key_id]
    assert found.signature is not None
    assert signature_holds(found.document, found.signature, public_pem=key.pem.encode())
    assert [v for v, _ in entries_of(parts, case.id)].count("report.read") == 3
    with parts.database.transaction() as tx:
        seen = dsar_views.overview(tx, dsar_id=case.id)
    assert [(r.addendum, r.sha256) for r in seen.reports] == [
        (0, hashlib.sha256(first).hexdigest()),
        (1, hashlib.sha256(second).hexdigest()),
    ]
    assert [(r.id, r.stage) for r in seen.runs] == [(RUN, "pending")]


def test_who_a_case_is_about_is_read_by_an_entry_and_not_at_all_once_it_was_destroyed(
    parts: Parts,
) -> None:
    case = scoped(parts)
    with parts.database.transaction() as tx:
        seen = dsar_views.read_subject(OFFICER, tx, parts=parts, dsar_id=case.id)
    shown = {i.value for i in (*seen.given, *seen.linked)} | {seen.note, seen.external_ref}
    # sessions and tokens are counted, reasons were not given
    assert len([v for v in PERSONAL if v in shown]) == len(PERSONAL) - 2
    assert (seen.derived, seen.reasons) == (1, {})
    verb, facts = entries_of(parts, case.id)[-1]
    assert (verb, facts) == (
        "dsar.subject_read",
        '{"identifiers":{"anon_id":2,"device_fp":2,"user_id":1}}',
    )
    parts.keys.shred(case.id)
    with pytest.raises(NotFoundError), parts.database.transaction() as tx:
        dsar_views.read_subject(OFFICER, tx, parts=parts, dsar_id=case.id)
    assert len(entries_of(parts, case.id)) == 3


def read(parts: Parts, dsar_id: str, *, addendum: int | None = None) -> SignedReport:
    with parts.database.transaction() as tx:
        return reports.read_report(OFFICER, tx, dsar_id=dsar_id, addendum=addendum)
