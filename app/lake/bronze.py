"""Erasing people from NDJSON objects under WORM: plan, read, journal, put. The numbers in the code
are those of the rewrite protocol. Nothing is destroyed here; that is app.lake.purge_objects.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path

from app.domain.datasets import Dataset
from app.domain.errors import (
    AccessDeniedError,
    LakeError,
    ObjectConflictError,
    ObjectMissingError,
    PreconditionFailedError,
    UnreachableError,
)
from app.domain.failpoints import failpoint
from app.domain.identifiers import Targets
from app.domain.receipts import MISSING_RIGHT, ObjectWork, WorkState
from app.lake.bronze_lines import Rule
from app.lake.bronze_read import Prepared, lock_is_live, read_object
from app.lake.codecs import DEFAULT_LIMITS, Limits
from app.lake.ports import ARCHIVES, GOVERNANCE, ObjectInfo, ObjectStore, Version
from app.lake.tombstones import Tombstones

ROUNDS = 5
"""How often an object that others keep changing, or a silent server, is tried again."""
_BATCH_OBJECTS = 256
_BETWEEN = 1000
"""Entries of a page of a listing."""
_BATCH_BYTES = 32 << 20
_BATCH_READ = 1 << 30
_PUTS = 6
_FIRST_WAIT = 0.2

Record = Callable[[Sequence[ObjectWork]], None]


def listed_keys(store: ObjectStore, dataset: Dataset) -> Iterator[list[Version]]:
    """1. One listing of the dataset's prefix: the versions of each key, newest first."""
    if dataset.location is None:
        raise LakeError(f"Dataset {dataset.name} has no location.")
    for _, versions in groupby(store.versions(dataset.location), key=lambda v: v.uri):
        yield list(versions)


def planned(versions: Sequence[Version]) -> ObjectWork:
    """The PLANNED work for a key, given all its versions, whether the current one is an object or a
    delete marker. `bytes_before` is what all of them hold together, `base_version` the current one.
    """
    base = next((v.version_id for v in versions if v.is_latest), None)
    size = sum(v.size for v in versions)
    return ObjectWork(uri=versions[0].uri, base_version=base, bytes_before=size)


def erase_objects(
    works: Sequence[ObjectWork],
    *,
    dataset: Dataset,
    targets: Targets,
    tombstones: Tombstones,
    store: ObjectStore,
    run_id: str,
    spool: Path,
    unparsable: str,
    record: Record,
    stop: Callable[[], bool],
    limits: Limits = DEFAULT_LIMITS,
    sleep: Callable[[float], None] = time.sleep,
) -> list[ObjectWork]:
    """Carry every PLANNED or READY work on until it is WRITTEN, CLEAN, HELD or PARKED.

    Works in another state come back as they are, so a repeat changes nothing. `record` must make
    the works it is given durable before it returns; it is called once a batch and state. `spool`: a
    folder for replacements that are too large for memory. UnreachableError: reading failed, the
    recorded works go on from there.
    """
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    rule = Rule.of(dataset, targets=targets, tombstones=tombstones, unparsable=unparsable)
    eraser = _Eraser(rule, store, run_id, spool, record, limits, sleep)
    done = {work.uri: work for work in works}
    queue = deque(w for w in works if w.state in (WorkState.PLANNED, WorkState.READY))
    while queue and not stop():
        for work in eraser.batch(queue, stop):
            done[work.uri] = work
            if work.state is WorkState.PLANNED:
                queue.append(work)
    return [done[work.uri] for work in works]


