"""Bytes as the text they mean, each character with the bytes it came from: UTF-8, JSON escapes,
percent escapes. Not a search; the verifier's own, shared with no eraser.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_JSON_PIECE = re.compile(rb"\\u([0-9a-fA-F]{4})|\\(.)|([^\\]+)", re.DOTALL)
_SIMPLE = {b"n": "\n", b"t": "\t", b"r": "\r", b"b": "\b", b"f": "\f"}
_PERCENT_RUN = re.compile(r"(?:%[0-9A-Fa-f]{2})+")


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text, and for each of its characters the span of raw bytes that decoded to it."""

    text: str = field(repr=False)
    starts: Sequence[int] = field(repr=False)
    ends: Sequence[int] = field(repr=False)


def utf8(raw: bytes, at: int = 0) -> Decoded:
    """Bytes as UTF-8; what is not UTF-8 becomes lone surrogates, so that no byte is lost."""
    if raw.isascii():
        return Decoded(
            raw.decode("ascii"), range(at, at + len(raw)), range(at + 1, at + 1 + len(raw))
        )
    text = raw.decode("utf-8", "surrogateescape")
    starts, ends = [], []
    for character in text:
        starts.append(at)
        at += len(character.encode("utf-8", "surrogateescape"))
        ends.append(at)
    return Decoded(text, starts, ends)


def json_unescaped(body: bytes, at: int = 0) -> Decoded:
    """The inside of a JSON string (no quotes) as text. `at` is where it starts in the raw bytes."""
    if b"\\" not in body:
        return utf8(body, at)
    text: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for piece in _JSON_PIECE.finditer(body):
        start, end = at + piece.start(), at + piece.end()
        code, simple, plain = piece.groups()
        if plain is not None:
            part = utf8(plain, start)
            text.extend(part.text)
            starts.extend(part.starts)
            ends.extend(part.ends)
            continue
        if code is None:
            character = _SIMPLE.get(simple) or simple.decode("utf-8", "surrogateescape")
        else:
            character = chr(int(code, 16))
        if text and _is_pair(text[-1], character) and ends[-1] == start:
            text[-1] = _paired(text[-1], character)
            ends[-1] = end
        else:
            text.append(character)
            starts.append(start)
            ends.append(end)
    return Decoded("".join(text), starts, ends)


def _is_pair(high: str, low: str) -> bool:
    return "\ud800" <= high <= "\udbff" and "\udc00" <= low <= "\udfff"


def _paired(high: str, low: str) -> str:
    return chr(0x10000 + ((ord(high) - 0xD800) << 10) + (ord(low) - 0xDC00))


def percent_decoded(decoded: Decoded) -> Decoded:
    """The same text with `%XX` decoded, once; the very same object when there is none."""
    if "%" not in decoded.text or not _PERCENT_RUN.search(decoded.text):
        return decoded
    text: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    done = 0
    for run in _PERCENT_RUN.finditer(decoded.text):
        text.extend(decoded.text[done : run.start()])
        starts.extend(decoded.starts[done : run.start()])
        ends.extend(decoded.ends[done : run.start()])
        at = run.start()
        part = utf8(bytes.fromhex(run.group().replace("%", "")))
        for character, first, last in zip(part.text, part.starts, part.ends, strict=True):
            text.append(character)
            starts.append(decoded.starts[at + 3 * first])
            ends.append(decoded.ends[at + 3 * last - 1])
        done = run.end()
    text.extend(decoded.text[done:])
    starts.extend(decoded.starts[done:])
    ends.extend(decoded.ends[done:])
    return Decoded("".join(text), starts, ends)


def decoded_with_origin(
    raw: bytes, escape: re.Pattern[bytes], meaning: Callable[[re.Match[bytes]], bytes]
) -> tuple[bytes, Callable[[int], int]]:
    """Bytes with one kind of escape decoded, and for an offset in them where it came from: the
    first byte of its escape, or itself.
    """
    pieces: list[bytes] = []
    starts, origins, whole = [0], [0], [False]
    taken = length = 0
    for match in escape.finditer(raw):
        plain, value = raw[taken : match.start()], meaning(match)
        pieces += (plain, value)
        length += len(plain)
        starts += (length, length + len(value))
        origins += (match.start(), match.end())
        whole += (True, False)
        length += len(value)
        taken = match.end()
    pieces.append(raw[taken:])

    def origin(at: int) -> int:
        k = bisect_right(starts, at) - 1
        return origins[k] if whole[k] else origins[k] + at - starts[k]

    return b"".join(pieces), origin
