"""Replacing a file so that nothing is lost: the old bytes keep a name, the new ones appear whole.

1. The current version is the one that was read, else 412.  2. The new bytes go to a file beside it,
with its mode, owner and attributes, and are durable.  3. The old version gets its superseded name.
4. Still the one that was read?  5. Rename.  6. The names are durable.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from app.domain.errors import ObjectMissingError, PreconditionFailedError
from app.domain.failpoints import failpoint
from app.lake.local.paths import (
    incoming_folder,
    make_own_folder,
    one_writer,
    prune,
    status_of,
    superseded_folder,
    sync_folder,
    told,
    version_of,
)

BLOCK = 1 << 20


def put_replacement(path: Path, body: BinaryIO, *, if_match: str) -> str:
    """The id of the new current version."""
    failpoint("local.before_put")
    try:
        with told("writing a replacement"), one_writer(path.parent):
            _require_current(path, if_match)
            version = _replace(path, body, if_match=if_match)
    except ObjectMissingError as err:
        raise PreconditionFailedError(f"{err}: the object was deleted") from None
    failpoint("local.after_put")
    return version


def _replace(path: Path, body: BinaryIO, *, if_match: str) -> str:
    folder = incoming_folder(path)
    make_own_folder(folder)
    _drop_cut_off(path)
    new = folder / f"{secrets.token_hex(8)}.{path.name}"
    try:
        version = _write(new, body, like=path)
        failpoint("local.before_link")
        _keep_old(path, if_match)
        failpoint("local.before_rename")
        _require_current(path, if_match)
        new.replace(path)
        failpoint("local.after_rename")
    except (OSError, PreconditionFailedError):
        new.unlink(missing_ok=True)
        prune(folder)
        raise
    sync_folder(path.parent)
    prune(folder)
    return version


def _write(new: Path, body: BinaryIO, *, like: Path) -> str:
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        body.seek(0)
        shutil.copyfileobj(body, file, BLOCK)
        file.flush()
        _take_over(new, like)
        os.fsync(file.fileno())
        return version_of(os.fstat(file.fileno()))


def _take_over(new: Path, like: Path) -> None:
    """Owner first: a change of owner clears mode bits."""
    old = like.lstat()
    here = new.lstat()
    if (here.st_uid, here.st_gid) != (old.st_uid, old.st_gid):
        os.chown(new, old.st_uid, old.st_gid)
    for name in os.listxattr(like, follow_symlinks=False):
        os.setxattr(new, name, os.getxattr(like, name))
    new.chmod(old.st_mode & 0o7777)


def _keep_old(path: Path, version_id: str) -> None:
    """The superseded name: a hard link, so that a crash here has changed nothing."""
    folder = superseded_folder(path)
    make_own_folder(folder)
    name = folder / version_id
    with suppress(FileExistsError):
        os.link(path, name, follow_symlinks=False)
    status = status_of(name)
    if status is None or version_of(status) != version_id:
        name.unlink(missing_ok=True)
        prune(folder)
        raise PreconditionFailedError("the file was changed while its replacement was written")
    sync_folder(folder)


def _require_current(path: Path, version_id: str) -> None:
    status = status_of(path)
    if status is None or version_of(status) != version_id:
        raise PreconditionFailedError("the file is no longer the one that was read")


def _drop_cut_off(path: Path) -> None:
    """Remove what a killed writer of this file left. A living one holds its file locked."""
    for left in incoming_folder(path).glob("*"):
        if left.name.partition(".")[2] == path.name:
            with left.open("rb") as file, suppress(BlockingIOError):
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()