def listed(store: ObjectStore, uris: Sequence[str]) -> dict[str, list[Version]]:
    """The versions of exactly these keys, newest first. Neighbours share a listing; where too many
    other keys lie between them, each folder has its own.
    """
    together = _listed(store, uris, limit=_BETWEEN + _BETWEEN * len(uris) // 100) if uris else {}
    if together is not None:
        return together
    found: dict[str, list[Version]] = {}
    folders: dict[str, list[str]] = {}
    for uri in uris:
        folders.setdefault(uri.rpartition("/")[0], []).append(uri)
    for members in folders.values():
        found |= _listed(store, members, limit=None) or {}
    return found


def _listed(
    store: ObjectStore, uris: Sequence[str], *, limit: int | None
) -> dict[str, list[Version]] | None:
    """One listing of what the URIs have in common; None when it shows more than `limit` others."""
    found: dict[str, list[Version]] = {uri: [] for uri in uris}
    others = 0
    for version in store.versions(_shared_prefix(uris)):
        if version.uri in found:
            found[version.uri].append(version)
        else:
            others += 1
            if limit is not None and others > limit:
                return None
    return found


def _shared_prefix(uris: Sequence[str]) -> str:
    first, last = min(uris), max(uris)
    if first == last:
        return first
    pairs = enumerate(zip(first, last, strict=False))
    length = next((n for n, (a, b) in pairs if a != b), len(first))
    # Half an escape is no prefix of a URI.
    return first[: length - 2] + first[length - 2 : length].partition("%")[0]


@dataclass(frozen=True, slots=True)
class _Eraser:
    rule: Rule
    store: ObjectStore
    run_id: str
    spool: Path
    record: Record
    limits: Limits
    sleep: Callable[[float], None]

    def batch(self, queue: deque[ObjectWork], stop: Callable[[], bool]) -> list[ObjectWork]:
        """Read works off the queue until enough bytes wait, journal them, put them, record that."""
        taken = [queue.popleft() for _ in range(min(len(queue), _BATCH_OBJECTS))]
        prepared: list[Prepared] = []
        try:
            waiting = read = 0
            versions = listed(self.store, [w.uri for w in taken])
            while taken and waiting < _BATCH_BYTES and read < _BATCH_READ and not stop():
                work = taken.pop(0)
                prepared.append(self._prepared(work, versions[work.uri]))
                read += sum(v.size for v in versions[work.uri])
                waiting += prepared[-1].body.size if prepared[-1].body else 0
            queue.extendleft(reversed(taken))
            return self._carried_out(prepared)
        finally:
            for each in prepared:
                if each.body is not None:
                    each.body.close()

    def _prepared(self, work: ObjectWork, versions: Sequence[Version]) -> Prepared:
        """2 to 4, for one object; a work that an earlier attempt left READY is adopted first."""
        failpoint("bronze.before_read")
        if work.state is WorkState.READY:
            adopted = self._adopted(work)
            if adopted is not None:
                return Prepared(adopted)
        if work.rounds >= ROUNDS:
            return Prepared(work.to(WorkState.PARKED, reason="Others kept changing the object."))
        try:
            prepared = read_object(
                work,
                versions,
                rule=self.rule,
                store=self.store,
                spool=self.spool,
                limits=self.limits,
            )
        except ObjectMissingError:
            return Prepared(_again(work))
        return _compared(prepared, work)

    def _carried_out(self, prepared: Sequence[Prepared]) -> list[ObjectWork]:
        """4. Journal, then 6. put; 5. adopt where the answer was lost."""
        if not prepared:
            return []
        self._recorded([p.work for p in prepared], place="intent")
        ready = [p for p in prepared if p.body is not None]
        if not ready:
            return [p.work for p in prepared]
        now = self.store.now()
        plain = [p.work.uri for p in ready if p.base and not lock_is_live(p.base, now=now)]
        surprising = bool(plain) and self.store.locks_by_default(plain[0])
        with ThreadPoolExecutor(_PUTS, thread_name_prefix="put") as pool:
            put = list(pool.map(lambda p: self._put(p, now, surprising=surprising), ready))
        self._recorded(put, place="written")
        by_uri = {work.uri: work for work in put}
        return [by_uri.get(p.work.uri, p.work) for p in prepared]

    def _recorded(self, works: Sequence[ObjectWork], *, place: str) -> None:
        failpoint(f"bronze.before_{place}")
        self.record(works)
        failpoint(f"bronze.after_{place}")

    def _put(self, prepared: Prepared, now: datetime, *, surprising: bool) -> ObjectWork:
        """6. Write the replacement on top of exactly the base that was read. `surprising`: the
        bucket may lock what was put without a lock. Where a default comes only now, the check
        of the pair sees a lock that nobody meant.
        """
        work, base, body = prepared.work, prepared.base, prepared.body
        if base is None or body is None:
            return work
        retain = lock_is_live(base, now=now)
        wait, sent = _FIRST_WAIT, False
        for _ in range(ROUNDS):
            try:
                adopted = self._adopted(work) if sent else None
                if adopted is not None:
                    return adopted
                sent = True
                failpoint("bronze.before_put")
                new = self.store.put(
                    work.uri,
                    body.file,
                    if_match=base.etag,
                    like=base,
                    marks=_marks(work, self.run_id),
                    retain=retain,
                )
                failpoint("bronze.after_put")
                locked = surprising and not retain
                warnings = self._settled(work, new, base=base) if locked else ()
                return _written(work, new, warnings=(*_moved(base), *warnings))
            except PreconditionFailedError:
                # 412: our own success may be what was met; else somebody wrote meanwhile.
                return self._adopted_or_again(work)
            except ObjectMissingError:
                return _again(work)
            except AccessDeniedError:
                return work.to(WorkState.HELD, reason=MISSING_RIGHT)
            except (ObjectConflictError, UnreachableError):
                self.sleep(wait)
                wait *= 2
        return work.to(WorkState.PARKED, reason="The store did not answer; the outcome is unknown.")

    def _adopted_or_again(self, work: ObjectWork) -> ObjectWork:
        try:
            return self._adopted(work) or _again(work)
        except UnreachableError:
            return work  # still READY in the journal: the next attempt adopts or plans again

    def _adopted(self, work: ObjectWork) -> ObjectWork | None:
        """5. The version that an earlier attempt of this run left, if it is the current one."""
        found = self.store.find_written(
            work.uri, marks=_marks(work, self.run_id), sha256=work.sha256 or ""
        )
        if found is None:
            return None
        versions = listed(self.store, [work.uri])[work.uri]
        if not versions or versions[0].version_id != found:
            return None
        return _written(work, found, warnings=self._settled(work, found, base=None))

    def _settled(self, work: ObjectWork, new: str, *, base: ObjectInfo | None) -> tuple[str, ...]:
        """6. A lock that the base did not have came from the bucket's default: take it off again.

        GOVERNANCE is cleared if the credential may; otherwise, and for COMPLIANCE, its date is
        recorded.
        """
        written = self.store.info(work.uri, version_id=new)
        if written.lock_mode is None or written.retain_until is None:
            return ()
        try:
            base = base or self.store.info(work.uri, version_id=work.base_version or "")
        except ObjectMissingError:
            return ()
        if _same_lock(base, written):
            return ()
        if written.lock_mode == GOVERNANCE:
            try:
                failpoint("bronze.before_release")
                self.store.release_retention(work.uri, version_id=new)
                failpoint("bronze.after_release")
                return ()
            except AccessDeniedError:
                pass
        until = written.retain_until.isoformat(timespec="seconds")
        return (f"The bucket's default {written.lock_mode} locks the replacement until {until}.",)


def _compared(prepared: Prepared, before: ObjectWork) -> Prepared:
    """Say so when repeating a journalled plan gave other bytes; what was read now is put."""
    now = prepared.work
    same_base = before.state is WorkState.READY and now.base_version == before.base_version
    if same_base and now.sha256 != before.sha256:
        said = "Repeating the plan gave another replacement of the same base."
        return replace(prepared, work=replace(now, warnings=(*now.warnings, said)))
    return prepared


def _written(work: ObjectWork, new: str, *, warnings: tuple[str, ...]) -> ObjectWork:
    work = replace(work, new_version=new, warnings=(*work.warnings, *warnings))
    return work.to(WorkState.WRITTEN)


def _again(work: ObjectWork) -> ObjectWork:
    """Plan again from the start, one round later."""
    return ObjectWork(uri=work.uri, rounds=work.rounds + 1)


def _moved(base: ObjectInfo) -> tuple[str, ...]:
    if base.storage_class not in ARCHIVES:
        return ()
    return (f"A replacement of an object in {base.storage_class} is in the standard class.",)


def _marks(work: ObjectWork, run_id: str) -> dict[str, str]:
    return {
        "clearlake-run": run_id,
        "clearlake-sha256": work.sha256 or "",
        "clearlake-base": work.base_version or "",
    }


def _same_lock(base: ObjectInfo, written: ObjectInfo) -> bool:
    if base.retain_until is None or written.retain_until is None:
        return False
    apart = abs((base.retain_until - written.retain_until).total_seconds())
    return base.lock_mode == written.lock_mode and apart < 1


def unfinished(works: Iterable[ObjectWork]) -> list[ObjectWork]:
    """Works that a repeat of `erase_objects` would go on with."""
    return [w for w in works if w.state in (WorkState.PLANNED, WorkState.READY)]
