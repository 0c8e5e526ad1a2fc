"""Late values that are active again since their erasure: told apart, said once, and left alone.

A run erases a value everywhere, so their later activity, a new fact, would go with what came late.
Not here: what came late, and what a sweep is (app.services.late).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta

import structlog

from app.domain.actors import WORKER
from app.domain.dsars import Move, State
from app.domain.failpoints import failpoint
from app.domain.identifiers import Identifier
from app.lake.late import NEVER, Tally, late_rows
from app.lake.ports import Doors
from app.services import dsars, entries
from app.services.parts import Parts, Transaction
from app.store import dsars as cases
from app.store import suppression as store

log = structlog.get_logger(__name__)

WHY = "late data of a value that is active again: open a new case to erase all of it, or reject it"


def active_values(
    fences: Mapping[Identifier, datetime],
    *,
    parts: Parts,
    doors: Doors,
    ours: Callable[[str], bool],
    stop: Callable[[], bool],
) -> frozenset[Identifier]:
    """Those of the values that stand on a row later than their fence, anywhere in the lake.

    A time that may be later counts as later: a day is its end. A row without a time is no later
    one. What cannot be read cannot be erased either, and says nothing.
    """
    assert parts.lake is not None
    waiting = {value: fence for value, fence in fences.items() if fence < NEVER}
    asked = frozenset(waiting)
    for dataset in parts.lake.data_map.datasets:
        if not waiting:
            break
        rows = late_rows(
            dataset,
            doors=doors,
            mark=None,
            overlap=timedelta(0),
            ours=ours,
            wanted=waiting.__contains__,
            tally=Tally(),
            stop=stop,
        )
        for row in rows:
            fence = waiting.get(row.identifier)
            if fence is not None and row.at is not None and row.at > fence:
                del waiting[row.identifier]
            if not waiting:
                break
    return asked - waiting.keys()


def say(tx: Transaction, *, parts: Parts, again: Mapping[str, Collection[Identifier]]) -> None:
    """Write down for each case (its row is locked) which of its values stay, by their number. Late
    data of these is said no more. A case that settles waits for a person; a completed one stays so.
    """
    digester = parts.keys.digester()
    for dsar_id, values in sorted(again.items()):
        every = [d for value in values for d in digester.all_of(value)]
        store.put_active_again(tx, dsar_id, [(d.generation, d.digest) for d in every])
        failpoint("late.before_said")
        kinds = Counter(value.kind.value for value in values)
        entries.record(WORKER, tx, verb="dsar.late_data_left", about=dsar_id, values=dict(kinds))
        if cases.get(tx, dsar_id).state is State.SETTLING:
            dsars.move(WORKER, tx, dsar_id, Move.STICK, verb="dsar.stuck", reason=WHY)
        log.warning("sweep.active_again", dsar_id=dsar_id, count=len(values))
