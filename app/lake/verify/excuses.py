"""Which versions may still hold somebody, by the run's own records and by what the lock says now.
No lock excuses anything without the record; a lock with a date is not taken on the record's word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from app.domain.findings import Finding, What
from app.domain.receipts import ObjectWork, TableWork, WorkState
from app.lake.ports import COMPLIANCE, ObjectInfo
from app.lake.verify.places import full_uri


@dataclass(frozen=True, slots=True)
class Excuses:
    """(URI, version) -> DEFERRED or HELD; a URI alone where all its versions are held."""

    by_version: Mapping[tuple[str, str], WorkState] = field(repr=False)
    held: frozenset[str] = field(repr=False)

    @classmethod
    def of(cls, objects: Iterable[ObjectWork], tables: Iterable[TableWork]) -> Excuses:
        """What the records of a run say."""
        by_version: dict[tuple[str, str], WorkState] = {}
        held: set[str] = set()
        for work in objects:
            by_version.update({(work.uri, s.version_id): s.state for s in work.superseded})
            if work.state is WorkState.HELD:
                held.add(work.uri)
        for table in tables:
            for gone in table.condemned:
                by_version[full_uri(gone.uri), gone.version_id] = gone.state
        return cls(by_version, frozenset(held))

    def applied(
        self, findings: Iterable[Finding], *, info: ObjectInfo | None, now: datetime
    ) -> list[Finding]:
        """The findings of one version, residue excused where both record and lock say so."""
        return [self._excused(f, info=info, now=now) for f in findings]

    def _excused(self, found: Finding, *, info: ObjectInfo | None, now: datetime) -> Finding:
        if found.what is not What.RESIDUE or info is None:
            return found
        state = self.by_version.get((found.uri, found.version_id))
        if state is WorkState.HELD or found.uri in self.held:
            why = "under a legal hold" if info.legal_hold else "a right was missing"
            return replace(found, what=What.HELD, detail=why)
        until = info.retain_until
        locked = info.lock_mode == COMPLIANCE and until is not None and until > now
        if state is WorkState.DEFERRED and locked and until is not None:
            detail = f"locked until {until.isoformat(timespec='seconds')}"
            return replace(found, what=What.DEFERRED, detail=detail)
        return found


def late(findings: Iterable[Finding]) -> list[Finding]:
    """Residue in what arrived after the horizon: named, and the next sweep's business."""
    return [
        replace(f, what=What.NOTE, detail="arrived after the horizon")
        if f.what is What.RESIDUE
        else f
        for f in findings
    ]
