"""Reading one Bronze object for a run: all its versions, what must go, and the replacement's bytes.

Steps 2 to 4 of the rewrite protocol; nothing here changes the store.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from app.domain.errors import (
    AccessDeniedError,
    DiskFullError,
    ObjectMissingError,
    ObjectUnreadableError,
)
from app.domain.receipts import Counts, ObjectWork, Superseded, WorkState
from app.lake.bronze_lines import Piece, Rule, Tally, rewritten
from app.lake.codecs import (
    BLOCK,
    Codec,
    ContentError,
    Encoder,
    Limits,
    blocks,
    decoded,
    suffix_warning,
)
from app.lake.ports import ObjectInfo, ObjectStore, Version

_IN_MEMORY = 4 << 20
"""A replacement up to this size waits in memory, a larger one in a file that has no name."""


class Body:
    """The bytes of a replacement as stored: hashed while written, gone when closed."""

    __slots__ = ("_file", "_sha", "size")

    def __init__(self, spool: Path | None) -> None:
        folder = str(spool) if spool is not None else None
        self._file = SpooledTemporaryFile(max_size=_IN_MEMORY, dir=folder)  # noqa: SIM115 - closed by close()
        self._sha = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview, /) -> int:
        """Append."""
        self._sha.update(data)
        try:
            self._file.write(data)
        except OSError as err:
            if err.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFullError("No space left in the spool folder.") from err
            raise
        self.size += len(data)
        return len(data)

    @property
    def sha256(self) -> str:
        """Of what was written, in hexadecimal."""
        return self._sha.hexdigest()

    @property
    def file(self) -> BinaryIO:
        """Seekable, at its front."""
        self._file.seek(0)
        return cast("BinaryIO", self._file)

    def close(self) -> None:
        """Give the memory or the file back."""
        self._file.close()


@dataclass(frozen=True, slots=True)
class Prepared:
    """What reading an object led to. READY works have the base and a body to put."""

    work: ObjectWork
    base: ObjectInfo | None = None
    body: Body | None = None


@dataclass(frozen=True, slots=True)
class _Current:
    info: ObjectInfo
    tally: Tally
    body: Body | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Older:
    """What stands in the versions below the current one."""

    superseded: tuple[Superseded, ...]
    markers: tuple[Superseded, ...]
    kept_lines: frozenset[bytes] = field(repr=False)
    untouched: int
    """Versions that hold nobody and stay."""

    @property
    def unreadable(self) -> bool:
        return any(s.state is WorkState.PARKED for s in self.superseded)


def read_object(
    work: ObjectWork,
    versions: Sequence[Version],
    *,
    rule: Rule,
    store: ObjectStore,
    spool: Path,
    limits: Limits,
) -> Prepared:
    """Read every version of an object and decide. ObjectMissingError: it changed, plan again.

    `versions`: of this key alone, newest first. The work comes back READY (to be put), WRITTEN
    (only older versions must go), CLEAN, HELD or PARKED; an earlier plan in it is forgotten.
    """
    work = ObjectWork(uri=work.uri, rounds=work.rounds, warnings=work.warnings)
    if not versions:
        return Prepared(replace(work, state=WorkState.CLEAN, reason="gone"))
    latest = versions[0]
    if latest.is_marker:
        older = _older(versions, rule=rule, store=store, limits=limits)
        return Prepared(_under_marker(work, latest, older=older))
    try:
        current = _current(latest, rule=rule, store=store, spool=spool, limits=limits)
    except (AccessDeniedError, ContentError) as err:
        work = replace(work, base_version=latest.version_id, bytes_before=latest.size)
        return Prepared(work.to(WorkState.PARKED, reason=_why(err)))
    older = _older(versions[1:], rule=rule, store=store, limits=limits)
    return _decided(work, current, older=older)


def _decided(work: ObjectWork, current: _Current, *, older: _Older) -> Prepared:
    info, tally = current.info, current.tally
    work = replace(
        work,
        base_version=info.version_id,
        base_etag=info.etag,
        bytes_before=info.size,
        bytes_after=info.size,
        superseded=older.superseded,
        counts=tally.counts,
        parked=tuple(tally.parked),
        warnings=(*work.warnings, *current.warnings),
    )
    if older.kept_lines - tally.kept_lines:
        reason = "An older version alone holds lines that are kept on a legal ground."
        return _without_body(work.to(WorkState.PARKED, reason=reason), current)
    if tally.changed and info.legal_hold:
        reason = "The current version is under a legal hold."
        return _without_body(work.to(WorkState.HELD, reason=reason), current)
    if current.body is not None:
        work = replace(
            work,
            superseded=(Superseded(info.version_id), *older.superseded),
            sha256=current.body.sha256,
            bytes_after=current.body.size,
        )
        return Prepared(work.to(WorkState.READY), info, current.body)
    if older.unreadable and all(s.state is WorkState.PARKED for s in older.superseded):
        return Prepared(work.to(WorkState.PARKED, reason="An older version cannot be read."))
    if older.superseded:
        return Prepared(work.to(WorkState.WRITTEN))
    if tally.parked:
        reason = "Lines that cannot be parsed hold an identifier."
        return Prepared(work.to(WorkState.PARKED, reason=reason))
    return Prepared(work.to(WorkState.CLEAN))


def _without_body(work: ObjectWork, current: _Current) -> Prepared:
    if current.body is not None:
        current.body.close()
    # Nothing was changed: the counts of a change that did not happen must not enter the sums.
    counts = Counts(before=work.counts.before, parked=work.counts.parked)
    return Prepared(replace(work, counts=counts))


def _under_marker(work: ObjectWork, marker: Version, *, older: _Older) -> ObjectWork:
    """2a. Nothing is written over a delete marker: that would bring back what its owner deleted."""
    superseded = older.superseded
    work = replace(work, base_version=marker.version_id, superseded=superseded)
    if not superseded:
        return work.to(WorkState.CLEAN)
    if older.kept_lines:
        reason = "A version under a delete marker holds lines that are kept on a legal ground."
        return work.to(WorkState.PARKED, reason=reason)
    if older.unreadable:
        if all(s.state is WorkState.PARKED for s in superseded):
            return work.to(WorkState.PARKED, reason="A version cannot be read.")
    elif not older.untouched:
        work = replace(work, superseded=(*superseded, *older.markers))
    return work.to(WorkState.WRITTEN)


def _older(
    versions: Sequence[Version], *, rule: Rule, store: ObjectStore, limits: Limits
) -> _Older:
    """3. Every older version is read too; those that hold an identifier are superseded."""
    superseded: list[Superseded] = []
    kept: set[bytes] = set()
    untouched = 0
    for version in versions:
        if version.is_marker:
            continue
        tally = Tally()
        try:
            _scan(version, rule=rule, store=store, limits=limits, tally=tally)
        except ObjectMissingError:
            continue
        except (AccessDeniedError, ContentError) as err:
            superseded.append(
                Superseded(version.version_id, state=WorkState.PARKED, reason=_why(err))
            )
            continue
        if tally.changed or tally.parked:
            superseded.append(Superseded(version.version_id))
            kept |= tally.kept_lines
        else:
            untouched += 1
    markers = tuple(Superseded(v.version_id, is_marker=True) for v in versions if v.is_marker)
    return _Older(tuple(superseded), markers, frozenset(kept), untouched)


def _scan(
    version: Version, *, rule: Rule, store: ObjectStore, limits: Limits, tally: Tally
) -> None:
    """Read a version until it is known to hold somebody, or to its end."""
    with store.open(version.uri, version_id=version.version_id) as stream:
        _, chunks = decoded(stream.read, limits=limits)
        for _ in rewritten(blocks(chunks, limits=limits), rule=rule, tally=tally):
            if (tally.changed or tally.parked) and not rule.dataset.keep_when:
                return


def _current(
    version: Version, *, rule: Rule, store: ObjectStore, spool: Path, limits: Limits
) -> _Current:
    """2. The current version as a stream, and its replacement if it must change."""
    draft = _Draft(spool, patience=BLOCK)
    current = _drafted(version, draft, rule=rule, store=store, limits=limits)
    if draft.late:
        # The first change came after more text than memory may hold: read again, writing at once.
        draft = _Draft(spool, patience=0)
        current = _drafted(version, draft, rule=rule, store=store, limits=limits)
    return current


def _drafted(
    version: Version, draft: _Draft, *, rule: Rule, store: ObjectStore, limits: Limits
) -> _Current:
    tally = Tally()
    try:
        with store.open(version.uri, version_id=version.version_id) as stream:
            codec, chunks = decoded(stream.read, limits=limits)
            for pieces in rewritten(blocks(chunks, limits=limits), rule=rule, tally=tally):
                draft.take(pieces, codec=codec, changed=tally.changed)
                if draft.late:
                    break
            body = draft.finished(changed=tally.changed)
    except BaseException:
        draft.discard()
        raise
    warning = suffix_warning(version.uri, codec)
    return _Current(stream.info, tally, body, (warning,) if warning else ())


class _Draft:
    """Holds unchanged text back, up to `patience` bytes: most objects are never written at all."""

    __slots__ = ("_body", "_encoder", "_held", "_patience", "_pieces", "_spool", "late")

    def __init__(self, spool: Path, *, patience: int) -> None:
        self._spool = spool
        self._patience = patience
        self._pieces: list[Piece] | None = []
        self._held = 0
        self._body: Body | None = None
        self._encoder: Encoder | None = None
        self.late = False

    def take(self, pieces: list[Piece], *, codec: Codec, changed: bool) -> None:
        """The next pieces; `changed`: whether any byte of the text was different so far."""
        if self._encoder is None and (changed or self._patience == 0):
            if self._pieces is None:
                self.late = True
                return
            self._body = Body(self._spool)
            self._encoder = Encoder(cast("BinaryIO", self._body), codec)
            pieces = self._pieces + pieces
            self._pieces = None
        if self._encoder is not None:
            for piece in pieces:
                self._encoder.write(piece)
        elif self._pieces is not None:
            self._held += sum(map(len, pieces))
            self._pieces = self._pieces + pieces if self._held <= self._patience else None

    def finished(self, *, changed: bool) -> Body | None:
        """The body, if the text changed."""
        if self._encoder is None or self._body is None:
            return None
        self._encoder.finish()
        if changed:
            return self._body
        self.discard()
        return None

    def discard(self) -> None:
        """Forget what was written."""
        if self._body is not None:
            self._body.close()
            self._body = None


def _why(err: AccessDeniedError | ContentError) -> str:
    if isinstance(err, ContentError):
        return f"{err.code}: {err}"
    if isinstance(err, ObjectUnreadableError):
        return f"{err.code}: {_WAY_OUT.get(err.code, 'a version cannot be read.')}"
    return f"{err.code}: a version cannot be read (a right is missing)."


_WAY_OUT = {
    "object_archived": "a version is in an archive storage class. Restore it, then resume the run.",
    "object_sealed": "a version is encrypted with a key that its writer alone holds. Have it "
    "written again without that key, then resume the run.",
}


_SOON = 300.0
"""Seconds. A lock that ends so soon cannot be repeated: the put might arrive after its end."""


def lock_is_live(info: ObjectInfo, *, now: datetime) -> bool:
    """C6. Whether a replacement must carry the same retention as its base."""
    if info.lock_mode is None or info.retain_until is None:
        return False
    return (info.retain_until.astimezone(UTC) - now).total_seconds() > _SOON
