"""Iceberg: a run's replacements are taken back out of a table, until its old snapshots expire."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from app.domain.errors import CommitConflictError, NotUndoableError
from app.domain.failpoints import failpoint
from app.domain.receipts import TableWork, WorkState
from app.lake.table_ports import TableEngine


def undo_table(
    work: TableWork,
    *,
    engine: TableEngine,
    run_id: str,
    step_id: str,
    record: Callable[[TableWork], None],
) -> TableWork:
    """Put A back for every committed A', with its position deletes, in one commit. UNDONE; or
    PARKED and left as it is, when somebody has changed an A' since.

    NotUndoableError once expiring has begun. Undone already is success.
    """
    back = {f.old_path: f.new_path for f in work.files if f.state is WorkState.COMMITTED}
    if work.state is WorkState.UNDONE:
        return work
    if work.expired:
        raise NotUndoableError(
            f"{work.table}: its old snapshots have expired; nothing to put back."
        )
    if back:
        deletes = {d for f in work.files for d in f.delete_paths}
        label = f"{step_id}/{hashlib.sha256(repr(sorted(back)).encode()).hexdigest()[:16]}"
        failpoint("undo_tables.before_commit")
        if engine.find_commit(work.table, run_id=run_id, step_id=label) is None:
            try:
                engine.restore(work.table, back=back, deletes=deletes, run_id=run_id, step_id=label)
            except CommitConflictError:
                reason = "A replacement was changed by others since; left as it is."
                work = replace(work, state=WorkState.PARKED, reason=reason)
                record(work)
                return work
        failpoint("undo_tables.committed")
    files = tuple(
        replace(f, state=WorkState.UNDONE) if f.old_path in back else f for f in work.files
    )
    work = replace(work, state=WorkState.UNDONE, files=files, reason=None)
    record(work)
    return work
