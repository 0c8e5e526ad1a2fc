"""Where identifiers stand in bytes: a fast filter that may say too much (never too little), and the
exact finder for one decoded text. Pure, no I/O; what a hit means is decided elsewhere.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from ahocorasick_rs import BytesAhoCorasick

from app.domain.identifiers import TOKEN_CHARACTERS

SUB_BLOCK = 1 << 19
"""Bytes that numpy compares at a time: with the answer they stay in the second-level cache."""

_TOKEN_BYTES = frozenset(TOKEN_CHARACTERS.encode("ascii"))
_WORD = re.compile("[A-Za-z0-9_-]+")
_PREFIXED = re.compile("[A-Za-z0-9]{1,8}_[A-Za-z0-9_-]{9,}")
"""Values that the numpy filter takes: a short prefix up to the first `_`, at least 8 bytes more."""
_MIN_FAST = 12
_WINDOW = 8
_FARTHEST = 300
"""A window ends less than this behind its `_`: no value is longer."""
_MAX_FAMILIES = 16
_FEW = 64
_FEW_WORDS = 5000
"""Up to so many values one automaton of all of them is worth its memory."""
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

_Positions = np.ndarray[Any, np.dtype[np.int64]]
_Bools = np.ndarray[Any, np.dtype[np.bool_]]
_Bytes = np.ndarray[Any, np.dtype[np.uint8]]
_Found = tuple[int, int, str]


class Finder:
    """Finds single bytes in a buffer, with one scratch array for all of it."""

    __slots__ = ("_bytes", "_scratch", "data")

    def __init__(self, buffer: bytes | bytearray | memoryview) -> None:
        self.data: _Bytes = np.frombuffer(memoryview(buffer).cast("B"), np.uint8)
        self._bytes = buffer if isinstance(buffer, bytes | bytearray) else None
        self._scratch: _Bools = np.empty(min(SUB_BLOCK, len(self.data)), np.bool_)

    def each(self, byte: int, start: int, stop: int) -> Iterator[_Positions]:
        """Ascending positions of a byte, in one array or more."""
        for begin in range(start, stop, SUB_BLOCK):
            block = self.data[begin : min(begin + SUB_BLOCK, stop)]
            same = np.equal(block, byte, out=self._scratch[: len(block)])
            found = np.flatnonzero(same)
            if len(found):
                found += begin
                yield found

    def each_rare(self, byte: int, start: int, stop: int) -> Iterator[_Positions]:
        """The same, faster where there are few."""
        if self._bytes is None:
            yield from self.each(byte, start, stop)
            return
        for begin in range(start, stop, SUB_BLOCK):
            end = min(begin + SUB_BLOCK, stop)
            few: list[int] = []
            at = self._bytes.find(byte, begin, end)
            while at >= 0 and len(few) < _FEW:
                few.append(at)
                at = self._bytes.find(byte, at + 1, end)
            if few:
                yield np.array(few, np.int64)
            if at >= 0:
                yield from self.each(byte, at, end)


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

    __slots__ = ("_anywhere", "_odd", "_odd_values", "_run", "_words")

    def __init__(self, values: Iterable[str]) -> None:
        # A value made of token characters alone stands by token where a whole run of them is it.
        self._words = {v.encode("ascii"): v for v in values if _WORD.fullmatch(v)}
        shortest = min(map(len, self._words), default=1)
        self._run = re.compile(b"[A-Za-z0-9_-]{%d,}" % shortest)
        self._odd_values = sorted(v for v in values if not _WORD.fullmatch(v))
        self._odd = _automaton(self._odd_values)
        few = len(self._words) <= _FEW_WORDS
        self._anywhere = _automaton([*self._words.values(), *self._odd_values]) if few else None

    def anywhere(self, text: bytes) -> bool:
        """Whether a value stands in the text, as a token or as a part of one. Never a false no."""
        if self._anywhere is None:
            return bool(self.every(text))
        return bool(self._anywhere.find_matches_as_indexes(text))

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

    __slots__ = ("_escapes", "_prefixed", "_slow")

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
        self._prefixed = _Prefixed({p: families[p] for p in common[:_MAX_FAMILIES]})
        self._slow = _automaton(slow)
        self._escapes = _Escapes(known)

    def candidates(
        self, buffer: bytes | bytearray | memoryview, start: int = 0, stop: int | None = None
    ) -> _Positions:
        """Sorted positions in buffer[start:stop]. A hit's position is its first byte, an escape's
        its backslash or `%`.
        """
        finder = Finder(buffer)
        stop = len(finder.data) if stop is None else stop
        found = self._prefixed.positions(finder, start, stop)
        if self._slow is not None:
            matches = self._slow.find_matches_as_indexes(
                memoryview(buffer)[start:stop], overlapping=True
            )
            found.append(np.array([at + start for _, at, _ in matches], np.int64))
        found += self._escapes.positions(finder, start, stop)
        if not found:
            return np.empty(0, np.int64)
        return np.unique(np.concatenate(found))


class _Prefixed:
    """Values with a short prefix up to their first `_`: by a hashed window of 8 bytes first, then
    exactly.
    """

    __slots__ = ("_before", "_kinds", "_offsets", "_shift", "_table")

    def __init__(self, families: Mapping[bytes, list[bytes]]) -> None:
        self._before: _Bools = np.zeros(256, np.bool_)
        self._offsets = np.zeros(256, np.int64)
        self._kinds: dict[int, list[tuple[bytes, list[int], frozenset[bytes]]]] = defaultdict(list)
        count = sum(map(len, families.values()))
        bits = min(26, max(16, (count * 64).bit_length()))
        self._shift = np.uint64(64 - bits)
        self._table: _Bools = np.zeros(1 << bits, np.bool_)
        for prefix, values in families.items():
            lengths = sorted({len(v) for v in values})
            self._kinds[prefix[-2]].append((prefix, lengths, frozenset(values)))
        for last, kinds in self._kinds.items():
            # The last window that all values behind this byte have: the front of an id is often a
            # time, alike for many.
            offset = min(lengths[0] - len(prefix) for prefix, lengths, _ in kinds) - _WINDOW
            self._before[last] = True
            self._offsets[last] = offset + 1
            windows = [
                int.from_bytes(value[len(prefix) + offset :][:_WINDOW], "little")
                for prefix, _, values in kinds
                for value in values
            ]
            self._table[(np.array(windows, np.uint64) * _MULTIPLIER) >> self._shift] = True

    def positions(self, finder: Finder, start: int, stop: int) -> list[_Positions]:
        """Starts of values in data[start:stop]."""
        data = finder.data
        if not self._kinds or stop - start < _MIN_FAST:
            return []
        words = np.ndarray(
            shape=(len(data) - _WINDOW + 1,), dtype=np.uint64, buffer=data.data, strides=(1,)
        )
        found: list[int] = []
        for marks in finder.each(ord("_"), start + 1, stop):
            last = data.take(marks - 1)
            near = np.flatnonzero(self._before.take(last))
            marks = marks.take(near)
            at = marks + self._offsets.take(last.take(near))
            if len(at) and at[-1] >= stop - _FARTHEST:
                inside = at <= stop - _WINDOW
                marks, at = marks[inside], at[inside]
            hashed = (words[at] * _MULTIPLIER) >> self._shift
            for mark in marks[self._table[hashed]].tolist():
                found += self._exact(data, mark, start, stop)
        return [np.array(found, np.int64)]

    def _exact(self, data: _Bytes, mark: int, start: int, stop: int) -> Iterator[int]:
        for prefix, lengths, values in self._kinds[int(data[mark - 1])]:
            begin = mark + 1 - len(prefix)
            if begin < start:
                continue
            text = data[begin : min(begin + lengths[-1], stop)].tobytes()
            if any(text[:length] in values for length in lengths):
                yield begin


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

    def positions(self, finder: Finder, start: int, stop: int) -> list[_Positions]:
        """Positions of such escapes, in no order."""
        found = []
        for slashes in finder.each_rare(ord("\\"), start, stop):
            found += self._slashes(finder.data, slashes, stop)
        for percents in finder.each_rare(ord("%"), start, stop):
            found.append(self._percents(finder.data, percents, stop))
        return found

    def _slashes(self, data: _Bytes, at: _Positions, stop: int) -> list[_Positions]:
        at = at[at < stop - 1]
        after = data[at + 1]
        short = at[self._after[after]]
        long = at[(after == ord("u")) & (at < stop - 5)]
        digits = [_HEX[data[long + k]] for k in range(2, 6)]
        code = (digits[0] << 12) | (digits[1] << 8) | (digits[2] << 4) | digits[3]
        return [short, long[(code < 65536) & self._codes[code & 0xFFFF]]]

    def _percents(self, data: _Bytes, at: _Positions, stop: int) -> _Positions:
        at = at[at < stop - 2]
        octet = (_HEX[data[at + 1]] << 4) | _HEX[data[at + 2]]
        hits: _Positions = at[(octet < 256) & self._octets[octet & 0xFF]]
        return hits


_HEX = np.full(256, 1 << 20, np.int64)
"""The value of a hexadecimal digit; any other byte makes the whole number too large."""
for _digit in b"0123456789abcdefABCDEF":
    _HEX[_digit] = int(chr(_digit), 16)
