"""When the counts of a dataset cannot be true: shares that do not add up, more gone than was there.

The verifier of reports has its own copy of these rules.
"""

from __future__ import annotations

from app.domain.receipts import Counts, Share


def count_problems(counts: Counts, *, subjects: int) -> list[str]:
    """What cannot be true in the counts of a run of so many subjects, in sentences; or nothing."""
    total = sum(counts.shares.values(), Share())
    found = [
        f"the shares of {name} add up to {part}, the run's number is {whole}"
        for name, part, whole in (
            ("deleted", total.deleted, counts.deleted),
            ("tombstoned", total.tombstoned, counts.tombstoned),
            ("co_owned", total.co_owned, counts.co_owned),
            ("kept", total.kept, counts.kept),
        )
        if part != whole
    ]
    if counts.deleted + counts.tombstoned > counts.before:
        found.append("more rows deleted and tombstoned than there were")
    if counts.co_owned > counts.tombstoned:
        found.append("more co-owned rows than tombstoned ones")
    if any(not 0 <= subject < subjects for subject in counts.shares):
        found.append("a share of somebody who is not in the run")
    return found
