"""Which versions may still hold somebody, by the run's own records and by what the lock says now.
A record without the lock excuses nothing, nor a lock without the record; but for a missing right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from app.domain.findings import Finding, What
from app.domain.receipts import MISSING_RIGHT, ObjectWork, TableWork, WorkState
from app.domain.steps import TOGETHER
from app.lake.ports import COMPLIANCE, ObjectInfo
from app.lake.verify.places import full_uri

LATE = "arrived after the horizon"


@dataclass(frozen=True, slots=True)
class Excuses:
    """(URI, version) -> its record's state and reason; a URI alone where no version may change."""

    by_version: Mapping[tuple[str, str], tuple[WorkState, str | None]] = field(repr=False)
    held: Mapping[str, str | None] = field(repr=False)

    @classmethod
    def of(cls, objects: Iterable[ObjectWork], tables: Iterable[TableWork]) -> Excuses:
        """What the records of a run say."""
        by_version: dict[tuple[str, str], tuple[WorkState, str | None]] = {}
        held: dict[str, str | None] = {}
        for work in objects:
            by_version.update(
                {(work.uri, s.version_id): (s.state, s.reason) for s in work.superseded}
            )
            if work.state is WorkState.HELD:
                held[work.uri] = work.reason
        for table in tables:
            for gone in table.condemned:
                by_version[full_uri(gone.uri), gone.version_id] = (gone.state, gone.reason)
        return cls(by_version, held)

    def applied(
        self, findings: Iterable[Finding], *, info: ObjectInfo | None, now: Callable[[], datetime]
    ) -> list[Finding]:
        """The findings of one version, residue excused where both record and lock say so. `now`,
        the server's clock, is asked only where a date matters.
        """
        return [self._excused(f, info=info, now=now) for f in findings]

    def _excused(
        self, found: Finding, *, info: ObjectInfo | None, now: Callable[[], datetime]
    ) -> Finding:
        if found.what is not What.RESIDUE or info is None:
            return found
        state, reason = self.by_version.get((found.uri, found.version_id), (None, None))
        if state is WorkState.HELD or found.uri in self.held:
            if info.legal_hold:
                return replace(found, what=What.HELD, detail="under a legal hold")
            if MISSING_RIGHT in (reason, self.held.get(found.uri)):
                return replace(found, what=What.HELD, detail=MISSING_RIGHT)
        until = info.retain_until
        if state is not WorkState.DEFERRED or info.lock_mode != COMPLIANCE or until is None:
            return found
        # A lock may end between the purge that met it and this look: what it held goes next.
        if until > now() - TOGETHER:
            detail = f"locked until {until.isoformat(timespec='seconds')}"
            return replace(found, what=What.DEFERRED, detail=detail)
        return found


def late(findings: Iterable[Finding]) -> list[Finding]:
    """Residue in what arrived after the horizon: named, and the next sweep's business."""
    return [
        replace(f, what=What.NOTE, detail=LATE) if f.what is What.RESIDUE else f for f in findings
    ]
