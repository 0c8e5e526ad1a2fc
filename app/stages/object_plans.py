"""Which objects of a dataset are to be erased, page by page: there can be more than fit into
memory. One process at a time for each dataset.

Not here: what is done to an object (app.lake.bronze), groups of them (app.stages.grouping).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from app.domain.datasets import Dataset
from app.domain.failpoints import failpoint
from app.domain.receipts import Counts, ObjectWork, WorkState
from app.lake.bronze import listed_keys, planned, unfinished
from app.lake.ports import ObjectStore, Version
from app.lake.purge_objects import newer_of
from app.stages.ports import Journal

_KEYS = 1000
"""Looked up in the journal, and written to it, at once."""


@dataclass(frozen=True, slots=True)
class Todo:
    """How much is to be erased."""

    objects: int = 0
    bytes: int = 0

    def and_(self, *works: ObjectWork) -> Todo:
        """With these too."""
        size = sum(w.bytes_before for w in works)
        return Todo(self.objects + len(works), self.bytes + size)


def list_objects(dataset: Dataset, *, journal: Journal, store: ObjectStore) -> None:
    """Journal every object that is not there yet; nothing is read."""
    for page in _pages(store, dataset):
        known = journal.known(dataset.name, list(page))
        fresh = [planned(versions) for uri, versions in page.items() if uri not in known]
        if fresh:
            journal.put_works(dataset.name, fresh)


def begin_again(dataset: Dataset, *, journal: Journal) -> Todo:
    """What was held or parked before is begun anew, its counts kept aside. How much is unfinished
    then.
    """
    todo = Todo()
    earlier = journal.document(f"earlier:{dataset.name}", Counts) or Counts()
    for page in journal.pages(dataset.name):
        anew = {}
        for work in page:
            if _begins_anew(work):
                earlier += replace(work.counts, before=work.counts.deleted, parked=0)
                anew[work.uri] = ObjectWork(uri=work.uri, bytes_before=work.bytes_before)
        if anew:
            journal.replan(dataset.name, anew.values(), earlier=earlier)
        todo = todo.and_(*unfinished(anew.get(w.uri, w) for w in page))
    return todo


def _begins_anew(work: ObjectWork) -> bool:
    unwritten = work.state in (WorkState.HELD, WorkState.PARKED) and not work.new_version
    unread = work.state is WorkState.PARKED and any(
        s.state is WorkState.PARKED for s in work.superseded
    )
    return unwritten or unread or (bool(work.parked) and work.state is WorkState.PURGED)


def rounds_of(dataset: Dataset, journal: Journal) -> int:
    """How often `find_newer` found something since the erase stage began."""
    return int(journal.fact(f"rounds:{dataset.name}") or 0)


def find_newer(dataset: Dataset, *, journal: Journal, store: ObjectStore) -> Todo:
    """Objects that are new since they were listed, or that others wrote since, journalled as
    PLANNED, one round later. By one listing.
    """
    made = rounds_of(dataset, journal) + 1
    todo = Todo()
    for page in _pages(store, dataset):
        known = journal.known(dataset.name, list(page))
        found = (_newer(v, known.get(uri), made=made) for uri, v in page.items())
        anew = [work for work in found if work is not None]
        if anew and not todo.objects:
            # Counted first: killed between the two, a round is lost, and never one too many made.
            journal.put_facts(**{f"rounds:{dataset.name}": str(made)})
            failpoint("stages.round_counted")
        if anew:
            journal.put_anew(dataset.name, anew)
            todo = todo.and_(*anew)
    return todo


def _newer(versions: list[Version], known: ObjectWork | None, *, made: int) -> ObjectWork | None:
    if known is None:
        return replace(planned(versions), rounds=made)
    if not newer_of(known, versions):
        return None
    size = sum(v.size for v in versions)
    return ObjectWork(uri=known.uri, bytes_before=size, rounds=max(known.rounds + 1, made))


def _pages(store: ObjectStore, dataset: Dataset) -> Iterator[dict[str, list[Version]]]:
    keys = listed_keys(store, dataset)
    while page := {versions[0].uri: versions for versions in islice(keys, _KEYS)}:
        yield page
