"""Writing a small file so that it is there whole or not at all, also after a crash.

Not the lake's files (app.lake.local) and not for secrets that must be overwritten (app.audit.keys).
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.domain.errors import DiskFullError, SettingsError


def write_durably(path: Path, data: bytes) -> None:
    """Put `data` at `path` (0600), replacing what is there in one step. The folder must exist."""
    with naming_os_errors(path.parent):
        new = write_beside(path, data)
        os.replace(new, path)
        sync_folder(path.parent)


def write_beside(path: Path, data: bytes) -> Path:
    """A synced new file (0600) of a name nobody else has, in the folder of `path`."""
    new = path.parent / f".{path.name}.{secrets.token_hex(8)}.new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        new.unlink()
        raise
    return new


def sync_folder(folder: Path) -> None:
    """Make names put into or taken out of the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def naming_os_errors(folder: Path) -> Iterator[None]:
    """A full disk becomes DiskFullError, any other refusal of the system SettingsError."""
    try:
        yield
    except OSError as err:
        if err.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFullError(f"No space left in {folder}: make room and run it again.") from err
        raise SettingsError(f"{folder} cannot be used: {err.strerror or 'refused'}.") from err
