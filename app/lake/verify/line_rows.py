"""An NDJSON line as a row: its leaves, who owns it, and what must have become of it.

Pure. Not here: comparing objects (object_pairs) and searching them (lines).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from app.domain.datasets import Dataset
from app.lake.verify.edits import Spot, in_json, in_string
from app.lake.verify.jsonread import Form, Leaf, leaves
from app.lake.verify.needles import Needles
from app.lake.verify.rule import Fate, Judgement, Rule
from app.lake.verify.text import json_unescaped, utf8


@dataclass(frozen=True, slots=True)
class Line:
    """One line that holds somebody of the run."""

    spots: tuple[Spot, ...] = field(repr=False)
    judgement: Judgement | None
    """None: the line cannot be parsed."""
    values: tuple[str, ...] = field(repr=False)

    def left(self, elsewhere: str) -> list[Spot]:
        """The spots that must have become tombstones on a line that stays."""
        return [s for s in self.spots if s.known or elsewhere == "replace"]

    def must_change(self, elsewhere: str) -> bool:
        """Whether a text with this line cannot stay as it is."""
        if self.judgement is None or self.judgement.fate is Fate.GOES:
            return True
        return self.judgement.fate is Fate.SEVERED and bool(self.left(elsewhere))


class LineReader:
    """Reads lines by the rule of one dataset."""

    def __init__(self, dataset: Dataset, needles: Needles) -> None:
        self.dataset = dataset
        self._needles = needles
        self._rule = Rule(dataset, needles.targets)
        self._known = dataset.roles.declared

    def quick(self, raw: bytes) -> Line | None:
        """The line, read the quick way: spots without paths, none on a line that goes. None is no
        answer: then `read` tells.
        """
        try:
            text = raw.decode("utf-8", "surrogateescape")
            said = _JSON.decode(text)
        except (ValueError, RecursionError):
            return None
        judgement = self._rule.judge(partial(_below, said), lambda _column: _nothing)
        if judgement.fate is Fate.GOES:
            return Line((), judgement, ())
        if judgement.fate is Fate.STAYS or self.dataset.elsewhere != "replace":
            return None
        hits = self._needles.plain_hits(raw)
        if not hits or any(h.value.isdecimal() or not in_string(raw, h.start) for h in hits):
            return None
        spots = tuple(Spot(h.start, h.end, h.value, "", known=False) for h in hits)
        return Line(spots, judgement, tuple(h.value for h in hits))

    def read(self, raw: bytes) -> Line | None:
        """The line, or None when nobody of the run stands on it. `raw`: no byte order mark."""
        found = leaves(raw)
        if found is None:
            values = sorted(values_in_broken(raw, self._needles))
            return Line((), None, tuple(values)) if values else None
        spots = in_json(raw, found, needles=self._needles, known=self._known)
        if not spots:
            return None
        at = _Values(found)
        judgement = self._rule.judge(at, lambda _column: _nothing)
        return Line(tuple(spots), judgement, tuple(s.value for s in spots))


class _Values:
    def __init__(self, found: Sequence[Leaf]) -> None:
        self._found = found

    def __call__(self, path: str) -> Iterator[str]:
        for leaf in self._found:
            if leaf.path == path and leaf.form is not Form.KEY:
                yield leaf.value


class _Number(str):
    """A number as its source text."""

    __slots__ = ()


_JSON = json.JSONDecoder(
    strict=False, parse_int=_Number, parse_float=_Number, object_pairs_hook=tuple
)


def _below(said: Any, path: str) -> list[str]:
    """Every value at a dotted path of parsed JSON: objects as tuples of pairs, lists as lists."""
    found = [(said, path)]
    values: list[str] = []
    while found:
        value, rest = found.pop()
        if isinstance(value, list):
            found += [(element, rest) for element in value]
        elif isinstance(value, tuple):
            for key, inner in value:
                if rest == key:
                    found.append((inner, ""))
                elif rest.startswith(key + "."):
                    found.append((inner, rest[len(key) + 1 :]))
        elif isinstance(value, str) and not rest:
            values.append(str(value))
    return values


def _nothing(_path: str) -> Iterable[str]:
    return ()


def values_in_broken(raw: bytes, needles: Needles) -> set[str]:
    """Values in bytes of which nobody knows what they mean: as they stand, and unescaped."""
    found = {h.value for h in needles.hits(utf8(raw))}
    if b"\\" in raw:
        found |= {h.value for h in needles.hits(json_unescaped(raw))}
    return found
