"""A prefix of doctor's own in one bucket: objects to try things on, gone at the end.

Nothing outside `clearlake-doctor/` is ever written or deleted here.

1. Written with the erasing credential, listed with the reading one, removed with the purging one.
2. Removed whatever happened in between; what could not be removed is named.
3. What a doctor that was killed left behind goes with the next one, an hour later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

from app.doctor.results import NotTriedError
from app.domain.errors import LakeError, ObjectMissingError
from app.domain.failpoints import failpoint
from app.lake.ports import Upload
from app.lake.s3.probe import S3Probe

PREFIX = "clearlake-doctor/"
LOCKED_FOR = timedelta(seconds=30)
"""GOVERNANCE on a scratch object: should nobody be able to lift it, it ends by itself."""
ABANDONED = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Victim:
    """A version that may be destroyed."""

    uri: str
    version_id: str
    body: bytes = field(repr=False)


class Scratch:
    """Made by `scratch`."""

    def __init__(self, bucket: str, name: str, *, doors: Mapping[str, S3Probe]) -> None:
        self.root = f"s3://{bucket}/{PREFIX}{name}/"
        self._doors = doors
        self._numbers = count()
        self.left = ""
        """What could not be removed, once it is over."""

    def fresh(self, kind: str) -> str:
        """The URI of an object that is not there."""
        return f"{self.root}{kind}-{next(self._numbers)}"

    def victim(self) -> Victim:
        """A new object. NotTriedError where the erasing credential may not write one."""
        uri, eraser = self.fresh("victim"), self._doors["erase"]
        body = hashlib.sha256(uri.encode()).digest()
        return Victim(uri, self._made(lambda: eraser.put(uri, body)), body)

    def locked(self) -> Victim:
        """The same, under GOVERNANCE for some seconds by the server's clock."""
        uri, eraser = self.fresh("locked"), self._doors["erase"]
        until = self.lock_end()
        body = hashlib.sha256(uri.encode()).digest()
        return Victim(uri, self._made(lambda: eraser.put_locked(uri, body, until=until)), body)

    def lock_end(self) -> datetime:
        """When a scratch object's lock ends, by the server's clock."""
        return self._doors["read"].store.now() + LOCKED_FOR

    def upload(self) -> Upload:
        """An open multipart upload. NotTriedError as above."""
        uri, eraser = self.fresh("upload"), self._doors["erase"]
        made: list[Upload] = []

        def start() -> str:
            made.append(eraser.start_upload(uri))
            return made[0].upload_id

        self._made(start)
        return made[0]

    def reads(self, victim: Victim) -> bool:
        """Whether exactly this version is there, with its bytes."""
        store = self._doors["read"].store
        try:
            with store.open(victim.uri, version_id=victim.version_id) as stream:
                return stream.read() == victim.body
        except ObjectMissingError:
            return False

    def _made(self, make: Callable[[], str]) -> str:
        failpoint("doctor.before_put")
        try:
            version = make()
        except LakeError as err:
            raise NotTriedError(f"Not tried: no scratch object could be made ({err}).") from err
        failpoint("doctor.after_put")
        return version

    # --- the end ------------------------------------------------------------------------------

    def clean(self) -> None:
        """Remove everything of ours, and what was abandoned."""
        failpoint("doctor.before_clean")
        reader = self._doors["read"].store
        bucket_root = self.root.partition(PREFIX)[0]
        old = reader.now() - ABANDONED
        left = 0
        for version in list(reader.versions(bucket_root + PREFIX)):
            if version.uri.startswith(self.root) or version.modified < old:
                left += not self._removed(version.uri, version.version_id)
        for upload in list(reader.uploads(bucket_root + PREFIX)):
            if upload.uri.startswith(self.root) or upload.initiated < old:
                left += not self._ended(upload)
        if left:
            self.left = f"{left} versions or uploads under {bucket_root}{PREFIX}"

    def _removed(self, uri: str, version_id: str) -> bool:
        def remove(door: S3Probe) -> None:
            door.delete_locked(uri, version_id=version_id)

        return self._done_by_any(remove)

    def _ended(self, upload: Upload) -> bool:
        return self._done_by_any(lambda door: door.end_upload(upload))

    def _done_by_any(self, act: Callable[[S3Probe], None]) -> bool:
        """The purging credential first; where it may not, any other that may after all."""
        for role in ("purge", "erase", "read", "verify"):
            try:
                act(self._doors[role])
            except ObjectMissingError:
                return True
            except LakeError:
                continue
            return True
        return False


@contextmanager
def scratch(bucket: str, name: str, *, doors: Mapping[str, S3Probe]) -> Iterator[Scratch]:
    """A scratch prefix for the time of a block. `scratch.left` tells afterwards what stayed."""
    made = Scratch(bucket, name, doors=doors)
    try:
        yield made
    finally:
        try:
            made.clean()
        except LakeError as err:
            made.left = f"{made.root} ({err})"


def age(then: datetime, now: datetime) -> float:
    """Seconds between two clocks, either way."""
    return abs((then - now).total_seconds())
