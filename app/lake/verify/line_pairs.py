"""Two NDJSON texts side by side: what left is the run's own lines, what changed is its values, and
every other byte is the same. Streams both; memory is a block of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from app.domain.findings import What
from app.lake.verify.content import line_blocks, without_mark
from app.lake.verify.edits import Book, Spot, severed
from app.lake.verify.jsonread import is_strict_json
from app.lake.verify.line_rows import Line, LineReader
from app.lake.verify.lines import filled_lines, suspect_lines
from app.lake.verify.needles import Needles
from app.lake.verify.places import Sight
from app.lake.verify.rule import Fate
from app.lake.verify.tally import Tally


class PairDiffersError(Exception):
    """From here on the two texts do not run side by side. `args[0]` says how."""


class _Text:
    """The replacement's text, taken from the front."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._data = b""
        self._at = 0

    def _more(self) -> bool:
        piece = next(self._pieces, b"")
        if piece:
            self._data = self._data[self._at :] + piece
            self._at = 0
        return bool(piece)

    def take(self, expected: bytes) -> bool:
        """Whether the next bytes are these; they are taken then."""
        done = 0
        while done < len(expected):
            if self._at == len(self._data) and not self._more():
                return False
            size = min(len(self._data) - self._at, len(expected) - done)
            if self._data[self._at : self._at + size] != expected[done : done + size]:
                return False
            self._at += size
            done += size
        return True

    def line(self) -> bytes:
        """The next line, its newline included, and not taken yet: `take` it."""
        while (end := self._data.find(b"\n", self._at)) < 0:
            if not self._more():
                return self._data[self._at :]
        return self._data[self._at : end + 1]

    def at_end(self) -> bool:
        """Whether nothing follows."""
        return self._at == len(self._data) and not self._more()


@dataclass(slots=True)
class LinePair:
    """One base and its replacement."""

    reader: LineReader
    needles: Needles
    book: Book
    unparsable: str
    tally: Tally = field(default_factory=Tally)
    _lines: int = 0
    """Newlines of the base before the block at hand."""
    _block: bytes = b""
    _done: int = 0
    """Bytes of the block that were passed."""

    def compare(self, old: Iterator[bytes], new: Iterator[bytes], *, sight: Sight) -> None:
        """Read both to the end, or to the first place where they part."""
        text = _Text(new)
        try:
            for block in line_blocks(old):
                self._compare(block, text, sight=sight)
            self._end(text)
        except PairDiffersError as err:
            number = self._lines + self._block.count(b"\n", 0, self._done) + 1
            sight.saw(What.ARITHMETIC, "pair", detail=f"line {number} of the base: {err.args[0]}")

    def _end(self, text: _Text) -> None:
        if not text.at_end():
            raise PairDiffersError("something follows the last line")

    def _compare(self, block: bytes, text: _Text, *, sight: Sight) -> None:
        self._lines += self._block.count(b"\n")
        first = not self._block
        self._block, self._done = block, 0
        self.tally.before += filled_lines(block)
        for start, end in suspect_lines(block, self.needles.suspects(block)):
            self._same(start, text)
            self._line(block[start:end], text, first=first and start == 0, sight=sight)
            self._done = end
        self._same(len(block), text)

    def _same(self, end: int, text: _Text) -> None:
        """What comes before `end` and was not passed yet holds nobody."""
        if not text.take(self._block[self._done : end]):
            raise PairDiffersError("lines after it that hold nobody are not the same")
        self._done = end

    def _line(self, raw: bytes, text: _Text, *, first: bool, sight: Sight) -> None:
        mark, content = without_mark(raw) if first else (b"", raw)
        line = self.reader.quick(content) or self.reader.read(content)
        if line is None:
            if not text.take(raw):
                raise PairDiffersError("it holds nobody and is not the same")
        elif line.judgement is None:
            self._broken(raw, line, text, sight=sight)
        elif line.judgement.fate is Fate.GOES:
            self._gone(mark, text)
        elif line.judgement.fate is Fate.STAYS:
            self.tally.kept += 1
            self._stays(raw, text, "it is kept on a legal ground and is not the same")
        else:
            self._severed(raw, mark, line, text=text, sight=sight)

    def _gone(self, mark: bytes, text: _Text) -> None:
        self.tally.deleted += 1
        if mark:
            # Whether a byte order mark goes with its line is nobody's harm.
            text.take(mark)

    def _stays(self, raw: bytes, text: _Text, otherwise: str) -> None:
        if not text.take(raw):
            raise PairDiffersError(otherwise)

    def _broken(self, raw: bytes, line: Line, text: _Text, *, sight: Sight) -> None:
        if self.unparsable == "drop":
            self.tally.deleted += 1
            return
        self.tally.parked += 1
        self._stays(raw, text, "it cannot be parsed and is not the same")
        subject = self.needles.first_subject(line.values)
        sight.saw(What.PARKED, "line that cannot be parsed", subject=subject)

    def _severed(self, raw: bytes, mark: bytes, line: Line, *, text: _Text, sight: Sight) -> None:
        assert line.judgement is not None
        spots = [_moved(s, len(mark)) for s in line.left(self.reader.dataset.elsewhere)]
        new = text.line()
        pairs = severed(raw, new, spots)
        if pairs is None:
            if new == raw and not is_strict_json(raw[len(mark) :]):
                self._broken(raw, line, text, sight=sight)
                return
            values = self.reader.read(without_mark(new)[1])
            if values is not None:
                subject = self.needles.first_subject(values.values)
                sight.saw(What.RESIDUE, "pair", subject=subject)
            raise PairDiffersError("a line that stays, and more or less than its values changed")
        text.take(new)
        if not spots:
            return
        for fault in self.book.faults(pairs, owners=line.judgement.owners):
            sight.saw(What.ARITHMETIC, "pair", detail=fault)
        self.tally.tombstoned += 1
        self.tally.co_owned += line.judgement.co_owned
        self.tally.values += len(spots)


def _moved(spot: Spot, by: int) -> Spot:
    if not by:
        return spot
    return Spot(spot.start + by, spot.end + by, spot.value, spot.path, spot.known, spot.is_number)
