"""E4: what the receipts of a run say adds up, and is what was counted again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce

from app.domain.datasets import Dataset
from app.domain.findings import Finding, What
from app.domain.receipts import Counts, ObjectWork, TableWork, WorkState
from app.lake.verify.places import Sight, full_uri
from app.lake.verify.records import IN_PLACE
from app.lake.verify.tally import compare_shares

RowsOf = Mapping[tuple[str, str], int]
"""(URI, version) -> rows, or lines that are not blank, counted in the whole-lake look."""


def of_objects(dataset: Dataset, works: Iterable[ObjectWork], rows: RowsOf) -> list[Finding]:
    """Each replacement has the lines that were left, and the shares add up."""
    findings: list[Finding] = []
    for work in works:
        if work.new_version is None or work.state not in IN_PLACE:
            continue
        sight = Sight.of(dataset, work.uri, version_id=work.new_version)
        folder = work.uri.startswith("file://")
        counted = rows.get((work.uri, "" if folder else work.new_version))
        if counted is None:
            sight.saw(What.ARITHMETIC, "replacement", detail="it is gone")
        elif counted != work.counts.after and not folder:
            _differs(sight, said=work.counts.after, seen=counted)
        elif counted < work.counts.after:
            # A folder shows its current file only, and a loader may have added lines since.
            _differs(sight, said=work.counts.after, seen=counted)
        compare_shares(work.counts, sight=sight)
        findings += sight.findings
    return findings


def of_table(dataset: Dataset, work: TableWork, rows: RowsOf) -> list[Finding]:
    """Each replacement that is still there has the rows that were left; the sum is the table's."""
    findings: list[Finding] = []
    committed = [f for f in work.files if f.state is WorkState.COMMITTED]
    by_uri: dict[str, int] = {uri: number for (uri, _), number in rows.items()}
    for file in committed:
        sight = Sight.of(dataset, full_uri(file.new_path or file.old_path))
        if file.new_path is None:
            if file.counts.after:
                _differs(sight, said=file.counts.after, seen=0)
        elif (counted := by_uri.get(full_uri(file.new_path))) is None:
            sight.saw(What.NOTE, "replacement", detail="another writer has replaced it since")
        elif counted != file.counts.after:
            _differs(sight, said=file.counts.after, seen=counted)
        compare_shares(file.counts, sight=sight)
        findings += sight.findings
    total = reduce(lambda a, b: a + b, (f.counts for f in committed), Counts())
    sight = Sight.of(dataset, work.table)
    for name in ("before", "deleted", "tombstoned", "co_owned", "kept", "values"):
        if getattr(total, name) != getattr(work.counts, name):
            sight.saw(What.ARITHMETIC, f"sum of {name}", detail="the files do not add up")
    return findings + sight.findings


def _differs(sight: Sight, *, said: int, seen: int) -> None:
    detail = f"the receipt leaves {said}, {seen} were counted"
    sight.saw(What.ARITHMETIC, "rows after", detail=detail)
