"""What can be done behind a run's back to the objects of a lake in a folder."""

from __future__ import annotations

import gzip
import os
import re

from tests.faults.sabotage import PERSON, Lab, Sabotage
from tests.verify.material import event

LINES = event(7) + event(1) + event(None)
"""What the object held before."""
_LONG_AGO, _FAR_AHEAD = (1_000_000_000,) * 2, (4_000_000_000,) * 2
_TOMBSTONE = re.compile(rb"tomb_(.)_.{26}")


def _edit(lab: Lab, uri: str, body: bytes) -> None:
    """In place, as somebody with an editor would."""
    lab.path(uri).write_bytes(body)


def _puts_back(lab: Lab) -> None:
    lab.place.loader.load(lab.uri, LINES)


def _puts_back_with_its_old_date(lab: Lab) -> None:
    _puts_back(lab)
    os.utime(lab.path(), _LONG_AGO)


def _puts_back_dated_ahead(lab: Lab) -> None:
    _puts_back(lab)
    os.utime(lab.path(), _FAR_AHEAD)


def _restores_an_older_object(lab: Lab) -> None:
    copy = lab.uri.replace("evt-0", "evt-restored")
    lab.place.loader.load(copy, LINES)
    os.utime(lab.path(copy), _LONG_AGO)


def _truncates(lab: Lab) -> None:
    _edit(lab, lab.uri, lab.path().read_bytes()[:-9])


def _truncates_a_clean_one(lab: Lab) -> None:
    uri = f"{lab.place.root}raw/event_dt=2026-10-01/00/evt-2.ndjson.gz"
    _edit(lab, uri, lab.path(uri).read_bytes()[:-9])


def _drops_a_strangers_line(lab: Lab) -> None:
    _edit(lab, lab.uri, event(None))


def _writes_a_line_twice(lab: Lab) -> None:
    _edit(lab, lab.uri, lab.path().read_bytes() + event(7))


def _swaps_two_lines(lab: Lab) -> None:
    lines = lab.path().read_bytes().splitlines(keepends=True)
    _edit(lab, lab.uri, b"".join(reversed(lines)))


def _changes_a_strangers_value(lab: Lab) -> None:
    _edit(lab, lab.uri, lab.path().read_bytes().replace(b'"path":"/"', b'"path":"!"'))


def _puts_another_runs_tombstone(lab: Lab) -> None:
    uri = lab.uri.replace("evt-0", "evt-severed")
    other = rb"tomb_\g<1>_" + b"0" * 26
    body, number = _TOMBSTONE.subn(other, lab.path(uri).read_bytes())
    assert number == 1
    _edit(lab, uri, body)


def _packs_it_again(lab: Lab) -> None:
    _edit(lab, lab.uri, gzip.compress(lab.path().read_bytes()))


def _removes(lab: Lab) -> None:
    lab.path().unlink()


def _copies_beside(lab: Lab) -> None:
    lab.place.loader.load(f"{lab.place.root}tmp/copy.ndjson", LINES)


def _hides_a_copy(lab: Lab) -> None:
    path = lab.path().parent / ".clearlake" / "superseded" / "evt-9.ndjson" / "1-2-3"
    path.parent.mkdir(parents=True)
    path.write_bytes(LINES)
    os.utime(path, _LONG_AGO)


def _names_a_file_after_the_person(lab: Lab) -> None:
    path = lab.path().with_name(f"{PERSON}.ndjson")
    path.write_bytes(event(7))
    os.utime(path, _LONG_AGO)


def _packs_as_nobody_can_read(lab: Lab) -> None:
    lab.path().with_name("evt-3.ndjson").write_bytes(b"PK\x03\x04" + bytes(50))


_CHANGED = "other bytes: what is current was not checked"
OBJECTS = (
    Sabotage("a version put back", "purged", _puts_back, "residue, object"),
    Sabotage("a version put back before the purge", "checked", _puts_back, "residue, object"),
    Sabotage("put back, with its old date", "purged", _puts_back_with_its_old_date, "residue"),
    Sabotage("put back, dated ahead", "purged", _puts_back_dated_ahead, "residue"),
    Sabotage("an older object restored", "purged", _restores_an_older_object, "user.user_id"),
    Sabotage("a replacement truncated", "purged", _truncates, _CHANGED),
    Sabotage("a clean object truncated", "purged", _truncates_a_clean_one, "cannot_see, object"),
    Sabotage("a stranger's line dropped", "purged", _drops_a_strangers_line, "1 were counted"),
    Sabotage("a stranger's line twice", "purged", _writes_a_line_twice, _CHANGED),
    Sabotage("two lines swapped", "purged", _swaps_two_lines, _CHANGED),
    Sabotage("a stranger's value changed", "purged", _changes_a_strangers_value, _CHANGED),
    Sabotage("a tombstone of another run", "purged", _puts_another_runs_tombstone, _CHANGED),
    Sabotage("another codec", "purged", _packs_it_again, _CHANGED),
    Sabotage("a replacement removed", "purged", _removes, "it is gone"),
    Sabotage(
        "a copy beside the declared places", "purged", _copies_beside, "residue, object",
        dataset="beside the declared places",
    ),
    Sabotage("a copy in a hidden folder", "purged", _hides_a_copy, "user.user_id"),
    Sabotage("a file named after the person", "purged", _names_a_file_after_the_person, "key"),
    Sabotage(
        "a form that nobody can read", "purged", _packs_as_nobody_can_read,
        "a form that is not known", verdict="PARTIAL",
    ),
)  # fmt: skip
