"""JSON text as bytes: where its values stand, and how an identifier is spliced out of them.

Not a parser into objects: everything that is not replaced keeps its bytes. Pure, no I/O.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from app.domain.errors import LakeError
from app.domain.identifiers import Targets
from app.lake.tokens import Words, leftmost_longest
from app.lake.tombstones import Tombstones

_STRING_GROUP, _NUMBER_GROUP, _OPENED = 2, 3, 5
_BRACE, _COMMA = ord("{"), ord(",")
_LONGEST_PATH = 1024

_SPACE = rb"[ \t\n\r]*+"
_STRING = rb'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"'
_NUMBER = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+|NaN|-?Infinity"
_VALUE = b"(?:(" + _STRING + b")|(" + _NUMBER + rb")|(null|true|false)|([\[{]))"
_ITEM = re.compile(_SPACE + b"()" + _VALUE)
_MEMBER = re.compile(_SPACE + b"(" + _STRING + b")" + _SPACE + b":" + _SPACE + _VALUE)
_NEXT = re.compile(_SPACE + rb"([,\]}])")
_CLOSE_ARRAY = re.compile(_SPACE + rb"\]")
_CLOSE_OBJECT = re.compile(_SPACE + rb"\}")
_BLANK = re.compile(_SPACE)

_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE = re.compile(_HIGH + _LOW + rb'|\\u[0-9a-fA-F]{4}|\\["\\/bfnrt]')
_PERCENT = re.compile(rb"%[0-9a-fA-F]{2}")
_SHORT = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}

_NAME = re.compile(r"[A-Za-z_]{1,32}[0-9]{0,2}")
"""Keys that look like a column's name. Any other may be data (another person's, even) and is shown
as `*`.
"""


class JsonTextError(LakeError):
    """Not one complete JSON value. Names the byte offset, never the text."""

    code = "json_text"


class Leaf(NamedTuple):
    """A scalar value, or the key of a member, and the raw bytes it stands on."""

    path: str
    """Dotted, list indexes left out; for a key the path of its member."""
    start: int
    end: int
    """The raw span, quotes included for strings."""
    text: str | None
    """Decoded; a number as its source text; None for null, true and false."""
    is_string: bool
    is_key: bool


@dataclass(frozen=True, slots=True)
class Edited:
    """A JSON text without the targets. `values` were replaced; `undeclared` tells of hits outside
    the declared paths (replaced, or only reported) by path; `subjects` of all hits.
    """

    raw: bytes = field(repr=False)
    values: int
    undeclared: dict[str, int]
    subjects: set[int]


@dataclass(frozen=True, slots=True)
class EditedText:
    """A plain text without the targets."""

    text: str = field(repr=False)
    values: int
    subjects: set[int]


def leaves(raw: bytes) -> list[Leaf]:
    """Every scalar and every key of one JSON value, in order. JsonTextError when it is not one.

    Taken as they are: NaN, Infinity, integers of any size, lone surrogates, bytes that are not
    UTF-8 inside strings, any depth. A key that stands twice gives two leaves of the same path.
    """
    found: list[Leaf] = []
    inside: list[tuple[bool, str]] = []
    path, at = "", 0
    match = _ITEM.match(raw)
    while match is not None:
        at, kind = match.end(), match.lastindex
        if inside:
            is_object, path = inside[-1]
            if is_object:
                start, end = match.span(1)
                key = _text(raw[start + 1 : end - 1])
                path = joined(path, key) if path else key
                found.append(Leaf(path, start, end, key, True, True))
        if kind == _OPENED:
            is_object = raw[at - 1] == _BRACE
            closed = (_CLOSE_OBJECT if is_object else _CLOSE_ARRAY).match(raw, at)
            if closed is None:
                inside.append((is_object, path))
                match = (_MEMBER if is_object else _ITEM).match(raw, at)
                continue
            at = closed.end()
        else:
            found.append(_scalar(raw, path, match))
        if inside and raw[at : at + 1] == b",":
            at += 1
        else:
            at = _after(raw, at, inside)
            if not inside:
                return found
        match = (_MEMBER if inside[-1][0] else _ITEM).match(raw, at)
    raise JsonTextError(f"Not JSON after byte {at} of the line.")


def joined(path: str, key: str) -> str:
    # Paths stop growing well beyond any declared one: a hostile depth must not square the memory.
    if len(path) > _LONGEST_PATH:
        return path
    return f"{path}.{key}"


def _scalar(raw: bytes, path: str, match: re.Match[bytes]) -> Leaf:
    kind = match.lastindex or 0
    start, end = match.span(kind)
    if kind == _STRING_GROUP:
        text = _text(raw[start + 1 : end - 1])
        return Leaf(path, start, end, text, True, False)
    number = raw[start:end].decode("ascii") if kind == _NUMBER_GROUP else None
    return Leaf(path, start, end, number, False, False)


def _after(raw: bytes, at: int, inside: list[tuple[bool, str]]) -> int:
    """Close what ends after a value; the offset where the next one must begin."""
    while inside:
        mark = _NEXT.match(raw, at)
        if mark is None:
            raise JsonTextError(f"Not JSON after byte {at} of the line.")
        at = mark.end()
        if raw[at - 1] == _COMMA:
            return at
        is_object, _ = inside.pop()
        if is_object != (raw[at - 1 : at] == b"}"):
            raise JsonTextError(f"Not JSON after byte {at} of the line.")
    blank = _BLANK.match(raw, at)
    if blank is None or blank.end() != len(raw):
        raise JsonTextError(f"More than one value on a line, from byte {at}.")
    return at


def _text(content: bytes) -> str:
    """The decoded text of a string's content."""
    if b"\\" not in content:
        return content.decode("utf-8", "surrogateescape")
    return _ESCAPE_TEXT.sub(_unescaped, content.decode("utf-8", "surrogateescape"))


