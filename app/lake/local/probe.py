"""Can a folder be a lake's place? Tried on a file of doctor's own under the folder's bookkeeping.

Not here: what to do about it (app.doctor.folders).
"""

from __future__ import annotations

import os
from pathlib import Path

from app.domain.errors import LakeError
from app.domain.failpoints import failpoint
from app.lake.local.paths import OWN, make_own_folder, path_of, prune, told


def try_folder(uri: str, *, name: str) -> None:
    """Write a file, keep it under a second name, put another over it by rename, take both away.

    ObjectMissingError where there is no folder, AccessDeniedError, DiskFullError, LakeError where
    the file system has no hard links.
    """
    folder = path_of(uri)
    with told("looking for the folder"):
        os.listdir(folder)
    tried = folder / OWN / f"doctor-{name}"
    failpoint("doctor.before_folder")
    try:
        with told("writing into the folder"):
            make_own_folder(tried)
            _act(tried)
    finally:
        with told("taking away what was tried"):
            _take_away(tried)


def _act(folder: Path) -> None:
    first, kept, second = folder / "first", folder / "kept", folder / "second"
    first.write_bytes(b"old")
    os.link(first, kept)
    second.write_bytes(b"new")
    os.replace(second, first)
    if kept.read_bytes() != b"old" or first.read_bytes() != b"new":
        raise LakeError("writing into the folder: what was renamed is not what is there")


def _take_away(folder: Path) -> None:
    if folder.is_dir():
        for path in folder.iterdir():
            path.unlink()
        prune(folder)
