"""From work records and identities to the facts of a report."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from app.audit.keys import Commitments
from app.domain.findings import What
from app.domain.receipts import (
    Condemned,
    Counts,
    FileWork,
    ObjectWork,
    Place,
    Share,
    Superseded,
    TableWork,
    WorkState,
)
from app.domain.report_facts import object_facts, subject_facts, table_facts
from app.domain.reports import Left
from tests.audit.report_facts import (
    ANNA,
    BERT,
    BRONZE,
    ORDERS,
    SILVER,
)


def test_the_identity_becomes_commitments_and_counts() -> None:
    commit = Commitments(bytes(32)).of
    first = subject_facts((ANNA, BERT), 0, commit=commit)
    second = subject_facts((ANNA, BERT), 1, commit=commit)
    assert sorted(c.origin for c in first.commitments) == ["derived", "given", "linked", "linked"]
    assert (first.earlier, second.earlier) == (frozenset(), frozenset({0}))
    assert first.met
    assert {s.digest for s in first.shared} == {s.digest for s in second.shared}


def test_a_kept_shared_value_is_not_among_the_erased() -> None:
    kept = replace(ANNA, shared=(replace(ANNA.shared[0], decision="keep"),))
    facts = subject_facts((kept,), 0, commit=Commitments(bytes(32)).of)
    assert facts.shared[0].digest not in {c.digest for c in facts.commitments}


def test_bronze_facts_count_objects_and_date_what_is_locked() -> None:
    until = datetime(2027, 1, 1, tzinfo=UTC)
    works = [
        ObjectWork("s3://b/1", WorkState.CLEAN),
        ObjectWork(
            "s3://b/2",
            WorkState.PURGED,
            new_version="v9",
            superseded=(Superseded("v1", WorkState.PURGED), Superseded("v2", WorkState.PURGED)),
            counts=Counts(before=9, deleted=2, shares={0: Share(2)}),
        ),
        ObjectWork(
            "s3://b/3",
            WorkState.DEFERRED,
            new_version="v8",
            superseded=(Superseded("v3", WorkState.DEFERRED, until),),
            counts=Counts(before=5, deleted=1, shares={0: Share(1)}),
            parked=(Place(3, 99),),
        ),
        ObjectWork("s3://b/4", WorkState.HELD, reason="legal hold"),
    ]
    facts = object_facts(BRONZE, works, horizon="H")
    assert (facts.read, facts.changed, facts.versions_purged) == (4, 2, 2)
    assert (facts.counts.before, facts.counts.deleted) == (14, 3)
    assert [(left.what, left.unit, left.until) for left in facts.left] == [
        (What.DEFERRED, "versions", until),
        (What.PARKED, "lines", None),
        (What.HELD, "objects", None),
    ]


def test_an_object_with_a_locked_version_and_a_parked_rewrite_says_both() -> None:
    locked = Superseded("v1", WorkState.DEFERRED, datetime(2027, 1, 1, tzinfo=UTC))
    work = ObjectWork("s3://b/1", WorkState.PARKED, superseded=(locked,), reason="5 rounds")
    left = object_facts(BRONZE, [work], horizon="H").left
    assert [(part.what, part.reason) for part in left] == [
        (What.DEFERRED, ""),
        (What.PARKED, "5 rounds"),
    ]


def test_locks_that_end_together_are_said_once() -> None:
    until = datetime(2027, 1, 1, tzinfo=UTC)
    versions = tuple(Superseded(f"v{n}", WorkState.DEFERRED, until) for n in range(3))
    works = [ObjectWork(f"s3://b/{n}", WorkState.DEFERRED, superseded=versions) for n in "12"]
    facts = object_facts(BRONZE, works, horizon="H")
    assert facts.left == (Left(What.DEFERRED, 6, "versions", until),)


def test_table_facts_count_files_and_date_what_is_locked() -> None:
    until = datetime(2027, 1, 1, tzinfo=UTC)
    work = TableWork(
        "lake.events",
        WorkState.DEFERRED,
        files=(
            FileWork("a", "a2", WorkState.COMMITTED, counts=Counts(before=9, deleted=9)),
            FileWork("b", None, WorkState.CLEAN),
        ),
        commits=(5, 6),
        expired=(1,),
        condemned=(
            Condemned("a", "v", "data", WorkState.PURGED),
            Condemned("m", "v", "manifest", WorkState.DEFERRED, until),
        ),
        counts=Counts(before=9, deleted=9, shares={0: Share(9)}),
        files_read=2,
    )
    facts = table_facts(SILVER, work, horizon="snapshot 6")
    assert (facts.read, facts.changed, facts.files_purged) == (2, 1, 1)
    assert (facts.snapshots_added, facts.snapshots_expired) == (2, 1)
    assert facts.left == (Left(What.DEFERRED, 1, "files", until),)


def test_a_parked_table_is_left_even_when_no_file_is() -> None:
    work = TableWork("gold.fact_orders", WorkState.PARKED, reason="a tag holds the person")
    assert table_facts(ORDERS, work, horizon="-").left[0].what is What.PARKED
