"""A protocol that is broken off at two places and goes on each time from what it had recorded.

In one process, by failpoints that raise: cheap enough for thousands. Real kills: test_kills.
"""

from __future__ import annotations

import itertools
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.domain import failpoints
from app.domain.failpoints import FailpointError

Pair = tuple[tuple[str, int], tuple[str, int]]


def recorded(act: Callable[[], object], *, file: Path, patch: pytest.MonkeyPatch) -> Counter[str]:
    """The places that it passes, and how often."""
    with patch.context() as recording:
        recording.setenv("CLEARLAKE_FAILPOINTS_RECORD", str(file))
        act()
    return Counter(file.read_text("ascii").split())


def pairs(places: Counter[str], *, seed: int, count: int) -> Iterator[Pair]:
    """Every place with every place first, then at their other passings; in the seed's order."""
    luck = random.Random(seed)
    all_pairs = list(itertools.product(sorted(places), repeat=2))
    luck.shuffle(all_pairs)
    for number in range(count):
        first, second = all_pairs[number % len(all_pairs)]
        again = number >= len(all_pairs)
        yield (
            (first, luck.randint(1, places[first]) if again else 1),
            (second, luck.randint(1, places[second] + 1) if again else 2 if first == second else 1),
        )


@contextmanager
def armed(rules: Sequence[tuple[str, int]], *, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """At each of these places once."""
    with patch.context() as switched:
        switched.setattr(failpoints, "_passed", Counter())
        text = ",".join(f"{place}=raise@{turn}" for place, turn in rules)
        switched.setenv("CLEARLAKE_FAILPOINTS", text)
        yield


def to_its_end(act: Callable[[], object]) -> int:
    """Again and again, until it ends; how often it was broken off."""
    assert "CLEARLAKE_FAILPOINTS" in os.environ
    for crashes in range(10):
        try:
            act()
        except FailpointError:
            continue
        return crashes
    raise AssertionError("it never ends")
