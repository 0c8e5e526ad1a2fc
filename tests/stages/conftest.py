"""Runs on either kind of place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.places import Place
from tests.stages.runs import Run


@pytest.fixture
def run(place: Place, tmp_path: Path) -> Run:
    """A run in a bucket and one in a folder: the test runs on both."""
    return Run(place, tmp_path)


@pytest.fixture
def folder_run(place_file: Place, tmp_path: Path) -> Run:
    """A run in a folder, for what does not depend on the store."""
    return Run(place_file, tmp_path)
