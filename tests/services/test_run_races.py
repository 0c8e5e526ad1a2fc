"""A case that is cancelled while its run begins is in one of the two, never in both."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from app.domain.actors import WORKER
from app.domain.dsars import State
from app.domain.errors import IllegalMoveError
from app.services import decisions, runs
from app.services.parts import Parts
from app.store import runs as stored_runs
from tests.services.dsar_cases import ASKER, REASON
from tests.services.erased import queued, state_of


def test_a_cancellation_and_the_start_of_the_run_agree(parts: Parts) -> None:
    for _ in range(12):
        case = queued(parts)
        both = Barrier(2)

        def cancel(dsar_id: str = case.id, both: Barrier = both) -> bool:
            both.wait()
            try:
                with parts.database.transaction() as tx:
                    decisions.cancel(ASKER, tx, parts=parts, dsar_id=dsar_id, reason=REASON)
            except IllegalMoveError:
                return False
            return True

        def start(both: Barrier = both) -> str | None:
            both.wait()
            with parts.database.transaction() as tx:
                return runs.start(WORKER, tx, parts=parts)

        with ThreadPoolExecutor(2) as pool:
            cancelled, run_id = pool.submit(cancel), pool.submit(start)
        in_run = cases_of(parts, run_id.result())
        assert cancelled.result() == (case.id not in in_run)
        expected = State.CANCELLED if cancelled.result() else State.RUNNING
        assert state_of(parts, case.id) is expected
        end(parts, run_id.result())


def cases_of(parts: Parts, run_id: str | None) -> set[str]:
    if run_id is None:
        return set()
    with parts.database.transaction() as tx:
        return {c.dsar_id for c in stored_runs.dsars_of(tx, run_id)}


def end(parts: Parts, run_id: str | None) -> None:
    """The lake is free for the next round."""
    if run_id is not None:
        with parts.database.transaction() as tx:
            runs.undo(WORKER, tx, parts=parts, run_id=run_id)
