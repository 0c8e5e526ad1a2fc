"""Worlds: a made lake of either kind for each test, and a command line to run on it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.servers import Servers
from tests.e2e.forking import Runner
from tests.e2e.worlds import FolderLakes, Size, World, made_world
from tests.places import Place


@pytest.fixture(scope="session")
def runner() -> Iterator[Runner]:
    """Runs command lines, each in a process of its own."""
    folder = Path(tempfile.mkdtemp(prefix="clearlake-runner-"))
    runner = Runner(folder)
    yield runner
    runner.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def folder_lakes(runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> FolderLakes:
    return FolderLakes(tmp_path_factory.mktemp("lakes"), runner=runner, size=Size())


@pytest.fixture
def folder_world(folder_lakes: FolderLakes) -> World:
    """A made lake in a folder."""
    return folder_lakes.fresh()


@pytest.fixture
def s3_world(place_s3: Place, tmp_path: Path, runner: Runner, servers: Servers) -> Iterator[World]:
    """A made lake in a bucket, worked on with a credential for each role."""
    desk = tmp_path / "desk"
    with made_world(place_s3, desk, runner=runner, size=Size(), servers=servers) as world:
        yield world


@pytest.fixture(params=[pytest.param("s3", marks=pytest.mark.long), "file"])
def world(request: pytest.FixtureRequest) -> World:
    """A made lake of each kind: the test runs on both; `make test` takes the folder, or what the
    test asks for.
    """
    name = {"s3": "s3_world", "file": "folder_world"}[request.param]
    found: World = request.getfixturevalue(name)
    return found
