"""Has each credential what it needs, and is it refused what it must not do? Tried, in a scratch
prefix: what a policy says is not asked.

Not here: whether an act does what it says (storage).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from app.doctor.results import (
    Area,
    Check,
    NotTriedError,
    Outcome,
    Probed,
    Verdict,
    examine,
    failed,
    passed,
)
from app.doctor.scratch import Scratch, scratch
from app.doctor.storage import AFTERWARDS, Bucket, require_scratch
from app.domain.errors import AccessDeniedError
from app.lake.s3.probe import LockSettings, S3Probe

ROLES = ("erase", "purge", "read", "verify")


@dataclass(frozen=True, slots=True)
class Act:
    """One thing to try with a credential."""

    name: str
    right: str
    """What it takes on AWS."""
    prepare: Callable[[Scratch], Callable[[S3Probe], object]]
    """Make what it is tried on, with other credentials; then the act itself."""
    locks: bool = False
    """Only where the bucket has Object Lock."""
    unlocked: bool = False
    """Only where no default retention locks what it is tried on: a refusal would say nothing."""


def _listing(place: Scratch) -> Callable[[S3Probe], object]:
    return lambda probe: list(probe.store.versions(place.root))


def _uploads(place: Scratch) -> Callable[[S3Probe], object]:
    return lambda probe: list(probe.store.uploads(place.root))


def _reading(place: Scratch) -> Callable[[S3Probe], object]:
    victim = place.victim()

    def read(probe: S3Probe) -> object:
        with probe.store.open(victim.uri, version_id=victim.version_id) as stream:
            return stream.read()

    return read


def _putting(place: Scratch) -> Callable[[S3Probe], object]:
    uri = place.fresh("put")
    return lambda probe: probe.put(uri, b"doctor")


def _locking(place: Scratch) -> Callable[[S3Probe], object]:
    uri = place.fresh("put-locked")

    def put(probe: S3Probe) -> object:
        return probe.put_locked(uri, b"doctor", until=place.lock_end())

    return put


def _ending_upload(place: Scratch) -> Callable[[S3Probe], object]:
    upload = place.upload()
    return lambda probe: probe.end_upload(upload)


def _deleting(place: Scratch) -> Callable[[S3Probe], object]:
    victim = place.victim()
    return lambda probe: probe.delete_version(victim.uri, version_id=victim.version_id)


def _bypassing(place: Scratch) -> Callable[[S3Probe], object]:
    locked = place.locked()
    return lambda probe: probe.delete_locked(locked.uri, version_id=locked.version_id)


def _hiding(place: Scratch) -> Callable[[S3Probe], object]:
    victim = place.victim()
    return lambda probe: probe.hide(victim.uri)


_LIST = Act("list versions", "s3:ListBucketVersions", _listing)
_UPLOADS = Act("list uploads", "s3:ListBucketMultipartUploads", _uploads)
_READ = Act("read a version", "s3:GetObjectVersion", _reading)
_PUT = Act("put", "s3:PutObject", _putting)
_LOCK = Act("put under a lock", "s3:PutObjectRetention", _locking, locks=True)
_ABORT = Act("end an upload", "s3:AbortMultipartUpload", _ending_upload)
_DELETE = Act("delete a version", "s3:DeleteObjectVersion", _deleting, unlocked=True)
_BYPASS = Act("bypass a lock", "s3:BypassGovernanceRetention", _bypassing, locks=True)
_HIDE = Act("delete without a version", "s3:DeleteObject", _hiding)

NEEDS: Mapping[str, Sequence[Act]] = {
    "erase": (_PUT, _LOCK, _ABORT, _LIST, _UPLOADS, _READ),
    "purge": (_DELETE, _BYPASS, _ABORT),
    "read": (_LIST, _UPLOADS, _READ),
    "verify": (_LIST, _UPLOADS, _READ),
}
REFUSED: Mapping[str, Sequence[Act]] = {
    "erase": (_DELETE, _BYPASS, _HIDE),
    "purge": (_PUT, _HIDE),
    "read": (_PUT, _ABORT, _DELETE, _BYPASS, _HIDE),
    "verify": (_PUT, _ABORT, _DELETE, _BYPASS, _HIDE),
}


def examine_rights(bucket: Bucket, *, name: str) -> Iterator[Probed]:
    """Every credential against one bucket; `name` is that of the scratch prefix."""
    seen = list(examine(Area.PERMISSIONS, bucket.name, bucket, checks=_FIRST))
    yield from (found for found in seen if found.outcome is not Outcome.PASS)
    if any(found.outcome is not Outcome.PASS for found in seen):
        return
    with scratch(bucket.name, name, doors=bucket.doors) as place:
        for role in ROLES:
            checks = [
                *((f"may {act.name}", partial(_may, act=act, role=role)) for act in NEEDS[role]),
                *((f"may not {act.name}", partial(_may_not, act=act)) for act in REFUSED[role]),
            ]
            target = f"{role} in {bucket.name}"
            yield from examine(Area.PERMISSIONS, target, (bucket, place, role), checks=checks)
    yield from examine(Area.PERMISSIONS, bucket.name, place, checks=AFTERWARDS)


def _ready(bucket: Bucket) -> Verdict:
    require_scratch(bucket)
    return passed("It can be tried.")


_FIRST: Sequence[Check[Bucket]] = (("ready", _ready),)

_Tried = tuple[Bucket, Scratch, str]


def _may(at: _Tried, *, act: Act, role: str) -> Verdict:
    try:
        _tried(at, act)
    except AccessDeniedError:
        return failed(
            "It is refused.", f"Give the {role} credential {act.right}: docs/iam/{role}.json."
        )
    return passed("It may.")


def _may_not(at: _Tried, *, act: Act) -> Verdict:
    try:
        _tried(at, act)
    except AccessDeniedError:
        return passed("It is refused.")
    return failed(
        "It is allowed.", f"Take {act.right} away from it, or give it a credential of its own."
    )


def _tried(at: _Tried, act: Act) -> None:
    bucket, place, role = at
    lock = (
        bucket.reader.lock(bucket.name)
        if act.locks or act.unlocked
        else LockSettings(enabled=False)
    )
    if act.locks and not lock.enabled:
        raise NotTriedError("Object Lock is off.")
    if act.unlocked and lock.mode is not None:
        raise NotTriedError("The bucket's default retention locks every object it is tried on.")
    act.prepare(place)(bucket.doors[role])
