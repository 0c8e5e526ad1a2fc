"""The fast reading says what the exact one says, whatever the text is."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.lake.jsontext import JsonTextError, leaves
from app.lake.jsonvalues import texts_by_path

TEXTS = st.text(st.characters(exclude_categories=()), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(TEXTS, inside, max_size=4),
    max_leaves=12,
)


def exactly(raw: bytes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for leaf in leaves(raw):
        if leaf.text is not None and not leaf.is_key:
            found.setdefault(leaf.path, []).append(leaf.text)
    return found


def same(raw: bytes) -> None:
    try:
        expected = exactly(raw)
    except JsonTextError:
        with pytest.raises(JsonTextError):
            texts_by_path(raw)
    else:
        assert texts_by_path(raw) == expected


@given(VALUES, st.booleans())
def test_of_json_that_python_writes(value: object, ascii_only: bool) -> None:
    same(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))


@given(
    st.text(st.sampled_from('{}[]",:\\u00e9dD8 \t-+.eEN123aInfity\x01'), max_size=24).map(
        str.encode
    )
)
@example(b'{"a":"1","a":{"b":[2,"x",{"c":null}]},"a.b":"y"}')
@example(b'{"a":"\xff\xfe"}')
@example(b'{"a":"\\ud83d\\ude00\\ud800","b":NaN,"c":-Infinity,"d":1e999,"e":01}')
@example(b'{"a":"tab\there"}')
@example(b"\xef\xbb\xbf{}")
@example(b'"whole" ')
@example(b"[" * 3000 + b"]" * 3000)
@example(b'{"k":' * 500 + b'"v"' + b"}" * 500)
@example(b'{"a":1} {"b":2}')
@example(b'{"a":"\\x"}')
@example(b" \xc2\xa0 1")
def test_of_any_text(raw: bytes) -> None:
    same(raw)
