"""Iceberg: snapshots, files and metadata of a table that still hold the person go for good.

Steps D7-D11 of the protocol. Only what no snapshot, tag or branch reaches is ever condemned.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app.domain.datasets import Dataset
from app.domain.errors import (
    AccessDeniedError,
    LakeError,
    ObjectMissingError,
    ObjectUnreadableError,
    UnsupportedTableError,
)
from app.domain.failpoints import failpoint
from app.domain.identifiers import Targets
from app.domain.receipts import MISSING_RIGHT, Condemned, TableWork, WorkState
from app.lake.ports import COMPLIANCE, ObjectStore, Purger, Version
from app.lake.table_content import Content
from app.lake.table_files import FileEraser, HiddenRows
from app.lake.table_ports import DataFile, Reach, TableEngine
from app.lake.table_texts import Rule
from app.lake.tombstones import Tombstones

ORPHAN_GRACE = timedelta(hours=24)
"""A younger file that nothing reaches may belong to a commit that is being made right now."""
_BATCH = 200
_NO_SPEC = -1
"""A file of the past is only looked at: that a partition is made of a column matters no more."""
Record = Callable[[TableWork], None]
Holds = Callable[[str, bytes], bool]


def plan_purge(
    work: TableWork, *, dataset: Dataset, targets: Targets, engine: TableEngine, tags: str
) -> TableWork:
    """D7: the snapshots that must go, and what only they reach. Changes nothing; its result is
    journalled before `purge_table`. A table that was parked by a purge is planned again.

    A snapshot must go when it reaches (or its manifests still quote) a file that this run
    replaced, or an older file that holds a target or that nobody can read here. `tags` "fail": a
    tag or branch on such a snapshot gives PARKED and its name; "drop": it goes with its snapshot.
    """
    if not _is_erased(work):
        return work
    if work.state is WorkState.PARKED:
        work = replace(work, state=WorkState.COMMITTED, reason=None)
    try:
        return _planned(work, dataset=dataset, targets=targets, engine=engine, tags=tags)
    except UnsupportedTableError as err:
        return _parked(work, f"A file of an older snapshot: {err}")


def _planned(
    work: TableWork, *, dataset: Dataset, targets: Targets, engine: TableEngine, tags: str
) -> TableWork:
    head = engine.head(work.table)
    reach = engine.reach(work.table)
    current = reach.by_snapshot.get(head.snapshot_id or 0, frozenset())
    look = _Look(work=work, dataset=dataset, targets=targets, engine=engine)
    holding = {p for p in _superseded(work) | reach.unread if p not in current}
    for paths in reach.by_snapshot.values():
        holding.update(p for p in paths - current - holding if look.holds(p))
    expire = [
        snapshot
        for snapshot, paths in reach.by_snapshot.items()
        if (paths | reach.named.get(snapshot, frozenset())) & holding
    ]
    if head.snapshot_id in expire:
        return _parked(work, "The current snapshot still names replaced files. Run it again.")
    pinned = sorted(name for name, snapshot in head.refs.items() if snapshot in expire)
    if pinned and tags != "drop":
        names = ", ".join(look.shown(name) for name in pinned)
        return _parked(
            work,
            f"A tag or branch still holds the person: {names}. Drop it (ALTER TABLE ... DROP TAG) "
            "or set snapshots.tags to drop, then run again.",
        )
    staying = _reached(reach, without=expire) - reach.statistics.keys()
    gone = ({p for s in expire for p in reach.by_snapshot[s]} | holding) - staying
    gone |= _stale_statistics(reach, expire=expire, look=look)
    # Expiring shortens the metadata log; whatever it still names by then is not condemned.
    gone |= reach.metadata - {head.metadata_location} if expire else set()
    # What an earlier plan wrote down cannot be computed again once its snapshots are gone.
    return replace(
        work,
        expire=tuple(sorted({*work.expire, *expire})),
        candidates=tuple(sorted({*work.candidates, *gone})),
    )


def purge_table(
    work: TableWork,
    *,
    run_id: str,
    engine: TableEngine,
    store: ObjectStore,
    purger: Purger,
    record: Record,
    stop: Callable[[], bool],
    orphan_grace: timedelta,
    holds: Holds,
) -> TableWork:
    """D9-D11. PURGED (or CLEAN as it was), or the worst of DEFERRED, HELD and PARKED.

    `store` lists and reads; only `purger` destroys. `holds`: app.lake.table_content.holder.
    """
    if not _is_erased(work) or (work.state is WorkState.PARKED and not work.expired):
        return work
    # 9. Expire the snapshots that reach a superseded file, no others.
    failpoint("purge_tables.before_expire")
    engine.expire(work.table, work.expire, statistics=work.candidates)
    work = replace(work, expired=work.expire)
    record(work)
    failpoint("purge_tables.expired")
    # 9b. Look again: what became reachable leaves the list.
    sweep = _Sweep(
        work=work,
        run_id=run_id,
        reach=engine.reach(work.table),
        location=engine.head(work.table).location,
        store=store,
        holds=holds,
        oldest=store.now() - orphan_grace,
    )
    known = {(c.uri, c.version_id): c for c in work.condemned}
    for condemned in sweep.condemned():
        known.setdefault((condemned.uri, condemned.version_id), condemned)
    work = replace(work, condemned=tuple(known.values()))
    record(work)
    failpoint("purge_tables.condemned")
    # 10. and 11. Purge each by its exact version.
    return _purged(work, store=store, purger=purger, record=record, stop=stop)


def _is_erased(work: TableWork) -> bool:
    """Whether the erase stage came to its end: only that sets a horizon."""
    ended = work.horizon is not None or work.state is WorkState.CLEAN
    return ended and work.state not in (WorkState.UNDONE, WorkState.PURGED)


def _purged(
    work: TableWork,
    *,
    store: ObjectStore,
    purger: Purger,
    record: Record,
    stop: Callable[[], bool],
) -> TableWork:
    done = list(work.condemned)
    todo = [n for n, c in enumerate(done) if c.state is not WorkState.PURGED]
    purger.allow((done[n].uri, done[n].version_id) for n in todo)
    for number, index in enumerate(todo, 1):
        if stop():
            break
        failpoint("purge_tables.before_purge")
        done[index] = _purge_one(done[index], store=store, purger=purger)
        if number % _BATCH == 0:
            record(replace(work, condemned=tuple(done)))
    work = replace(work, condemned=tuple(done))
    if not stop():
        work = replace(work, state=_state(work), reason=_reason(done))
    record(work)
    failpoint("purge_tables.purged")
    return work


def _purge_one(condemned: Condemned, *, store: ObjectStore, purger: Purger) -> Condemned:
    """Like C8: gone is success; a lock is dated, a hold named, a missing right parked."""
    try:
        purger.purge(condemned.uri, version_id=condemned.version_id)
    except AccessDeniedError:
        try:
            info = store.info(condemned.uri, version_id=condemned.version_id)
        except ObjectMissingError:
            return replace(condemned, state=WorkState.PURGED)
        if info.legal_hold:
            return replace(condemned, state=WorkState.HELD, reason="legal hold")
        if info.lock_mode == COMPLIANCE and info.retain_until is not None:
            return replace(condemned, state=WorkState.DEFERRED, until=info.retain_until)
        return replace(condemned, state=WorkState.HELD, reason=MISSING_RIGHT)
    return replace(condemned, state=WorkState.PURGED, until=None, reason=None)


def _state(work: TableWork) -> WorkState:
    states = {c.state for c in work.condemned}
    for worst in (WorkState.PARKED, WorkState.HELD, WorkState.DEFERRED):
        if worst in states:
            return worst
    if work.state is WorkState.CLEAN and not work.condemned:
        return WorkState.CLEAN
    return WorkState.PURGED


def _reason(condemned: Iterable[Condemned]) -> str | None:
    reasons = sorted({c.reason for c in condemned if c.reason is not None})
    return "; ".join(reasons) or None


def _parked(work: TableWork, reason: str) -> TableWork:
    return replace(work, state=WorkState.PARKED, reason=reason)


def _superseded(work: TableWork) -> set[str]:
    return {
        path
        for file in work.files
        if file.state in (WorkState.COMMITTED, WorkState.CHECKED)
        for path in (file.old_path, *file.delete_paths)
    }


def _reached(reach: Reach, *, without: Iterable[int]) -> set[str]:
    left = set(without)
    paths = {p for s, found in reach.by_snapshot.items() if s not in left for p in found}
    return paths | reach.metadata | reach.statistics.keys()


def _stale_statistics(reach: Reach, *, expire: Iterable[int], look: _Look) -> set[str]:
    """Statistics of snapshots that go or have gone, and any that hold a target: a table is read
    without them, so that they never keep a snapshot nor make one go.
    """
    kept = reach.by_snapshot.keys() - set(expire)
    return {
        path
        for path, snapshot in reach.statistics.items()
        if snapshot not in kept or look.holds_text(path)
    }


class _Look:
    """Files that only older snapshots reach: does one hold a target? Each is read once."""

    def __init__(
        self, *, work: TableWork, dataset: Dataset, targets: Targets, engine: TableEngine
    ) -> None:
        self._engine = engine
        self._content = Content(targets)
        self._eraser = FileEraser(
            engine=engine,
            rule=Rule.of(dataset, targets=targets, tombstones=Tombstones(b"")),
            head=engine.head(work.table),
            hidden=HiddenRows(engine),
        )
        self._clean: set[str] = {f.new_path for f in work.files if f.new_path is not None}

    def holds(self, path: str) -> bool:
        """Data by the rule of the dataset, so that kept rows do not count; the rest by content."""
        if path in self._clean:
            return False
        found = self._read(path)
        if not found:
            self._clean.add(path)
        return found

    def _read(self, path: str) -> bool:
        try:
            with closing(self._engine.open(path)) as source:
                magic = source.read(4)
                if magic not in (b"PAR1", b"PARE"):
                    raw = magic + source.read()
                    dead = magic == b"Obj\x01" and self._content.names_the_dead(raw)
                    return dead or self._content.holds(raw)
        except ObjectMissingError:
            return False
        file = DataFile(path=path, rows=0, size=0, spec_id=_NO_SPEC)
        return self._eraser.would_change(file)

    def holds_text(self, path: str) -> bool:
        """By content alone, whatever kind of file it is. One that is gone holds nothing, and is
        named no more either.
        """
        try:
            with closing(self._engine.open(path)) as source:
                return self._content.holds(source.read())
        except ObjectMissingError:
            return True

    def shown(self, name: str) -> str:
        """A tag's name, unless it is itself somebody's."""
        return "*" if self._content.holds_text(name.encode("utf-8")) else name


@dataclass(frozen=True, slots=True)
class _Sweep:
    """One listing of the table's location (and of candidates elsewhere), judged."""

    work: TableWork
    run_id: str
    reach: Reach
    location: str
    store: ObjectStore
    holds: Holds
    oldest: datetime

    def condemned(self) -> Iterable[Condemned]:
        """Exact versions that go, delete markers with them."""
        prefix = self.location.rstrip("/") + "/"
        by_uri: dict[str, list[Version]] = {}
        for version in self.store.versions(prefix):
            by_uri.setdefault(version.uri, []).append(version)
        for uri in self.work.candidates:
            if not uri.startswith(prefix):
                found = [v for v in self.store.versions(uri) if v.uri == uri]
                by_uri[uri] = found
        live = _reached(self.reach, without=())
        candidates = set(self.work.candidates)
        for uri, versions in by_uri.items():
            if uri in live:
                stale = [v for v in versions if not v.is_latest]
                yield from self._orphans(stale, versions=stale)
            elif _is_of(uri, candidates) or f"clearlake-{self.run_id}-" in uri:
                yield from (_condemn(v) for v in versions)
            else:
                yield from self._orphans(versions, versions=versions)

    def _orphans(self, looked_at: list[Version], *, versions: list[Version]) -> Iterable[Condemned]:
        """11. Not ours: only what holds the person goes, and only once no commit can want it."""
        for version in looked_at:
            if version.is_marker or not self._must_go(version):
                continue
            yield from (_condemn(v) for v in versions)
            return

    def _must_go(self, version: Version) -> bool:
        old = version.modified < self.oldest
        is_metadata = version.uri.endswith(".metadata.json")
        if not old and not is_metadata:
            return False
        try:
            with self.store.open(version.uri, version_id=version.version_id) as stream:
                raw = stream.read()
        except (ObjectMissingError, ObjectUnreadableError):
            return False  # what nobody can read the second look names
        if is_metadata and _lists(raw, snapshots=self.work.expire):
            return True
        return old and self.holds(version.uri, raw)


