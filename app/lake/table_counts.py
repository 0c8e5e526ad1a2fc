"""What was found on the rows of a table, counted: one row group, or many added up.

Not here: what a row counts for a report (app.domain.receipts).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from app.domain.policies import Decision, Fate
from app.domain.receipts import Counts, Share
from app.lake.table_texts import Found
from app.lake.table_values import Rows

_Shares = dict[int, Counter[str]]


def counts_of(
    before: int, deleted: Rows, *, decisions: Sequence[Decision], found: Mapping[int, Found]
) -> Counts:
    """Add up one row group. `deleted`: subjects of rows that plainly go. Of the others a deleted
    row counts for its owner, any other for the first subject of its values.
    """
    subjects, numbers = np.unique(deleted, return_counts=True)
    shares: _Shares = {
        int(s): Counter(deleted=int(n)) for s, n in zip(subjects, numbers, strict=True)
    }
    undeclared: Counter[str] = Counter()
    values = 0
    for number, decision in enumerate(decisions):
        row = found.get(number)
        if row is not None and decision.fate is Fate.TOMBSTONE:
            values += row.values
            for path, count in row.undeclared.items():
                undeclared[path] += count
        what, subject = _outcome(decision, row)
        if subject is None:
            continue
        share = shares.setdefault(subject, Counter())
        share[what] += 1
        if decision.co_owned:
            share["co_owned"] += 1
    return Counts(
        before=before,
        values=values,
        **{what: sum(share[what] for share in shares.values()) for what in _SHARED},
        shares={subject: Share(**share) for subject, share in shares.items()},
        undeclared=dict(undeclared),
    )


def sum_of(counts: Iterable[Counts]) -> Counts:
    """Many counts added up, each share looked at once."""
    every = list(counts)
    shares: _Shares = {}
    undeclared: Counter[str] = Counter()
    for one in every:
        for path, number in one.undeclared.items():
            undeclared[path] += number
        for subject, share in one.shares.items():
            total = shares.setdefault(subject, Counter())
            for what in _SHARED:
                total[what] += getattr(share, what)
    return Counts(
        **{what: sum(getattr(one, what) for one in every) for what in (*_SHARED, *_TOTAL)},
        shares={subject: Share(**share) for subject, share in shares.items()},
        undeclared=dict(undeclared),
    )


_SHARED = ("deleted", "tombstoned", "co_owned", "kept")
_TOTAL = ("before", "values", "parked")


def _outcome(decision: Decision, row: Found | None) -> tuple[str, int | None]:
    """What a row counts as, and for which subject; None: it holds nobody after all."""
    if decision.fate is Fate.DELETE:
        return "deleted", decision.subject
    what = "kept" if decision.fate is Fate.KEEP else "tombstoned"
    if row is not None and row.values:
        return what, min(row.subjects)
    return what, decision.subject if decision.fate is Fate.KEEP else None
