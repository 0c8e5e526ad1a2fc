"""Purger on a folder: removes exact versions, and our own folders once they are empty."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import PurePath

from app.domain.errors import ObjectMissingError, PurgeRefusedError
from app.domain.failpoints import failpoint
from app.lake.local.paths import (
    incoming_folder,
    one_writer,
    path_of,
    places_of,
    prune,
    superseded_folder,
    sync_folder,
    told,
)
from app.lake.ports import Upload
from app.lake.warrant import Warrant


class LocalPurger:
    """app.lake.ports.Purger."""

    def __init__(
        self,
        prefixes: Iterable[str],
        *,
        per_hour: int = 100_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._warrant = Warrant(prefixes, per_hour=per_hour, clock=clock)

    def allow(self, versions: Iterable[tuple[str, str]]) -> None:
        """(uri, version_id) pairs that the journal lists as superseded."""
        self._warrant.allow(versions)

    def purge(self, uri: str, *, version_id: str) -> None:
        """Remove every name of exactly this version; the current file too, if it is the one."""
        self._warrant.require_version(uri, version_id)
        path = path_of(uri)
        failpoint("local.before_purge")
        if path.parent.is_dir():
            with told("purging a version"), one_writer(path.parent):
                for place in places_of(path, version_id):
                    place.unlink(missing_ok=True)
                    sync_folder(place.parent)
                prune(superseded_folder(path))
        failpoint("local.after_purge")

    def abort(self, upload: Upload) -> None:
        """Remove an unfinished write."""
        self._warrant.require_prefix(upload.uri)
        path = path_of(upload.uri)
        name = PurePath(upload.upload_id)
        if name.name != upload.upload_id or upload.upload_id.partition(".")[2] != path.name:
            raise PurgeRefusedError("An unfinished write of another object.")
        failpoint("local.before_abort")
        try:
            with told("ending an unfinished write"), one_writer(path.parent):
                (incoming_folder(path) / name).unlink(missing_ok=True)
                prune(incoming_folder(path))
        except ObjectMissingError:
            return
        failpoint("local.after_abort")
