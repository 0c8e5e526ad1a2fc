"""Whatever others put on Bronze objects meanwhile: the person leaves them, nobody loses a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.faults.writers import objects


@pytest.mark.parametrize("seed", range(2))
def test_two_erasers_at_once_agree(seed: int, place_s3: Any, tmp_path: Path) -> None:
    objects.two_erasers(place_s3, tmp_path, objects=6, seed=seed)


def test_bodies_put_on_top_lose_nobodys_lines(place_s3: Any, tmp_path: Path) -> None:
    objects.overwritten_meanwhile(place_s3, tmp_path, objects=5, seed=3)
