"""Destroying superseded versions of Bronze objects: steps 8 and 9 of the rewrite protocol.

Only exact versions that the journal lists, only where the replacement was checked. What a lock or a
hold forbids is dated and named, never hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from app.domain.errors import AccessDeniedError, ObjectMissingError
from app.domain.failpoints import failpoint
from app.domain.receipts import MISSING_RIGHT, ObjectWork, Superseded, WorkState
from app.lake.bronze import Record, listed
from app.lake.ports import COMPLIANCE, ObjectInfo, ObjectStore, Purger, Version

_BATCH = 128
_PURGES = 4
_WORST = (WorkState.PARKED, WorkState.HELD, WorkState.DEFERRED)
_REASONS = {
    WorkState.PARKED: "A version could not be purged.",
    WorkState.HELD: "A version is under a legal hold, or the right to purge it is missing.",
    WorkState.DEFERRED: "A version is under a COMPLIANCE lock.",
}


def purge_objects(
    works: Sequence[ObjectWork],
    *,
    store: ObjectStore,
    purger: Purger,
    record: Record,
    stop: Callable[[], bool],
) -> list[ObjectWork]:
    """Purge what CHECKED works list as superseded; all others come back as they are.

    A work comes back PURGED, or DEFERRED, HELD or PARKED with each version's own state, reason and
    date. To try such a work again, hand it in as CHECKED: what is gone stays gone. `newer_versions`
    tells what others wrote since (step 9).
    """
    done = {work.uri: work for work in works}
    due = [work for work in works if work.state is WorkState.CHECKED]
    door = _Door(store, purger)
    with ThreadPoolExecutor(_PURGES, thread_name_prefix="purge") as pool:
        for start in range(0, len(due), _BATCH):
            if stop():
                break
            batch = due[start : start + _BATCH]
            purger.allow((w.uri, s.version_id) for w in batch for s in w.superseded if _is_due(s))
            purged = list(pool.map(door.purged, batch))
            newer = newer_versions(purged, store=store)
            purged = [_warned(w, newer.get(w.uri, 0)) for w in purged]
            failpoint("purge_objects.before_record")
            record(purged)
            failpoint("purge_objects.after_record")
            done.update((w.uri, w) for w in purged)
    return [done[work.uri] for work in works]


def newer_versions(works: Sequence[ObjectWork], *, store: ObjectStore) -> dict[str, int]:
    """9. List again: URI -> how many versions others wrote above the one this run left current.

    Such an object must be planned again: nobody has looked into those versions.
    """
    newer: dict[str, int] = {}
    found = listed(store, [w.uri for w in works])
    for work in works:
        uri, versions = work.uri, found[work.uri]
        above = newer_of(work, versions)
        if above:
            newer[uri] = above
    return newer


def newer_of(work: ObjectWork, versions: Sequence[Version]) -> int:
    """The same for one object, given its versions as listed now."""
    ours = work.new_version or work.base_version
    ids = [v.version_id for v in versions]
    # Ours may be gone: the marker that was current goes with the last version under it.
    return ids.index(ours) if ours in ids else sum(not v.is_marker for v in versions)


def _warned(work: ObjectWork, newer: int) -> ObjectWork:
    if not newer:
        return work
    said = f"{newer} newer versions were written by others: plan this object again."
    return replace(work, warnings=(*work.warnings, said))


def _is_due(superseded: Superseded) -> bool:
    # A version that could not be read was never known to hold anybody: it is not ours to destroy.
    return superseded.state in (WorkState.PLANNED, WorkState.DEFERRED, WorkState.HELD)


@dataclass(frozen=True, slots=True)
class _Door:
    store: ObjectStore
    purger: Purger

    def purged(self, work: ObjectWork) -> ObjectWork:
        """8. Each superseded version by its id; delete markers last, and only if all else went."""
        after: list[Superseded] = []
        for superseded in sorted(work.superseded, key=lambda s: s.is_marker):
            if superseded.is_marker and any(s.state is not WorkState.PURGED for s in after):
                after.append(superseded)  # gone first, it would uncover the version that stays
                continue
            after.append(self._one(work.uri, superseded) if _is_due(superseded) else superseded)
        work = replace(work, superseded=tuple(after))
        states = {s.state for s in after}
        worst = next((s for s in _WORST if s in states), WorkState.PURGED)
        return work.to(worst, reason=_REASONS.get(worst))

    def _one(self, uri: str, superseded: Superseded) -> Superseded:
        failpoint("purge_objects.before_purge")
        try:
            self.purger.purge(uri, version_id=superseded.version_id)
        except AccessDeniedError:
            return self._forbidden(uri, superseded)
        failpoint("purge_objects.after_purge")
        return replace(superseded, state=WorkState.PURGED, until=None, reason=None)

    def _forbidden(self, uri: str, superseded: Superseded) -> Superseded:
        """403: look why."""
        try:
            info = self.store.info(uri, version_id=superseded.version_id)
        except ObjectMissingError:
            return replace(superseded, state=WorkState.PURGED, until=None, reason=None)
        except AccessDeniedError:
            return replace(superseded, state=WorkState.HELD, reason=MISSING_RIGHT)
        return _why(superseded, info)


def _why(superseded: Superseded, info: ObjectInfo) -> Superseded:
    if info.legal_hold:
        return replace(superseded, state=WorkState.HELD, reason="legal hold")
    if info.lock_mode == COMPLIANCE:
        until = info.retain_until
        return replace(superseded, state=WorkState.DEFERRED, until=until, reason="COMPLIANCE lock")
    return replace(superseded, state=WorkState.HELD, reason=MISSING_RIGHT)
