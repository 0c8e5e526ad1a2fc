"""E0 by the run's own records: what it knew is there to be seen, what is there is known, and what
is current is what was checked. Pure; listing and reading are the whole-lake look's (lake).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.domain.datasets import Dataset
from app.domain.findings import Finding, What
from app.domain.receipts import ObjectWork, TableWork, WorkState
from app.lake.verify.places import Sight, full_uri
from app.lake.verify.sources import Found

AlsoListed = Callable[[Sequence[str]], Collection[str]]
"""Those of some URIs that another credential lists."""
_TICK, _FILE_TICK = timedelta(seconds=2), timedelta(seconds=0.1)
"""A server tells its time in whole seconds, a kernel in some milliseconds: what lies nearer to the
horizon is not told apart.
"""
_CHANGED = "what is current was not checked"
_CLOCKS = "all that the run knew is younger: the clocks disagree, or the horizon is wrong"
IN_PLACE = frozenset(
    {
        WorkState.WRITTEN,
        WorkState.CHECKED,
        WorkState.PURGED,
        WorkState.DEFERRED,
        WorkState.HELD,
        WorkState.PARKED,
    }
)
"""States of a work whose replacement, if it has one, is to be found."""


@dataclass(frozen=True, slots=True)
class Records:
    """The records of a run: of the objects of one dataset, and of every table."""

    objects: Mapping[str, ObjectWork] = field(repr=False)
    digests: Mapping[str, str] = field(repr=False)
    """Committed data file -> SHA-256 of the bytes that were checked."""
    replaced: frozenset[str] = field(repr=False)
    """Files that a table of the run no longer has."""

    @classmethod
    def of(cls, objects: Iterable[ObjectWork], tables: Iterable[TableWork]) -> Records:
        """What the records of a run name."""
        digests: dict[str, str] = {}
        replaced: set[str] = set()
        for table in tables:
            replaced.update(full_uri(c.uri) for c in table.condemned)
            for file in table.files:
                if file.state is WorkState.COMMITTED:
                    replaced.update(map(full_uri, (file.old_path, *file.delete_paths)))
                    if file.new_path is not None and file.sha256 is not None:
                        digests[full_uri(file.new_path)] = file.sha256
        return cls({w.uri: w for w in objects}, digests, frozenset(replaced))

    def may_be_late(self, found: Found) -> bool:
        """Whether a version can be news to the run. What its records name is none; nor is anything
        under a key that it rewrote, because nobody can tell it from a version that was put back.
        """
        if found.uri in self.replaced or found.uri in self.digests:
            return False
        work = self.objects.get(found.uri)
        if work is None:
            return True
        is_rewritten = work.new_version is not None or bool(work.superseded)
        return not is_rewritten and found.version_id != (work.base_version or "?")

    def digest_of(self, found: Found) -> str | None:
        """What the bytes of a version must be; None where no record says it."""
        if not found.is_latest or found.is_marker:
            return None
        work = self._in_place(found.uri)
        if work is None:
            return self.digests.get(found.uri)
        return work.sha256 if found.version_id in ("", work.new_version) else None

    def compare(self, found: Found, digest: str, *, sight: Sight) -> None:
        """The bytes of what is current are those that were checked."""
        if digest != self.digest_of(found):
            sight.saw(What.ARITHMETIC, "replacement", detail=f"other bytes: {_CHANGED}")

    def _in_place(self, uri: str) -> ObjectWork | None:
        work = self.objects.get(uri)
        placed = work is not None and work.new_version is not None and work.state in IN_PLACE
        return work if placed else None

    def faults(
        self, dataset: Dataset, listed: Sequence[Found], *, horizon: datetime, also: AlsoListed
    ) -> list[Finding]:
        """What the records and the listing of a dataset of objects do not agree on."""
        findings: list[Finding] = []
        for found in listed:
            sight = Sight.of(dataset, found.uri, version_id=found.version_id)
            work = self.objects.get(found.uri)
            if work is None:
                self._unknown(found, horizon=horizon, sight=sight)
            else:
                self._known(found, work, sight=sight)
            findings += sight.findings
        findings += self._clocks(dataset, listed, horizon=horizon)
        return findings + self._unseen(dataset, {f.uri for f in listed}, also=also)

    def _unknown(self, found: Found, *, horizon: datetime, sight: Sight) -> None:
        is_old = max(found.modified, found.landed or found.modified) < horizon - _tick(found)
        if is_old and found.is_latest and not found.is_marker and not found.is_link:
            detail = "there before the horizon, and the run has no record of it"
            sight.saw(What.CANNOT_SEE, "object", detail=detail)

    def _known(self, found: Found, work: ObjectWork, *, sight: Sight) -> None:
        placed = self._in_place(found.uri) is not None
        if placed and found.is_latest and found.version_id not in ("", work.new_version):
            top = "a delete marker" if found.is_marker else "another version"
            sight.saw(What.ARITHMETIC, "replacement", detail=f"{top} is on top: {_CHANGED}")

    def _clocks(
        self, dataset: Dataset, listed: Sequence[Found], *, horizon: datetime
    ) -> list[Finding]:
        """Some version that the run knew is older than its horizon. One alone tells nothing: some
        servers date a version anew when its lock or its tags change.
        """
        known = [f for f in listed if self._is_named(f)]
        sight = Sight.of(dataset, dataset.location or "")
        if known and all(f.modified > horizon + _tick(f) for f in known):
            sight.saw(What.CANNOT_SEE, "horizon", detail=_CLOCKS)
        return sight.findings

    def _is_named(self, found: Found) -> bool:
        work = self.objects.get(found.uri)
        if work is None or found.is_marker:
            return False
        if found.version_id:
            return found.version_id in (work.base_version, work.new_version)
        return found.is_latest and self._in_place(found.uri) is not None

    def _unseen(
        self, dataset: Dataset, listed: Collection[str], *, also: AlsoListed
    ) -> list[Finding]:
        """Objects of the run that this credential does not list: hidden from it, or gone."""
        missing = [
            w.uri
            for w in self.objects.values()
            if w.uri not in listed and w.state is not WorkState.PURGED
        ]
        hidden = frozenset(also(missing)) if missing else frozenset()
        findings: list[Finding] = []
        for uri in sorted(hidden):
            sight = Sight.of(dataset, uri)
            detail = "another credential lists it, the verifier's does not"
            sight.saw(What.CANNOT_SEE, "object", detail=detail)
            findings += sight.findings
        if gone := len(missing) - len(hidden):
            sight = Sight.of(dataset, dataset.location or "")
            sight.saw(What.NOTE, "objects", detail="deleted since the run listed them", count=gone)
            findings += sight.findings
        return findings


def _tick(found: Found) -> timedelta:
    return _TICK if found.landed is None else _FILE_TICK
