"""The quick ways of the table eraser say what the exact ones say: owners by column, small texts in
one look, percent escapes decoded together, JSON without offsets.
"""

from __future__ import annotations

import json
from datetime import date
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.domain.datasets import Dataset, KeepWhen, Layer, OwnerWhen, Roles, Treatment, Where
from app.domain.identifiers import Identifier, Identity, Kind, Targets
from app.lake import table_rows, table_texts
from app.lake.table_candidates import Candidates
from app.lake.table_columns import columns_as_named
from app.lake.table_counts import sum_of
from app.lake.table_rows import RowGroup
from app.lake.table_texts import Rule, text_holds
from app.lake.tombstones import Tombstones

VALUES = ("usr_A0000000000000001", "usr_B0000000000000002", "a_C000000000000003", "fp:odd/4%41x")
STRANGERS = ("usr_Z0000000000000009", "usr_A00000000000000011", "tomb", "", "%", "\\", "fp:odd/4Ax")

KEPT = KeepWhen(Where((("name", ("dispute.*",)),)), ground="17(3)(e)", until=date(2030, 1, 1))
DATASETS = {
    "plain": Roles(owner=("user_id",), linked=((Kind.ANON_ID, ("anon_id",)),)),
    "two owners": Roles(owner=("user_id", "anon_id")),
    "when": Roles(
        owner=("user_id",),
        owner_when=(OwnerWhen(Where((("name", ("link",)),)), ("anon_id", "payload.by")),),
    ),
    "nobody's": Roles(linked=((Kind.ANON_ID, ("user_id", "anon_id")),)),
}
JSON = {
    "payload": Roles(
        owner_when=(OwnerWhen(Where((("name", ("link",)),)), ("user_id",)),),
        mentions=("user_id", "by", "of.by"),
    )
}


def _dataset(roles: str, **changed: Any) -> Dataset:
    return Dataset(
        name="events",
        layer=Layer.SILVER,
        table="lake.events",
        roles=DATASETS[roles],
        json=JSON,
        **changed,
    )


def _rule(dataset: Dataset) -> Rule:
    people = [
        Identity(
            subject=f"s{n}",
            given=frozenset({Identifier(kind, value)}),
            linked=frozenset(),
            derived=frozenset(),
            shared=(),
        )
        for n, (kind, value) in enumerate(
            zip((Kind.USER_ID, Kind.USER_ID, Kind.ANON_ID, Kind.DEVICE_FP), VALUES, strict=True)
        )
    ]
    return Rule.of(dataset, targets=Targets.of(people), tombstones=Tombstones(bytes(32)))


_value = st.sampled_from((*VALUES, *STRANGERS))
_written = st.sampled_from((str, quote, lambda v: "".join(f"%{b:02x}" for b in v.encode())))
_text = st.builds(
    lambda parts: "".join(write(value) + end for value, write, end in parts),
    st.lists(
        st.tuples(_value, _written, st.sampled_from(("", "/", "%4", "%", "1", "\n"))), max_size=3
    ),
)
_leaf = st.one_of(_value, _text, st.integers(-2, 2), st.none())
_document = st.builds(
    lambda value, ascii_only: json.dumps(value, ensure_ascii=ascii_only),
    st.dictionaries(
        st.sampled_from(("user_id", "by", "of", "t", *VALUES[:2])),
        st.one_of(_leaf, st.lists(_leaf, max_size=2), st.dictionaries(st.just("by"), _leaf)),
        max_size=3,
    ),
    st.booleans(),
)
_twice = st.builds(lambda v: f'{{"by":"{v}","by":"x"}}', st.sampled_from(VALUES[:3]))
_payload = st.one_of(st.none(), _document, _text, _twice)
_row = st.fixed_dictionaries(
    {
        "name": st.sampled_from((None, "link", "view", "dispute.open")),
        "user_id": st.one_of(st.none(), _value),
        "anon_id": st.one_of(st.none(), _value),
        "payload": _payload,
        "page": st.one_of(st.none(), st.fixed_dictionaries({"ref": st.one_of(st.none(), _text)})),
        "items": st.one_of(st.none(), st.lists(st.one_of(st.none(), _text), max_size=2)),
    }
)
_TEXT = pa.string()
_PACKED = pa.dictionary(pa.int32(), pa.string())


