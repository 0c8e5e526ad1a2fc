"""The erasure rule on NDJSON text: blocks of lines in, pieces of the text without the people out.

Pure: no store, no codec. A line that holds nobody is never parsed and never changed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.domain.datasets import Dataset
from app.domain.identifiers import Targets
from app.domain.policies import Decision, Fate, decide, is_kept, matches
from app.domain.receipts import Counts, Place, Share
from app.lake.codecs import Block
from app.lake.jsontext import Edited, Editor, JsonTextError, Leaf, leaves
from app.lake.tokens import Finder, TokenFilter
from app.lake.tombstones import Tombstones, row_owner

BOM = b"\xef\xbb\xbf"
PARK, DROP = "park", "drop"


@dataclass(frozen=True, slots=True)
class Rule:
    """All that decides about a line. Built once a run and dataset."""

    dataset: Dataset
    targets: Targets
    editor: Editor
    filter: TokenFilter
    unparsable: str
    declared: frozenset[str]
    asked: frozenset[str]
    """Paths whose values decide: owners and conditions."""

    @classmethod
    def of(
        cls, dataset: Dataset, *, targets: Targets, tombstones: Tombstones, unparsable: str
    ) -> Rule:
        """The rule of a dataset for the people of a run. `unparsable`: park | drop."""
        return cls(
            dataset=dataset,
            targets=targets,
            editor=Editor(targets, tombstones),
            filter=targets.once("token filter", lambda: TokenFilter(targets.by_value)),
            unparsable=unparsable,
            declared=dataset.roles.declared,
            asked=_asked(dataset),
        )


def _asked(dataset: Dataset) -> frozenset[str]:
    roles = dataset.roles
    wheres = [when.where for when in roles.owner_when] + [k.where for k in dataset.keep_when]
    paths = {*roles.owner, *(path for where in wheres for path, _ in where.all_of)}
    return frozenset(paths.union(*(when.columns for when in roles.owner_when)))


@dataclass(slots=True)
class Tally:
    """What was seen so far in one text."""

    before: int = 0
    deleted: int = 0
    tombstoned: int = 0
    co_owned: int = 0
    kept: int = 0
    values: int = 0
    parked: list[Place] = field(default_factory=list)
    shares: dict[int, Share] = field(default_factory=dict)
    undeclared: Counter[str] = field(default_factory=Counter)
    kept_lines: set[bytes] = field(default_factory=set)
    """Short digests of lines kept on a legal ground."""
    lines: int = 0
    """Newlines passed, blank lines among them."""
    offset: int = 0
    """Bytes of text passed."""

    @property
    def changed(self) -> bool:
        """Whether any byte changed so far."""
        return self.deleted > 0 or self.values > 0

    @property
    def counts(self) -> Counts:
        """As a receipt has it."""
        return Counts(
            before=self.before,
            deleted=self.deleted,
            tombstoned=self.tombstoned,
            co_owned=self.co_owned,
            kept=self.kept,
            values=self.values,
            parked=len(self.parked),
            shares=dict(sorted(self.shares.items())),
            undeclared=dict(sorted(self.undeclared.items())),
        )

    def share(self, subject: int, share: Share) -> None:
        """Add to one subject's share."""
        self.shares[subject] = self.shares.get(subject, Share()) + share


Piece = bytes | memoryview
_Offsets = np.ndarray[Any, np.dtype[np.int64]]


def rewritten(blocks: Iterable[Block], *, rule: Rule, tally: Tally) -> Iterator[list[Piece]]:
    """The text without the people, a list of pieces for each block; counts go to `tally`."""
    for block in blocks:
        yield _block(block, rule=rule, tally=tally)


def _block(block: Block, *, rule: Rule, tally: Tally) -> list[Piece]:
    return changed_lines(
        block,
        rule.filter.candidates(*block).tolist(),
        change=lambda line, place: _line(line, place=place, rule=rule, tally=tally),
        tally=tally,
    )


def line_without(line: bytes, *, place: Place, rule: Rule, tally: Tally) -> bytes:
    """One line, its newline included, after the rule: itself where it holds nobody, or b''."""
    return _line(line, place=place, rule=rule, tally=tally)


def changed_lines(
    block: Block,
    candidates: Iterable[int],
    *,
    change: Callable[[bytes, Place], bytes],
    tally: Tally,
) -> list[Piece]:
    """The text of a block after `change` of each line that a candidate position (sorted) is on;
    every other byte as it is. Lines passed are counted.
    """
    data, begin, end = block
    view = memoryview(data)
    newlines = _newlines(block)
    tally.before += _filled(block, newlines)
    pieces: list[Piece] = []
    taken = past = begin
    for at in candidates:
        if at < past:
            continue
        start = data.rfind(b"\n", past, at) + 1 or past
        stop = data.find(b"\n", at, end) + 1 or end
        past = stop
        line = data[start:stop]
        number = int(np.searchsorted(newlines, start)) + tally.lines + 1
        place = Place(number, tally.offset + start - begin)
        new = change(line, place)
        if new is not line:
            pieces += (view[taken:start], new)
            taken = stop
    pieces.append(view[taken:end])
    tally.lines += len(newlines)
    tally.offset += end - begin
    return [p for p in pieces if len(p)]


