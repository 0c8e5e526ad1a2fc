"""What is told quickly, for a batch or for a text at once, is what reading each row tells."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.datasets import Dataset, KeepWhen, Layer, OwnerWhen, Roles, Treatment, Where
from app.domain.identifiers import Kind, Targets
from app.lake.verify.edits import in_column, in_column_quickly
from app.lake.verify.needles import Needles
from app.lake.verify.rule import Fate
from app.lake.verify.table_rows import PairReader, RowReader, rows_of
from tests.verify.material import KEEP_DISPUTES, TOMBSTONE, anon, identity, person, user

TARGETS = Targets.of([person(1), person(2), identity("odd", users=["4711", "true"])])
PLAIN = Targets.of([person(1), person(2)])
NEEDLES, TOKENS = Needles(TARGETS), Needles(PLAIN)
LINK = Where((("name", ("identity.*",)),))
ROLES = Roles(owner=("user_id", "second"), linked=((Kind.ANON_ID, ("anon_id",)),))
EVENTS = Dataset(
    "events",
    Layer.SILVER,
    table="lake.events",
    roles=ROLES,
    json={"payload": Roles(owner_when=(OwnerWhen(LINK, ("user_id",)),))},
)
SCHEMA = pa.schema(
    [
        ("name", pa.dictionary(pa.int32(), pa.string())),
        ("user_id", pa.string()),
        ("second", pa.large_string()),
        ("anon_id", pa.string()),
        ("payload", pa.string()),
    ]
)

people = st.sampled_from([None, "", user(1), user(2), user(8), user(1) + "x", "tomb_u_0"])
rows = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from([None, "search.query", "identity.link", "chargeback.open"]),
            "user_id": people,
            "second": people,
            "anon_id": st.sampled_from([None, anon(1), anon(8)]),
            "payload": st.builds(lambda u: json.dumps({"user_id": u}), people),
        }
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.parametrize(
    ("treatment", "keep"),
    [
        (Treatment(), ()),
        (Treatment(), KEEP_DISPUTES),
        (TOMBSTONE, ()),
        (Treatment(kind="keep"), ()),
    ],
    ids=["delete", "keep disputes", "tombstone", "keep"],
)
@settings(max_examples=50)
@given(made=rows)
def test_a_batch_tells_of_its_rows_what_each_row_tells(
    treatment: Treatment, keep: tuple[KeepWhen, ...], made: list[dict[str, Any]]
) -> None:
    dataset = Dataset(
        "events", Layer.SILVER, table="lake.events", roles=ROLES, json=EVENTS.json,
        treatment=treatment, keep_when=keep,
    )  # fmt: skip
    batch = pa.RecordBatch.from_pylist(made, schema=SCHEMA)
    reader = RowReader(SCHEMA, dataset=dataset, needles=TOKENS, names={})
    suspects = reader.suspects(batch)
    asked = np.flatnonzero(rows_of(suspects, batch.num_rows))
    taken = reader.rows(batch.take(pa.array(asked)), suspects=suspects)
    going, told = reader.going(batch, asked), reader.judgements(batch, asked)
    for row, goes, judgement in zip(taken, going.tolist(), told, strict=True):
        held = reader.read(row, columns=list(suspects))
        if goes:
            assert held is not None
            assert held.judgement.fate is Fate.GOES
        if held is not None and judgement is not None:
            assert judgement == held.judgement


def test_owner_columns_alone_tell_most_rows() -> None:
    made = [{"user_id": user(1), "name": "app.start"}, {"user_id": user(8), "anon_id": anon(1)}]
    batch = pa.RecordBatch.from_pylist(made, schema=SCHEMA)
    reader = PairReader(SCHEMA, dataset=EVENTS, needles=TOKENS, names={})
    asked = reader.suspects(batch)["user_id"].nonzero()[0]
    assert reader.going(batch, asked).tolist() == [True]
    fates = [j and j.fate for j in reader.judgements(batch, np.array([0, 1], dtype=np.int64))]
    assert fates == [Fate.GOES, Fate.SEVERED]


pieces = st.sampled_from(
    [
        *(user(1), user(2), anon(1), "4711", "true", user(1)[:-1], user(1).replace("_", "%5F")),
        *('"', "{", "}", "[", "]", ":", ",", " ", "%", "%41", "\\", "\\u0075", "é", "/", "x", "-"),
        *('{"a":"', '"}', '["', '"]', '{"user_id":', "}"),
    ]
)


@pytest.mark.parametrize("needles", [NEEDLES, TOKENS], ids=["a number and a word too", "tokens"])
@settings(max_examples=400)
@given(st.lists(pieces, max_size=9))
def test_a_text_told_quickly_holds_what_its_leaves_hold(needles: Needles, parts: list[str]) -> None:
    raw = "".join(parts).encode()
    quickly = in_column_quickly(raw, needles=needles)
    if quickly is not None:
        slowly = in_column(
            raw, needles=needles, path="payload", known=False, inside=frozenset({"user_id"})
        )
        assert [(s.start, s.end, s.value) for s in quickly] == [
            (s.start, s.end, s.value) for s in slowly
        ]
        assert not any(s.is_number for s in slowly)
