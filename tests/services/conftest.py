"""Parts for tests of services that need the name of a lake and never open it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from app.domain.datasets import DataMap
from app.lake.ports import Doors
from app.servers import Servers
from app.services.parts import Lake, Parts
from tests.places import Place
from tests.services.dsar_cases import MAP
from tests.services.run_worlds import RunWorld, made_run_world, storage_of


@pytest.fixture
def lake_of_nothing(parts: Parts, tmp_path: Path) -> Parts:
    """The parts of a worker whose lake is not there: opening it fails the test."""

    @contextmanager
    def opened() -> Iterator[Doors]:
        raise AssertionError("nothing here opens the lake")
        yield

    return replace(parts, lake=Lake(MAP, opened, tmp_path))


@pytest.fixture
def file_parts(parts: Parts, place_file: Place, tmp_path: Path) -> Callable[[DataMap], Parts]:
    """The parts of a worker whose lake is a folder: call it with the data map."""

    def with_lake(data_map: DataMap) -> Parts:
        @contextmanager
        def opened() -> Iterator[Doors]:
            yield place_file.doors()

        return replace(parts, lake=Lake(data_map, opened, tmp_path))

    return with_lake


@pytest.fixture
def run_world(
    place: Place, lake_parts: Callable[[DataMap], Parts], tmp_path: Path, servers: Servers
) -> Iterator[RunWorld]:
    """A small made lake of each kind, and the service on it."""
    with storage_of(place, tmp_path, servers) as storage:
        yield made_run_world(place, lake_parts, storage=storage)
