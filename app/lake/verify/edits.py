"""What must have changed on a text that stays, and whether exactly that did: each value of the run
became a tombstone of its kind, one value one tombstone, every other byte is the same.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from app.lake.verify.jsonread import Form, Leaf, leaves
from app.lake.verify.needles import Needles
from app.lake.verify.text import json_unescaped, utf8

TOMBSTONE = re.compile(rb"tomb_([uadx])_[0-9a-hjkmnp-tv-z]{26}")
_OPENERS = (b"{", b"[", b'"')


@dataclass(frozen=True, slots=True)
class Spot:
    """A value of the run at raw bytes [start, end) of a text, and in which column."""

    start: int
    end: int
    value: str = field(repr=False)
    path: str = field(repr=False)
    known: bool
    """The path has a role in the data map."""
    is_number: bool = False


def in_leaves(found: Iterable[Leaf], *, needles: Needles, known: frozenset[str]) -> list[Spot]:
    """Where values stand in a JSON text, in order. `known`: the declared paths."""
    spots: list[Spot] = []
    for leaf in found:
        is_known = leaf.path in known and leaf.form is not Form.KEY
        end = leaf.start + len(leaf.raw)
        if is_known and leaf.value in needles.values:
            number = leaf.form is Form.NUMBER
            spots.append(Spot(leaf.start, end, leaf.value, leaf.path, known=True, is_number=number))
        elif leaf.form is not Form.NUMBER and len(leaf.raw) >= needles.shortest:
            hits = needles.hits(json_unescaped(leaf.raw, leaf.start))
            spots += [Spot(h.start, h.end, h.value, leaf.path, known=is_known) for h in hits]
    return spots


def in_json(
    raw: bytes, found: Sequence[Leaf], *, needles: Needles, known: frozenset[str]
) -> list[Spot]:
    """The same for the leaves of `raw`, without a look at those where nothing can stand."""
    starts = [leaf.start for leaf in found]
    at = {bisect_right(starts, position) - 1 for position in needles.plain_suspects(raw)}
    if b"%" in raw or b"\\" in raw:
        at.update(n for n, leaf in enumerate(found) if b"%" in leaf.raw or b"\\" in leaf.raw)
    return in_leaves([found[n] for n in sorted(at) if n >= 0], needles=needles, known=known)


def document(raw: bytes) -> list[Leaf] | None:
    """The leaves of a text column's value that is JSON with something inside; None: plain text."""
    return leaves(raw) if raw.lstrip()[:1] in _OPENERS else None


def in_plain(raw: bytes, *, needles: Needles, path: str, known: bool) -> list[Spot]:
    """Where values stand in a plain text."""
    text = utf8(raw)
    if known and text.text in needles.values:
        return [Spot(0, len(raw), text.text, path, known=True)]
    return [Spot(h.start, h.end, h.value, path, known=known) for h in needles.hits(text)]


def in_column(
    raw: bytes, *, needles: Needles, path: str, known: bool, inside: frozenset[str]
) -> list[Spot]:
    """Where values stand in a text column's value. `inside`: declared paths of the JSON in it."""
    found = document(raw)
    if found is None:
        return in_plain(raw, needles=needles, path=path, known=known)
    spots = in_json(raw, found, needles=needles, known=inside)
    return [
        Spot(
            s.start,
            s.end,
            s.value,
            f"{path}.{s.path}" if s.path else path,
            known=s.known or known,
            is_number=s.is_number,
        )
        for s in spots
    ]


def in_column_quickly(raw: bytes, *, needles: Needles) -> list[Spot] | None:
    """The same where every value is to become a tombstone, whatever the path: without paths. None
    is no answer.
    """
    hits = needles.plain_hits(raw)
    if hits is None or any(h.value.isdecimal() for h in hits):
        return None
    if raw.lstrip()[:1] in _OPENERS and not all(in_string(raw, h.start) for h in hits):
        return None
    return [Spot(h.start, h.end, h.value, "", known=False) for h in hits]


def in_string(raw: bytes, at: int) -> bool:
    """Of JSON without a backslash: an odd number of quotes opens a string."""
    return raw.count(b'"', 0, at) % 2 == 1


def severed(old: bytes, new: bytes, spots: Sequence[Spot]) -> list[tuple[Spot, bytes]] | None:
    """The tombstone that stands at each spot; None when `new` is anything but `old` with
    tombstones, of any kind, exactly there.
    """
    done = at = 0
    pairs: list[tuple[Spot, bytes]] = []
    for spot in spots:
        between = old[done : spot.start]
        if new[at : at + len(between)] != between:
            return None
        at += len(between)
        quote = b'"' if spot.is_number else b""
        if not new.startswith(quote, at):
            return None
        tombstone = TOMBSTONE.match(new, at + len(quote))
        if tombstone is None or not new.startswith(quote, tombstone.end()):
            return None
        pairs.append((spot, tombstone.group()))
        at = tombstone.end() + len(quote)
        done = spot.end
    return pairs if new[at:] == old[done:] else None


class Book:
    """The tombstones seen so far: one for each value and owner, and none for two of them."""

    def __init__(self, needles: Needles) -> None:
        self._targets = needles.targets
        self._of: dict[tuple[str, frozenset[str]], bytes] = {}
        self._whose: dict[bytes, tuple[str, frozenset[str]]] = {}

    def faults(
        self, pairs: Iterable[tuple[Spot, bytes]], *, owners: frozenset[str]
    ) -> Iterator[str]:
        """What is wrong with the tombstones of one row, in words."""
        for spot, tombstone in pairs:
            kind = self._targets.by_value[spot.value].identifier.kind
            if tombstone[5:6] != kind.letter.encode():
                yield "a tombstone of another kind"
            key = (spot.value, owners)
            if self._of.setdefault(key, tombstone) != tombstone:
                yield "two tombstones for one value of one owner"
            if self._whose.setdefault(tombstone, key) != key:
                yield "one tombstone for two values or owners"
