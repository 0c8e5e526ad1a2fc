"""The filter says too much rather than too little; the finder says exactly what the rule says."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.domain.identifiers import TOKEN_CHARACTERS
from app.lake import tokens
from app.lake.tokens import TokenFilter, Words

VALUES = st.one_of(
    st.from_regex(r"(usr|s|ct|fp|a)_[A-Za-z0-9]{10,26}", fullmatch=True),
    st.from_regex(r"[0-9]{4,10}", fullmatch=True),
    st.from_regex(r"[a-c]{1,3}[.@%:+/\"\\][a-c]{2,6}", fullmatch=True),
    st.text("abé€😀_-", min_size=4, max_size=8),
)
GLUE = st.text('ab_-/ .%"\\\n0é', max_size=6)


def naive(values: list[str], text: bytes) -> list[int]:
    starts: set[int] = set()
    for value in values:
        raw = value.encode()
        starts.update(n for n in range(len(text)) if text.startswith(raw, n))
    return sorted(starts)


@given(
    values=st.lists(VALUES, min_size=1, max_size=6),
    parts=st.lists(st.tuples(GLUE, st.integers(0, 5)), max_size=8),
    sub_block=st.sampled_from([16, 33, 1 << 20]),
)
def test_no_place_where_a_value_stands_is_missed(
    values: list[str], parts: list[tuple[str, int]], sub_block: int
) -> None:
    text = "".join(glue + values[n % len(values)] for glue, n in parts).encode()
    with pytest.MonkeyPatch.context() as patch:
        # Small sub-blocks put their edges into the values; nothing else about them changes.
        patch.setattr(tokens, "SUB_BLOCK", sub_block)
        found = TokenFilter(values).candidates(text).tolist()
    assert set(naive(values, text)) <= set(found)
    assert all(a < b for a, b in pairwise(found))


@given(value=VALUES, spaced=st.booleans(), upper=st.booleans(), at=st.integers(0, 40))
@example(value='ab"cd', spaced=False, upper=False, at=2)
def test_an_escape_that_may_hide_a_value_is_a_candidate(
    value: str, spaced: bool, upper: bool, at: int
) -> None:
    at %= len(value)
    code = "".join(f"\\u{unit:04x}" for unit in utf16(value[at]))
    code = code.upper().replace("\\U", "\\u") if upper else code
    hidden = value[:at] + code + value[at + 1 :]
    before = "  " if spaced else ""
    found = TokenFilter([value]).candidates((before + hidden).encode()).tolist()
    assert len(before) + len(value[:at].encode()) in found
    percent = "".join(f"%{octet:02X}" for octet in value[at].encode())
    text = (before + value[:at] + percent + value[at + 1 :]).encode()
    assert len(before) + len(value[:at].encode()) in TokenFilter([value]).candidates(text).tolist()


def utf16(character: str) -> list[int]:
    raw = character.encode("utf-16-be")
    return [raw[n] << 8 | raw[n + 1] for n in range(0, len(raw), 2)]


def test_plain_text_and_escapes_of_other_characters_are_no_candidates() -> None:
    line = json.dumps({"q": "größe 10\n\t\u2028", "page": "/a%20b%2Fc"}).encode()
    assert TokenFilter(["usr_01HZXAAAAAAAAAAAAAAAAAAAAA"]).candidates(line).tolist() == []


def test_every_kind_of_buffer_is_searched_alike() -> None:
    text = b'{"u":"usr_01HZXAAAAAAAAAAAAAAAAAAAAA","n":4711}'
    filter_ = TokenFilter(["usr_01HZXAAAAAAAAAAAAAAAAAAAAA", "4711"])
    expected = [text.index(b"usr_"), text.index(b"4711")]
    for buffer in (text, bytearray(text), memoryview(text)):
        assert filter_.candidates(buffer).tolist() == expected
    assert TokenFilter([]).candidates(b"").tolist() == []


def test_many_prefixes_are_all_found() -> None:
    values = [f"p{n}_{'x' * 20}{n:04d}" for n in range(60)]
    text = " ".join(values).encode()
    assert set(naive(values, text)) <= set(TokenFilter(values).candidates(text).tolist())


@given(
    values=st.lists(VALUES, min_size=1, max_size=5, unique=True),
    parts=st.lists(st.tuples(GLUE, st.integers(0, 4)), max_size=6),
)
def test_the_finder_finds_what_the_rule_says(
    values: list[str], parts: list[tuple[str, int]]
) -> None:
    text = "".join(glue + values[n % len(values)] for glue, n in parts).encode()
    token = re.escape(TOKEN_CHARACTERS)
    expected: set[tuple[int, int, str]] = set()
    for value in values:
        pattern = f"(?<![{token}])(?={re.escape(value)}(?![{token}]))".encode()
        expected.update(
            (m.start(), m.start() + len(value.encode()), value) for m in re.finditer(pattern, text)
        )
    words = Words(values)
    assert set(words.every(text)) == expected
    found = words.find(text)
    assert set(found) <= expected
    assert all(a[1] <= b[0] for a, b in pairwise(found))
    for start, end, _ in expected:
        assert any(s < end and start < e for s, e, _ in found), "covered or overlapped"
