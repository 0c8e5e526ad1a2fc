"""The promises, and the figures that show how far each is kept.

A figure is a line of JSON in a file, written again after each round, so that whatever stops a
scenario leaves what was reached. Not here: how long a scenario goes on (effort).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PROMISES = {
    "G1": "an accepted case is never lost",
    "G2": "total broker loss heals itself",
    "G3": "a dead worker's step resumes within 75 s",
    "G4": "at least once in, exactly once out",
    "G5": "nobody else is harmed",
    "G6": "nothing of the subject is left",
    "G7": "the verifier has teeth",
    "G8": "the report never lies",
    "G9": "nobody comes back",
    "G10": "erasure gets through under streaming writes",
    "G10b": "an eraser's bug harms nobody",
    "G11": "failed commits leave nothing",
    "G18": "the service itself leaks nothing",
}
SHOWN_BY = {
    "G2": ("tests/workers/test_processes.py", "tests/workers/test_bell.py"),
    "G3": ("tests/e2e/test_service_kills.py", "tests/e2e/test_kills.py"),
    "G7": ("tests/verify/test_needles.py",),
    "G8": ("tests/faults/test_sabotage.py::test_sabotage_in",),
    "G9": ("tests/services/test_nobody_back.py",),
    "G10": (
        "tests/lake/test_tables_faults.py",
        "tests/faults/test_other_writers_of_tables.py",
        "tests/faults/test_other_writers_of_objects.py",
        "tests/faults/test_other_writers_of_runs.py",
    ),
    "G10b": (
        "tests/faults/test_mutated_erasers.py::test_a_faulty_eraser",
        "tests/e2e/test_mutants.py",
    ),
    "G18": ("tests/e2e/test_service_canary.py",),
}
"""Tests that are figures as a whole: every one of a file, or of a file's tests that begin so,
passes, or the promise is broken.
"""
WANTED = {
    "tests/faults/test_sabotage.py::test_sabotage_in": 25,
    "tests/faults/test_mutated_erasers.py::test_a_faulty_eraser": 20,
}
"""How many tests the promise speaks of, where it does."""


@dataclass
class Figure:
    """What a scenario reached for a promise. Its faults are texts without a person's values."""

    promise: str
    scenario: str
    wanted: int = 0
    """Rounds that the promise speaks of; 0: it names no number."""
    limit: float | None = None
    """Seconds that nothing may take longer than."""
    rounds: int = 0
    slowest: float | None = None
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0
    notes: dict[str, float | int | str] = field(default_factory=dict)

    def took(self, seconds: float) -> None:
        """One more time that counts."""
        self.slowest = max(self.slowest or 0.0, seconds)

    def note(self, name: str, value: int) -> None:
        """Add to a number that is told beside the figure."""
        self.notes[name] = int(self.notes.get(name, 0)) + value

    def most(self, name: str, value: int) -> None:
        """Remember the largest of a number, told as `most <name>`."""
        name = f"most {name}"
        self.notes[name] = max(int(self.notes.get(name, 0)), value)

    @property
    def state(self) -> str:
        """kept | broken | short (kept as far as it went, and it went less far than is wanted)."""
        too_slow = self.limit is not None and self.slowest is not None and self.slowest > self.limit
        if self.faults or too_slow or not self.rounds:
            return "broken"
        return "short" if self.rounds < self.wanted else "kept"

    @property
    def reached(self) -> str:
        """In words."""
        of = f" of the {self.wanted:,} wanted" if self.rounds < self.wanted else ""
        text = f"{len(self.faults)} wrong in {self.rounds:,}{of}"
        if self.slowest is not None:
            text += f"; slowest {self.slowest:.1f} s"
        if self.limit is not None:
            text += f" (at most {self.limit:g})"
        return "; ".join([text, *(f"{name} {value}" for name, value in self.notes.items())])


class Book:
    """The file that figures are written to. None: nobody reads them."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def write(self, figure: Figure) -> None:
        """Its newest state."""
        self._add({"figure": asdict(figure)})

    def write_test(self, name: str, *, outcome: str, seconds: float) -> None:
        """A test's end."""
        self._add({"test": name, "outcome": outcome, "seconds": seconds})

    def _add(self, line: dict[str, Any]) -> None:
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def figures(self) -> list[Figure]:
        """The newest state of each, with those that whole test files are."""
        assert self._path is not None
        text = self._path.read_text("utf-8") if self._path.exists() else ""
        lines = [json.loads(line) for line in text.splitlines()]
        newest = {
            (f["promise"], f["scenario"]): Figure(**f)
            for f in (line["figure"] for line in lines if "figure" in line)
        }
        return [*newest.values(), *_of_tests([line for line in lines if "test" in line])]


def _of_tests(lines: Sequence[dict[str, Any]]) -> Iterable[Figure]:
    for promise, begins in SHOWN_BY.items():
        for begin in begins:
            mine = [line for line in lines if line["test"].startswith(begin)]
            if mine:
                faults = [line["test"] for line in mine if line["outcome"] == "failed"]
                yield Figure(
                    promise,
                    begin,
                    wanted=WANTED.get(begin, 0),
                    rounds=len(mine),
                    faults=faults,
                    seconds=round(sum(line["seconds"] for line in mine), 1),
                )


@dataclass(frozen=True)
class Reckoning:
    """Everything at the end."""

    seed: int
    figures: Sequence[Figure]
    failed: Sequence[str]
    """Tests that did not pass."""
    seconds: float

    @property
    def states(self) -> dict[str, str]:
        """Promise -> kept | short | broken | not measured."""
        found = {}
        for promise in PROMISES:
            states = {f.state for f in self.figures if f.promise == promise}
            order = ("broken", "short", "kept")
            found[promise] = next((s for s in order if s in states), "not measured")
        return found

    @property
    def holds(self) -> bool:
        return not self.failed and set(self.states.values()) == {"kept"}

    def document(self) -> dict[str, Any]:
        """As JSON, schema clearlake.faults/1."""
        return {
            "schema": "clearlake.faults/1",
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seed": self.seed,
            "holds": self.holds,
            "seconds": round(self.seconds, 1),
            "promises": self.states,
            "figures": [asdict(f) | {"state": f.state} for f in self.figures],
            "failed": list(self.failed),
        }

    def table(self) -> str:
        """For people."""
        rows = []
        for promise, words in PROMISES.items():
            rows.append(f"{promise:5}{self.states[promise]:14}{words}")
            for f in self.figures:
                if f.promise == promise:
                    rows.append(f"{'':19}{f.scenario}: {f.reached} [{f.seconds:.0f} s]")
                    rows += [f"{'':21}! {fault}" for fault in f.faults[:3]]
        return "\n".join([*rows, *(f"failed: {name}" for name in self.failed)])
