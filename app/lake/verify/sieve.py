"""Where one of many values may stand in a large block of bytes, in any case, by numpy over columns
of bytes: a value is known by the eight bytes after its `_` or `-`, a plain hash by its first eight.

Not the search itself: what is there is told by `needles`. Finds too much rather than too little.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]
_ANCHORS = b"_-"
"""Bytes that are rare in a text, and in most identifiers."""
_WORD = 8
_FOLD = np.uint64(0x2020202020202020)
"""Makes one of both cases of a letter, and leaves digits as they are."""
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SUB_BLOCK = 1 << 18
_FEWEST_BITS, _MOST_BITS = 16, 24
_HEX = np.zeros(256, dtype=np.bool_)
_HEX[list(b"0123456789abcdefABCDEF")] = True
_SAMPLE = 8
_RUN = 25
"""32 hex digits, wherever they begin, hold so many from one sampled byte on to its third next."""
_NOWHERE: Places = np.empty(0, dtype=np.int64)


class Sieve:
    """`rest`: the values that it does not find."""

    def __init__(self, values: Iterable[str], *, hashes: Iterable[str]) -> None:
        self.rest: list[str] = []
        found: dict[int, list[tuple[bytes, int]]] = {byte: [] for byte in _ANCHORS}
        for value in values:
            raw = value.encode()
            at = _anchor(raw)
            if at is None:
                self.rest.append(value)
            else:
                found[raw[at]].append((raw, at))
        self._anchored = [(byte, _Anchored(each)) for byte, each in found.items() if each]
        heads = [h[:_WORD].encode() for h in hashes]
        self._hashes = _Words(heads) if heads else None

    def places(self, block: bytes) -> Places:
        """A byte of each place where a value or a plain hash may stand, in no order."""
        if len(block) < _WORD:
            return _NOWHERE
        whole = np.frombuffer(block, dtype=np.uint8)
        words = np.ndarray(
            (len(block) - _WORD + 1,), dtype="<u8", buffer=block, strides=(1,)
        )  # at every byte, the eight from there on
        parts = [a.among(places_of(whole, byte), whole, words) for byte, a in self._anchored]
        if self._hashes is not None:
            parts.append(_hash_starts(whole, words, self._hashes))
        return np.concatenate(parts) if parts else _NOWHERE


def places_of(whole: Bytes, byte: int) -> Places:
    """Where a byte stands."""
    parts = [
        np.flatnonzero(whole[start : start + _SUB_BLOCK] == byte) + start
        for start in range(0, len(whole), _SUB_BLOCK)
    ]
    return np.concatenate(parts) if parts else _NOWHERE


def _anchor(raw: bytes) -> int | None:
    """Where a value's anchor is: the first that is not too near to its end."""
    for byte in _ANCHORS:
        at = raw.find(byte)
        if 0 <= at < len(raw) - _WORD:
            return at
    return None


class _Words:
    """Some words of eight bytes, in one case."""

    def __init__(self, words: Sequence[bytes]) -> None:
        self._sorted = np.unique(np.frombuffer(b"".join(words), dtype="<u8") | _FOLD)
        bits = len(self._sorted).bit_length() + 6
        self._shift = np.uint64(64 - min(max(bits, _FEWEST_BITS), _MOST_BITS))
        self._table = np.zeros(1 << (64 - int(self._shift)), dtype=np.bool_)
        self._table[(self._sorted * _MIX) >> self._shift] = True

    def holds(self, words: npt.NDArray[np.uint64]) -> Places:
        """The numbers of those that are among them."""
        words = words | _FOLD
        maybe = np.flatnonzero(self._table[(words * _MIX) >> self._shift])
        asked = words[maybe]
        at = np.searchsorted(self._sorted, asked)
        at[at == len(self._sorted)] = 0
        found: Places = maybe[self._sorted[at] == asked]
        return found


class _Anchored:
    """The values with one anchor byte: what stands before it, and the word after it."""

    def __init__(self, values: Sequence[tuple[bytes, int]]) -> None:
        self._words = _Words([raw[at + 1 : at + 1 + _WORD] for raw, at in values])
        self._before = np.zeros(256, dtype=np.bool_)
        self._may_begin = any(at == 0 for _, at in values)
        for raw, at in values:
            if at:
                self._before[list(raw[at - 1 : at].lower() + raw[at - 1 : at].upper())] = True
        if self._may_begin:
            self._before[:] = True

    def among(self, places: Places, whole: Bytes, words: npt.NDArray[np.uint64]) -> Places:
        """Those of the anchor's places that are a value's."""
        if len(places) and not places[0] and not self._may_begin:
            places = places[1:]
        places = places[: np.searchsorted(places, len(words) - 1)]
        places = places[self._before[whole[places - 1]]]
        return places[self._words.holds(words[places + 1])]


def _hash_starts(whole: Bytes, words: npt.NDArray[np.uint64], hashes: _Words) -> Places:
    """Where a run of hex digits that is long enough begins as a hash does."""
    sampled = _HEX[whole[::_SAMPLE]]
    four = sampled[:-3] & sampled[1:-2] & sampled[2:-1] & sampled[3:]
    first = np.flatnonzero(four) * _SAMPLE
    first = first[_HEX[whole[first[:, None] + np.arange(1, _RUN)]].all(axis=1)]
    starts = (first[:, None] - np.arange(_SAMPLE)).ravel()
    starts = starts[starts >= 0]
    found: Places = starts[hashes.holds(words[starts])]
    return found
