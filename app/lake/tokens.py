"""Where identifiers stand in bytes: a fast filter that may say too much (never too little), and the
exact finder for one decoded text. Pure, no I/O; what a hit means is decided elsewhere.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from ahocorasick_rs import BytesAhoCorasick

from app.domain.identifiers import TOKEN_CHARACTERS
from app.lake.token_escapes import Escapes

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
_FEW = 1 << 11
"""Found one by one in a sub-block before numpy looks for the rest of it."""
_BITS_A_VALUE = 32
_FEW_WORDS = 5000
"""Up to so many values one automaton of all of them is worth its memory."""
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

_Positions = np.ndarray[Any, np.dtype[np.int64]]
_Bools = np.ndarray[Any, np.dtype[np.bool_]]
_Bytes = np.ndarray[Any, np.dtype[np.uint8]]
_Found = tuple[int, int, str]


class Finder:
    """Finds bytes in a buffer, with scratch arrays for all of it."""

    __slots__ = ("_bytes", "_first", "_second", "data")

    def __init__(self, buffer: bytes | bytearray | memoryview) -> None:
        self.data: _Bytes = np.frombuffer(memoryview(buffer).cast("B"), np.uint8)
        self._bytes = buffer if isinstance(buffer, bytes | bytearray) else None
        size = min(SUB_BLOCK, len(self.data))
        self._first: _Bools = np.empty(size, np.bool_)
        self._second: _Bools = np.empty(size, np.bool_)

    def behind(self, before: bytes, byte: int, start: int, stop: int) -> Iterator[_Positions]:
        """Ascending positions of a byte with one of those of `before` in front of it, in one array
        or more. `start` is not the first byte.
        """
        for begin in range(start, stop, SUB_BLOCK):
            end = min(begin + SUB_BLOCK, stop)
            found, one = self._first[: end - begin], self._second[: end - begin]
            in_front = self.data[begin - 1 : end - 1]
            np.equal(in_front, before[0], out=found)
            for other in before[1:]:
                np.logical_or(found, np.equal(in_front, other, out=one), out=found)
            np.logical_and(found, np.equal(self.data[begin:end], byte, out=one), out=found)
            yield _sparse(found) + begin

    def each(self, byte: int, start: int, stop: int) -> Iterator[_Positions]:
        """Ascending positions of a byte that is rare, in one array or more."""
        for begin in range(start, stop, SUB_BLOCK):
            at, end = begin, min(begin + SUB_BLOCK, stop)
            if self._bytes is not None:
                few: list[int] = []
                at = self._bytes.find(byte, begin, end)
                while at >= 0 and len(few) < _FEW:
                    few.append(at)
                    at = self._bytes.find(byte, at + 1, end)
                if few:
                    yield np.array(few, np.int64)
            if at >= 0:
                same = np.equal(self.data[at:end], byte, out=self._first[: end - at])
                yield _sparse(same) + at


def _sparse(found: _Bools) -> _Positions:
    """Where a mask is true, eight bytes at a time: most eights have none."""
    whole = len(found) & -8
    eights = found[:whole].view(np.uint64)
    some = np.flatnonzero(eights != 0)
    inside = np.flatnonzero(eights.take(some).view(np.bool_))
    at = (some.take(inside >> 3) << 3) + (inside & 7)
    return np.concatenate((at, np.flatnonzero(found[whole:]) + whole))


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


class Seen(NamedTuple):
    """What the filter saw in a buffer: sorted positions."""

    plain: _Positions
    """A byte of what is (most likely) a value as it stands, or the one percent escape in it."""
    odd: _Positions
    """Escapes of JSON, percent escapes close together, values of no common form."""


class TokenFilter:
    r"""Byte positions of a buffer worth a closer look: a superset, with no false negative.

    Every place where a value stands as it is (no boundary asked), and every escape (`\uXXXX`,
    `%XX`, `\/`) that decodes to a character an identifier can have, or to `%`; a percent escape
    without others near it only where a value stands once it is decoded.
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
        self._escapes = Escapes(known)

    def candidates(
        self, buffer: bytes | bytearray | memoryview, start: int = 0, stop: int | None = None
    ) -> _Positions:
        """Sorted positions in buffer[start:stop]. A hit's position is its first byte, an escape's
        its backslash or `%`.
        """
        finder = Finder(buffer)
        stop = len(finder.data) if stop is None else stop
        marks, hidden, odd = self._seen(finder, buffer, start, stop)
        starts = self._prefixed.starts(finder.data, marks, start, stop)
        return _sorted([starts, *hidden, *odd])

    def seen(
        self, buffer: bytes | bytearray | memoryview, start: int = 0, stop: int | None = None
    ) -> Seen:
        """The same, faster: the position of a value is its first `_`, and rarely it is another
        text that looks much like it.
        """
        finder = Finder(buffer)
        stop = len(finder.data) if stop is None else stop
        marks, hidden, odd = self._seen(finder, buffer, start, stop)
        return Seen(_sorted([*marks, *hidden]), _sorted(odd))

    def _seen(
        self, finder: Finder, buffer: bytes | bytearray | memoryview, start: int, stop: int
    ) -> tuple[list[_Positions], list[_Positions], list[_Positions]]:
        marks: list[_Positions] = []
        percents: list[_Positions] = []
        odd: list[_Positions] = []
        for begin in range(start, stop, SUB_BLOCK):
            # All looks at one part while it is in the cache.
            end = min(begin + SUB_BLOCK, stop)
            marks += self._prefixed.marks(finder, max(begin, start + 1), end, stop)
            for slashes in finder.each(ord("\\"), begin, end):
                odd += self._escapes.slashes(finder.data, slashes, stop)
            signs = finder.each(ord("%"), begin, end)
            percents += (self._escapes.percents(finder.data, at, stop) for at in signs)
        if self._slow is not None:
            odd.append(self._automatic(memoryview(buffer)[start:stop]) + start)
        hidden: list[_Positions] = []
        escaped = np.concatenate(percents) if percents else _NONE
        if len(escaped):
            alone = self._escapes.alone(escaped, start, stop)
            odd.append(escaped[~alone])
            hidden += self._hidden(finder.data, escaped[alone])
        return marks, hidden, odd

    def _hidden(self, data: _Bytes, escaped: _Positions) -> Iterator[_Positions]:
        """Those of the lone percent escapes that a value stands on."""
        for part, width, texts in self._escapes.windows(data, escaped):
            found = list(self._prefixed.marks(Finder(texts), 1, len(texts), len(texts)))
            if self._slow is not None:
                found.append(self._automatic(texts))
            yield part.take(np.unique(_joined(found) // width))

    def _automatic(self, text: bytes | memoryview) -> _Positions:
        assert self._slow is not None
        matches = self._slow.find_matches_as_indexes(text, overlapping=True)
        return np.array([at for _, at, _ in matches], np.int64)


_NONE: _Positions = np.empty(0, np.int64)


def _joined(found: list[_Positions]) -> _Positions:
    return np.concatenate(found) if found else _NONE


def _sorted(found: list[_Positions]) -> _Positions:
    return np.unique(_joined(found))


class _Prefixed:
    """Values with a short prefix up to their first `_`: by a hashed window of 8 bytes first, then
    exactly.
    """

    __slots__ = ("_before", "_kinds", "_offsets", "_shift", "_table", "_windows")

    def __init__(self, families: Mapping[bytes, list[bytes]]) -> None:
        self._offsets = np.zeros(256, np.int64)
        self._kinds: dict[int, list[tuple[bytes, list[int], frozenset[bytes]]]] = defaultdict(list)
        for prefix, values in families.items():
            lengths = sorted({len(v) for v in values})
            self._kinds[prefix[-2]].append((prefix, lengths, frozenset(values)))
        windows: list[int] = []
        for last, kinds in self._kinds.items():
            # The last window that all values behind this byte have: the front of an id is often a
            # time, alike for many.
            offset = min(lengths[0] - len(prefix) for prefix, lengths, _ in kinds) - _WINDOW
            self._offsets[last] = offset + 1
            windows += (
                int.from_bytes(value[len(prefix) + offset :][:_WINDOW], "little")
                for prefix, _, values in kinds
                for value in values
            )
        self._before = bytes(self._kinds)
        self._windows = np.unique(np.array(windows, np.uint64))
        # One bit a hash: the bits of 400,000 values are 2 MB, which the cache holds.
        bits = min(30, max(19, (len(windows) * _BITS_A_VALUE).bit_length()))
        self._shift = np.uint64(64 - bits)
        self._table: _Bytes = np.zeros(1 << (bits - 3), np.uint8)
        hashed = ((self._windows * _MULTIPLIER) >> self._shift).astype(np.int64)
        np.bitwise_or.at(self._table, hashed >> 3, _BIT.take(hashed & 7))

    def marks(self, finder: Finder, begin: int, end: int, stop: int) -> Iterator[_Positions]:
        """Positions in data[begin:end] of a `_` behind which a value's window stands (before
        `stop`). `begin` is not the first byte of the data.
        """
        data = finder.data
        if not self._kinds or len(data) < _MIN_FAST:
            return
        words = np.ndarray(
            shape=(len(data) - _WINDOW + 1,), dtype=np.uint64, buffer=data.data, strides=(1,)
        )
        for marks in finder.behind(self._before, ord("_"), begin, end):
            at = marks + self._offsets.take(data.take(marks - 1))
            if len(at) and at[-1] >= stop - _FARTHEST:
                inside = at <= stop - _WINDOW
                marks, at = marks[inside], at[inside]
            window = words[at]
            hashed = ((window * _MULTIPLIER) >> self._shift).view(np.int64)
            likely = np.flatnonzero(self._table.take(hashed >> 3) & _BIT.take(hashed & 7))
            if len(likely):
                window = window.take(likely)
                place = np.searchsorted(self._windows, window)
                same = self._windows.take(place, mode="clip") == window
                yield marks.take(likely[same])

    def starts(
        self, data: _Bytes, marks: Iterable[_Positions], start: int, stop: int
    ) -> _Positions:
        """Starts of values in data[start:stop], of marks in it."""
        found: list[int] = []
        for mark in _joined(list(marks)).tolist():
            found += self._exact(data, mark, start, stop)
        return np.array(found, np.int64)

    def _exact(self, data: _Bytes, mark: int, start: int, stop: int) -> Iterator[int]:
        for prefix, lengths, values in self._kinds[int(data[mark - 1])]:
            begin = mark + 1 - len(prefix)
            if begin < start:
                continue
            text = data[begin : min(begin + lengths[-1], stop)].tobytes()
            if any(text[:length] in values for length in lengths):
                yield begin


_BIT: _Bytes = np.array([1 << n for n in range(8)], np.uint8)
