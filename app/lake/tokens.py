"""Where identifiers stand in bytes: a fast filter that may say too much (never too little), and the
exact finder for one decoded text. Pure, no I/O; what a hit means is decided elsewhere.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from ahocorasick_rs import BytesAhoCorasick

from app.domain.identifiers import TOKEN_CHARACTERS

SUB_BLOCK = 1 << 20
"""Bytes that numpy compares at a time: they stay in the processor's second-level cache."""

_TOKEN_BYTES = frozenset(TOKEN_CHARACTERS.encode("ascii"))
_WORD = re.compile("[A-Za-z0-9_-]+")
_PREFIXED = re.compile("[A-Za-z0-9]{1,8}_[A-Za-z0-9_-]{9,}")
"""Values that the numpy filter takes: a short prefix up to the first `_`, at least 8 bytes more."""
_MIN_FAST = 12
_WINDOW = 8
_MAX_FAMILIES = 16
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

_Positions = np.ndarray[Any, np.dtype[np.int64]]
_Bools = np.ndarray[Any, np.dtype[np.bool_]]
_Bytes = np.ndarray[Any, np.dtype[np.uint8]]
_Found = tuple[int, int, str]


def leftmost_longest(spans: Iterable[_Found]) -> list[_Found]:
    """Of overlapping spans the leftmost, and of those the longest. Sorted."""
    chosen: list[_Found] = []
    end = 0
    for span in sorted(spans, key=lambda s: (s[0], -s[1])):
        if span[0] >= end:
            chosen.append(span)
            end = span[1]
    return chosen


class Words:
    """The exact finder: values with neighbours out of [A-Za-z0-9_-], in decoded UTF-8 bytes."""

    __slots__ = ("_odd", "_odd_values", "_run", "_words")

    def __init__(self, values: Iterable[str]) -> None:
        # A value made of token characters alone stands by token where a whole run of them is it.
        self._words = {v.encode("ascii"): v for v in values if _WORD.fullmatch(v)}
        shortest = min(map(len, self._words), default=1)
        self._run = re.compile(b"[A-Za-z0-9_-]{%d,}" % shortest)
        self._odd_values = sorted(v for v in values if not _WORD.fullmatch(v))
        self._odd = _automaton(self._odd_values)

    def find(self, text: bytes) -> list[_Found]:
        """(start, end, value) of every hit, none overlapping: leftmost first, then longest."""
        found = self.every(text)
        return leftmost_longest(found) if self._odd is not None else found

    def every(self, text: bytes) -> list[_Found]:
        """Every hit, overlapping ones too, by start."""
        found: list[_Found] = []
        words = self._words
        if words:
            for match in self._run.finditer(text):
                value = words.get(match[0])
                if value is not None:
                    found.append((match.start(), match.end(), value))
        if self._odd is not None:
            for index, start, end in self._odd.find_matches_as_indexes(text, overlapping=True):
                if not _is_token(text, start - 1) and not _is_token(text, end):
                    found.append((start, end, self._odd_values[index]))
            found.sort()
        return found


def _is_token(text: bytes, position: int) -> bool:
    return 0 <= position < len(text) and text[position] in _TOKEN_BYTES


def _automaton(values: Iterable[str]) -> BytesAhoCorasick | None:
    patterns = [v.encode("utf-8", "surrogatepass") for v in values]
    return BytesAhoCorasick(patterns) if patterns else None


class TokenFilter:
    r"""Byte positions of a buffer worth a closer look: a superset, with no false negative.

    Every place where a value stands as it is (no boundary asked), and every escape (`\uXXXX`,
    `%XX`, `\/`) that decodes to a character an identifier can have, or to `%`.
    """

    __slots__ = ("_escapes", "_families", "_slow")

    def __init__(self, values: Iterable[str]) -> None:
        families: dict[bytes, list[bytes]] = defaultdict(list)
        slow: list[str] = []
        known = sorted(set(values))
        for value in known:
            if len(value) >= _MIN_FAST and _PREFIXED.fullmatch(value):
                raw = value.encode("ascii")
                families[raw[: raw.index(b"_") + 1]].append(raw)
            else:
                slow.append(value)
        common = sorted(families, key=lambda p: (-len(families[p]), p))
        slow += (v.decode("ascii") for p in common[_MAX_FAMILIES:] for v in families[p])
        self._families = [_Family(p, families[p]) for p in common[:_MAX_FAMILIES]]
        self._slow = _automaton(slow)
        self._escapes = _Escapes(known)

    def candidates(self, buffer: bytes | bytearray | memoryview) -> _Positions:
        """Sorted positions. A hit's position is its first byte, an escape's its backslash or
        `%`.
        """
        view = memoryview(buffer).cast("B")
        data: _Bytes = np.frombuffer(view, np.uint8)
        found: list[_Positions] = []
        if self._families and len(data) > _MIN_FAST:
            found += self._prefixed(view, data)
        if self._slow is not None:
            matches = self._slow.find_matches_as_indexes(view, overlapping=True)
            found.append(np.array([start for _, start, _ in matches], np.int64))
        found += self._escapes.positions(data)
        if not found:
            return np.empty(0, np.int64)
        return np.unique(np.concatenate(found))

    def _prefixed(self, view: memoryview, data: _Bytes) -> list[_Positions]:
        words = np.ndarray(
            shape=(len(data) - _WINDOW + 1,), dtype=np.uint64, buffer=view, strides=(1,)
        )
        before = np.zeros(256, np.bool_)
        before[[family.last for family in self._families]] = True
        found = []
        for start in range(0, len(data), SUB_BLOCK):
            marks = np.flatnonzero(data[start : start + SUB_BLOCK] == ord("_"))
            if start:
                marks += start
            elif len(marks) and marks[0] == 0:
                marks = marks[1:]
            last = data[marks - 1]
            here = before[last]
            marks, last = marks[here], last[here]
            for family in self._families:
                hits = family.hits(view, words, marks[last == family.last])
                if hits:
                    found.append(np.array(hits, np.int64))
        return found


