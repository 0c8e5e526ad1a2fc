"""JSON text as a flat list of its leaves, with the bytes each one stands on. Iterative (any depth),
and tolerant of NaN, big integers, lone surrogates, invalid UTF-8. The verifier's own reader.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from app.lake.verify.text import json_unescaped

_TOKEN = re.compile(
    rb'[ \t\r\n]*(?:([{}\[\],:])|"((?:[^"\\]++|\\.)*+)"|([^ \t\r\n{}\[\],:"]++))', re.DOTALL
)
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|NaN|-?Infinity")
_LITERALS = (b"null", b"true", b"false")
_OPENING = {b"{": "first key", b"[": "first"}
_CLOSING = {b"{": b"}", b"[": b"]"}
_LONGEST_PATH = 1024


class Form(StrEnum):
    """What a leaf is written as. null, true and false are no leaves: they hold nobody."""

    STRING = "string"
    NUMBER = "number"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One string, number or object key. `path` is dotted, without list indexes; a key's is its
    member's.
    """

    path: str = field(repr=False)
    form: Form
    start: int
    """Where its raw bytes start: inside the quotes of a string."""
    raw: bytes = field(repr=False)

    @property
    def value(self) -> str:
        """What it means: unescaped text, or the decimal text of a number."""
        if self.form is Form.NUMBER:
            return self.raw.decode("ascii")
        return json_unescaped(self.raw).text


def leaves(raw: bytes) -> list[Leaf] | None:
    """All leaves of one complete JSON value, in order; None when the bytes are not one."""
    found: list[Leaf] = []
    stack: list[tuple[bytes, str]] = []
    """Open containers: `{` or `[`, and the path each one stands at."""
    path = ""
    want = "value"
    """value | first (value or ]) | key | first key (key or }) | colon | after"""
    at, end = 0, len(raw)
    while at < end:
        token = _TOKEN.match(raw, at)
        if token is None:
            break
        at = token.end()
        mark, string, word = token.groups()
        if want in ("value", "first"):
            if mark == b"]" and want == "first":
                path = stack.pop()[1]
                want = "after"
            elif mark in _OPENING:
                stack.append((mark, path))
                want = _OPENING[mark]
            elif string is not None:
                found.append(Leaf(path, Form.STRING, token.start(2), string))
                want = "after"
            elif word is not None and (word in _LITERALS or _NUMBER.fullmatch(word)):
                if word not in _LITERALS:
                    found.append(Leaf(path, Form.NUMBER, token.start(3), word))
                want = "after"
            else:
                return None
        elif want in ("key", "first key"):
            if mark == b"}" and want == "first key":
                path = stack.pop()[1]
                want = "after"
            elif string is not None:
                path = _joined(stack[-1][1], string)
                found.append(Leaf(path, Form.KEY, token.start(2), string))
                want = "colon"
            else:
                return None
        elif want == "colon":
            if mark != b":":
                return None
            want = "value"
        elif mark == b"," and stack:
            want = "key" if stack[-1][0] == b"{" else "value"
            path = stack[-1][1]
        elif stack and mark == _CLOSING[stack[-1][0]]:
            path = stack.pop()[1]
        else:
            return None
    if want != "after" or stack or raw[at:].strip(b" \t\r\n"):
        return None
    return found


@lru_cache(maxsize=4096)
def _joined(path: str, key: bytes) -> str:
    # A hostile depth must not square the memory: no declared path is this long.
    if len(path) > _LONGEST_PATH:
        return path
    name = json_unescaped(key).text
    return f"{path}.{name}" if path else name


def is_strict_json(raw: bytes) -> bool:
    """Whether the strictest common reader takes it: what that refuses may rightly be parked."""
    try:
        text = raw.decode("utf-8", "surrogateescape")
        json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return False
    return True
