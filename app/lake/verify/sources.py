"""Where bytes are found, all of them: every version, marker and upload of a bucket, every file of a
folder with its hidden ones. A folder is walked here, so that no store's bookkeeping hides a copy.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from app.domain.errors import AccessDeniedError, LakeError, ObjectMissingError
from app.lake.ports import ObjectInfo, ObjectStore, Upload, Version
from app.lake.verify.content import Readable

_OWN = "/.clearlake/"
"""Superseded copies in a folder: what lies there is not current."""
_BETWEEN = 1000
"""Other versions that one listing of several keys may show beside ten for each of them."""


@dataclass(frozen=True, slots=True)
class Found:
    """One version, marker or file."""

    uri: str = field(repr=False)
    version_id: str
    size: int
    modified: datetime
    is_latest: bool
    is_marker: bool = False
    landed: datetime | None = None
    """Of a file: when it came to be here as it is, if that is later. A copy may keep its old time,
    and anybody can set a time.
    """
    is_link: bool = False


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of one version, and what stands beside them."""

    stream: Readable
    info: ObjectInfo | None


class Files(Protocol):
    """Files by their names, read only."""

    def open(self, found: Found) -> AbstractContextManager[Body]:
        """The bytes of exactly this version."""
        ...

    def latest(self, uri: str) -> Found:
        """The current version. ObjectMissingError when there is none."""
        ...


class Source(Files, Protocol):
    """A bucket or a folder, read only."""

    def all_under(self, prefix: str) -> Iterator[Found]:
        """Everything whose URI starts with the prefix."""
        ...

    def all_within(self, prefix: str, *, root: str) -> Iterator[Found]:
        """Everything under a prefix of `root`: nothing when there is only the root."""
        ...

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """Open multipart uploads."""
        ...


@dataclass(frozen=True, slots=True)
class Bucket:
    """A store of versions, through its port."""

    store: ObjectStore

    def all_under(self, prefix: str) -> Iterator[Found]:
        """Every version and marker."""
        for v in self.store.versions(prefix):
            yield Found(v.uri, v.version_id, v.size, v.modified, v.is_latest, v.is_marker)

    def all_within(self, prefix: str, *, root: str) -> Iterator[Found]:
        """Every version and marker."""
        return self.all_under(prefix)

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """Open multipart uploads."""
        return self.store.uploads(prefix)

    @contextmanager
    def open(self, found: Found) -> Iterator[Body]:
        """The bytes of exactly this version."""
        with self.store.open(found.uri, version_id=found.version_id) as stream:
            yield Body(stream, stream.info)

    def latest(self, uri: str) -> Found:
        """The current version."""
        for found in self.all_under(uri):
            if found.uri == uri and found.is_latest and not found.is_marker:
                return found
        raise ObjectMissingError("A file that the table's metadata names is not there.")


@dataclass(slots=True)
class Neighbours:
    """A source that is asked for many files of few folders: each folder is listed once, when the
    first of its files is asked for.
    """

    source: Source
    _folders: set[str] = field(default_factory=set)
    _latest: dict[str, Found] = field(default_factory=dict)

    def open(self, found: Found) -> AbstractContextManager[Body]:
        """The bytes of exactly this version."""
        return self.source.open(found)

    def latest(self, uri: str) -> Found:
        """The current version, as it was listed; one that came since is asked for by itself."""
        folder = uri.rpartition("/")[0] + "/"
        if folder not in self._folders:
            self._folders.add(folder)
            with suppress(LakeError):  # who may not list it may still ask for the file by itself
                for found in self.source.all_under(folder):
                    if found.is_latest and not found.is_marker:
                        self._latest[found.uri] = found
        return self._latest.get(uri) or self.source.latest(uri)


def versions_of(uris: Iterable[str], *, store: ObjectStore) -> dict[str, list[Version]]:
    """The versions of exactly these keys, newest first: by one listing of what their names begin
    with, or one each where too much else begins so.
    """
    wanted = list(uris)
    found: dict[str, list[Version]] = {uri: [] for uri in wanted}
    together = os.path.commonprefix(wanted)  # noqa: RUF071  of names, not of paths
    cut = together.rfind("%", -2)  # half an escape is no beginning of a name
    others = 0
    for version in store.versions(together[:cut] if cut >= 0 else together) if wanted else ():
        if version.uri in found:
            found[version.uri].append(version)
            continue
        others += 1
        if others > _BETWEEN + 10 * len(wanted):
            return {u: [v for v in store.versions(u) if v.uri == u] for u in wanted}
    return found


@dataclass(frozen=True, slots=True)
class Folder:
    """Folders of this machine, as the operating system shows them."""

    def all_under(self, prefix: str) -> Iterator[Found]:
        """Every file, the hidden ones too; links to folders are not followed."""
        root = _path(prefix.rpartition("/")[0])
        for folder, below, names in os.walk(root, onerror=_refused):
            below.sort()
            for name in sorted(names):
                uri = f"file://{os.path.join(folder, name)}"
                found = _found(uri)
                if uri.startswith(prefix) and found is not None:
                    yield found

    def all_within(self, prefix: str, *, root: str) -> Iterator[Found]:
        """Every file. A folder that was never made is empty; a root that is not there is refused,
        because it may not be mounted.
        """
        if prefix != root and _path(root).is_dir() and not _path(prefix).exists():
            return iter(())
        return self.all_under(prefix)

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """A folder has none: a write that was cut off is a file."""
        return iter(())

    @contextmanager
    def open(self, found: Found) -> Iterator[Body]:
        """The bytes of the file."""
        try:
            stream: BinaryIO = _path(found.uri).open("rb")
        except FileNotFoundError as err:
            raise ObjectMissingError("A file is gone.") from err
        except OSError as err:
            raise AccessDeniedError("A file cannot be opened.") from err
        with stream:
            yield Body(stream, None)

    def latest(self, uri: str) -> Found:
        """The file."""
        found = _found(uri)
        if found is None:
            raise ObjectMissingError("A file that the table's metadata names is not there.")
        return found


def _path(uri: str) -> Path:
    return Path(uri.removeprefix("file://") or "/")


def _refused(err: OSError) -> None:
    raise AccessDeniedError("A folder cannot be listed.") from err


def _found(uri: str) -> Found | None:
    path = _path(uri)
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as err:
        raise LakeError("A file cannot be looked at.") from err
    if not path.is_file():
        return None
    first, last = sorted((status.st_mtime, status.st_ctime))
    return Found(
        uri,
        "",
        status.st_size,
        modified=datetime.fromtimestamp(first, UTC),
        is_latest=_OWN not in uri,
        landed=datetime.fromtimestamp(last, UTC),
        is_link=path.is_symlink(),
    )
