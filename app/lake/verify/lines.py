"""Where somebody stands in a text of lines: NDJSON by its leaves, anything else as it stands.

Reads only. What a hit means in a dataset is decided by its rule (line_rows).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.domain.findings import What
from app.lake.verify.content import line_blocks, without_mark
from app.lake.verify.edits import in_json
from app.lake.verify.jsonread import Form, leaves
from app.lake.verify.line_rows import Line, LineReader, values_in_broken
from app.lake.verify.needles import Needles
from app.lake.verify.places import Sight, column_name
from app.lake.verify.rule import Fate
from app.lake.verify.sieve import places_of
from app.lake.verify.text import json_unescaped, utf8

_BLANK = re.compile(rb"^[ \t\r\f\v]*\n|^[ \t\r\f\v]+\Z", re.MULTILINE)
_SPACE = np.zeros(256, dtype=np.bool_)
_SPACE[list(b" \t\r\f\v\n")] = True


def suspect_lines(block: bytes, positions: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """The lines of a block on which a position lies: [start, end), newline included."""
    end = 0
    for position in positions.tolist():
        if position < end:
            continue
        start = block.rfind(b"\n", end, position) + 1 or end
        end = block.find(b"\n", position) + 1 or len(block)
        yield start, end


def filled_lines(block: bytes) -> int:
    """How many lines are not blank."""
    if not block:
        return 0
    whole = np.frombuffer(block, dtype=np.uint8)
    starts = places_of(whole, 0x0A) + 1
    lines = len(starts) + (not block.endswith(b"\n"))
    starts = starts[: np.searchsorted(starts, len(block))]
    if _SPACE[whole[0]] or _SPACE[whole[starts]].any():
        lines -= len(_BLANK.findall(block))
    return lines


def lines_that_hold(
    pieces: Iterator[bytes], needles: Needles, reader: LineReader
) -> Iterator[Line]:
    """The lines of a text of a dataset on which somebody of the run stands."""
    first = True
    for block in line_blocks(pieces):
        for start, end in suspect_lines(block, needles.suspects(block)):
            raw = block[start:end]
            line = reader.read(without_mark(raw)[1] if first and not start else raw)
            if line is not None:
                yield line
        first = False


def values_in_line(raw: bytes, needles: Needles) -> set[str]:
    """The values on one line that belongs to no dataset: JSON by its texts, else as it stands."""
    raw = without_mark(raw)[1]
    found = leaves(raw)
    if found is None:
        return values_in_broken(raw, needles)
    return {s.value for s in in_json(raw, found, needles=needles, known=frozenset())}


def saw_value(sight: Sight, where: str, *, value: str, needles: Needles) -> None:
    """A value in what the lake writes about its data. Digits alone may be any count there."""
    what = What.NOTE if value.isdecimal() else What.RESIDUE
    detail = "a number equal to an identifier" if value.isdecimal() else ""
    sight.saw(what, where, detail=detail, subject=needles.subject_of(value))


@dataclass(slots=True)
class LineSearch:
    """Searches the texts of one dataset (`reader`), or of no dataset at all (None)."""

    needles: Needles
    reader: LineReader | None
    parked_allowed: bool = True
    """Lines that cannot be parsed may stay; else they are residue like any other."""

    def search(self, pieces: Iterator[bytes], *, sight: Sight) -> tuple[int, int]:
        """Everything found goes to `sight`. Returns (decoded bytes, lines that are not blank)."""
        size = lines = 0
        for block in line_blocks(pieces):
            for start, end in suspect_lines(block, self.needles.suspects(block)):
                content = block[start:end]
                self.line(without_mark(content)[1] if size + start == 0 else content, sight=sight)
            size += len(block)
            lines += filled_lines(block)
        return size, lines

    def line(self, raw: bytes, *, sight: Sight) -> None:
        """One line."""
        if self.reader is None:
            for value in values_in_line(raw, self.needles):
                saw_value(sight, "text", value=value, needles=self.needles)
        else:
            line = self.reader.read(raw)
            if line is not None:
                self._row(line, sight=sight)
        self._notes(raw, sight=sight)

    def _row(self, line: Line, *, sight: Sight) -> None:
        assert self.reader is not None
        subject = self.needles.first_subject(line.values)
        if line.judgement is None:
            what = What.PARKED if self.parked_allowed else What.RESIDUE
            sight.saw(what, "line that cannot be parsed", subject=subject)
            return
        declared = self.reader.dataset.roles.declared
        required = set(line.left(self.reader.dataset.elsewhere))
        for spot in line.spots:
            what, detail = What.RESIDUE, ""
            if line.judgement.fate is Fate.STAYS:
                what, detail = What.WITHHELD, "kept on a legal ground"
            elif line.judgement.fate is Fate.SEVERED and spot not in required:
                what, detail = What.WITHHELD, "elsewhere: report"
            where = column_name(spot.path, declared)
            sight.saw(what, where, detail=detail, subject=self.needles.subject_of(spot.value))

    def _notes(self, raw: bytes, *, sight: Sight) -> None:
        """Another case, a plain hash, or deeper escaped than the rule decodes: for a person."""
        found = leaves(raw)
        texts = [utf8(raw).text]
        if found is not None:
            texts = [leaf.value for leaf in found if leaf.form is not Form.NUMBER]
        for text in texts:
            if number := self.needles.notes(text):
                sight.saw(What.NOTE, "text", detail="another case or a plain hash", count=number)
            if "\\" in text:
                inner = json_unescaped(text.encode("utf-8", "surrogatepass"))
                shown = {
                    h.value for h in self.needles.hits(utf8(text.encode("utf-8", "surrogatepass")))
                }
                if any(h.value not in shown for h in self.needles.hits(inner)):
                    sight.saw(What.NOTE, "text", detail="escaped more than once")
