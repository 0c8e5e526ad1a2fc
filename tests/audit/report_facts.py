"""A small run with everything a report has to say, and generators of others. No lake in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

from hypothesis import strategies as st

from app.audit.screening import Screen
from app.domain.datasets import (
    Dataset,
    Downstream,
    KeepWhen,
    Layer,
    Treatment,
    Where,
)
from app.domain.findings import Finding, Seen, What
from app.domain.identifiers import Identifier, Identity, Kind, Shared
from app.domain.receipts import Counts, Share
from app.domain.reports import (
    AttachmentFacts,
    Commitment,
    DatasetFacts,
    Left,
    MapFacts,
    RunFacts,
    SharedFacts,
    SubjectFacts,
    VerificationFacts,
)

NOON = datetime(2026, 11, 5, 12, 0, 0, tzinfo=UTC)
KEY_ID = "0123456789abcdef"
NO_SCREEN = Screen.of([])

BRONZE = Dataset("raw_events", Layer.BRONZE, location="s3://analytics/raw/")
SILVER = Dataset("events", Layer.SILVER, table="lake.events")
ORDERS = Dataset(
    "fact_orders",
    Layer.GOLD,
    table="gold.fact_orders",
    treatment=Treatment("tombstone", purpose="revenue statistics", legal_basis="GDPR 6(1)(f)"),
    keep_when=(KeepWhen(Where(()), "GDPR 17(3)(e), open dispute", date(2027, 1, 31)),),
)

ANNA = Identity(
    subject="s1",
    given=frozenset({Identifier(Kind.USER_ID, "usr_01ANNA00000000000000000000")}),
    linked=frozenset(
        {
            Identifier(Kind.ANON_ID, "a_annaTablet0000000000000"),
            Identifier(Kind.DEVICE_FP, "fp_0123456789abcdef0123456789abcdef"),
        }
    ),
    derived=frozenset({Identifier(Kind.DERIVED, "s_01ANNASESSION000000000000")}),
    shared=(Shared(Identifier(Kind.ANON_ID, "a_annaTablet0000000000000"), 2, "tombstone"),),
    sources=("gold.dim_identity: 1 row", "identity.link: 3 rows"),
)
BERT = Identity(
    subject="s2",
    given=frozenset({Identifier(Kind.USER_ID, "usr_01BERT00000000000000000000")}),
    linked=frozenset({Identifier(Kind.ANON_ID, "a_annaTablet0000000000000")}),
    derived=frozenset(),
    shared=(Shared(Identifier(Kind.ANON_ID, "a_annaTablet0000000000000"), 2, "tombstone"),),
)
VALUES = sorted({i.value for who in (ANNA, BERT) for i in who.identifiers})


def digest(text: str) -> str:
    """64 hex digits that stand for a commitment in tests."""
    return (text.encode().hex() + "0" * 64)[:64]


def subject(name: str, *, count: int = 2, earlier: frozenset[int] = frozenset()) -> SubjectFacts:
    found = [Commitment(Kind.USER_ID, "given", digest(f"{name}0"))]
    found += [Commitment(Kind.ANON_ID, "linked", digest(f"{name}{n}")) for n in range(1, count)]
    shared = (SharedFacts(Kind.ANON_ID, 2, "tombstone", digest(f"{name}1")),) if count > 1 else ()
    return SubjectFacts(name, tuple(found), shared, ("dim_identity: 1 row",), earlier, met=True)


def counts(*shares: Share, before: int = 100) -> Counts:
    total = sum(shares, Share())
    return Counts(
        before=before,
        deleted=total.deleted,
        tombstoned=total.tombstoned,
        co_owned=total.co_owned,
        kept=total.kept,
        values=total.tombstoned * 2,
        shares={n: s for n, s in enumerate(shares) if s != Share()},
    )


def clean_run() -> RunFacts:
    """Two people, three datasets, nothing left."""
    return RunFacts(
        run_id="run_01test",
        subjects=(subject("s1"), subject("s2", count=1)),
        datasets=(
            DatasetFacts(
                BRONZE,
                horizon="2026-11-05T12:00:00.000Z",
                read=40,
                changed=7,
                counts=counts(Share(10, 4, 1), Share(3, 2), before=1000),
                versions_purged=9,
                seen=Seen(40, 47, 123456, 987),
            ),
            DatasetFacts(
                SILVER,
                horizon="snapshot 7012345678901234567",
                read=12,
                changed=3,
                counts=counts(Share(10, 4, 1), Share(3, 2), before=1000),
                files_purged=6,
                snapshots_added=2,
                snapshots_expired=4,
                seen=Seen(30, 30, 23456, 987),
            ),
            DatasetFacts(ORDERS, "snapshot 1", 2, 1, counts(Share(0, 2), Share(0, 1), before=50)),
        ),
        verification=VerificationFacts("app.lake.verify", "verify"),
        data_map=MapFacts("m" * 64),
        downstream=(Downstream("crm", "recipient", "tell them"),),
        resolved_at=NOON,
        horizon_at=NOON.replace(hour=13),
        reported_at=NOON.replace(hour=14),
        signing_key_id=KEY_ID,
        settings_digest="5" * 64,
        times={"erased": NOON.replace(minute=20), "verified": NOON.replace(hour=13)},
        versions={"clearlake": "0.1.0", "python": "3.11"},
        attachment=AttachmentFacts("a" * 64, 10, sealed=True),
    )


def with_findings(facts: RunFacts, *findings: Finding) -> RunFacts:
    return replace(facts, verification=replace(facts.verification, findings=findings))


def with_left(facts: RunFacts, *left: Left) -> RunFacts:
    first, *rest = facts.datasets
    return replace(facts, datasets=(replace(first, left=left), *rest))


def with_kept(facts: RunFacts, *, rows: int) -> RunFacts:
    *rest, last = facts.datasets
    kept = replace(last, counts=counts(Share(0, 2, 0, rows), Share(0, 1), before=50))
    return replace(facts, datasets=(*rest, kept))


# --- generators --------------------------------------------------------------------------------

small = st.integers(0, 9)


@st.composite
def shares(draw: st.DrawFn) -> Share:
    tombstoned = draw(small)
    return Share(draw(small), tombstoned, draw(st.integers(0, tombstoned)), draw(small))


@st.composite
def findings(draw: st.DrawFn, *, people: int) -> Finding:
    return Finding(
        draw(st.sampled_from(What)),
        "silver",
        draw(st.sampled_from(["events", "raw_events"])),
        place=draw(st.sampled_from(["column page.path", "manifest bound"])),
        detail=draw(st.text(max_size=8)),
        subject=draw(st.none() | st.integers(0, people - 1)),
        count=draw(st.integers(1, 5)),
    )


@st.composite
def runs(draw: st.DrawFn) -> RunFacts:
    """Any run whose counts add up, with whatever was seen and left."""
    people = draw(st.integers(1, 4))
    lefts = st.builds(
        Left,
        st.sampled_from([What.DEFERRED, What.HELD, What.PARKED]),
        st.integers(1, 5),
        st.sampled_from(["versions", "files", "lines"]),
        st.none() | st.datetimes(timezones=st.just(UTC)),
        st.text(max_size=6),
        st.none() | st.frozensets(st.integers(0, people - 1), min_size=1),
    )
    done = [
        DatasetFacts(
            dataset,
            horizon="snapshot 1",
            read=draw(small),
            changed=draw(small),
            counts=counts(*draw(st.lists(shares(), min_size=people, max_size=people)), before=200),
            left=tuple(draw(st.lists(lefts, max_size=2))),
        )
        for dataset in (BRONZE, SILVER, ORDERS)
    ]
    who = [
        replace(
            subject(f"s{n + 1}", count=draw(st.integers(1, 4))),
            earlier=frozenset(draw(st.sets(st.integers(0, n - 1)))) if n else frozenset(),
            met=draw(st.booleans()),
        )
        for n in range(people)
    ]
    seen = tuple(draw(st.lists(findings(people=people), max_size=3)))
    facts = replace(clean_run(), subjects=tuple(who), datasets=tuple(done))
    return with_findings(facts, *seen)
