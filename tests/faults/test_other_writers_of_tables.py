"""Whatever others do to a table meanwhile: the person leaves it, and nobody else is harmed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.faults.effort import Effort
from tests.faults.places import fresh_place
from tests.faults.writers import tables
from tests.places import S3Doors

BETWEEN = (
    tables.compacted,
    tables.rows_deleted,
    tables.schema_changed,
    tables.partition_changed,
    tables.linked_anew,
    tables.compactor_that_read_before,
)
SPEEDS = ((1, 3), (5, 10))
"""Appends a second, and the most tries they may cost."""


@pytest.mark.parametrize("scenario", BETWEEN, ids=lambda s: s.__name__)
def test_another_writer_between_our_steps(scenario: Any, place_file: Any) -> None:
    scenario(place_file, seed=1)


@pytest.mark.alone
def test_an_erasure_gets_through_under_streaming_appends(
    effort: Effort, s3_doors: S3Doors, tmp_path: Path
) -> None:
    for per_second, tries in SPEEDS[: 2 if effort.long else 1]:
        name = f"{per_second} appends a second, the person's rows among them"
        with effort.measuring("G10", name) as measured:
            for n in measured.rounds(least=1, most=10, share=0.05):
                seed = effort.seed * 100 + n
                with fresh_place(
                    "file", tmp_path / f"{per_second}-{n}", s3_doors=s3_doors
                ) as place:
                    found = tables.streaming(
                        place, per_second=per_second, files=12 if effort.long else 2, seed=seed
                    )
                measured.figure.most("tries", found["rounds"])
                measured.figure.note("appends", found["appends"])
                if not 0 < found["rounds"] <= tries:
                    measured.figure.faults.append(f"seed {seed}: {found['rounds']} tries")


@pytest.mark.parametrize("seed", range(3))
def test_two_erasers_at_once_agree(seed: int, place_file: Any) -> None:
    tables.two_erasers(place_file, seed=seed)


def test_on_s3_too(place_s3: Any) -> None:
    tables.compactor_that_read_before(place_s3, seed=2)
