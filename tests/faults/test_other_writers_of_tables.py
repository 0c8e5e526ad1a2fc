"""Whatever others do to a table meanwhile: the person leaves it, and nobody else is harmed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.writers import tables

BETWEEN = (
    tables.compacted,
    tables.rows_deleted,
    tables.schema_changed,
    tables.partition_changed,
    tables.compactor_that_read_before,
)


@pytest.mark.parametrize("scenario", BETWEEN, ids=lambda s: s.__name__)
def test_another_writer_between_our_steps(scenario: Any, place_file: Any) -> None:
    scenario(place_file, seed=1)


@pytest.mark.parametrize(("per_second", "tries"), [(1, 3)])
def test_an_erasure_gets_through_under_streaming_appends(
    per_second: int, tries: int, place_file: Any
) -> None:
    found = tables.streaming(place_file, per_second=per_second, files=2, seed=per_second)
    assert 0 < found["rounds"] <= tries
    assert found["appends"] > 0


@pytest.mark.parametrize("seed", range(3))
def test_two_erasers_at_once_agree(seed: int, place_file: Any) -> None:
    tables.two_erasers(place_file, seed=seed)


def test_on_s3_too(place_s3: Any) -> None:
    tables.compactor_that_read_before(place_s3, seed=2)
