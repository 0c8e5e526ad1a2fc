"""The state folder: who holds it, the secrets in it, and which ports are free.

Not here: the servers' own files in it (postgres, valkey, seaweed).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from app.domain.errors import ServerStartError

FIRST_PORT, LAST_PORT = 20000, 32000
STOPPING_SECONDS = 25.0
"""How long servers whose owner died may take to stop before a new start gives up."""


_held: set[int] = set()


def _let_go_in_child() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


# a forked child that lives on would hold the folder; closing its copy does not unlock ours
os.register_at_fork(after_in_child=_let_go_in_child)


class State:
    """A state folder that this process holds until `release`, and its servers until they end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writing = threading.Lock()
        try:
            folder.mkdir(mode=0o711, parents=True, exist_ok=True)
            self.lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as err:
            raise ServerStartError(
                f"The state folder {folder} cannot be used: {err.strerror}."
            ) from err
        _held.add(self.lock)
        try:
            self._hold()
            self._file = folder / "state.json"
            self._known = self._read()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Let go of the folder. A server that still lives keeps holding it."""
        if self.lock in _held:  # not in a forked child: there it is closed already
            _held.remove(self.lock)
            os.close(self.lock)

    def secret(self, name: str) -> str:
        """The secret of that name: made once, the same at every start of this folder."""
        return self.remember(name, secrets.token_urlsafe(24))

    def known(self, name: str) -> str | None:
        """What was remembered under the name."""
        return self._known.get(name)

    def remember(self, name: str, value: str) -> str:
        """Keep a value, unless one is kept already; the one that is kept."""
        with self._writing:  # the parts are started side by side
            if name not in self._known:
                known = {**self._known, name: value}
                write_private(self._file, json.dumps(known, indent=1))
                self._known = known
            return self._known[name]

    def subfolder(self, name: str) -> Path:
        """A private folder in the state folder."""
        path = self.folder / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def _hold(self) -> None:
        deadline = time.monotonic() + STOPPING_SECONDS
        while True:
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as err:
                # a holder whose process is gone is a server that is being stopped
                holder = os.pread(self.lock, 20, 0).decode("ascii", "replace")
                if time.monotonic() > deadline or _lives(holder):
                    raise ServerStartError(
                        f"The state folder {self.folder} is in use by process {holder}. "
                        "Stop that one, or name another folder."
                    ) from err
                time.sleep(0.05)
            else:
                os.ftruncate(self.lock, 0)
                os.pwrite(self.lock, str(os.getpid()).encode(), 0)
                return

    def _read(self) -> dict[str, str]:
        try:
            return cast("dict[str, str]", json.loads(self._file.read_text("utf-8")))
        except FileNotFoundError:
            return {}
        except (ValueError, OSError) as err:
            raise ServerStartError(
                f"{self._file} cannot be read. Its secrets open the servers' data: restore it, "
                "or start with another folder."
            ) from err


def _lives(holder: str) -> bool:
    """Whether the process lives. Only how long to wait hangs on it: the lock itself decides."""
    return holder.isdecimal() and Path("/proc", holder).exists()


def write_private(path: Path, text: str) -> None:
    """Write a file that only we can read, whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(
        os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    new.replace(path)


def reachable_by_others(path: Path) -> bool:
    """Whether any user may walk to this folder."""
    whole = path.resolve()
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (whole, *whole.parents))


def folder_elsewhere(name: str) -> Path:
    """A folder that any user may walk to, for a state folder that is closed to them."""
    for parent in ("/var/tmp", tempfile.gettempdir()):  # noqa: S108 - mkdtemp makes it safely
        if Path(parent).is_dir() and reachable_by_others(Path(parent)):
            path = Path(tempfile.mkdtemp(prefix=f"clearlake-{name}-", dir=parent))
            path.chmod(0o711)
            return path
    raise ServerStartError(f"{name}: no folder that another user can reach was found.")


def free_ports(number: int) -> list[int]:
    """Ports on the loopback that nobody listens on now, all different."""
    return list(_distinct(_free_ports(), number))


def _distinct(ports: Iterator[int], number: int) -> set[int]:
    found: set[int] = set()
    while len(found) < number:
        found.add(next(ports))
    return found


def _free_ports() -> Iterator[int]:
    for _ in range(10_000):
        port = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            yield port
    raise ServerStartError(f"No free port between {FIRST_PORT} and {LAST_PORT} was found.")


def remove_folder(path: Path) -> None:
    """Delete a folder with all that is in it; one that is not there is fine."""
    shutil.rmtree(path, ignore_errors=True)
