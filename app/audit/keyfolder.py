"""A private folder of key files: made once, read with care, destroyed for good.

Knows names and 32 random bytes a name; what a key is for is app.audit.keys.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from app.audit.files import naming_os_errors, sync_folder, write_beside
from app.domain.errors import KeyMissingError, SettingsError, UsageError
from app.domain.failpoints import failpoint

KEY_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
_NUMBERED = re.compile(r"[a-z]+-[0-9]+")
_MAX_NAME = 120
_DATA, _SHREDDING = "data", "shredding"


@dataclass(frozen=True, slots=True)
class KeyFolder:
    """A folder (0700) with a file (0600) `NAME.key` for each key and an empty `NAME.shredded` for
    each destroyed one. Many processes may use it at once.

    Keys `KIND-N` lie in the folder itself, all others in `data`, where there may be a million: no
    one lists that. `shredding` names the few that are being destroyed.
    """

    folder: Path

    @classmethod
    def open(cls, folder: Path) -> KeyFolder:
        """Make the folder or check it, and finish what a crash left half shredded.

        SettingsError, with what to do, when anybody else may look into the folder.
        """
        with naming_os_errors(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _require_private(folder, os.stat(folder), right="700")
            for part in (_DATA, _SHREDDING):
                (folder / part).mkdir(mode=0o700, exist_ok=True)
            # Whoever made them: a key may only be used once the way to it survives a power cut.
            sync_folder(folder)
            left = os.listdir(folder / _SHREDDING)
        opened = cls(folder)
        for name in sorted(n for n in left if _NAME.fullmatch(n)):
            opened._finish(name)
        return opened

    def ensure(self, name: str) -> None:
        """Make a key of 256 random bits unless it is there. Of many makers at once one wins, and
        all have its key. KeyMissingError when it was shredded: the same name never means two keys.
        """
        path = self._path(name)
        if os.path.exists(path) and not self._is_shredded(name):
            return
        self._require_not_shredded(name)
        with naming_os_errors(self.folder):
            new = write_beside(path, secrets.token_bytes(KEY_BYTES))
            failpoint("keys.before_link")
            try:
                # A link is O_EXCL for a whole file: nobody ever reads half a key.
                os.link(new, path)
            except FileExistsError:
                _overwrite(new)
            finally:
                new.unlink()
            failpoint("keys.after_link")
            sync_folder(path.parent)
        if self._is_shredded(name):
            # Shredded between our look and our link: shredding wins.
            self._destroy(name)
            self._require_not_shredded(name)

    def read(self, name: str) -> bytes:
        """The key. KeyMissingError: shredded, or never made. SettingsError: others may read it."""
        self._require_not_shredded(name)
        with naming_os_errors(self.folder):
            try:
                descriptor = os.open(self._path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError as err:
                raise KeyMissingError(f"There is no key {name} in this key store.") from err
            with os.fdopen(descriptor, "rb") as file:
                failpoint("keys.opened")
                _require_private(self._path(name), os.fstat(file.fileno()), right="600")
                key = file.read(KEY_BYTES + 1)
        # Again: zeros that a shredder wrote while we read must never be taken for a key.
        self._require_not_shredded(name)
        if len(key) != KEY_BYTES:
            raise SettingsError(f"The file of key {name} is damaged: restore it, or shred the key.")
        return key

    def shred(self, name: str) -> None:
        """Destroy a key for good. Twice is a success.

        1. Write down what is to be done: from here on the next opening finishes it. 2. Mark the key
        shredded: from here on nobody reads it. 3. Overwrite its bytes, sync. 4. Remove the file,
        sync its folder. 5. Strike out what is done.
        """
        _touch(self._to_do(name))
        failpoint("keys.shred_begun")
        self._finish(name)

    def numbers(self, kind: str, *, shredded: bool) -> list[int]:
        """The numbers N of the keys `KIND-N`, lowest first: those that live, or those destroyed."""
        with naming_os_errors(self.folder):
            entries = os.listdir(self.folder)
        start = f"{kind}-"
        parts = [e.removeprefix(start).partition(".") for e in entries if e.startswith(start)]
        gone = {int(n) for n, _, end in parts if end == "shredded" and n.isdecimal()}
        made = {int(n) for n, _, end in parts if end == "key" and n.isdecimal()}
        return sorted(gone if shredded else made - gone)

    def _finish(self, name: str) -> None:
        """2. to 5., from wherever it was left."""
        _touch(self._marker(name))
        failpoint("keys.shred_marked")
        self._destroy(name)
        with naming_os_errors(self.folder):
            self._to_do(name).unlink(missing_ok=True)

    def _destroy(self, name: str) -> None:
        path = self._path(name)
        with naming_os_errors(self.folder):
            try:
                _overwrite(path)
                failpoint("keys.shred_overwritten")
                path.unlink()
            except FileNotFoundError:
                return
            failpoint("keys.shred_removed")
            sync_folder(path.parent)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
            raise UsageError(
                f"A key's name has 1 to {_MAX_NAME} letters, digits, '-' and '_', with single dots."
            )
        return Path(f"{self._home(name)}/{name}.key")

    def _home(self, name: str) -> str:
        return str(self.folder) if _NUMBERED.fullmatch(name) else f"{self.folder}/{_DATA}"

    def _to_do(self, name: str) -> Path:
        return self.folder / _SHREDDING / self._path(name).stem

    def _marker(self, name: str) -> Path:
        return self._path(name).with_name(f"{name}.shredded")

    def _is_shredded(self, name: str) -> bool:
        return os.path.exists(f"{self._home(name)}/{name}.shredded")

    def _require_not_shredded(self, name: str) -> None:
        if self._is_shredded(name):
            raise KeyMissingError(f"Key {name} was shredded.")


def _touch(path: Path) -> None:
    """An empty file that survives a power cut."""
    with naming_os_errors(path.parent):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        sync_folder(path.parent)


def _overwrite(path: Path) -> None:
    """Zeros over the bytes in place: every hard link and open descriptor sees them."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, bytes(max(KEY_BYTES, os.fstat(descriptor).st_size)), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _require_private(path: Path, status: os.stat_result, *, right: str) -> None:
    if status.st_uid != os.geteuid():
        raise SettingsError(f"{path} belongs to another user: give it to the user that runs this.")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise SettingsError(f"{path} is open to other users: chmod {right} {path}")
