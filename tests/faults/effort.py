"""How far a scenario goes: a few rounds in `make test`, a share of the time in `make faults`.

Both are the same tests. The environment says which: CLEARLAKE_FAULT_MINUTES (absent: the short
form), CLEARLAKE_FAULT_SEED, CLEARLAKE_FAULT_FIGURES. Not here: what a round does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.figures import Book, Figure

SEED = 4
"""That of the short form: the same places each time."""
PATIENCE = 5
"""What is wanted is reached on a slow machine too, only later."""


@dataclass(frozen=True)
class Effort:
    """What the environment asks for."""

    seed: int
    seconds: float
    """For everything; 0 in the short form."""
    book: Book

    @property
    def long(self) -> bool:
        return self.seconds > 0

    @contextmanager
    def measuring(
        self, promise: str, scenario: str, *, wanted: int = 0, limit: float | None = None
    ) -> Iterator[Measuring]:
        """A figure; whatever ends the block, it is written. AssertionError when it is broken."""
        measuring = Measuring(self, Figure(promise, scenario, wanted, limit))
        try:
            yield measuring
        finally:
            measuring.write()
        assert measuring.figure.faults == [], measuring.figure.faults[:5]
        assert measuring.figure.state != "broken", measuring.figure.reached


class Measuring:
    """A figure in the making."""

    def __init__(self, effort: Effort, figure: Figure) -> None:
        self.figure = figure
        self._effort = effort
        self._begun = time.monotonic()

    def rounds(self, *, least: int, most: int, share: float) -> Iterator[int]:
        """Numbers of rounds: `least` in the short form; in the long one until `most`, or until
        that share of the time is over; where fewer are done than wanted, until PATIENCE times that.
        """
        effort = self._effort
        for number in range(most):
            patience = PATIENCE if number < self.figure.wanted else 1
            over = time.monotonic() - self._begun >= patience * share * effort.seconds
            if number >= least and (not effort.long or over):
                return
            yield number
            self.figure.rounds += 1
            self.write()

    def write(self) -> None:
        """What was reached so far."""
        self.figure.seconds = round(time.monotonic() - self._begun, 1)
        self._effort.book.write(self.figure)


def one_in(number: int, values: Iterable[object]) -> list[Any]:
    """For parametrize: the first of every so many in the short form, all in the long one."""
    return [
        pytest.param(value, marks=[pytest.mark.long] if n % number else [])
        for n, value in enumerate(values)
    ]


def effort_of_environment() -> Effort:
    """The effort that was asked for."""
    book = os.environ.get("CLEARLAKE_FAULT_FIGURES")
    return Effort(
        seed=int(os.environ.get("CLEARLAKE_FAULT_SEED", SEED)),
        seconds=60 * float(os.environ.get("CLEARLAKE_FAULT_MINUTES", "0")),
        book=Book(Path(book) if book else None),
    )