_ESCAPE_TEXT = re.compile(_ESCAPE.pattern.decode("ascii"))


def _unescaped(match: re.Match[str]) -> str:
    return _character(match[0].encode("ascii")).decode("utf-8", "surrogatepass")


def _character(escape: bytes) -> bytes:
    """What one JSON escape (or pair of surrogates) stands for, in UTF-8."""
    if escape[1:2] != b"u":
        return _SHORT.get(escape[1:2], escape[1:2])
    code = int(escape[2:6], 16)
    if len(escape) > 6:
        code = 0x10000 + ((code - 0xD800) << 10) + (int(escape[8:12], 16) - 0xDC00)
    return chr(code).encode("utf-8", "surrogatepass")


def _byte(escape: bytes) -> bytes:
    return bytes((int(escape[1:3], 16),))


class _Decoded:
    """A text after one kind of escape was decoded, and the way back to the bytes it came from."""

    __slots__ = ("_ends", "_from", "_starts", "_to", "text")

    def __init__(
        self, raw: bytes, pattern: re.Pattern[bytes], meaning: Callable[[bytes], bytes]
    ) -> None:
        pieces: list[bytes] = []
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._from: list[int] = []
        self._to: list[int] = []
        taken = length = 0
        for match in pattern.finditer(raw):
            start, end = match.span()
            plain, value = raw[taken:start], meaning(match[0])
            pieces += (plain, value)
            length += len(plain)
            self._starts.append(length)
            length += len(value)
            self._ends.append(length)
            self._from.append(start)
            self._to.append(end)
            taken = end
        pieces.append(raw[taken:])
        self.text = b"".join(pieces)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The undecoded bytes that decoded to text[start:end]: whole escapes, never a part."""
        return self._back(start, first=True), self._back(end - 1, first=False)

    def _back(self, position: int, *, first: bool) -> int:
        """Where the byte at `position` begins (`first`) or ends before it was decoded."""
        k = bisect_right(self._starts, position) - 1
        if k < 0:
            return position if first else position + 1
        if position < self._ends[k]:
            return self._from[k] if first else self._to[k]
        offset = self._to[k] + position - self._ends[k]
        return offset if first else offset + 1


_Span = tuple[int, int, str]


def may_hold(line: bytes, words: Words) -> bool:
    """Whether a value can stand in a line, as it is or behind its escapes. Never a false no; a
    line that was only a candidate for its escapes is told from a hit without being parsed.
    """
    if words.anywhere(line):
        return True
    if b"\\" in line:
        line = _ESCAPE.sub(lambda escape: _character(escape[0]), line)
        if words.anywhere(line):
            return True
    return b"%" in line and words.anywhere(unquote_to_bytes(line))


class Editor:
    """Finds the targets of a run in texts, and replaces them by their tombstones."""

    __slots__ = ("_targets", "_tombstones", "_words")

    def __init__(self, targets: Targets, tombstones: Tombstones) -> None:
        self._targets = targets
        self._tombstones = tombstones
        self._words = targets.once("words", lambda: Words(targets.by_value))

    def hits(self, text: str) -> list[str]:
        """The targets in a decoded text, by equality or by token. Empty: none."""
        if text in self._targets.by_value:
            return [text]
        return [v for _, _, v in self._tokens(text.encode("utf-8", "surrogatepass"))]

    def may_hold(self, line: bytes) -> bool:
        """Whether a line is worth parsing: `may_hold` for the targets."""
        return may_hold(line, self._words)

    def holder(self, raw: bytes) -> int | None:
        """The first subject whose value stands in any bytes by token, None when there is none.

        As the bytes stand and with their escapes decoded: for lines that are no JSON, where nobody
        knows which of the two they mean.
        """
        spans = self._tokens(raw)
        if b"\\" in raw:
            spans += self._tokens(_Decoded(raw, _ESCAPE, _character).text)
        return min((self._targets.subject_of(v) for _, _, v in spans), default=None)

    def edit_json(
        self,
        raw: bytes,
        found: Sequence[Leaf],
        *,
        owner: str,
        declared: frozenset[str],
        elsewhere: str,
    ) -> Edited:
        """Replace every target in a JSON text; `found` are its leaves."""
        return self.edit_leaves(
            raw, self.suspects(raw, found), owner=owner, declared=declared, elsewhere=elsewhere
        )

    def edit_leaves(
        self,
        raw: bytes,
        suspects: Iterable[Leaf],
        *,
        owner: str,
        declared: frozenset[str],
        elsewhere: str,
    ) -> Edited:
        """Replace every target in a JSON text; `suspects`: its leaves that can hold one, in order.

        `owner`: row_owner() of the row. `declared`: paths with a role, where equality counts too,
        and numbers. `elsewhere` "report": hits outside them are counted and stay.
        """
        pieces: list[bytes] = []
        undeclared: Counter[str] = Counter()
        subjects: set[int] = set()
        taken = values = 0
        for leaf in suspects:
            known = leaf.path in declared and not leaf.is_key
            spans = self._in_leaf(raw, leaf, known=known)
            if spans and not known:
                undeclared[self._shown(leaf)] += len(spans)
            subjects.update(self._targets.subject_of(value) for _, _, value in spans)
            if elsewhere == "report" and not known:
                continue
            for start, end, value in spans:
                new = self._tombstone(value, owner).encode("ascii")
                pieces += (raw[taken:start], new if leaf.is_string else b'"' + new + b'"')
                taken = end
                values += 1
        pieces.append(raw[taken:])
        return Edited(b"".join(pieces), values, dict(undeclared), subjects)

    def edit_text(self, text: str, *, owner: str) -> EditedText:
        """Replace every target in a plain text (percent-decoded, no JSON escapes)."""
        if text in self._targets.by_value:
            subject = self._targets.subject_of(text)
            return EditedText(self._tombstone(text, owner), 1, {subject})
        raw = text.encode("utf-8", "surrogatepass")
        pieces: list[bytes] = []
        spans = self._tokens(raw)
        taken = 0
        for start, end, value in spans:
            pieces += (raw[taken:start], self._tombstone(value, owner).encode("ascii"))
            taken = end
        pieces.append(raw[taken:])
        subjects = {self._targets.subject_of(v) for _, _, v in spans}
        return EditedText(b"".join(pieces).decode("utf-8", "surrogatepass"), len(spans), subjects)

    def _tombstone(self, value: str, owner: str) -> str:
        return self._tombstones.of(self._targets.by_value[value].identifier, owner=owner)

    def suspects(self, raw: bytes, found: Sequence[Leaf]) -> Iterator[Leaf]:
        """Leaves that can hold a target. Where nothing is escaped one look at the line tells."""
        if b"\\" in raw or b"%" in raw:
            yield from (leaf for leaf in found if leaf.text is not None)
            return
        starts = [leaf.start for leaf in found]
        last = -1
        for start, _, _ in self._words.every(raw):
            k = bisect_right(starts, start) - 1
            if k > last:
                last = k
                yield found[k]

    def _in_leaf(self, raw: bytes, leaf: Leaf, *, known: bool) -> list[_Span]:
        """Spans of `raw` to be replaced in one leaf."""
        text = leaf.text
        if text is None or not (leaf.is_string or known):
            return []
        shift = 1 if leaf.is_string else 0
        start, end = leaf.start + shift, leaf.end - shift
        if known and text in self._targets.by_value:
            return [(start, end, text)]
        if not leaf.is_string:
            return []
        content = raw[start:end]
        if b"\\" not in content:
            return [(s + start, e + start, v) for s, e, v in self._tokens(content)]
        decoded = _Decoded(content, _ESCAPE, _character)
        spans = ((decoded.span(s, e), v) for s, e, v in self._tokens(decoded.text))
        return [(s + start, e + start, v) for (s, e), v in spans]

    def _tokens(self, text: bytes) -> list[_Span]:
        """Targets in a text by token, percent-decoded; spans of the text as given."""
        if b"%" not in text:
            return self._words.find(text)
        decoded = _Decoded(text, _PERCENT, _byte)
        spans = [(*decoded.span(s, e), v) for s, e, v in self._words.find(decoded.text)]
        # A value that itself holds `%41` never survives the decoding: it is looked for as it is.
        spans += (s for s in self._words.find(text) if "%" in s[2])
        return leftmost_longest(spans)

    def _shown(self, leaf: Leaf) -> str:
        """The path for a receipt: a key that may be somebody's value is shown as `*`."""
        path = leaf.path
        if leaf.is_key and leaf.text is not None:
            path = path.removesuffix(leaf.text) + "*"
        names = path[:_LONGEST_PATH].split(".")
        return ".".join(n if _NAME.fullmatch(n) and not self.hits(n) else "*" for n in names)
