"""CPU seconds, wall clock and memory of an act, by the median of some rounds; the machine it was.

Not here: what is measured.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROUNDS = 3
"""At least so many; the median counts."""


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
    cpu, wall = cpu_seconds(), time.perf_counter()
    yield
    into.append(Cost(cpu_seconds() - cpu, time.perf_counter() - wall))


def total(costs: Iterable[Cost]) -> Cost:
    """All of them, one after the other."""
    every = list(costs)
    return Cost(sum(c.cpu_seconds for c in every), sum(c.wall_seconds for c in every))


def cpu_seconds() -> float:
    """Of this process and of its children that ended, since they began."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def peak_memory() -> int:
    """Bytes of memory that this process held at most since it began."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def machine() -> dict[str, int | float | str | None]:
    """What a figure must be read with. `load`: runnable processes in the minute before."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "python": platform.python_version(),
        "system": platform.system(),
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