class _Family:
    """Values of one prefix: a hashed window of 8 bytes first, then the exact set."""

    __slots__ = ("_lengths", "_offset", "_prefix", "_shift", "_table", "_values", "last")

    def __init__(self, prefix: bytes, values: list[bytes]) -> None:
        self.last = prefix[-2]
        self._prefix = prefix
        self._values = frozenset(values)
        self._lengths = sorted({len(v) for v in values})
        # The last window that every value has: the front of an id is often a time, alike for many.
        self._offset = self._lengths[0] - len(prefix) - _WINDOW + 1
        at = len(prefix) + self._offset - 1
        windows = [int.from_bytes(v[at : at + _WINDOW], "little") for v in values]
        bits = min(26, max(16, (len(values) * 64).bit_length()))
        self._shift = np.uint64(64 - bits)
        self._table: _Bools = np.zeros(1 << bits, np.bool_)
        self._table[(np.array(windows, np.uint64) * _MULTIPLIER) >> self._shift] = True

    def hits(
        self, view: memoryview, words: np.ndarray[Any, np.dtype[np.uint64]], marks: _Positions
    ) -> list[int]:
        """Starts of values of this family whose `_` is among the marks."""
        at = marks + self._offset
        if len(at) and at[-1] >= len(words):
            marks, at = marks[at < len(words)], at[at < len(words)]
        near = marks[self._table[(words[at] * _MULTIPLIER) >> self._shift]]
        found = []
        for mark in near.tolist():
            start = mark + 1 - len(self._prefix)
            if start >= 0 and view[start : mark + 1] == self._prefix:
                for length in self._lengths:
                    if bytes(view[start : start + length]) in self._values:
                        found.append(start)
                        break
        return found


class _Escapes:
    """Escapes that decode to something an identifier can be made of."""

    __slots__ = ("_after", "_codes", "_octets")

    def __init__(self, values: Iterable[str]) -> None:
        characters = set(TOKEN_CHARACTERS).union("%", *values)
        self._codes = np.zeros(65536, np.bool_)
        self._octets = np.zeros(256, np.bool_)
        self._after = np.zeros(256, np.bool_)
        for character in characters:
            units = character.encode("utf-16-be", "surrogatepass")
            for high, low in zip(units[::2], units[1::2], strict=True):
                self._codes[high * 256 + low] = True
            for octet in character.encode("utf-8", "surrogatepass"):
                self._octets[octet] = True
            if character in '"\\/':
                self._after[ord(character)] = True

    def positions(self, data: _Bytes) -> list[_Positions]:
        """Positions of such escapes, in no order."""
        found = []
        for start in range(0, len(data), SUB_BLOCK):
            block = data[start : start + SUB_BLOCK]
            slashes = np.flatnonzero(block == ord("\\"))
            if len(slashes):
                found += self._slashes(data, slashes + start)
            percents = np.flatnonzero(block == ord("%"))
            if len(percents):
                found.append(self._percents(data, percents + start))
        return found

    def _slashes(self, data: _Bytes, at: _Positions) -> list[_Positions]:
        at = at[at < len(data) - 1]
        after = data[at + 1]
        short = at[self._after[after]]
        long = at[(after == ord("u")) & (at < len(data) - 5)]
        digits = [_HEX[data[long + k]] for k in range(2, 6)]
        code = (digits[0] << 12) | (digits[1] << 8) | (digits[2] << 4) | digits[3]
        return [short, long[(code < 65536) & self._codes[code & 0xFFFF]]]

    def _percents(self, data: _Bytes, at: _Positions) -> _Positions:
        at = at[at < len(data) - 2]
        octet = (_HEX[data[at + 1]] << 4) | _HEX[data[at + 2]]
        hits: _Positions = at[(octet < 256) & self._octets[octet & 0xFF]]
        return hits


_HEX = np.full(256, 1 << 20, np.int64)
"""The value of a hexadecimal digit; any other byte makes the whole number too large."""
for _digit in b"0123456789abcdefABCDEF":
    _HEX[_digit] = int(chr(_digit), 16)
