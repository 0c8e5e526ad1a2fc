"""What the second look saw, and the verdict that follows from it alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """Always 'in the declared lake'."""

    VERIFIED = "VERIFIED"
    PARTIAL = "PARTIAL"
    DEFERRED = "DEFERRED"
    FAILED = "FAILED"


class What(StrEnum):
    """Kinds of findings."""

    RESIDUE = "residue"
    """An identifier of a subject stands here."""
    WITHHELD = "withheld"
    """An identifier stands on a row that is kept on a legal ground."""
    DEFERRED = "deferred"
    """An identifier stands in bytes that a COMPLIANCE lock protects until a date."""
    HELD = "held"
    """An identifier stands in bytes under a legal hold, or that a missing right protects."""
    PARKED = "parked"
    """An identifier stands in a line that could not be parsed."""
    CANNOT_SEE = "cannot_see"
    """Something could not be read, or was shorter than it should be."""
    UNREADABLE = "unreadable"
    """Bytes whose form is not known."""
    ARITHMETIC = "arithmetic"
    """Counts that do not add up."""
    UNTOUCHED = "untouched"
    """Nobody looked: the run was limited to another part of the lake."""
    NOTE = "note"
    """For a person to look at; never blocks."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing seen, and where. No personal value: keys and columns that hold one are described,
    not quoted.
    """

    what: What
    layer: str
    dataset: str
    place: str
    """`object 1f3a…`, `column page.path`, `manifest bound`, ...: enough to find it with the sealed
    object list.
    """
    detail: str = ""
    subject: int | None = None
    count: int = 1
    uri: str = field(default="", repr=False)
    """The object's URI: sealed with the run, never in a report or a log."""
    version_id: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Seen:
    """How much was looked at."""

    objects: int = 0
    versions: int = 0
    bytes: int = 0
    rows: int = 0

    def __add__(self, other: Seen) -> Seen:
        return Seen(
            self.objects + other.objects,
            self.versions + other.versions,
            self.bytes + other.bytes,
            self.rows + other.rows,
        )


def verdict(findings: Iterable[Finding]) -> Verdict:
    """The verdict of a set of findings: the worst of them decides. Evidence alone, no word."""
    kinds = {f.what for f in findings}
    if kinds & {What.RESIDUE, What.CANNOT_SEE, What.ARITHMETIC}:
        return Verdict.FAILED
    if kinds & {What.WITHHELD, What.HELD, What.PARKED, What.UNREADABLE, What.UNTOUCHED}:
        return Verdict.PARTIAL
    if What.DEFERRED in kinds:
        return Verdict.DEFERRED
    return Verdict.VERIFIED
