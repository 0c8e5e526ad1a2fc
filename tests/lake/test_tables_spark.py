"""Tables as Spark 3.5.6 with Iceberg 1.10.2 wrote them (tests/vectors/spark): erased right, or
refused by name before anything changes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.domain.datasets import Roles
from app.domain.errors import UnsupportedTableError
from app.domain.identifiers import Kind, Targets
from app.domain.receipts import WorkState
from app.lake.tables import plan_table
from tests.faults.effort import one_in
from tests.lake.foreign import by_spark, dataset, without
from tests.lake.people_table import ONE, blotted, person

ERASED = {
    "added": dataset("lake.added", owner="customer"),
    "deletes": replace(
        dataset("lake.deletes"),
        roles=Roles(
            owner=("user_id",),
            linked=((Kind.ANON_ID, ("anon_id", "anon_ids", "attributes.v")),),
            mentions=("attributes", "items.by"),
        ),
    ),
    "evolved1": dataset("lake.evolved1", owner="customer"),
    "evolved2": dataset("lake.evolved2", owner="customer"),
    "lost": dataset("lake.lost"),
    "odd": dataset("lake.odd", owner="user.id", anon="ANON Id"),
    "statistics": dataset("lake.statistics"),
    "sorted": dataset("lake.sorted"),
    "void": dataset("lake.void"),
}


@pytest.mark.parametrize("name", one_in(3, ERASED))
def test_a_person_leaves_a_table_of_sparks_and_everybody_else_stays(
    name: str, place_s3: Any
) -> None:
    rules = ERASED[name]
    (owner,) = rules.roles.owner
    table = by_spark(place_s3, name)
    before = table.rows()
    assert table.leftovers()
    work, findings = table.gone(rules)
    assert work.state is WorkState.PURGED
    assert findings == []
    assert blotted(table.rows(), ONE) == without(before, owner=owner)
    assert table.leftovers() == []
    assert work.counts.undeclared.keys().isdisjoint(rules.roles.declared)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("vectors", "version 3"),
        ("orc", "ORC files"),
        ("avro", "AVRO files"),
        ("outside", "outside its location"),
    ],
)
def test_a_table_of_sparks_that_cannot_be_erased_is_refused_and_stays(
    name: str, word: str, place_s3: Any
) -> None:
    table = by_spark(place_s3, name)
    before = table.files(), place_s3.engine.head(table.table)
    with pytest.raises(UnsupportedTableError, match=word) as refused:
        plan_table(place_s3.engine, dataset(table.table))
    assert "Use Spark" in str(refused.value)
    assert (table.files(), place_s3.engine.head(table.table)) == before


def test_a_tag_and_a_branch_of_sparks_stop_the_purge_and_are_named(place_s3: Any) -> None:
    table, rules = by_spark(place_s3, "refs"), dataset("lake.refs")
    files = table.files()
    work, _ = table.gone(rules)
    assert work.state is WorkState.PARKED
    assert "beside, holds" in (work.reason or "")
    assert files <= table.files()
    assert set(place_s3.engine.head("lake.refs").refs) == {"main", "beside", "holds"}


def test_a_tag_and_a_branch_of_sparks_are_dropped_where_the_map_says_so(place_s3: Any) -> None:
    table, rules = by_spark(place_s3, "refs"), dataset("lake.refs")
    before = table.rows()
    work, findings = table.gone(rules, tags="drop")
    assert (work.state, findings) == (WorkState.PURGED, [])
    assert set(place_s3.engine.head("lake.refs").refs) == {"main"}
    assert blotted(table.rows(), ONE) == without(before)
    assert table.leftovers() == []


def test_a_name_that_is_a_word_of_icebergs_own_can_own_rows(place_s3: Any) -> None:
    """`value.value` of a struct is a column; `value` of a map is a step into it."""
    table = by_spark(place_s3, "odd")
    before = table.rows()
    work, findings = table.gone(dataset("lake.odd", owner="value.value", anon="element"))
    assert (work.state, findings) == (WorkState.PURGED, [])
    kept = [r for r in before if r["value"]["value"] not in ONE.owners]
    assert blotted(table.rows(), ONE) == blotted(kept, ONE)
    assert work.counts.undeclared.keys().isdisjoint({"value", "value.value", "element"})
    assert table.leftovers() == []


def test_statistics_of_sparks_leave_with_their_snapshot_and_nothing_names_them(
    place_s3: Any,
) -> None:
    table = by_spark(place_s3, "statistics")
    before = place_s3.engine.reach("lake.statistics").statistics
    table.gone(dataset("lake.statistics"))
    named = place_s3.engine.reach("lake.statistics").statistics
    assert before
    assert named.keys() <= table.files()
    assert not {path for path in before if path not in named} & table.files()


def test_a_table_of_sparks_without_the_person_gets_no_snapshot_and_no_file(place_s3: Any) -> None:
    table = by_spark(place_s3, "evolved2")
    before = table.files(), place_s3.engine.head(table.table)
    nobody = Targets.of([person(77, anons=(77,))])
    work, findings = table.gone(ERASED["evolved2"], targets=nobody)
    assert (work.state, findings) == (WorkState.CLEAN, [])
    assert (table.files(), place_s3.engine.head(table.table)) == before
