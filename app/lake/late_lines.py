"""The wanted identifiers of one JSON text or row, and the time the row tells of.

Pure. A fast look first that may say too much, never too little; then the text's own leaves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta

from app.domain.datasets import Dataset, Roles
from app.domain.identifiers import MAX_LENGTH, MIN_LENGTH, Identifier, Kind
from app.lake.jsontext import JsonTextError, leaves

Wanted = Callable[[Identifier], bool]
"""Whether an identifier is one that is looked for. Asked once for each distinct value, mostly."""
Paths = Mapping[str, tuple[Kind, ...]]
ValuesAt = Callable[[str], Sequence[str]]

NEVER = datetime.max.replace(tzinfo=UTC)
"""The fence of a value that must not be in the lake, whatever the time."""
KINDS = (Kind.USER_ID, Kind.ANON_ID, Kind.DEVICE_FP)
_KNOWN = 500_000
"""Values remembered as nobody's; then the memory begins anew."""
_SPACE = rb"[ \t\r\n]*+"
_VALUE = rb'(?:"([^"\\\n]*+)"|(-?[0-9][0-9.eE+-]*+)|(null|true|false))?'
_TEXT, _NUMBER = 1, 2
_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")
_ESCAPED = b"\\u"
_TOKEN = re.compile(f"[A-Za-z0-9_-]{{{MIN_LENGTH},{MAX_LENGTH}}}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS = re.compile(r"-?[0-9]{1,17}")


@dataclass(frozen=True, slots=True)
class LateRow:
    """An identifier on a row that came late, perhaps. Personal: never kept longer than the sweep.

    `at`: the latest time that the row may tell of; None: it tells none.
    """

    identifier: Identifier = field(repr=False)
    at: datetime | None
    dataset: str
    uri: str = field(repr=False)
    written_at: datetime | None
    """Of an object's version, by the store's clock; None for a table's file."""


@dataclass(slots=True)
class Tally:
    """How far one look at one dataset came."""

    seen_to: str | None = None
    """The next mark: everything up to it was looked at, or was there before."""
    places: int = 0
    """Versions or files read."""
    unreadable: int = 0
    """Those that could not be: nobody knows who is in them."""


def is_late(at: datetime | None, *, fence: datetime, dataset: Dataset) -> bool:
    """Whether a row that tells of `at` is late data of a value erased up to `fence`.

    A row that tells no time is, unless its dataset is built from others, which tell it: what is
    built is as late as they are.
    """
    if fence == NEVER:
        return True
    if at is not None:
        return at <= fence
    is_built = dataset.is_identity or bool(dataset.built_from)
    return dataset.event_time is not None or not is_built


def paths_of(roles: Roles) -> dict[str, tuple[Kind, ...]]:
    """Where identifiers stand. A column that owns only some rows counts on every row: a value
    there is that person's in any case.
    """
    found: dict[str, set[Kind]] = {}
    users = [*roles.owner, *roles.mentions, *(c for w in roles.owner_when for c in w.columns)]
    for path in users:
        found.setdefault(path, set()).add(Kind.USER_ID)
    for kind, columns in roles.linked:
        for path in columns:
            found.setdefault(path, set()).add(kind)
    return {path: tuple(sorted(kinds)) for path, kinds in found.items()}


def identifiers_at(paths: Paths, values_at: ValuesAt, *, wanted: Wanted) -> set[Identifier]:
    """The wanted identifiers at these paths of one row."""
    every = (
        Identifier(k, v) for path, kinds in paths.items() for v in values_at(path) for k in kinds
    )
    return {i for i in every if i.value and wanted(i)}


class Nobody:
    """Remembers values that are nobody's, so that each is asked for once."""

    __slots__ = ("_known", "_wanted")

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._known: set[str | bytes] = set()

    def is_known(self, value: str | bytes) -> bool:
        """Whether no identifier of this value, of any kind, is wanted."""
        if value in self._known:
            return True
        text = value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
        if any(self._wanted(Identifier(kind, text)) for kind in KINDS):
            return False
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known.add(value)
        return True


class JsonLook:
    """Looks for wanted identifiers in JSON texts whose paths have these roles."""

    def __init__(self, roles: Roles, *, wanted: Wanted) -> None:
        self.paths: Paths = paths_of(roles)
        self._wanted = wanted
        self._nobody = Nobody(wanted)
        names = sorted({name for path in self.paths for name in _member_names(path)})
        self._members: re.Pattern[bytes] | None = None
        if names and all(map(_PLAIN.fullmatch, names)):
            either = b"|".join(re.escape(name.encode("ascii")) for name in names)
            self._members = re.compile(b'"(?:' + either + b')"' + _SPACE + b":" + _SPACE + _VALUE)

    def suspects(self, data: bytes, start: int, end: int) -> Iterator[bytes]:
        """Lines of data[start:end] on which a wanted identifier may stand at one of the paths."""
        return (data[begin:past] for begin, past in self.spans(data, start, end))

    def spans(self, data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Where those lines begin and end, their newlines included.

        Told by the members' names alone; a line with an escape in it that could hide a name, or
        with something else than a plain value behind one, is always among them.
        """
        past = start
        for at in self._positions(data, start, end):
            if at >= past:
                past = data.find(b"\n", at, end) + 1 or end
                yield data.rfind(b"\n", start, at) + 1 or start, past

    def _positions(self, data: bytes, start: int, end: int) -> list[int]:
        if not self.paths:
            return []
        if self._members is None:
            return _line_starts(data, start, end)
        found = [m.start() for m in self._members.finditer(data, start, end) if self._open(m)]
        at = data.find(_ESCAPED, start, end)
        while at >= 0:
            found.append(at)
            at = data.find(_ESCAPED, at + 2, end)
        return sorted(found)

    def _open(self, match: re.Match[bytes]) -> bool:
        """Whether this member needs the closer look."""
        group = match.lastindex
        if group is None:
            return True
        return group <= _NUMBER and bool(match[group]) and not self._nobody.is_known(match[group])

    def values(self, text: bytes) -> ValuesAt | None:
        """Every scalar of one JSON text by its path; None when it is not one."""
        try:
            found = leaves(text)
        except JsonTextError:
            return None
        at: dict[str, list[str]] = {}
        for leaf in found:
            if leaf.text is not None and not leaf.is_key:
                at.setdefault(leaf.path, []).append(leaf.text)
        return lambda path: at.get(path, ())

    def tokens(self, line: bytes) -> set[Identifier]:
        """The wanted ones among all words of a text that is no JSON, whatever they stand for."""
        words = set(_TOKEN.findall(line.decode("utf-8", "replace")))
        return {i for w in words for k in KINDS if self._wanted(i := Identifier(k, w))}


def _member_names(path: str) -> Iterator[str]:
    """What the innermost member may be called: a name can have dots in it."""
    parts = path.split(".")
    return (".".join(parts[n:]) for n in range(len(parts)))


def _line_starts(data: bytes, start: int, end: int) -> list[int]:
    found = []
    while start < end:
        found.append(start)
        start = data.find(b"\n", start, end) + 1 or end
    return found


def kept_paths(dataset: Dataset) -> list[str]:
    """The paths that decide whether a row is kept on a legal ground."""
    return sorted({path for rule in dataset.keep_when for path, _ in rule.where.all_of})


def latest(texts: Iterable[str]) -> datetime | None:
    """The time a row tells of; of several the earliest, so that no second one hides it. None when
    there is none that can be read.
    """
    return min((at for t in texts if (at := moment(t)) is not None), default=None)


def moment(text: str) -> datetime | None:
    """The latest instant that a text of time may mean: ISO 8601, without a zone UTC, a day its
    end; or a number of seconds, milli- or microseconds since 1970.
    """
    if _DIGITS.fullmatch(text) and len(text) != len("20260101"):
        return _since_1970(int(text))
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if len(text) <= len("2026-01-01"):
        at = datetime.combine(at.date(), time.max)
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError:
        return None


def _since_1970(number: int) -> datetime | None:
    """Seconds, milli- or microseconds by their size: a second of this century has ten digits."""
    micros = next(factor for top, factor in _UNITS if abs(number) < top)
    try:
        return _EPOCH + timedelta(microseconds=number * micros)
    except OverflowError:
        return None


_UNITS = ((10**11, 1_000_000), (10**14, 1000), (10**17, 1))
