"""A state folder a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.servers import remove_state


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state folder; what its servers keep elsewhere goes with it."""
    folder = tmp_path / "state"
    yield folder
    remove_state(folder)
