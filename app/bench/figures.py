"""What was measured of one dataset, as data: no path, no value, nobody's name in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.bench.costs import Cost


@dataclass(frozen=True, slots=True)
class Figure:
    """One act over a dataset."""

    what: str
    cost: Cost
    bytes: int
    """Bytes it was done to, as stored."""
    against: str | None = None
    """The act that it is compared with: `what` of another figure of the dataset."""
    ratio: float | None = None
    """CPU seconds over those of that act."""

    @property
    def mb_per_cpu_second(self) -> float | None:
        """None where there was nothing to do."""
        return self.bytes / 1e6 / self.cost.cpu_seconds if self.bytes else None


@dataclass(frozen=True, slots=True)
class Measured:
    """One dataset."""

    dataset: str
    layer: str
    counts: Mapping[str, int]
    """Objects or files, those hit, lines or rows, what became of them."""
    figures: tuple[Figure, ...]


def compared(what: str, cost: Cost, size: int, *, with_: Figure) -> Figure:
    """A figure beside another one."""
    base = with_.cost.cpu_seconds
    ratio = cost.cpu_seconds / base if size and base else None
    return Figure(what, cost, size, against=with_.what, ratio=ratio)
