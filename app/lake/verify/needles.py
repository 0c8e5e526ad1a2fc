"""What is searched for, and the matching rule: fast over bytes (where to look), exact over text
(what is there). Reads only; the verifier's own, shared with no eraser.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

import ahocorasick_rs as ac
import numpy as np
import numpy.typing as npt

from app.domain.identifiers import TOKEN_CHARACTERS, Targets
from app.lake.verify.sieve import Sieve, places_of
from app.lake.verify.text import Decoded, decoded_with_origin, percent_decoded, utf8

_TOKEN_RUN = re.compile(r"[A-Za-z0-9_-]+")
_TOKEN_SET = frozenset(TOKEN_CHARACTERS)
_TOKEN_BYTES = frozenset(TOKEN_CHARACTERS.encode())
_RUN = re.compile(rb"[A-Za-z0-9_-]+")
_SURROGATES = re.compile("[\ud800-\udfff]")
_LARGE = 1 << 14
"""A block of so many bytes is worth the numpy calls of a sieve."""
_SMALL_RUN = 2_000
"""Up to so many values a full table (DFA) fits the cache, and is half as fast again."""
_HASH_DIGITS = 16
_WIDEST = 18
"""Raw bytes of one character at most: each of the three of a `%XX` as a backslash-u escape."""
_NOWHERE = np.empty(0, dtype=np.int64)
_PERCENT_ESCAPE = re.compile(rb"%([0-9a-fA-F]{2})")
_UNICODE_ESCAPE = re.compile(rb"\\u([0-9a-fA-F]{4})")
MIN_BOUND = 12
"""A cut value shorter than this points at too many people to be told from a neighbour's."""


@dataclass(frozen=True, slots=True, order=True)
class Hit:
    """A value of the run at raw bytes [start, end)."""

    start: int
    end: int
    value: str = field(repr=False)


