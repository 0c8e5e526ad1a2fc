"""A row of the goals' table: what was measured, against what, and whether it reaches its goal.

Ratios of CPU seconds in one run, so that they hold on other machines. Not here: what is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from app.bench.costs import ROUNDS, Cost, measured, timed

__all__ = ["ROUNDS", "Cost", "Row", "measured", "timed"]


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
