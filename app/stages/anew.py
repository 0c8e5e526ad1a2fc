"""A table that a limited pass is through with, begun anew by the pass over the whole lake: rows may
have come since. Not here: objects, which are listed again by every pass (app.stages.acts).
"""

from __future__ import annotations

from dataclasses import replace

from app.domain.datasets import Dataset
from app.domain.failpoints import failpoint
from app.domain.receipts import TableWork, WorkState
from app.lake.table_ports import TableEngine
from app.lake.tables import plan_table
from app.stages.ports import Journal


def begun_anew(dataset: str) -> str:
    """The fact that asks for it, "1", and says that it is done, "0"."""
    return f"anew:{dataset}"


def kept_aside(dataset: str) -> str:
    """The document with the record of the limited pass."""
    return f"before:{dataset}"


def begin_anew(dataset: Dataset, *, journal: Journal, engine: TableEngine) -> None:
    """Keep the record aside, then plan again; what is not destroyed yet goes over into the new one.
    Killed in between and repeated, it is the same: nothing is erased before the fact says so.
    """
    if journal.fact(begun_anew(dataset.name)) != "1":
        return
    name = kept_aside(dataset.name)
    before = journal.document(name, TableWork) or journal.table_work(dataset.name)
    assert before is not None
    journal.put_document(name, before)
    failpoint("stages.kept_aside")
    left = tuple(c for c in before.condemned if c.state is not WorkState.PURGED)
    journal.put_table_work(dataset.name, replace(plan_table(engine, dataset), condemned=left))
    failpoint("stages.begun_anew")
    journal.put_facts(**{begun_anew(dataset.name): "0"})
