"""Late data: identifiers on what others wrote to the lake since a mark. Reads only.

Not here: whose they are and what follows from them (app.services.late), nor how a line or a file is
read (late_lines, late_objects, late_tables).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from app.domain.datasets import Dataset
from app.lake.late_lines import NEVER, LateRow, Tally, Wanted, is_late
from app.lake.late_objects import late_objects
from app.lake.late_tables import known_files, late_files
from app.lake.ports import Doors

__all__ = ["NEVER", "LateRow", "Tally", "Wanted", "is_late", "known_files", "late_rows"]


def late_rows(
    dataset: Dataset,
    *,
    doors: Doors,
    mark: str | None,
    overlap: timedelta,
    ours: Callable[[str], bool],
    wanted: Wanted,
    tally: Tally,
    stop: Callable[[], bool],
) -> Iterator[LateRow]:
    """The wanted identifiers of a dataset on everything newer than `mark`, row by row.

    `mark`: what `tally.seen_to` said the last time (RFC 3339 for objects, a snapshot id for a
    table), None: from the beginning. `overlap`: how long a writer may take; the store dates an
    object that came in parts by when its upload began. `ours`: whether a run id is one of this
    installation's. Rows kept on a legal ground are no late data. Once exhausted, `tally` says up to
    where everything was looked at. StoppedError when `stop` says so.
    """
    if dataset.treatment.kind == "keep":
        return
    if dataset.location is not None:
        yield from late_objects(
            dataset,
            store=doors.reader,
            mark=None if mark is None else datetime.fromisoformat(mark),
            overlap=overlap,
            ours=ours,
            wanted=wanted,
            tally=tally,
            stop=stop,
        )
        return
    assert doors.engine is not None
    yield from late_files(
        dataset,
        engine=doors.engine,
        mark=None if mark is None else int(mark),
        wanted=wanted,
        tally=tally,
        stop=stop,
    )
