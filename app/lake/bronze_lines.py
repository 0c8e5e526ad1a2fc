"""The erasure rule on NDJSON text: blocks of lines in, pieces of the text without the people out.

Pure: no store, no codec. A line that holds nobody is never parsed and never changed.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

import numpy as np

from app.domain.datasets import Dataset
from app.domain.identifiers import Targets
from app.domain.policies import Decision, Fate, decide, is_kept, matches
from app.domain.receipts import Counts, Place, Share
from app.lake.codecs import Block
from app.lake.jsontext import Edited, Editor, JsonTextError, Leaf, leaves
from app.lake.line_reads import LineReader, Read
from app.lake.tokens import SUB_BLOCK, TokenFilter
from app.lake.tombstones import Tombstones, row_owner

BOM = b"\xef\xbb\xbf"
PARK, DROP = "park", "drop"
_OBJECT = ord("{")


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
    reader: LineReader
    deletes: bool
    """Whether a line goes if its owners are all in the run, whatever else it says."""

    @classmethod
    def of(
        cls, dataset: Dataset, *, targets: Targets, tombstones: Tombstones, unparsable: str
    ) -> Rule:
        """The rule of a dataset for the people of a run. `unparsable`: park | drop."""
        asked = _asked(dataset)
        return cls(
            dataset=dataset,
            targets=targets,
            editor=Editor(targets, tombstones),
            filter=targets.once("token filter", lambda: TokenFilter(targets.by_value)),
            unparsable=unparsable,
            declared=dataset.roles.declared,
            asked=asked,
            reader=LineReader(dataset, asked),
            deletes=dataset.treatment.kind == "delete" and not dataset.keep_when,
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
    """But for deleted lines."""
    deleted_of: Counter[int] = field(default_factory=Counter)
    """Deleted lines by subject."""
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
        shares = dict(self.shares)
        for subject, lines in self.deleted_of.items():
            shares[subject] = shares.get(subject, Share()) + Share(deleted=lines)
        return Counts(
            before=self.before,
            deleted=self.deleted,
            tombstoned=self.tombstoned,
            co_owned=self.co_owned,
            kept=self.kept,
            values=self.values,
            parked=len(self.parked),
            shares=dict(sorted(shares.items())),
            undeclared=dict(sorted(self.undeclared.items())),
        )

    def share(self, subject: int, share: Share) -> None:
        """Add to one subject's share."""
        self.shares[subject] = self.shares.get(subject, Share()) + share

    def place(self, block: Block, start: int) -> Place:
        """Where something at data[start] of the block stands in the text."""
        number = self.lines + block.data.count(b"\n", block.start, start) + 1
        return Place(number, self.offset + start - block.start)

    def passed(self, block: Block) -> None:
        """A whole block was looked at."""
        newlines, filled = _lines_in(block)
        self.before += filled
        self.lines += newlines
        self.offset += block.end - block.start


Piece = bytes | memoryview
ValuesAt = Callable[[str], Sequence[str]]


def rewritten(blocks: Iterable[Block], *, rule: Rule, tally: Tally) -> Iterator[list[Piece]]:
    """The text without the people, a list of pieces for each block; counts go to `tally`."""
    for block in blocks:
        yield _block(block, rule=rule, tally=tally)


def _block(block: Block, *, rule: Rule, tally: Tally) -> list[Piece]:
    seen = rule.filter.seen(*block)
    odd = seen.odd.tolist()

    def change(line: bytes, start: int, at: list[int]) -> bytes:
        if odd:
            first = bisect_left(odd, start)
            if first < len(odd) and odd[first] < start + len(line):
                at = []
        place = partial(tally.place, block, start)
        return _line(line, place=place, rule=rule, tally=tally, at=at)

    positions = sorted(odd + seen.plain.tolist())
    return changed_lines(block, positions, change=change, tally=tally)


def line_without(line: bytes, *, place: Callable[[], Place], rule: Rule, tally: Tally) -> bytes:
    """One line, its newline included, after the rule: itself where it holds nobody, or b''."""
    return _line(line, place=place, rule=rule, tally=tally)


def changed_lines(
    block: Block,
    candidates: Iterable[int],
    *,
    change: Callable[[bytes, int, list[int]], bytes],
    tally: Tally,
) -> list[Piece]:
    """The text of a block after `change` of each line that a candidate position (sorted) is on;
    every other byte as it is. `change` is given the line, where it begins in the data, and the
    candidates as offsets in it. Lines passed are counted.
    """
    data, taken, end = block
    view = memoryview(data)
    pieces: list[Piece] = []
    start = stop = taken
    at: list[int] = []
    for position in chain(candidates, (end,)):
        if position < stop:
            at.append(position - start)
            continue
        if at:
            line = data[start:stop]
            new = change(line, start, at)
            if new is not line:
                pieces += (view[taken:start], new)
                taken = stop
        start = data.rfind(b"\n", stop, position) + 1 or stop
        stop = data.find(b"\n", position, end) + 1 or end
        at = [position - start]
    pieces.append(view[taken:end])
    tally.passed(block)
    return [p for p in pieces if len(p)]


