"""The gate on Arrow tables: rows of erased people do not get in, all others are what they were."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from app.domain.errors import UnsupportedTableError
from app.domain.identifiers import TOMBSTONE, Identifier, Kind
from app.lake import gate_tables
from app.lake.gate import Gate
from app.lake.gate_tables import gated_table
from tests.lake.gates import gate
from tests.lake.people_table import EVENTS, anon, rows, user

DATASET = replace(EVENTS, event_time="ts")
START = datetime(2026, 1, 1, tzinfo=UTC)
FENCE = START + timedelta(seconds=99)
U, A = Identifier(Kind.USER_ID, user(1)), Identifier(Kind.ANON_ID, anon(2))


def opened(*suppressed: Identifier, dataset: Any = DATASET) -> Gate:
    return gate(dataset, fences=dict.fromkeys(suppressed or (U, A), FENCE))


def named(row: dict[str, Any]) -> set[str]:
    """The values at declared places of a row, read another way."""
    found = {row["user_id"], row["anon_id"]}
    try:
        inside = json.loads(row["payload"] or "null")
    except json.JSONDecodeError:
        inside = None
    if isinstance(inside, dict):
        found |= {inside.get(k) for k in ("user_id", "anon_id", "provider_id")}
    return found - {None}


@pytest.mark.parametrize("batch", [16, 32_768])
def test_late_rows_are_taken_out_and_every_other_row_is_the_same(
    batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_tables, "_BATCH", batch)
    before = rows(200)
    gated = gated_table(before, gate=opened())
    assert gated.table.schema.equals(before.schema, check_metadata=True)
    old, new = before.to_pylist(), {r["event_id"]: r for r in gated.table.to_pylist()}
    assert [r["event_id"] for r in old if r["event_id"] in new] == list(new)
    late = [r for r in old if r["ts"] <= FENCE and named(r) & {U.value, A.value}]
    assert [r for r in old if r not in late] == [new[r["event_id"]] for r in old if r not in late]
    gone = [r for r in late if r["event_id"] not in new]
    assert gone == [r for r in late if r["user_id"] == U.value or not _stays(r)]
    assert len(gone) == gated.counts.deleted > 0
    stayed = [new[r["event_id"]] for r in late if r["event_id"] in new]
    assert len(stayed) == gated.counts.tombstoned > 0
    assert not any(named(r) & {U.value, A.value} for r in stayed)
    assert (gated.counts.before, gated.counts.shares) == (200, {})
    assert gated_table(gated.table, gate=opened()).table is gated.table


def _stays(row: dict[str, Any]) -> bool:
    """A link names its user as an owner too."""
    return not (row["name"] == "identity.link" and row["user_id"] is None and U.value in named(row))


def test_a_table_without_late_rows_is_the_very_same_table() -> None:
    table = rows(50)
    later = gate(DATASET, fences={U: START - timedelta(days=1)})
    assert gated_table(table, gate=later).table is table


def test_a_linked_value_becomes_a_tombstone_of_this_call() -> None:
    table = pa.Table.from_pylist([{"user_id": user(5), "anon_id": A.value, "ts": START}], FLAT)
    gated = gated_table(table, gate=opened(dataset=PLAIN))
    (row,) = gated.table.to_pylist()
    assert (row["user_id"], row["ts"]) == (user(5), START)
    assert TOMBSTONE.fullmatch(row["anon_id"])


FLAT = pa.schema(
    [("user_id", pa.string()), ("anon_id", pa.string()), ("ts", pa.timestamp("us", "UTC"))]
)
PLAIN = replace(DATASET, json={})


def test_a_dictionary_keeps_nobody_whom_the_rows_have_lost() -> None:
    """One dictionary for many batches: also in those from which no row was taken."""
    coded = pa.dictionary(pa.int32(), pa.string())
    values = pa.array([user(1), *[user(5)] * 9]).dictionary_encode()
    schema = FLAT.set(0, pa.field("user_id", coded))
    table = pa.table([values, pa.nulls(10, pa.string()), [START] * 10], schema=schema)
    chunked = pa.concat_tables([table.slice(0, 5), table.slice(5)])
    gated = gated_table(chunked, gate=opened(dataset=PLAIN)).table
    assert gated["user_id"].to_pylist() == [user(5)] * 9
    assert {v for c in gated["user_id"].chunks for v in c.dictionary.to_pylist()} == {user(5)}
    assert gated.schema.equals(schema)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (FLAT.remove(1), "no column anon_id"),
        (FLAT.remove(2), "no column ts"),
        (FLAT.set(0, pa.field("user_id", pa.binary())), "user_id holds bytes"),
        (
            FLAT.append(pa.field("x", pa.list_(pa.dictionary(pa.int8(), pa.string())))),
            "x has a dictionary inside",
        ),
    ],
)
def test_a_table_in_which_nobody_can_be_seen_is_refused_by_name(
    schema: pa.Schema, says: str
) -> None:
    with pytest.raises(UnsupportedTableError, match=says):
        gated_table(schema.empty_table(), gate=opened(dataset=PLAIN))


def test_an_integer_that_names_somebody_on_a_row_that_stays_is_refused() -> None:
    schema = FLAT.set(1, pa.field("anon_id", pa.int64()))
    table = pa.Table.from_pylist([{"user_id": user(5), "anon_id": 123456, "ts": START}], schema)
    number = Identifier(Kind.ANON_ID, "123456")
    with pytest.raises(UnsupportedTableError, match="integer column"):
        gated_table(table, gate=opened(number, dataset=PLAIN))
