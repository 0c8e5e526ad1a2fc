"""Putting the bases of a run's replacements back: possible until the purge, destroys nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.domain.errors import (
    AccessDeniedError,
    ObjectConflictError,
    ObjectMissingError,
    PreconditionFailedError,
)
from app.domain.failpoints import failpoint
from app.domain.receipts import ObjectWork, WorkState
from app.lake.bronze import Record, listed
from app.lake.bronze_read import Body, lock_is_live
from app.lake.ports import ObjectStore, Version

_BATCH = 64
_READ = 1 << 20
_UNDOABLE = (WorkState.READY, WorkState.WRITTEN, WorkState.CHECKED)


def undo_objects(
    works: Sequence[ObjectWork],
    *,
    store: ObjectStore,
    record: Record,
    spool: Path | None = None,
) -> list[ObjectWork]:
    """Make the base of every READY, WRITTEN or CHECKED work current again, as a new version.

    Only where our replacement is still current: what others wrote since is left, and the work comes
    back PARKED and says so. An UNDONE work lists nothing to purge any more. A repeat is a success.
    """
    if spool is not None:
        spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    done = {work.uri: work for work in works}
    due = [work for work in works if work.state in _UNDOABLE]
    for start in range(0, len(due), _BATCH):
        batch = due[start : start + _BATCH]
        versions = listed(store, [w.uri for w in batch])
        undone = [_Undo(store, spool, w, versions[w.uri]).undone() for w in batch]
        failpoint("undo_objects.before_record")
        record(undone)
        failpoint("undo_objects.after_record")
        done.update((w.uri, w) for w in undone)
    return [done[work.uri] for work in works]


@dataclass(frozen=True, slots=True)
class _Undo:
    store: ObjectStore
    spool: Path | None
    work: ObjectWork
    versions: Sequence[Version]

    def undone(self) -> ObjectWork:
        """One object."""
        work = self.work
        if work.sha256 is None or work.base_version is None:
            return _left(work)
        ours = work.new_version or self.store.find_written(
            work.uri,
            marks={"clearlake-sha256": work.sha256, "clearlake-base": work.base_version},
            sha256=work.sha256,
        )
        if ours is None or self._is_current(work.base_version):
            return _left(work)
        try:
            return self._put_back(work.base_version, ours=ours)
        except ObjectMissingError:
            return work.to(WorkState.PARKED, reason="The base is gone: it cannot be put back.")
        except AccessDeniedError:
            return work.to(WorkState.PARKED, reason="The right to write the object is missing.")
        except (PreconditionFailedError, ObjectConflictError):
            return work.to(WorkState.PARKED, reason=_CHANGED)

    def _put_back(self, base_version: str, *, ours: str) -> ObjectWork:
        uri = self.work.uri
        body = Body(self.spool)
        try:
            with self.store.open(uri, version_id=base_version) as stream:
                while piece := stream.read(_READ):
                    body.write(piece)
            marks = {"clearlake-undo": ours, "clearlake-sha256": body.sha256}
            if self._is_current(ours):
                failpoint("undo_objects.before_put")
                self.store.put(
                    uri,
                    body.file,
                    if_match=self.versions[0].etag,
                    like=stream.info,
                    marks=marks,
                    retain=lock_is_live(stream.info, now=self.store.now()),
                )
                failpoint("undo_objects.after_put")
            elif self.store.find_written(uri, marks=marks, sha256=body.sha256) is None:
                return self.work.to(WorkState.PARKED, reason=_CHANGED)
            return _left(self.work)
        finally:
            body.close()

    def _is_current(self, version_id: str) -> bool:
        return bool(self.versions) and self.versions[0].version_id == version_id


_CHANGED = "Others wrote the object since; their version is left as it is."


def _left(work: ObjectWork) -> ObjectWork:
    return replace(work, superseded=()).to(WorkState.UNDONE)
