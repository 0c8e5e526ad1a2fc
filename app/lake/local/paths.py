"""Where a file and its superseded versions lie, what names a version, what the system's refusals
mean. A folder's own bookkeeping is `.clearlake/` beside the files; it is never data.

    folder/evt-1.ndjson                                     the current version
    folder/.clearlake/superseded/evt-1.ndjson/VERSION       an older one: a hard link, the same file
    folder/.clearlake/incoming/RANDOM.evt-1.ndjson          a write that has not ended
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.domain.errors import (
    AccessDeniedError,
    DiskFullError,
    LakeError,
    ObjectMissingError,
    UnreachableError,
)

OWN = ".clearlake"
SUPERSEDED = "superseded"
INCOMING = "incoming"
SCHEME = "file://"
_VERSION = re.compile(r"[0-9a-f]{1,16}-[0-9a-f]{1,16}-[0-9a-f]{1,16}")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_GONE = (errno.ENOENT, errno.ENOTDIR)


def path_of(uri: str) -> Path:
    """The path of a file:// address, taken as it stands: nothing is decoded."""
    path = uri.removeprefix(SCHEME)
    if not uri.startswith(SCHEME + "/") or "/../" in path + "/" or "\x00" in path:
        raise LakeError("not a file:/// address")
    return Path(path)


def version_of(status: os.stat_result) -> str:
    """The id of what a file holds: the same for every hard link to it, another after any write."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def superseded_folder(path: Path) -> Path:
    """Where the older versions of a file lie."""
    return path.parent / OWN / SUPERSEDED / path.name


def incoming_folder(path: Path) -> Path:
    """Where its unfinished writes lie."""
    return path.parent / OWN / INCOMING


def places_of(path: Path, version_id: str) -> list[Path]:
    """Every name under which exactly this version stands: its own, its superseded one, or both."""
    if not _VERSION.fullmatch(version_id):
        return []
    found = []
    for place in (path, superseded_folder(path) / version_id):
        status = status_of(place)
        if status is not None and version_of(status) == version_id:
            found.append(place)
    return found


def status_of(path: Path) -> os.stat_result | None:
    """Of a regular file; None when there is none (a symbolic link is none)."""
    with suppress(FileNotFoundError, NotADirectoryError):
        status = path.lstat()
        return status if stat.S_ISREG(status.st_mode) else None
    return None


@contextmanager
def told(operation: str) -> Iterator[None]:
    """Turn the system's refusals into errors of the domain; no path in them."""
    try:
        yield
    except OSError as err:
        reason = f"{operation}: {os.strerror(err.errno or 0)}"
        if err.errno in _FULL:
            raise DiskFullError(reason) from None
        if err.errno in _REFUSED:
            raise AccessDeniedError(reason) from None
        if err.errno in _GONE:
            raise ObjectMissingError(reason) from None
        raise UnreachableError(reason) from None


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Hold the folder against other writers of ours. Others do not ask."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_own_folder(folder: Path) -> None:
    """Make a folder under `.clearlake`, closed to others, owned like the data beside it."""
    if folder.name != OWN and not folder.parent.is_dir():
        make_own_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        if os.geteuid() == 0:
            owner = folder.parent.stat()
            os.chown(folder, owner.st_uid, owner.st_gid)
        sync_folder(folder.parent)


def prune(folder: Path) -> None:
    """Remove empty folders of ours, upwards, up to `.clearlake` itself and no further."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        pass
    except OSError as err:
        if err.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            return
        raise
    if folder.name != OWN:
        prune(folder.parent)
