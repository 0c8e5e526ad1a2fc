"""The people of a file: one JSON object a line, as the `subject` of a case over HTTP.

Not here: the people of a command line (app.domain.identifiers.named_subjects).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from app.domain.errors import IdentifierMissingError, IdentifierTooWeakError, UsageError
from app.domain.identifiers import Identifier, Kind, Subject, checked_identifier

_OPTION = "--subjects"


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    user_id: str | None = None
    anon_ids: list[str] = []
    device_fps: list[str] = []


def subjects_of(path: Path) -> tuple[Subject, ...]:
    """The people of a file, in its order; blank lines are nobody. UsageError names the line, and
    never what stands in it nor the path: either may be an identifier.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as err:
        raise UsageError(f"{_OPTION}: the file cannot be read: {err.strerror}.") from err
    found = tuple(_subjects(lines))
    if not found:
        raise IdentifierMissingError(f"{_OPTION}: the file names nobody.")
    return found


def _subjects(lines: list[bytes]) -> Iterator[Subject]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield Subject(f"s{number}", _given(line, place=f"{_OPTION}, line {number}"))


def _given(line: bytes, *, place: str) -> tuple[Identifier, ...]:
    try:
        read = msgspec.json.decode(line, type=_Line)
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise UsageError(
            f'{place}: expected one person, {{"user_id": "...", "anon_ids": [...], '
            '"device_fps": [...]}, each of them optional.'
        ) from err
    users = [read.user_id] if read.user_id is not None else []
    if not users and not read.anon_ids:
        if read.device_fps:
            raise IdentifierTooWeakError(f"{place}: a device_fp alone is too weak to erase by.")
        raise IdentifierMissingError(f"{place}: names nobody.")
    named = (
        (Kind.USER_ID, users),
        (Kind.ANON_ID, read.anon_ids),
        (Kind.DEVICE_FP, read.device_fps),
    )
    found = {checked_identifier(k, v, place=place) for k, values in named for v in values}
    return tuple(sorted(found))
