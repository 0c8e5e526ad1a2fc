"""Is a bucket what the protocols rely on? Its settings, and acts in a scratch prefix.

Not here: which credential may do what (permissions); folders (folders).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.doctor.results import (
    Area,
    Check,
    NotTriedError,
    Probed,
    Verdict,
    examine,
    failed,
    judged,
    passed,
    skipped,
)
from app.doctor.scratch import Scratch, Victim, age, scratch
from app.domain.errors import (
    AccessDeniedError,
    LakeError,
    ObjectConflictError,
    ObjectMissingError,
    PreconditionFailedError,
    UnreachableError,
)
from app.lake.ports import COMPLIANCE
from app.lake.s3.probe import LifecycleRule, S3Probe

LEGAL_DAYS = 15
"""The shortest time that a law of app.domain.deadlines gives to answer (LGPD art. 19)."""
MOST_SKEW = 60.0
"""Seconds. S3 refuses requests from 15 minutes on; horizons are compared far below that."""
WRITERS = 6


@dataclass(frozen=True, slots=True)
class Bucket:
    """One bucket of the map."""

    name: str
    doors: Mapping[str, S3Probe] = field(repr=False)
    """read | erase | purge | verify -> its calls."""
    prefixes: tuple[str, ...]
    """Of the map, without the bucket: Bronze and tables."""
    worm: bool
    """Bronze objects lie in it whose locks count (`worm: {mode: auto}`)."""
    tables: bool
    """Files of tables lie in it."""
    known: frozenset[str]
    """Every bucket of the map."""
    now: Callable[[], datetime] = field(repr=False)
    undo_window: timedelta = timedelta(0)

    @property
    def reader(self) -> S3Probe:
        """The reading credential."""
        return self.doors["read"]


def examine_bucket(bucket: Bucket, *, name: str) -> Iterator[Probed]:
    """Every storage check on one bucket; `name` is that of the scratch prefix."""
    settings = list(examine(Area.STORAGE, bucket.name, bucket, checks=SETTINGS))
    yield from settings
    if len(settings) < len(SETTINGS):  # it does not answer
        return
    try:
        require_scratch(bucket)
    except (NotTriedError, LakeError) as err:
        why = str(err)
        skipping: list[Check[Bucket]] = [(check, lambda _: skipped(why)) for check, _ in ACTS]
        yield from examine(Area.STORAGE, bucket.name, bucket, checks=skipping)
        return
    with scratch(bucket.name, name, doors=bucket.doors) as place:
        yield from examine(Area.STORAGE, bucket.name, (bucket, place), checks=ACTS)
    yield from examine(Area.STORAGE, bucket.name, place, checks=AFTERWARDS)


def require_scratch(bucket: Bucket) -> None:
    """NotTriedError where what doctor writes could not be removed again."""
    if bucket.reader.versioning(bucket.name) != "Enabled":
        raise NotTriedError("Not tried: turn versioning on first.")
    if bucket.reader.lock(bucket.name).mode == COMPLIANCE:
        raise NotTriedError(
            "Not tried: the bucket's default COMPLIANCE retention would keep every object that "
            "is tried on."
        )


# --- settings: read only ----------------------------------------------------------------------


def _reachable(bucket: Bucket) -> Verdict:
    bucket.reader.versioning(bucket.name)
    return passed("It answers.")


def _clock(bucket: Bucket) -> Verdict:
    skew = age(bucket.reader.store.now(), bucket.now())
    return judged(
        holds=skew <= MOST_SKEW,
        saw=f"This machine and the server differ by {skew:.0f} s.",
        advice="Set both by NTP: horizons are compared across clocks.",
    )


def _versioning(bucket: Bucket) -> Verdict:
    status = bucket.reader.versioning(bucket.name)
    return judged(
        holds=status == "Enabled",
        saw=f"Versioning is {status}.",
        advice="Turn versioning on: without it a rewrite destroys the old bytes at once, and "
        "nothing can be undone.",
    )


def _object_lock(bucket: Bucket) -> Verdict:
    if not bucket.worm:
        return skipped("No Bronze location with locks lies in this bucket.")
    return judged(
        holds=bucket.reader.lock(bucket.name).enabled,
        saw="Object Lock is on."
        if bucket.reader.lock(bucket.name).enabled
        else "Object Lock is off.",
        advice="Turn Object Lock on, or say `worm: {mode: none}` in the map for what lies here.",
    )


def _default_retention(bucket: Bucket) -> Verdict:
    lock = bucket.reader.lock(bucket.name)
    if lock.mode is None:
        return passed("No default retention.")
    saw = f"Every new object gets {lock.mode} for {lock.days} days."
    if bucket.tables:
        return failed(
            saw + " Files of tables lie here.",
            "Take the default away and let the loader set a retention on each Bronze object: the "
            "default locks every table file, so that nothing of a table can be purged.",
        )
    if lock.mode == COMPLIANCE and lock.days > LEGAL_DAYS:
        return failed(
            saw,
            f"Choose GOVERNANCE, or at most {LEGAL_DAYS} days: until a COMPLIANCE date nobody can "
            "delete, and the answer to a person is due before.",
        )
    return passed(saw)


def _lifecycle(bucket: Bucket) -> Verdict:
    rules = bucket.reader.lifecycle(bucket.name)
    harmful = [
        rule.name
        for rule in rules
        if any(_overlap(rule.prefix, prefix) for prefix in bucket.prefixes)
        and harms(rule, bucket.undo_window)
    ]
    return judged(
        holds=not harmful,
        saw=f"{len(rules)} rules; harmful: {', '.join(harmful) or 'none'}.",
        advice="Keep these rules off the map's prefixes: an archived version cannot be read or "
        "searched, and one that is forgotten within the undo window cannot be put back.",
    )


def harms(rule: LifecycleRule, undo_window: timedelta) -> bool:
    """Whether an erasure could not read, or not put back, what the rule touched."""
    forgets = rule.forgets_days is not None and timedelta(days=rule.forgets_days) <= undo_window
    return rule.archives or forgets


def _overlap(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _replication(bucket: Bucket) -> Verdict:
    copies = bucket.reader.replication(bucket.name)
    undeclared = [name for name in copies if name not in bucket.known]
    return judged(
        holds=not undeclared,
        saw=f"Copies to {', '.join(copies) or 'nowhere'}.",
        advice=f"Declare {', '.join(undeclared)} in the map: a replica keeps the person otherwise.",
    )


SETTINGS: Sequence[Check[Bucket]] = (
    ("reachable", _reachable),
    ("clock", _clock),
    ("versioning", _versioning),
    ("object_lock", _object_lock),
    ("default_retention", _default_retention),
    ("lifecycle", _lifecycle),
    ("replication", _replication),
)


# --- acts in the scratch prefix ---------------------------------------------------------------

_At = tuple[Bucket, Scratch]
_RACE = "Use a store that compares and swaps: two writers at once would lose one's bytes."


def _if_match(at: _At) -> Verdict:
    bucket, place = at
    base, eraser = place.victim(), bucket.doors["erase"]
    etag = bucket.reader.etag(base.uri, version_id=base.version_id)
    won = _race(lambda n: eraser.put_over(base.uri, b"%d" % n, etag=etag))
    return judged(holds=won == 1, saw=f"{won} of {WRITERS} racing writers won.", advice=_RACE)


def _if_none_match(at: _At) -> Verdict:
    bucket, place = at
    uri, eraser = place.fresh("first"), bucket.doors["erase"]
    won = _race(lambda n: eraser.put_first(uri, b"%d" % n))
    return judged(holds=won == 1, saw=f"{won} of {WRITERS} racing writers won.", advice=_RACE)


def _race(put: Callable[[int], str]) -> int:
    def tried(number: int) -> bool:
        try:
            put(number)
        except (PreconditionFailedError, ObjectConflictError):
            return False
        return True

    with ThreadPoolExecutor(WRITERS) as pool:
        return sum(pool.map(tried, range(WRITERS)))


def _checksum(at: _At) -> Verdict:
    bucket, place = at
    other = base64.b64encode(hashlib.sha256(b"other bytes").digest()).decode()
    taken = True
    try:
        bucket.doors["erase"].put_claiming(place.fresh("claimed"), b"bytes", sha256=other)
    except AccessDeniedError:
        raise
    except UnreachableError:  # how a damaged body is told: BadDigest
        taken = False
        bucket.reader.versioning(bucket.name)  # else it is really away
    except LakeError:
        taken = False
    return judged(
        holds=not taken,
        saw="A body with a wrong SHA-256 was " + ("taken." if taken else "refused."),
        advice="Use a store that checks what arrives: damage on the way would be stored.",
    )


def _exact_delete(at: _At) -> Verdict:
    bucket, place = at
    old = place.victim()
    new = Victim(old.uri, bucket.doors["erase"].put(old.uri, b"newer"), b"newer")
    # as a purge does it: a default retention may have locked it
    bucket.doors["purge"].delete_locked(old.uri, version_id=old.version_id)
    gone, stays = not place.reads(old), place.reads(new)
    return judged(
        holds=gone and stays,
        saw=f"Deleted by its id, the old version is {'gone' if gone else 'still there'}, the "
        f"newer one {'untouched' if stays else 'gone too'}.",
        advice="Use a store that deletes exact versions: a purge must take what it names and "
        "nothing else.",
    )


def _lock_holds(at: _At) -> Verdict:
    bucket, place = at
    if not bucket.reader.lock(bucket.name).enabled:
        return skipped("Object Lock is off.")
    locked = place.locked()
    try:
        bucket.doors["purge"].delete_version(locked.uri, version_id=locked.version_id)
    except AccessDeniedError:
        return passed("A locked version was kept.")
    return failed(
        "A version under GOVERNANCE was deleted without the bypass.",
        "Use a store that holds its locks.",
    )


def _bypass(at: _At) -> Verdict:
    bucket, place = at
    if not bucket.reader.lock(bucket.name).enabled:
        return skipped("Object Lock is off.")
    locked = place.locked()
    try:
        bucket.doors["purge"].delete_locked(locked.uri, version_id=locked.version_id)
    except (AccessDeniedError, ObjectMissingError) as err:
        return failed(
            str(err), "Give the purging credential s3:BypassGovernanceRetention (docs/iam)."
        )
    return judged(
        holds=not place.reads(locked),
        saw="The purging credential destroyed a locked version.",
        advice="It answered so, but the version is still there.",
    )


ACTS: Sequence[Check[_At]] = (
    ("if_match", _if_match),
    ("if_none_match", _if_none_match),
    ("checksum", _checksum),
    ("exact_delete", _exact_delete),
    ("lock_holds", _lock_holds),
    ("bypass", _bypass),
)


def _cleaned(place: Scratch) -> Verdict:
    return judged(
        holds=not place.left,
        saw="Everything that doctor wrote is gone."
        if not place.left
        else f"Left behind: {place.left}.",
        advice="Remove these by their version ids once their lock has ended.",
    )


AFTERWARDS: Sequence[Check[Scratch]] = (("scratch_removed", _cleaned),)