def _schema(text: pa.DataType) -> pa.Schema:
    return pa.schema(
        [
            ("name", text),
            ("user_id", text),
            ("anon_id", text),
            ("payload", _TEXT),
            ("page", pa.struct([("ref", text)])),
            ("items", pa.list_(_TEXT)),
        ]
    )


def _edited(rows: list[dict[str, Any]], rule: Rule, *, text: pa.DataType) -> tuple[Any, Any]:
    schema = _schema(text)
    table = pa.Table.from_pylist(rows, schema=schema)
    columns = columns_as_named(schema, dataset=rule.dataset)
    group = RowGroup(table, rule=rule, columns=columns)
    hits = group.hits()
    hidden = np.zeros(len(rows), np.bool_)
    hidden[::5] = True
    edited = group.edit(hits, hidden=hidden)
    holds = RowGroup(table, rule=rule, columns=columns).holds()
    assert holds or not edited.counts.hit
    return edited.table.to_pylist(), edited.counts


def _exactly(patch: pytest.MonkeyPatch) -> None:
    """Every row is decided by itself, every text looked at, every JSON parsed with its offsets."""

    def nobody(table: pa.Table, **_: Any) -> Any:
        return np.full(table.num_rows, -1)

    def everything(_: Candidates, raw: pa.Array, *, wanted: Any = None) -> Any:
        return np.flatnonzero(raw.is_valid().to_numpy(zero_copy_only=False))

    patch.setattr(table_rows, "plainly_owned", nobody)
    patch.setattr(Candidates, "quiet", lambda _, raws: [False for _ in raws])
    patch.setattr(Candidates, "among", everything)
    patch.setattr(table_texts, "whole_strings", lambda *_, **__: None)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("treatment", ["delete", "tombstone", "keep"])
@pytest.mark.parametrize("roles", DATASETS)
@settings(max_examples=8)
@given(rows=st.lists(_row, min_size=1, max_size=12), keeps=st.booleans())
def test_the_quick_ways_leave_what_the_exact_ones_leave(
    roles: str, treatment: str, packed: bool, rows: list[dict[str, Any]], keeps: bool
) -> None:
    dataset = _dataset(
        roles,
        treatment=Treatment(kind=treatment),
        keep_when=(KEPT,) if keeps else (),
    )
    rule = _rule(dataset)
    quick = _edited(rows, rule, text=_PACKED if packed else _TEXT)
    with pytest.MonkeyPatch.context() as patch:
        _exactly(patch)
        exact = _edited(rows, rule, text=_TEXT)
    assert quick == exact


@settings(max_examples=200)
@given(texts=st.lists(st.one_of(st.none(), _text, _document), max_size=12))
@example(texts=["%4", "1bc", VALUES[0].replace("_", "%5F"), None, "usr%5fA0000000000000001"])
def test_no_text_that_holds_somebody_is_left_out(texts: list[str | None]) -> None:
    rule = _rule(_dataset("plain"))
    raw = pa.array([None if t is None else t.encode() for t in texts], pa.binary())
    held = {n for n, t in enumerate(raw.to_pylist()) if t and text_holds(t, editor=rule.editor)}
    for values in (VALUES, VALUES[:3]):
        found = set(Candidates(values).among(raw).tolist())
        theirs = {n for n in held if any(v in _decoded(texts[n]) for v in values)}
        assert theirs <= found
    (quiet,) = Candidates(VALUES).quiet([raw])
    assert not (quiet and held)


def _decoded(text: str | None) -> str:
    assert text is not None
    try:
        inside = repr(json.loads(text))
    except ValueError:
        inside = text
    return "\n".join((text, unquote(text), inside, unquote(inside)))


def test_counts_add_up_as_one_by_one() -> None:
    rule = _rule(_dataset("plain"))
    rows = [
        {
            "name": "view",
            "user_id": v,
            "anon_id": VALUES[2],
            "payload": None,
            "page": None,
            "items": None,
        }
        for v in (*VALUES, *STRANGERS, None)
    ]
    parts = [_edited(rows[n:], rule, text=_TEXT)[1] for n in range(len(rows))]
    total = parts[0]
    for part in parts[1:]:
        total += part
    assert sum_of(parts) == total
    assert total.deleted
    assert total.tombstoned
