"""ObjectStore on a folder: listing, reading, and the replacement of a file by rename.

Not here: destroying superseded versions (purger), first files (loader).
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import BinaryIO

from app.domain.errors import LakeError, ObjectMissingError, UnreachableError
from app.lake.local.paths import (
    INCOMING,
    OWN,
    SCHEME,
    SUPERSEDED,
    path_of,
    places_of,
    status_of,
    superseded_folder,
    told,
    version_of,
)
from app.lake.local.writing import put_replacement
from app.lake.ports import ObjectInfo, Upload, Version

BLOCK = 1 << 20


class LocalStore:
    """app.lake.ports.ObjectStore for file:// addresses under `roots`. ETag and version id are one.

    A folder has no clock and no locks of its own: `clock` is this machine's, retentions are none.
    """

    def __init__(self, roots: Iterable[str], *, clock: Callable[[], float] = time.time) -> None:
        self._roots = tuple(os.path.realpath(path_of(root)) for root in roots)
        self._clock = clock

    def require_versioned(self, uri: str) -> None:
        """Always fulfilled under a root: a put keeps the old bytes until they are purged."""
        self._require_inside(os.path.realpath(path_of(uri)))

    def now(self) -> datetime:
        """This machine's clock: the folder's times come from it."""
        return datetime.fromtimestamp(self._clock(), UTC)

    def versions(self, prefix: str) -> Iterator[Version]:
        """Current and superseded versions, key by key, newest first; `.clearlake` is no data."""
        with told("listing versions"):
            for folder in self._folders(prefix):
                for path in _files(folder, SUPERSEDED):
                    if _uri(path).startswith(prefix):
                        yield from _versions(path)

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """Writes that a crash cut off: bytes that `versions` does not show."""
        with told("listing unfinished writes"):
            for folder in self._folders(prefix):
                for name in sorted(_names(folder / OWN / INCOMING)):
                    uri = _uri(folder / name.partition(".")[2])
                    status = status_of(folder / OWN / INCOMING / name)
                    if status is not None and uri.startswith(prefix):
                        yield Upload(uri, name, _time(status.st_mtime))

    def info(self, uri: str, *, version_id: str) -> ObjectInfo:
        """Size and time; a file has nothing else beside its bytes."""
        with told("looking at a version"):
            return _info(uri, _place(self._path(uri), version_id).lstat())

    @contextmanager
    def open(self, uri: str, *, version_id: str) -> Iterator[LocalStream]:
        """The bytes of exactly this version."""
        with told("reading a version"):
            place = _place(self._path(uri), version_id)
            file = open(os.open(place, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0)  # noqa: SIM115 - closed below
        with file:
            info = _info(uri, os.fstat(file.fileno()))
            if info.version_id != version_id:
                raise ObjectMissingError("reading a version: it was replaced meanwhile")
            yield LocalStream(info, file.fileno())

    def put(
        self,
        uri: str,
        body: BinaryIO,
        *,
        if_match: str,
        like: ObjectInfo,
        marks: Mapping[str, str],
        retain: bool,
    ) -> str:
        """A new current version by rename; the old one stays as superseded. Mode, owner and
        extended attributes are taken over; marks and retention have no place in a folder.
        """
        return put_replacement(self._path(uri), body, if_match=if_match)

    def find_written(self, uri: str, *, marks: Mapping[str, str], sha256: str) -> str | None:
        """The current version, if its bytes have this digest."""
        path = self._path(uri)
        status = status_of(path)
        if status is None:
            return None
        digest = hashlib.sha256()
        with self.open(uri, version_id=version_of(status)) as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
        return stream.info.version_id if digest.hexdigest() == sha256 else None

    def locks_by_default(self, uri: str) -> bool:
        """A folder has no locks."""
        return False

    def release_retention(self, uri: str, *, version_id: str) -> None:
        """A folder has no retention: nothing to do."""
        with told("releasing a retention"):
            _place(self._path(uri), version_id)

    def _path(self, uri: str) -> Path:
        """The path, if its folder really lies under a root: no symbolic link leads out."""
        path = path_of(uri)
        self._require_inside(os.path.realpath(path.parent))
        return path

    def _require_inside(self, real: str) -> None:
        for root in self._roots:
            if real == root or real.startswith(root.rstrip("/") + "/"):
                if OWN in PurePath(real[len(root) :]).parts:
                    raise LakeError(f"What lies in {OWN} is our own bookkeeping, no data.")
                return
        raise LakeError(
            "A path leads out of the declared folders (by a symbolic link?). Declare where it "
            "leads to, or put the files themselves there."
        )

    def _folders(self, prefix: str) -> Iterator[Path]:
        """Folders that can hold files of the prefix, in order, without `.clearlake` and links."""
        start = path_of(prefix[: prefix.rindex("/") + 1])
        if start.is_dir():
            self._require_inside(os.path.realpath(start))
            yield from self._walk(start, prefix)

    def _walk(self, folder: Path, prefix: str) -> Iterator[Path]:
        yield folder
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            if entry.is_symlink():
                self._require_seen(folder / entry.name)
            elif entry.is_dir() and entry.name != OWN:
                uri = _uri(folder / entry.name) + "/"
                if uri.startswith(prefix) or prefix.startswith(uri):
                    yield from self._walk(folder / entry.name, prefix)

    def _require_seen(self, link: Path) -> None:
        """A link is not followed: what it leads to must be listed under its own name."""
        if link.exists():
            self._require_inside(os.path.realpath(link))


class LocalStream:
    """app.lake.ports.ObjectStream: exactly the announced bytes, or UnreachableError."""

    def __init__(self, info: ObjectInfo, descriptor: int) -> None:
        self._info, self._descriptor = info, descriptor
        self._left = info.size

    @property
    def info(self) -> ObjectInfo:
        """Of the open file itself."""
        return self._info

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes."""
        wanted = self._left if size < 0 else min(size, self._left)
        pieces: list[bytes] = []
        while wanted:
            with told("reading a version"):
                piece = os.read(self._descriptor, wanted)
            if not piece:
                raise UnreachableError("reading a version: it became shorter meanwhile")
            pieces.append(piece)
            wanted -= len(piece)
            self._left -= len(piece)
        if not self._left and version_of(os.fstat(self._descriptor)) != self._info.version_id:
            raise UnreachableError("reading a version: it was changed meanwhile")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _place(path: Path, version_id: str) -> Path:
    places = places_of(path, version_id)
    if not places:
        raise ObjectMissingError("no such version")
    return places[0]


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _files(folder: Path, own: str) -> Iterator[Path]:
    """Files of one folder, those that have only superseded versions among them."""
    with os.scandir(folder) as entries:
        names = {entry.name for entry in entries if entry.is_file(follow_symlinks=False)}
    for name in sorted(names.union(_names(folder / OWN / own))):
        yield folder / name


def _versions(path: Path) -> Iterator[Version]:
    current = status_of(path)
    shown = version_of(current) if current is not None else None
    if current is not None:
        yield _version(path, current, is_latest=True)
    folder = superseded_folder(path)
    older = [status for name in _names(folder) if (status := status_of(folder / name))]
    # ctime: a version's names changed last when it was superseded, whatever its own date says
    for status in sorted(older, key=lambda s: s.st_ctime_ns, reverse=True):
        if version_of(status) != shown:  # linked, not yet replaced: one version, not two
            yield _version(path, status, is_latest=False)


def _version(path: Path, status: os.stat_result, *, is_latest: bool) -> Version:
    return Version(
        uri=_uri(path),
        version_id=version_of(status),
        etag=version_of(status),
        size=status.st_size,
        modified=_time(status.st_mtime),
        is_latest=is_latest,
    )


def _info(uri: str, status: os.stat_result) -> ObjectInfo:
    if not stat.S_ISREG(status.st_mode):
        raise ObjectMissingError("not a file")
    return ObjectInfo(
        uri=uri,
        version_id=version_of(status),
        etag=version_of(status),
        size=status.st_size,
        modified=_time(status.st_mtime),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _uri(path: Path) -> str:
    return f"{SCHEME}{path}"
