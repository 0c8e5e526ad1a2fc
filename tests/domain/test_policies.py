"""The erasure rule for one row, and the verdict that follows from findings."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import product

import pytest

from app.domain.datasets import Dataset, KeepWhen, Layer, Treatment, Where
from app.domain.findings import Finding, Verdict, What, verdict
from app.domain.identifiers import Identifier, Identity, Kind, Targets
from app.domain.policies import Fate, decide, is_kept, matches

TARGETS = Targets.of(
    Identity(f"s{n}", frozenset({Identifier(Kind.USER_ID, value)}), frozenset(), frozenset(), ())
    for n, value in enumerate(("usr_A", "usr_B"), 1)
)


def dataset(treatment: Treatment = Treatment(), keep_when: tuple[KeepWhen, ...] = ()) -> Dataset:
    return Dataset("d", Layer.SILVER, table="t", treatment=treatment, keep_when=keep_when)


@pytest.mark.parametrize(
    ("owners", "fate", "co_owned", "subject"),
    [
        ({"usr_A"}, Fate.DELETE, False, 0),
        ({"usr_A", "usr_B"}, Fate.DELETE, False, 0),
        ({"usr_B"}, Fate.DELETE, False, 1),
        ({"usr_A", "usr_STRANGER"}, Fate.TOMBSTONE, True, 0),
        ({"usr_STRANGER"}, Fate.TOMBSTONE, False, None),
        (set(), Fate.TOMBSTONE, False, None),
    ],
)
def test_a_row_goes_only_with_all_its_owners(
    owners: set[str], fate: Fate, co_owned: bool, subject: int | None
) -> None:
    found = decide(owners, targets=TARGETS, dataset=dataset(), kept=False)
    assert (found.fate, found.co_owned, found.subject) == (fate, co_owned, subject)


def test_a_severed_treatment_keeps_the_row_and_a_ground_keeps_it_as_it_is() -> None:
    severed = Treatment("tombstone", purpose="p", legal_basis="b")
    kept = Treatment("keep", ground="g", until=date(2030, 1, 1), approved_by="x")
    owners = {"usr_A"}
    assert decide(owners, targets=TARGETS, dataset=dataset(severed), kept=False).fate is (
        Fate.TOMBSTONE
    )
    assert decide(owners, targets=TARGETS, dataset=dataset(kept), kept=False).fate is Fate.KEEP
    assert decide(owners, targets=TARGETS, dataset=dataset(severed), kept=True).fate is Fate.KEEP


def test_a_condition_needs_each_path_and_any_of_its_patterns() -> None:
    where = Where((("name", ("chargeback.*", "refund.failed")), ("kind", ("a",))))
    row = {"name": ["refund.failed"], "kind": ["b", "a"]}
    assert matches(where, lambda path: row.get(path, []))
    assert not matches(where, lambda path: {"name": ["refund.failed"]}.get(path, []))
    assert not matches(where, lambda path: {"name": ["Chargeback.open"], "kind": ["a"]}[path])


def test_keep_when_keeps_where_it_matches() -> None:
    rule = KeepWhen(Where((("name", ("chargeback.*",)),)), "art. 17(3)(e)", date(2030, 1, 1))
    kept = dataset(keep_when=(rule,))
    assert is_kept(kept, lambda _: ["chargeback.open"])
    assert not is_kept(kept, lambda _: ["search.query"])
    assert rule.until - timedelta(days=1) < rule.until


def test_the_worst_finding_decides_the_verdict_and_a_note_never_does() -> None:
    order = [
        ({What.RESIDUE, What.CANNOT_SEE, What.ARITHMETIC}, Verdict.FAILED),
        ({What.WITHHELD, What.HELD, What.PARKED, What.UNREADABLE, What.UNTOUCHED}, Verdict.PARTIAL),
        ({What.DEFERRED}, Verdict.DEFERRED),
        ({What.NOTE}, Verdict.VERIFIED),
    ]
    rank = {what: n for n, (kinds, _) in enumerate(order) for what in kinds}
    assert set(rank) == set(What)
    for one, two in product(What, What):
        found = verdict([Finding(one, "l", "d", "p"), Finding(two, "l", "d", "p")])
        assert found is order[min(rank[one], rank[two])][1]
    assert verdict([]) is Verdict.VERIFIED
