"""An NDJSON line as a row: its leaves, who owns it, and what must have become of it.

Pure. Not here: comparing objects (object_pairs) and searching them (lines).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from app.domain.datasets import Dataset
from app.lake.verify.edits import Spot, in_leaves
from app.lake.verify.jsonread import Form, Leaf, leaves
from app.lake.verify.needles import Needles
from app.lake.verify.rule import Judgement, Rule
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


class LineReader:
    """Reads lines by the rule of one dataset."""

    def __init__(self, dataset: Dataset, needles: Needles) -> None:
        self.dataset = dataset
        self._needles = needles
        self._rule = Rule(dataset, needles.targets)
        self._known = dataset.roles.declared

    def read(self, raw: bytes) -> Line | None:
        """The line, or None when nobody of the run stands on it. `raw`: no byte order mark."""
        found = leaves(raw)
        if found is None:
            values = sorted(values_in_broken(raw, self._needles))
            return Line((), None, tuple(values)) if values else None
        spots = in_leaves(found, needles=self._needles, known=self._known)
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


def _nothing(_path: str) -> Iterable[str]:
    return ()


def values_in_broken(raw: bytes, needles: Needles) -> set[str]:
    """Values in bytes of which nobody knows what they mean: as they stand, and unescaped."""
    found = {h.value for h in needles.hits(utf8(raw))}
    if b"\\" in raw:
        found |= {h.value for h in needles.hits(json_unescaped(raw))}
    return found