class Needles:
    """The values of a run, ready to be searched for."""

    def __init__(self, targets: Targets) -> None:
        self.targets = targets
        self.values = frozenset(targets.by_value)
        odd = sorted(v for v in self.values if not _TOKEN_SET.issuperset(v))
        self._odd = odd
        self._odd_search = ac.AhoCorasick(odd) if odd else None
        self.longest = max((len(v.encode()) for v in self.values), default=0)
        self.shortest = min((len(v) for v in self.values), default=0)
        self._with_percent = frozenset(v for v in odd if "%" in v)
        self._folded = frozenset(v.lower() for v in self.values)
        self._hashes = frozenset(h for v in self.values for h in _hashes(v))
        patterns = {v.encode().lower() for v in self.values}
        patterns |= {h[:_HASH_DIGITS].encode() for h in self._hashes}
        small = len(self.values) <= _SMALL_RUN
        self._search = ac.BytesAhoCorasick(
            sorted(patterns), implementation=ac.Implementation.DFA if small else None
        )
        self._sieve = Sieve(sorted(self.values), hashes=sorted(self._hashes))
        rest = sorted({v.encode().lower() for v in self._sieve.rest})
        self._rest_search = ac.BytesAhoCorasick(rest) if rest else None
        characters = _TOKEN_SET.union(*self.values)
        self._hex = _hex_table(characters)
        self._written = bytes({*b"%\\", *"".join(characters).encode("utf-8", "surrogatepass")})
        self._run = re.compile(b"[" + re.escape(self._written) + b"]+")
        self._any_unicode_escape = any(ord(c) > 0xFF for c in characters)
        self._any_backslash = bool(characters & set('"\\/'))
        self._cut: dict[int, dict[str, str]] = {}

    @classmethod
    def of(cls, targets: Targets) -> Needles:
        """Those of a run, built once for its targets: for many values that takes half a minute."""
        return targets.once("needles", lambda: cls(targets))

    def suspects(self, block: bytes) -> npt.NDArray[np.int64]:
        """Where a value may stand, sorted byte positions: one at least in every raw occurrence in
        any case and at the start of every plain hash, and every escape that may hide a character
        of a value.
        """
        escapes = self._hiding(block) if b"%" in block or b"\\" in block else _NOWHERE
        if len(block) < _LARGE:
            found = [_ends(self._search.find_matches_as_indexes(block.lower()))]
        else:
            found = [self._sieve.places(block)]
            if self._rest_search is not None:
                found.append(_ends(self._rest_search.find_matches_as_indexes(block.lower())))
        return np.unique(np.concatenate([*found, escapes]))

    def _hiding(self, block: bytes) -> npt.NDArray[np.int64]:
        """Those escapes that are part of a value once they are decoded, and where it starts and
        ends. A backslash before another is not told from one that escapes: that finds more.
        """
        escapes = self._escapes(block)
        if self._any_backslash or not len(escapes):
            return escapes
        cuts = list(self._around(block, escapes.tolist()))
        texts = [_unescaped_somehow(block[low:high]) for low, high in cuts]
        ends = np.cumsum([len(text) + 1 for text in texts])
        found = self._search.find_matches_as_indexes(b"\n".join(texts).lower())
        parts = [_NOWHERE]
        for n in sorted({int(np.searchsorted(ends, at, side="right")) for _, at, _ in found}):
            low, high = cuts[n]
            first, last = np.searchsorted(escapes, (low, high))
            parts.append(self._escaped_spans(block[low:high], escapes[first:last] - low) + low)
        return np.unique(np.concatenate(parts))

    def _around(self, block: bytes, escapes: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Runs of bytes that values are written with, around these escapes: any value with an
        escape in it lies within one, however it is escaped.
        """
        reach, end = _WIDEST * (self.longest + 1), 0
        for at in escapes:
            if at >= end:
                before = block[max(0, at - reach) : at]
                run = self._run.match(block, at)
                end = run.end() if run else at + 1
                yield at - len(before) + len(before.rstrip(self._written)), end

    def _escaped_spans(
        self, window: bytes, escapes: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        once, back = decoded_with_origin(window, _UNICODE_ESCAPE, _character)
        twice, further_back = decoded_with_origin(once, _PERCENT_ESCAPE, _byte)
        parts = [_NOWHERE]
        for _, first, end in self._search.find_matches_as_indexes(twice.lower()):
            low, high = back(further_back(first)), back(further_back(end - 1))
            inside = escapes[(escapes >= low) & (escapes <= high)]
            if len(inside):
                parts += [inside, np.array([low, high], dtype=np.int64)]
        return np.concatenate(parts)

    def _escapes(self, block: bytes) -> npt.NDArray[np.int64]:
        whole = np.frombuffer(block, dtype=np.uint8)
        percents = self._telling(whole, places_of(whole, 0x25), 1)
        backslashes = self._telling(whole, places_of(whole, 0x5C), 4)
        return np.sort(np.concatenate((percents, backslashes)))

    def _telling(
        self, whole: npt.NDArray[np.uint8], at: npt.NDArray[np.int64], digits: int
    ) -> npt.NDArray[np.int64]:
        """Those escapes that decode to a character of a value."""
        if digits == 4 and self._any_backslash:
            return at
        at = at[at < len(whole) - digits - 1]
        if digits == 4:
            at = at[whole[at + 1] == 0x75]
            if self._any_unicode_escape:
                return at
            at = at[(whole[at + 2] == 0x30) & (whole[at + 3] == 0x30)]
        pairs = whole[at + digits].astype(np.int64) * 256 + whole[at + digits + 1]
        telling: npt.NDArray[np.int64] = at[self._hex[pairs]]
        return telling

    def plain_suspects(self, raw: bytes) -> set[int]:
        """The same in a short text, its escapes left out."""
        found = self._search.find_matches_as_indexes(raw.lower())
        return {at for _, start, end in found for at in (start, end - 1)}

    def plain_hits(self, raw: bytes) -> list[Hit] | None:
        """The values in a line of JSON without a backslash; None where its leaves must tell."""
        if self._odd or b"\\" in raw:
            return None
        if b"%" in raw:
            return self.hits(utf8(raw))  # no value goes beyond a quote, nor does an escape
        found: list[Hit] = []
        for _, start, _ in self._search.find_matches_as_indexes(raw.lower()):
            if found and start < found[-1].end:
                continue
            while start and raw[start - 1] in _TOKEN_BYTES:
                start -= 1
            run = _RUN.match(raw, start)
            value = run.group().decode("ascii") if run else ""
            if run and value in self.values:
                found.append(Hit(start, run.end(), value))
        return found

    def hits(self, decoded: Decoded) -> list[Hit]:
        """The values in a text by the rule: percent-decoded, neighbours not in [A-Za-z0-9_-]; where
        two overlap the leftmost, then the longest. A value with a % in it counts undecoded too.
        """
        view = percent_decoded(decoded)
        found = list(self._in(view))
        if self._with_percent and view is not decoded:
            found += [h for h in self._in(decoded) if h.value in self._with_percent]
        if len(found) < 2:
            return found
        found.sort(key=lambda h: (h.start, -h.end))
        kept: list[Hit] = []
        for hit in found:
            if not kept or hit.start >= kept[-1].end:
                kept.append(hit)
        return kept

    def _in(self, view: Decoded) -> Iterator[Hit]:
        for run in _TOKEN_RUN.finditer(view.text):
            if run.group() in self.values:
                yield Hit(view.starts[run.start()], view.ends[run.end() - 1], run.group())
        if self._odd_search is not None:
            yield from self._odd_in(view)

    def _odd_in(self, view: Decoded) -> Iterator[Hit]:
        assert self._odd_search is not None
        text = view.text
        plain = _SURROGATES.sub("\ufffd", text)
        for index, start, end in self._odd_search.find_matches_as_indexes(plain, overlapping=True):
            if (start and text[start - 1] in _TOKEN_SET) or text[end : end + 1] in _TOKEN_SET:
                continue
            yield Hit(view.starts[start], view.ends[end - 1], self._odd[index])

    def in_text(self, text: str) -> list[str]:
        """The values in a text that is no bytes of a file: a key, a tag, a header."""
        return [h.value for h in self.hits(utf8(text.encode("utf-8", "surrogatepass")))]

    def notes(self, text: str) -> int:
        """How often a value stands in another case, or as its plain hash."""
        runs = _TOKEN_RUN.findall(text)
        return sum(
            1
            for run in runs
            if run not in self.values
            and (run.lower() in self._folded or run.lower() in self._hashes)
        )

    def cut_from(self, bound: str) -> str | None:
        """The value of which a bound is the beginning, or that beginning counted up; None: none."""
        size = len(bound)
        if size < MIN_BOUND:
            return None
        if size not in self._cut:
            starts = {v[:size]: v for v in sorted(self.values) if len(v) > size}
            self._cut[size] = {**{counted_up(s): v for s, v in starts.items()}, **starts}
        return self._cut[size].get(bound)

    def subject_of(self, value: str) -> int:
        """The subject a value is counted for."""
        return self.targets.subject_of(value)

    def first_subject(self, values: Iterable[str]) -> int | None:
        """The first subject of some values."""
        return min((self.subject_of(v) for v in values), default=None)


def _ends(found: Sequence[tuple[int, int, int]]) -> npt.NDArray[np.int64]:
    """First and last byte of each occurrence: what lies in between may hide a shorter one."""
    if not found:
        return _NOWHERE
    ends = np.array(found, dtype=np.int64)
    return np.concatenate((ends[:, 1], ends[:, 2] - 1))


def _unescaped_somehow(raw: bytes) -> bytes:
    if b"\\u" in raw:
        raw = _UNICODE_ESCAPE.sub(_character, raw)
    return unquote_to_bytes(raw)


def _character(escape: re.Match[bytes]) -> bytes:
    return chr(int(escape[1], 16)).encode("utf-8", "surrogatepass")


def _byte(escape: re.Match[bytes]) -> bytes:
    return bytes.fromhex(escape[1].decode("ascii"))


def counted_up(text: str) -> str:
    """The smallest text of this length after every text that begins so: an upper bound, cut."""
    return text[:-1] + chr(ord(text[-1]) + 1)


def _hashes(value: str) -> Iterator[str]:
    raw = value.encode()
    yield hashlib.md5(raw, usedforsecurity=False).hexdigest()
    yield hashlib.sha1(raw, usedforsecurity=False).hexdigest()
    yield hashlib.sha256(raw).hexdigest()


def _hex_table(characters: Iterable[str]) -> npt.NDArray[np.bool_]:
    """For two bytes (first * 256 + second): are they the hex of a byte of one of the characters?"""
    wanted = {byte for c in characters for byte in c.encode("utf-8")}
    wanted |= {ord(c) for c in characters if ord(c) <= 0xFF}
    table = np.zeros(65536, dtype=np.bool_)
    for byte in wanted:
        for high in {f"{byte:02x}"[0], f"{byte:02X}"[0]}:
            for low in {f"{byte:02x}"[1], f"{byte:02X}"[1]}:
                table[ord(high) * 256 + ord(low)] = True
    return table
