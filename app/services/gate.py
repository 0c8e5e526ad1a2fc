"""Of whom nothing may be loaded now, as the gate of a loader needs it. Reads only.

Not here: what becomes of a row (app.lake.gate), who is written down (app.services.suppression).
"""

from __future__ import annotations

from datetime import datetime

from app.domain.dsars import State
from app.domain.identifiers import Identifier
from app.lake.gate import Digest, Suppressed
from app.lake.late import NEVER
from app.services.late_cases import DONE, WAITING
from app.services.parts import Parts, Transaction
from app.services.suppression import ALL
from app.store import suppression as store

_ERASED = DONE | WAITING | {State.RUNNING}
"""States of a case whose person is erased, as far as could be."""


def suppressed(tx: Transaction, parts: Parts) -> Suppressed:
    """Everybody whose erasure is past its point of no return. What a gate drops nobody can put
    back, so whoever's run may still be undone is let through: that run sees to them, or a sweep.

    Values that are active again are among them: a gate judges row by row, and takes nothing of
    what happened after the fence.
    """
    digester = parts.keys.digester()

    def digests(identifier: Identifier) -> tuple[Digest, ...]:
        return tuple((d.generation, d.digest) for d in digester.all_of(identifier))

    fences: dict[Digest, datetime] = {}
    for digest, scope, fence in store.fences(tx, _ERASED):
        until = NEVER if scope == ALL else fence
        fences[digest] = max(until, fences.get(digest, until))
    return Suppressed(digests, fences)