def _newlines(block: Block) -> _Offsets:
    """Where every newline stands in the data."""
    found = list(Finder(block.data).each(ord("\n"), block.start, block.end))
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _filled(block: Block, newlines: _Offsets) -> int:
    """How many lines are not blank."""
    data, begin, end = block
    starts = np.concatenate((np.array([begin], np.int64), newlines + 1))
    starts = starts[starts < end]
    first = np.frombuffer(data, np.uint8).take(starts)
    # A blank line begins with white space (or is the byte-order mark alone); few lines do.
    doubtful = starts[(first <= ord(" ")) | (first == BOM[0])]
    blank = 0
    for start in doubtful.tolist():
        stop = data.find(b"\n", start, end) + 1 or end
        blank += not data[start:stop].removeprefix(BOM).strip()
    return len(starts) - blank


def _line(line: bytes, *, place: Place, rule: Rule, tally: Tally) -> bytes:
    """What becomes of one line (its newline included): itself, another text, or b''."""
    if not rule.editor.may_hold(line):
        return line
    mark = BOM if place.offset == 0 and line.startswith(BOM) else b""
    content = line[len(mark) :].rstrip(b"\r\n")
    tail = line[len(mark) + len(content) :]
    try:
        found = leaves(content)
    except JsonTextError:
        return _broken(line, mark, place=place, rule=rule, tally=tally)
    values = _Values(found, rule.asked)
    owners = owners_of(rule.dataset, values)
    kept = is_kept(rule.dataset, values.at)
    decision = decide(owners, targets=rule.targets, dataset=rule.dataset, kept=kept)
    if decision.fate is Fate.DELETE and decision.subject is not None:
        tally.deleted += 1
        tally.share(decision.subject, Share(deleted=1))
        return mark
    edited = rule.editor.edit_json(
        content,
        found,
        owner=row_owner(owners),
        declared=rule.declared,
        elsewhere=rule.dataset.elsewhere,
    )
    if not edited.subjects:
        return line
    if decision.fate is Fate.KEEP:
        tally.kept += 1
        tally.share(min(edited.subjects), Share(kept=1))
        tally.kept_lines.add(hashlib.blake2b(content, digest_size=16).digest())
        return line
    return _severed(line, mark + edited.raw + tail, decision, edited=edited, tally=tally)


def _severed(line: bytes, new: bytes, decision: Decision, *, edited: Edited, tally: Tally) -> bytes:
    """A line that stays without the values."""
    tally.undeclared.update(edited.undeclared)
    if not edited.values:
        return line
    co_owned = int(decision.co_owned)
    tally.tombstoned += 1
    tally.co_owned += co_owned
    tally.values += edited.values
    # A deleted line counts for its owner, any other for the first subject of its values.
    tally.share(min(edited.subjects), Share(tombstoned=1, co_owned=co_owned))
    return new


def _broken(line: bytes, mark: bytes, *, place: Place, rule: Rule, tally: Tally) -> bytes:
    """A line that is no JSON: untouched without an identifier, else parked or dropped whole."""
    holder = rule.editor.holder(line[len(mark) :])
    if holder is None:
        return line
    if rule.unparsable == DROP:
        tally.deleted += 1
        tally.share(holder, Share(deleted=1))
        return mark
    tally.parked.append(place)
    return line


class _Values:
    """The scalar values of a line at the paths that decide; a key that stands twice has both."""

    __slots__ = ("_by_path",)

    def __init__(self, found: Iterable[Leaf], asked: Set[str]) -> None:
        self._by_path: dict[str, list[str]] = {}
        for leaf in found:
            if leaf.path in asked and leaf.text is not None and not leaf.is_key:
                self._by_path.setdefault(leaf.path, []).append(leaf.text)

    def at(self, path: str) -> list[str]:
        """Every value at a path."""
        return self._by_path.get(path, [])


def owners_of(dataset: Dataset, values: _Values) -> frozenset[str]:
    """Every user_id that a line says it belongs to."""
    roles = dataset.roles
    columns = list(roles.owner)
    for when in roles.owner_when:
        if matches(when.where, values.at):
            columns += when.columns
    return frozenset(value for column in columns for value in values.at(column))
