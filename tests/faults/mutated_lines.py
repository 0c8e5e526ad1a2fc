"""Faults of an eraser of lines: each does one thing that a bug might do, and counts as if right."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from app.domain import policies
from app.domain.policies import Decision, Fate
from app.lake import bronze_lines, bronze_read
from app.lake.tombstones import Tombstones
from tests.faults.mutated import NEIGHBOUR, PERSON, Plant
from tests.verify.material import user

_TOMBSTONE = re.compile(rb"tomb_[a-z]_.{26}")


def _line(fault: Callable[[bytes, bytes], bytes]) -> Plant:
    """Of a line that changes, something else becomes. `fault`: the line, what is right."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        right = bronze_lines._line

        def wrong(line: bytes, **known: Any) -> bytes:
            new = right(line, **known)
            return new if new is line else fault(line, new)

        patch.setattr(bronze_lines, "_line", wrong)

    return plant


def _severed(fault: Callable[[bytes], bytes]) -> Plant:
    """The same for a line that stays."""
    return _line(lambda _, new: fault(new) if new else new)


def _a_byte_early(new: bytes) -> bytes:
    at = new.index(b"tomb_")
    return new[: at - 1] + new[at:]


def _a_byte_late(new: bytes) -> bytes:
    at = next(_TOMBSTONE.finditer(new)).end()
    return new[:at] + new[at + 1 :]


def _prefixes_too(line: bytes, new: bytes) -> bytes:
    found = _TOMBSTONE.search(new)
    return new.replace(NEIGHBOUR.encode(), found.group() + b"X") if found else new


def _drops_a_stranger(line: bytes, new: bytes) -> bytes:
    return b"" if b'"provider_id"' in line else new


def _drops_nobodys(line: bytes, new: bytes) -> bytes:
    return b"" if b'"user_id":null' in line else new


def _keeps_the_persons(line: bytes, new: bytes) -> bytes:
    return new or line


def _leaves_the_value(line: bytes, new: bytes) -> bytes:
    return line if new else new


def _leaves_the_second(line: bytes, new: bytes) -> bytes:
    first = _TOMBSTONE.search(new)
    if first is None or len(_TOMBSTONE.findall(new)) < 2:
        return new
    return new[: first.end()] + _TOMBSTONE.sub(PERSON.encode(), new[first.end() :])


def _severs_the_persons(line: bytes, new: bytes) -> bytes:
    return new or line.replace(PERSON.encode(), b"tomb_u_" + b"0" * 26)


def _encoded_again(new: bytes) -> bytes:
    return json.dumps(json.loads(new)).encode() + b"\n"


def _pieces(fault: Callable[[bytes], bytes]) -> Plant:
    """Of the whole text, something else becomes. `fault`: what is right."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        right = bronze_lines.rewritten

        def wrong(blocks: Any, **known: Any) -> Iterator[list[bytes]]:
            for pieces in right(blocks, **known):
                yield [fault(b"".join(pieces))]

        patch.setattr(bronze_read, "rewritten", wrong)

    return plant


def _swapped(text: bytes) -> bytes:
    lines = text.splitlines(keepends=True)
    return b"".join([*lines[1::-1], *lines[2:]])


def _tombstones(wrong: Callable[[Any], str]) -> Plant:
    """Wrong values of a right form. `wrong`: (tombstones, identifier, owner, how often asked)."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        right = Tombstones.of
        asked = iter(range(1 << 20))

        def of(self: Tombstones, identifier: Any, *, owner: str) -> str:
            def honest(**changed: Any) -> str:
                said = {"identifier": identifier, "owner": owner, **changed}
                return right(self, said["identifier"], owner=said["owner"])

            return wrong((honest, identifier, owner, next(asked)))

        patch.setattr(Tombstones, "of", of)

    return plant


def _deletes_the_co_owned(patch: pytest.MonkeyPatch) -> None:
    right = policies.decide

    def wrong(owners: Any, **known: Any) -> Decision:
        found: Decision = right(owners, **known)
        if not found.co_owned:
            return found
        return replace(found, fate=Fate.DELETE, co_owned=False, subject=0)

    patch.setattr(bronze_lines, "decide", wrong)


_OTHER = b'"%s"' % user(8).encode()
LINES: dict[str, Plant] = {
    "a splice begins a byte early": _severed(_a_byte_early),
    "a splice ends a byte late": _severed(_a_byte_late),
    "a longer id is replaced too": _line(_prefixes_too),
    "a stranger's line is dropped": _line(_drops_a_stranger),
    "nobody's line is dropped": _line(_drops_nobodys),
    "the person's line stays": _line(_keeps_the_persons),
    "the person's line is severed": _line(_severs_the_persons),
    "the value stays": _line(_leaves_the_value),
    "the second value stays": _line(_leaves_the_second),
    "a line is encoded again": _severed(_encoded_again),
    "a number becomes a string": _severed(lambda new: new.replace(b'"n":12', b'"n":"12"')),
    "a float loses a digit": _severed(lambda new: new.replace(b'"f":1.50', b'"f":1.5')),
    "the ends of lines are changed": _severed(lambda new: new.replace(b"\r\n", b"\n")),
    "an escape is resolved": _severed(lambda new: new.replace(b"\\u00e9", "\u00e9".encode())),
    "the owner's case is changed": _severed(lambda new: new.replace(_OTHER, _OTHER.upper())),
    "a line is written twice": _severed(lambda new: new + new),
    "a newline is lost": _severed(lambda new: new.removesuffix(b"\n")),
    "the last newline is added": _pieces(lambda text: text.rstrip(b"\n") + b"\n"),
    "two lines are swapped": _pieces(_swapped),
    "blank lines are dropped": _pieces(lambda text: text.replace(b"\n\n", b"\n")),
    "the tail is forgotten": _pieces(lambda text: text[: max(0, text.rfind(b"{"))]),
    "a tombstone of another kind": _tombstones(lambda a: a[0]().replace("tomb_u", "tomb_a")),
    "one tombstone for all owners": _tombstones(lambda a: a[0](owner="")),
    "one tombstone for all values": _tombstones(lambda a: f"tomb_{a[1].kind.letter}_" + "0" * 26),
    "another tombstone each time": _tombstones(lambda a: a[0](owner=f"{a[2]}{a[3]}")),
    "a co-owned line is deleted": _deletes_the_co_owned,
}
