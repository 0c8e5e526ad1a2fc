"""Counts what is met while people are looked for: rows, objects and their locks, by dataset and
person. Nothing is read for it. Not here: who a row is about (app.lake.identities).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime

from app.domain.datasets import Dataset
from app.domain.expected import Expected
from app.lake.link_rows import LinkRow
from app.lake.ports import COMPLIANCE, ObjectInfo

KEPT_WHOLE = "keep"
"""The ground that is named where the map names none for a dataset that is kept."""


@dataclass(slots=True)
class _Met:
    """One person in one dataset."""

    rows: int = 0
    co_owned: int = 0
    changed: int = 0
    row_bytes: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    places: dict[str, ObjectInfo] = field(default_factory=dict, repr=False)

    def saw(self, dataset: Dataset, row: LinkRow) -> None:
        """What any row adds."""
        self.row_bytes += row.size
        if dataset.treatment.kind == "keep":
            self.kept[dataset.treatment.ground or KEPT_WHOLE] += 1
        elif row.kept is not None:
            self.kept[row.kept] += 1
        if row.place is not None:
            self.places.setdefault(row.place.uri, row.place)

    @property
    def touched(self) -> int:
        return self.rows + self.co_owned + self.changed


@dataclass(slots=True)
class Tally:
    """Handed to app.lake.identities.resolve; people by the name of their case."""

    _met: dict[str, dict[str, _Met]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(_Met))
    )

    def owned(self, subject: str, dataset: Dataset, row: LinkRow, *, others: int) -> None:
        """A row that the person owns; `others`: how many others own it too."""
        met = self._met[subject][dataset.name]
        if others:
            met.co_owned += 1
        else:
            met.rows += 1
        met.saw(dataset, row)

    def linked(self, subject: str, dataset: Dataset, row: LinkRow) -> None:
        """A row that the person does not own, with a linked or derived value of theirs."""
        met = self._met[subject][dataset.name]
        met.changed += 1
        met.saw(dataset, row)

    def expected(
        self, subject: str, dataset: Dataset, *, rows: int | None, size: int, now: datetime
    ) -> Expected:
        """What was met of a person in a dataset of so many rows (None: objects) and bytes."""
        met = self._met[subject][dataset.name]
        locks = [i for i in met.places.values() if _is_locked(i, now)]
        ends = [i.retain_until for i in locks if i.retain_until is not None]
        return Expected(
            dataset=dataset.name,
            rows=met.rows,
            co_owned=met.co_owned,
            changed=met.changed,
            kept=dict(sorted(met.kept.items())),
            of_rows=_rows(met, rows, size),
            objects=len(met.places),
            bytes=sum(i.size for i in met.places.values()),
            locked=len(locks),
            locked_until=max(ends, default=None),
            held=sum(i.legal_hold for i in met.places.values()),
        )


def _rows(met: _Met, rows: int | None, size: int) -> int | None:
    if rows is not None:
        return rows
    # Compressed objects hold more rows than this says, so that a share errs to the larger.
    return size * met.touched // met.row_bytes if met.row_bytes else None


def _is_locked(info: ObjectInfo, now: datetime) -> bool:
    until = info.retain_until
    return info.lock_mode == COMPLIANCE and until is not None and until > now
