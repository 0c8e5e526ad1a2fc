"""A row of the goals' table: what was measured, against what, and whether it reaches its goal.

Ratios of CPU seconds in one run, so that they hold on other machines. Not here: what is measured.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

ROUNDS = 3
"""At least so many; the median counts."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, and of `bench/results/latest.json`."""

    name: str
    """B1 ... A1, as the goals are numbered; a second figure of one goal: B2 digest."""
    what: str
    """What was done, and what it is compared with in the same run."""
    value: float
    goal: float
    is_at_least: bool
    """Whether the goal is a least value; else it is a most."""
    unit: str = "x"
    more: Mapping[str, float | int | str] = field(default_factory=dict)
    """CPU seconds of both sides, MB per CPU second, bytes of peak memory, ..."""

    @property
    def met(self) -> bool:
        return self.value >= self.goal if self.is_at_least else self.value <= self.goal

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"met": self.met}

    def line(self) -> str:
        """For people."""
        sign, state = (">=" if self.is_at_least else "<="), ("met" if self.met else "NOT MET")
        goal = f"{sign} {self.goal:g} {self.unit}"
        return (
            f"{self.name:<10} {self.value:>9.2f} {self.unit:<9} {goal:<18} {state:<8} {self.what}"
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """The median of some rounds."""

    cpu_seconds: float
    wall_seconds: float


def measured(*acts: Callable[[], object], rounds: int = ROUNDS) -> list[Cost]:
    """The cost of each act. Rounds of all of them are interleaved: a machine that is slower for a
    while is so for each. Children that were waited for count.
    """
    seen: list[list[Cost]] = [[] for _ in acts]
    for _ in range(rounds):
        for act, costs in zip(acts, seen, strict=True):
            with timed(costs):
                act()
    return [
        Cost(
            statistics.median(c.cpu_seconds for c in costs),
            statistics.median(c.wall_seconds for c in costs),
        )
        for costs in seen
    ]


@contextmanager
def timed(into: list[Cost]) -> Iterator[None]:
    """Append what the block cost."""
    cpu, wall = _cpu_seconds(), time.perf_counter()
    yield
    into.append(Cost(_cpu_seconds() - cpu, time.perf_counter() - wall))


def _cpu_seconds() -> float:
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def document(rows: Sequence[Row], *, about: Mapping[str, Any]) -> dict[str, Any]:
    """All of it, schema clearlake.bench/1; `about`: the machine and the lake."""
    return {
        "schema": "clearlake.bench/1",
        **about,
        "rows": [row.document() for row in rows],
        "met": sum(row.met for row in rows),
    }
