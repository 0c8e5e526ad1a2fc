"""Which texts of an Arrow array are worth a closer look: a superset, found without parsing any.

Not here: whether a text holds a target (app.lake.table_texts).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from app.lake.table_values import Mask, Rows
from app.lake.tokens import TokenFilter

_Bytes = np.ndarray[Any, np.dtype[np.uint8]]

_SMALL = 1 << 16
"""Bytes of an array that is not worth a look of its own."""
_PERCENT = ord("%")
_NO_DIGIT = 255
_HEX = np.full(256, _NO_DIGIT, np.uint8)
"""The value of a hexadecimal digit."""
for _digit in b"0123456789abcdefABCDEF":
    _HEX[_digit] = int(chr(_digit), 16)


class Candidates:
    """The token filter of some values, for arrays."""

    __slots__ = ("_filter", "_has_percent")

    def __init__(self, values: Iterable[str]) -> None:
        known = frozenset(values)
        self._filter = TokenFilter(known)
        self._has_percent = any("%" in value for value in known)

    def among(self, raw: pa.Array, *, wanted: Mask | None = None) -> Rows:
        """Indexes of values of a binary array in whose bytes, escapes decoded, the filter sees
        something; ascending. `wanted`: the others are not asked about.
        """
        data, starts = _content(raw)
        positions = self._seen(data)
        if len(positions) == 0:
            return np.empty(0, np.int64)
        # Many texts have percent escapes, few for an identifier: all of them decoded at once tell.
        escaped = (data[positions] == _PERCENT) & (not self._has_percent)
        sure = _asked(_index(starts, positions[~escaped]), raw, wanted)
        behind = _asked(_index(starts, positions[escaped]), raw, wanted)
        behind = np.setdiff1d(behind, sure, assume_unique=True)
        if len(behind) == 0:
            return sure
        decoded, starts = _percent_decoded(*_content(raw.take(pa.array(behind))))
        seen = np.unique(_index(starts, self._seen(decoded)))
        return np.union1d(sure, behind[seen])

    def quiet(self, raws: Iterable[pa.Array]) -> list[bool]:
        """Which of these arrays hold nothing for sure: the small ones are looked at in one go."""
        contents = [_content(raw)[0] for raw in raws]
        small = [n for n, data in enumerate(contents) if len(data) <= _SMALL]
        starts = np.cumsum([0, *(len(contents[n]) + 1 for n in small)])
        together = b"\n".join(contents[n].data for n in small)
        positions = self._seen(np.frombuffer(together, np.uint8))
        answer = [False] * len(contents)
        loud = set(_index(starts, positions).tolist())
        for number, index in enumerate(small):
            answer[index] = number not in loud
        return answer

    def _seen(self, data: _Bytes) -> Rows:
        if len(data) == 0:
            return np.empty(0, np.int64)
        found: Rows = self._filter.candidates(memoryview(data.data))
        return found


def _content(raw: pa.Array) -> tuple[_Bytes, Rows]:
    """The bytes of all values, and where each begins in them, with the end of the last."""
    if len(raw) == 0 or raw.buffers()[2] is None:
        return np.empty(0, np.uint8), np.zeros(len(raw) + 1, np.int64)
    wide: Any = np.int64 if pa.types.is_large_binary(raw.type) else np.int32
    offsets = np.frombuffer(raw.buffers()[1], wide)[raw.offset : raw.offset + len(raw) + 1]
    starts: Rows = offsets.astype(np.int64)
    data = np.frombuffer(raw.buffers()[2], np.uint8)[starts[0] : starts[-1]]
    return data, starts - starts[0]


def _index(starts: Rows, positions: Rows) -> Rows:
    """The value that each position lies in."""
    found: Rows = np.searchsorted(starts, positions, side="right") - 1
    return found


def _asked(indexes: Rows, raw: pa.Array, wanted: Mask | None) -> Rows:
    """Each once; no bytes under a null, nor what nobody asked about."""
    found = np.unique(indexes)
    if wanted is not None:
        found = found[wanted[found]]
    if raw.null_count:
        found = found[raw.is_valid().to_numpy(zero_copy_only=False)[found]]
    return found


def _percent_decoded(data: _Bytes, starts: Rows) -> tuple[_Bytes, Rows]:
    """The values with `%XX` decoded once, as `urllib.parse.unquote_to_bytes` does each."""
    at = np.flatnonzero(data[:-2] == _PERCENT)
    high, low = _HEX[data[at + 1]], _HEX[data[at + 2]]
    whole = _index(starts, at) == _index(starts, at + 2)
    is_escape = whole & (high != _NO_DIGIT) & (low != _NO_DIGIT)
    at = at[is_escape]
    decoded = data.copy()
    decoded[at] = high[is_escape] * 16 + low[is_escape]
    kept = np.ones(len(data), np.bool_)
    kept[at + 1] = kept[at + 2] = False
    return decoded[kept], starts - 2 * np.searchsorted(at, starts)
