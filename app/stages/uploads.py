"""Open multipart uploads under a dataset: bytes that no listing shows and nobody can read.

The purge ends those that no writer can finish any more; the others the second look names. Not here:
uploads beside the declared places, which are nobody's to end.
"""

from __future__ import annotations

from datetime import timedelta

from app.domain.datasets import Dataset
from app.domain.errors import AccessDeniedError
from app.domain.failpoints import failpoint
from app.lake.table_names import normalise
from app.stages.acts import Acts
from app.stages.ports import Journal

WRITERS = timedelta(hours=24)
"""How long a writer may live, where nobody says otherwise."""


def end_uploads(acts: Acts, dataset: Dataset, *, writers: timedelta) -> None:
    """1. List the uploads under the dataset's place that were begun before any living writer was.
    2. Journal their ids. 3. End each. One that the credential may not end is left, and the second
    look says so. A repeat is a success.
    """
    store, purger = acts.doors.reader, acts.doors.purger
    before = store.now() - writers
    due = [u for u in store.uploads(_place_of(acts, dataset)) if u.initiated <= before]
    if not due:
        return
    known = acts.journal.document(_name(dataset.name), list[str]) or []
    ids = sorted({*known, *(u.upload_id for u in due)})
    failpoint("uploads.before_record")
    acts.journal.put_document(_name(dataset.name), ids)
    failpoint("uploads.recorded")
    for upload in due:
        if acts.stop():
            return
        try:
            purger.abort(upload)
        except AccessDeniedError:
            return
        failpoint("uploads.ended")


def ended_uploads(journal: Journal, dataset: str) -> int:
    """How many uploads of a dataset the run set out to end."""
    return len(journal.document(_name(dataset), list[str]) or ())


def _place_of(acts: Acts, dataset: Dataset) -> str:
    if dataset.location is not None:
        return dataset.location
    assert dataset.table is not None
    return normalise(acts.engine.head(dataset.table).location).rstrip("/") + "/"


def _name(dataset: str) -> str:
    return f"uploads:{dataset}"