def _is_of(uri: str, candidates: set[str]) -> bool:
    """Whether it is a candidate, or the checksum that Hadoop writes beside one in a folder."""
    folder, _, name = uri.rpartition("/")
    if name.startswith(".") and name.endswith(".crc"):
        return f"{folder}/{name[1:-4]}" in candidates
    return uri in candidates


def _lists(raw: bytes, *, snapshots: Iterable[int]) -> bool:
    """Whether a metadata.json lists one of these snapshots."""
    try:
        document = json.loads(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
    except (ValueError, OSError) as err:
        raise LakeError("A metadata.json beside the table cannot be read.") from err
    found = document.get("snapshots", []) if isinstance(document, Mapping) else []
    gone = set(snapshots)
    return any(s.get("snapshot-id") in gone for s in found)


def _condemn(version: Version) -> Condemned:
    name = version.uri.rpartition("/")[2]
    return Condemned(
        uri=version.uri, version_id=version.version_id, what=_what(name, version=version)
    )


def _what(name: str, *, version: Version) -> str:
    if version.is_marker:
        return "marker"
    if name.endswith(".metadata.json"):
        return "metadata"
    if name.endswith(".avro"):
        return "manifest-list" if name.startswith("snap-") else "manifest"
    if name.endswith((".puffin", ".stats")):
        return "statistics"
    return "data" if "/data/" in version.uri else "orphan"
