"""What a line says, by a fast parser, where its answer is proved to be that of jsontext.leaves.

Not a reading of odd lines: where the proof fails (a key twice, a number that decides, bytes that
are not UTF-8, an escape near a value) the answer is None, and the exact reading has the word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from app.domain.datasets import Dataset
from app.lake.jsontext import Leaf, joined

_QUOTE, _BACKSLASH = b'"', b"\\"
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_LEAF = str | UnsetType | None
_NOBODY = frozenset((None, UNSET))


class Read(NamedTuple):
    """What is needed of a line."""

    values: Mapping[str, Sequence[str]]
    """Texts at the paths that decide."""
    leaves: Iterable[Leaf]
    """All that can hold a target, keys among them, in order. Taken once."""


class OwnerReader:
    """Whose a line is, where one typed decode of the owner columns can tell."""

    __slots__ = ("_decode", "_fixed", "_maybe", "_names")

    def __init__(self, owner: Iterable[str], owner_when: Iterable[str]) -> None:
        fixed, maybe = tuple(owner), tuple(owner_when)
        paths = sorted({*fixed, *maybe})
        if not _decodable(paths):
            paths, fixed, maybe = [], (), ()
        self._decode = msgspec.json.Decoder(_struct([p.split(".") for p in paths])).decode
        chains = {p: tuple(map(_attribute, p.split("."))) for p in paths}
        self._fixed = tuple(chains[p] for p in fixed)
        self._maybe = tuple(chains[p] for p in maybe if p not in fixed)
        # A path's last key ends so in the text, whatever a writer puts around it.
        lasts = sorted({p.rpartition(".")[2] for p in paths})
        self._names = tuple((f'{name}"'.encode(), _of(chains, name)) for name in lasts)

    def owners(self, line: bytes) -> frozenset[str] | None:
        """The owners of a line without odd escapes; None where another reading must tell."""
        try:
            found = self._decode(line)
        except (msgspec.DecodeError, RecursionError):
            return None
        owners = {_at(found, chain) for chain in self._fixed}
        for chain in self._maybe:
            # Where it says the same nothing depends on its condition.
            value = _at(found, chain)
            if value.__class__ is str and value not in owners:
                return None
        for name, chains in self._names:
            # Each value decoded stands behind a key of its own: no other such key is in the line.
            if line.count(name) != sum(_at(found, chain) is not UNSET for chain in chains):
                return None
        return frozenset(owners - _NOBODY)


def _decodable(paths: Sequence[str]) -> bool:
    """Whether keys are plain (no escape spells one otherwise) and none is inside another."""
    keys = [key for path in paths for key in path.split(".")]
    return all(_PLAIN.fullmatch(key) for key in keys) and not any(
        other.startswith(f"{path}.") for path in paths for other in paths
    )


def _struct(paths: Sequence[Sequence[str]]) -> Any:
    inside: dict[str, list[Sequence[str]]] = {}
    for first, *rest in paths:
        inside.setdefault(first, []).extend([rest] if rest else [])
    fields: list[tuple[str, Any, Any]] = []
    for key, below in inside.items():
        kind = _struct(below) | UnsetType | None if below else _LEAF
        fields.append((_attribute(key), kind, UNSET))
    rename = {_attribute(key): key for key in inside}
    return msgspec.defstruct("Owners", fields, rename=rename, gc=False)


def _attribute(key: str) -> str:
    return "f" + key.encode().hex()


def _of(chains: Mapping[str, tuple[str, ...]], name: str) -> tuple[tuple[str, ...], ...]:
    return tuple(chain for path, chain in chains.items() if path.rpartition(".")[2] == name)


def _at(found: Any, chain: tuple[str, ...]) -> Any:
    """A string, None for null, UNSET for nothing."""
    for name in chain[:-1]:
        found = getattr(found, name)
        if found is None or found is UNSET:
            return UNSET
    return getattr(found, chain[-1])


@dataclass(slots=True)
class _Walk:
    """One pass over a decoded line, in the order of its text."""

    touched: Set[str] = field(repr=False)
    names: Set[str]
    """Keys behind which a path that decides can end."""
    asked: Set[str]
    strings: int = 0
    hits: list[tuple[str, str, bool]] = field(default_factory=list, repr=False)
    """(text, path, whether it is a key)"""
    values: dict[str, list[str]] = field(default_factory=dict, repr=False)
    is_odd: bool = False

    def members(self, node: dict[str, Any], path: str) -> None:
        touched, names = self.touched, self.names
        self.strings += len(node)
        for key, value in node.items():
            if key in touched:
                self.hits.append((key, joined(path, key) if path else key, True))
            kind = value.__class__
            if kind is str:
                self.strings += 1
                if value in touched or key in names:
                    self.text(value, joined(path, key) if path else key)
            elif kind is dict:
                self.members(value, joined(path, key) if path else key)
            elif kind is list:
                self.elements(value, joined(path, key) if path else key)
            elif key in names:
                self.number(value, joined(path, key) if path else key)

    def elements(self, node: list[Any], path: str) -> None:
        for value in node:
            kind = value.__class__
            if kind is str:
                self.strings += 1
                self.text(value, path)
            elif kind is dict:
                self.members(value, path)
            elif kind is list:
                self.elements(value, path)
            else:
                self.number(value, path)

    def text(self, value: str, path: str) -> None:
        if value in self.touched:
            self.hits.append((value, path, False))
        if path in self.asked:
            self.values.setdefault(path, []).append(value)

    def number(self, value: Any, path: str) -> None:
        # Its source text is what counts, and that is gone.
        self.is_odd |= path in self.asked and value.__class__ in (int, float)


class LineReader:
    """Reads lines of one dataset."""

    __slots__ = ("_asked", "_decode", "_names", "owners")

    def __init__(self, dataset: Dataset, asked: Set[str]) -> None:
        roles = dataset.roles
        whens = [column for when in roles.owner_when for column in when.columns]
        self.owners = OwnerReader(roles.owner, whens).owners
        self._asked = asked
        parts = [path.split(".") for path in asked]
        # A key may hold dots itself.
        self._names = frozenset(".".join(p[n:]) for p in parts for n in range(len(p)))
        self._decode = msgspec.json.Decoder().decode

    def read(self, content: bytes, at: Sequence[int]) -> Read | None:
        """Read a line without odd escapes. `at`: offsets inside the strings that are asked for."""
        places = _strings_at(content, at)
        if places is None:
            return None
        try:
            tree = self._decode(content)
            walk = _Walk(places.keys(), self._names, self._asked)
            walk.elements([tree], "")
        except (msgspec.DecodeError, RecursionError):
            return None
        if walk.is_odd or walk.strings != _count(content):
            return None  # a key that stands twice was decoded once
        leaves = []
        for text, path, is_key in walk.hits:
            if not places[text]:
                return None
            start = places[text].pop(0)
            leaves.append(Leaf(path, start, start + len(text.encode()) + 2, text, True, is_key))
        return None if any(places.values()) else Read(walk.values, leaves)


def _strings_at(content: bytes, at: Sequence[int]) -> dict[str, list[int]] | None:
    """The texts of the strings that these offsets (ascending) are in, and where each begins."""
    found: dict[str, list[int]] = {}
    past = 0
    for position in at:
        if position < past:
            continue
        start = content.rfind(_QUOTE, 0, position)
        past = content.find(_QUOTE, position)
        if start < 0 or past < 0:
            return None
        raw = content[start + 1 : past]
        if _BACKSLASH in raw or content[start - 1 : start] == _BACKSLASH:
            return None
        try:
            found.setdefault(raw.decode(), []).append(start)
        except UnicodeDecodeError:
            return None
    return found


def _count(content: bytes) -> int:
    """How many strings are in a line that is known to be JSON, keys among them."""
    if _BACKSLASH in content:
        return len(_STRING.findall(content))
    return content.count(_QUOTE) // 2
