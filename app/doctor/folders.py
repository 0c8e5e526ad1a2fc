"""Can a folder hold a lake? A folder has no locks and no versions but those that Clearlake keeps.

Not here: buckets (storage).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.doctor.results import Area, Check, Probed, Verdict, examine, passed, skipped
from app.lake.local.probe import try_folder


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of the map. `name`: of what is tried in it."""

    uri: str
    name: str


def examine_folder(folder: Folder) -> Iterator[Probed]:
    """Every check on one folder."""
    yield from examine(Area.STORAGE, folder.uri, folder, checks=CHECKS)


def _writable(folder: Folder) -> Verdict:
    try_folder(folder.uri, name=folder.name)
    return passed("Files are written, kept under a second name and replaced by rename.")


def _locks(_: Folder) -> Verdict:
    return skipped("A folder has no versioning, locks or conditional writes of its own.")


CHECKS: Sequence[Check[Folder]] = (("writable", _writable), ("worm", _locks))
