"""Puts the objects of a dataset into the groups that steps act on, page by page.

Not here: where a group ends (app.stages.grouping), what is done with one (app.services.erasures).
"""

from __future__ import annotations

from itertools import islice

from app.services.journal import LedgerJournal
from app.stages.grouping import cut, limits_for
from app.stages.object_plans import Todo

_AT_ONCE = 20
"""Groups written in one transaction."""


def put_into_groups(journal: LedgerJournal, dataset: str) -> Todo:
    """Every object that is in no group yet, into new ones; how much that is. One process at a time.

    Cut off in between, a repeat goes on with what is left.
    """
    todo = Todo()
    for work in journal.without_part(dataset):
        todo = todo.and_(work)
    limits = limits_for(objects=todo.objects, size=todo.bytes)
    found = cut(journal.without_part(dataset), limits)
    while some := list(islice(found, _AT_ONCE)):
        journal.put_parts(dataset, some)
    return todo