def _lines_in(block: Block) -> tuple[int, int]:
    """How many newlines, and how many lines that are not blank."""
    data, begin, end = block
    text = np.frombuffer(data, np.uint8)
    newlines = 0
    # A line that begins as an object does is not blank; few others are there.
    doubtful = [begin] if begin < end and text[begin] != _OBJECT else []
    for start in range(begin, end, SUB_BLOCK):
        stop = min(start + SUB_BLOCK, end)
        same = text[start:stop] == ord("\n")
        newlines += int(np.count_nonzero(same))
        after = text[start + 1 : min(stop + 1, end)]
        odd = np.logical_and(same[: len(after)], after != _OBJECT)
        if odd.any():
            doubtful += (np.flatnonzero(odd) + start + 1).tolist()
    blank = 0
    for start in doubtful:
        stop = data.find(b"\n", start, end) + 1 or end
        blank += not data[start:stop].removeprefix(BOM).strip()
    unfinished = begin < end and text[end - 1] != ord("\n")
    return newlines, newlines + int(unfinished) - blank


def _line(
    line: bytes,
    *,
    place: Callable[[], Place],
    rule: Rule,
    tally: Tally,
    at: Sequence[int] = (),
) -> bytes:
    """What becomes of one line (its newline included): itself, another text, or b''.

    `at`: where (as offsets, ascending) all that it may hold stands; empty: not known, or odd.
    """
    if at:
        subject = _owner(line, rule=rule)
        if subject is not None:
            return _deleted(b"", subject, tally=tally)
        quick = rule.reader.read(line, at)
        if quick is not None:
            content = line.rstrip(b"\r\n")
            return _read_line(line, b"", content, quick, rule=rule, tally=tally)
    elif not rule.editor.may_hold(line):
        return line
    mark = BOM if line.startswith(BOM) and place().offset == 0 else b""
    content = line[len(mark) :].rstrip(b"\r\n")
    try:
        found = leaves(content)
    except JsonTextError:
        return _broken(line, mark, place=place, rule=rule, tally=tally)
    read = Read(_values(found, rule.asked), rule.editor.suspects(content, found))
    return _read_line(line, mark, content, read, rule=rule, tally=tally)


def _owner(line: bytes, *, rule: Rule) -> int | None:
    """Whose the line is if it goes for that reason alone. None: a closer look is needed."""
    if not rule.deletes:
        return None
    owners = rule.reader.owners(line)
    if not owners:
        return None
    decision = decide(owners, targets=rule.targets, dataset=rule.dataset, kept=False)
    return decision.subject if decision.fate is Fate.DELETE else None


def _deleted(mark: bytes, subject: int, *, tally: Tally) -> bytes:
    tally.deleted += 1
    tally.deleted_of[subject] += 1
    return mark


def _read_line(
    line: bytes, mark: bytes, content: bytes, read: Read, *, rule: Rule, tally: Tally
) -> bytes:
    """What becomes of a line that is JSON."""

    def values_at(path: str) -> Sequence[str]:
        return read.values.get(path, ())

    owners = owners_of(rule.dataset, values_at)
    kept = is_kept(rule.dataset, values_at)
    decision = decide(owners, targets=rule.targets, dataset=rule.dataset, kept=kept)
    if decision.fate is Fate.DELETE and decision.subject is not None:
        return _deleted(mark, decision.subject, tally=tally)
    edited = rule.editor.edit_leaves(
        content,
        read.leaves,
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
    tail = line[len(mark) + len(content) :]
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


def _broken(
    line: bytes, mark: bytes, *, place: Callable[[], Place], rule: Rule, tally: Tally
) -> bytes:
    """A line that is no JSON: untouched without an identifier, else parked or dropped whole."""
    holder = rule.editor.holder(line[len(mark) :])
    if holder is None:
        return line
    if rule.unparsable == DROP:
        return _deleted(mark, holder, tally=tally)
    tally.parked.append(place())
    return line


def _values(found: Iterable[Leaf], asked: Set[str]) -> dict[str, list[str]]:
    """The scalar values of a line at the paths that decide; a key that stands twice has both."""
    by_path: dict[str, list[str]] = {}
    for leaf in found:
        if leaf.path in asked and leaf.text is not None and not leaf.is_key:
            by_path.setdefault(leaf.path, []).append(leaf.text)
    return by_path


def owners_of(dataset: Dataset, values_at: ValuesAt) -> frozenset[str]:
    """Every user_id that a line says it belongs to."""
    roles = dataset.roles
    columns = list(roles.owner)
    for when in roles.owner_when:
        if any(map(values_at, when.columns)) and matches(when.where, values_at):
            columns += when.columns
    return frozenset(value for column in columns for value in values_at(column))
