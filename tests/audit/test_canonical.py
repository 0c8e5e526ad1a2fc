"""Canonical JSON: one value, one form; anything else is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.audit.canonical import NotCanonicalError, canonical_bytes, parse_json

SAFE = 2**53 - 1
scalars = st.none() | st.booleans() | st.integers(-SAFE, SAFE) | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
documents = st.dictionaries(st.text(max_size=5), values, max_size=5)


@given(documents)
def test_what_is_written_reads_back_and_writes_the_same_again(document: dict[str, Any]) -> None:
    data = canonical_bytes(document)
    assert parse_json(data) == document
    assert canonical_bytes(parse_json(data)) == data


@given(documents)
def test_the_order_of_keys_does_not_matter(document: dict[str, Any]) -> None:
    backwards = dict(reversed(list(document.items())))
    assert canonical_bytes(backwards) == canonical_bytes(document)


def test_the_published_example_of_sorting_keeps_its_order() -> None:
    """RFC 8785, 3.2.3: by UTF-16 code units, so the emoji stands before U+FB33."""
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    data = canonical_bytes(dict.fromkeys(names, 1))
    expected = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(data)) == expected


@pytest.mark.parametrize(
    "value", [0.5, 1.0, float("nan"), float("inf"), 2**53, "\ud800", b"bytes", {1: 2}, {1, 2}]
)
def test_a_value_without_a_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(NotCanonicalError) as caught:
        canonical_bytes({"deep": [{"er": value}]})
    assert repr(value) not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":"\xff"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"9" * 10_000 + b"}",
    ],
)
def test_bytes_that_are_not_one_clear_object_are_refused(data: bytes) -> None:
    with pytest.raises(NotCanonicalError):
        parse_json(data)
