r"""Escapes in bytes (`\uXXXX`, `%XX`, `\/`) that decode to something an identifier can be made of.

Not the decoding of a text: only where a closer look is worth it, by numpy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from app.domain.identifiers import TOKEN_CHARACTERS

_WINDOWS = 1 << 19
"""Bytes of windows looked at together."""

_Positions = np.ndarray[Any, np.dtype[np.int64]]
_Bools = np.ndarray[Any, np.dtype[np.bool_]]
_Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class Escapes:
    """Which escapes can be a part of a value."""

    __slots__ = ("_after", "_codes", "_octets", "reach")

    def __init__(self, values: Iterable[str]) -> None:
        known = list(values)
        self._codes = np.zeros(65536, np.bool_)
        self._octets = np.zeros(256, np.bool_)
        self._after = np.zeros(256, np.bool_)
        for character in set(TOKEN_CHARACTERS).union("%", *known):
            units = character.encode("utf-16-be", "surrogatepass")
            for high, low in zip(units[::2], units[1::2], strict=True):
                self._codes[high * 256 + low] = True
            for octet in character.encode("utf-8", "surrogatepass"):
                self._octets[octet] = True
            if character in '"\\/':
                self._after[ord(character)] = True
        sizes = (len(v.encode("utf-8", "surrogatepass")) for v in known)
        self.reach = max(sizes, default=1)
        """Bytes of the longest value."""

    def slashes(self, data: _Bytes, at: _Positions, stop: int) -> Iterator[_Positions]:
        """Those of the backslashes `at` that begin such an escape."""
        at = at[at < stop - 1]
        after = data[at + 1]
        yield at[self._after[after]]
        long = at[(after == ord("u")) & (at < stop - 5)]
        digits = [_HEX[data[long + k]] for k in range(2, 6)]
        code = (digits[0] << 12) | (digits[1] << 8) | (digits[2] << 4) | digits[3]
        yield long[(code < 65536) & self._codes[code & 0xFFFF]]

    def percents(self, data: _Bytes, at: _Positions, stop: int) -> _Positions:
        """Those of the percent signs `at` (ascending) that begin such an escape."""
        at = at[at < stop - 2]
        octet = _octet(data, at)
        hits: _Positions = at[(octet < 256) & self._octets[octet & 0xFF]]
        return hits

    def alone(self, at: _Positions, start: int, stop: int) -> _Bools:
        """Which of all such percent escapes (ascending) cannot share a value with another one, and
        have room for the longest value on both sides.
        """
        near = np.diff(at) <= self.reach + 1
        found: _Bools = (at >= start + self.reach) & (at + self.reach + 3 <= stop)
        found[1:] &= ~near
        found[:-1] &= ~near
        return found

    def windows(self, data: _Bytes, at: _Positions) -> Iterator[tuple[_Positions, int, bytes]]:
        """Escapes that are `alone`, decoded, with the bytes around them that a value could cover:
        (escapes, width, their windows of that width one after another).
        """
        if not len(at):
            return
        reach = self.reach
        width = 2 * reach
        around = np.lib.stride_tricks.sliding_window_view(data, width + 1)
        some = max(1, _WINDOWS // width)
        for first in range(0, len(at), some):
            part = at[first : first + some]
            raw = around[part - (reach - 1)]
            texts = np.empty((len(part), width), np.uint8)
            texts[:, : reach - 1] = raw[:, : reach - 1]
            texts[:, reach - 1] = _octet(data, part)
            texts[:, reach:-1] = raw[:, reach + 2 :]
            texts[:, -1] = ord("\n")
            yield part, width, texts.tobytes()


def _octet(data: _Bytes, at: _Positions) -> _Positions:
    """What the two characters behind a percent sign say; more than a byte where they are none."""
    high: _Positions = _HEX[data[at + 1]] << 4
    return high | _HEX[data[at + 2]]


_HEX = np.full(256, 1 << 20, np.int64)
"""The value of a hexadecimal digit; any other byte makes the whole number too large."""
for _digit in b"0123456789abcdefABCDEF":
    _HEX[_digit] = int(chr(_digit), 16)
