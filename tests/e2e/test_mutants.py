"""A faulty eraser behind the command line: stopped, nothing destroyed, undone by the same command.

Not here: the many faults (tests/faults/test_mutated_erasers).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import app.cli
from app.servers import Servers
from tests.e2e.forking import Runner
from tests.e2e.mutations import BRONZE, TABLES, Plant
from tests.e2e.storage import Storage
from tests.e2e.worlds import FolderLakes, Size, World, made_world
from tests.faults.effort import one_in
from tests.places import Place

SMALL = Size(events=300, users=12, days=1)
FAULTS = {**BRONZE, **TABLES}
IN_A_FOLDER = (
    "drops a severed line",
    "changes another field",
    "leaves the values",
    "swaps two rows",
)
ON_S3 = ("skips the person's line", "drops a stranger's row")


@pytest.fixture(scope="module")
def small_lakes(runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> FolderLakes:
    return FolderLakes(tmp_path_factory.mktemp("mutants"), runner=runner, size=SMALL)


@pytest.fixture
def small_s3_world(
    place_s3: Place, tmp_path: Path, runner: Runner, servers: Servers
) -> Iterator[World]:
    desk = tmp_path / "desk"
    with made_world(place_s3, desk, runner=runner, size=SMALL, servers=servers) as world:
        yield world


def _digests(storage: Storage) -> set[str]:
    """Of every version's bytes; where they lie may change, not whether they are there."""
    return set(storage.versions().values()) - set(storage.tables().values())


def _is_stopped_and_undone(world: World, plant: Plant, patch: pytest.MonkeyPatch) -> None:
    user = world.cast.provider
    before, bytes_before = world.records(), _digests(world.storage)
    current, gone = world.storage.current("raw/"), world.gone(users=(user,))
    line = [str(a) for a in world.erase_line("--user-id", user, "--yes", "--purge-now")]
    with patch.context() as faulty:
        for name, value in world.environment.items():
            faulty.setenv(name, value)
        plant(faulty)
        code = app.cli.run(line)
    assert code == 3
    assert bytes_before <= _digests(world.storage)
    again = world.erase("--user-id", user, "--yes", "--purge-now")
    undone = world.erase("--user-id", user, "--undo")
    if again.code == 3:  # the run is stuck: a person looks, and undoes it
        assert undone.code == 0, undone.out + undone.err
        assert world.storage.current("raw/") == current
        assert not world.records().differences(before)
    else:  # the fault was in a table, before its commit: an honest eraser may go on
        assert again.code == 0, again.out + again.err
        assert undone.code == 2
        world.clean_of(gone, before=before)


@pytest.mark.parametrize("fault", one_in(3, IN_A_FOLDER))
def test_a_faulty_eraser_harms_nobody_in_a_folder(
    small_lakes: FolderLakes, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _is_stopped_and_undone(small_lakes.fresh(), FAULTS[fault], monkeypatch)


@pytest.mark.parametrize("fault", one_in(3, ON_S3))
def test_a_faulty_eraser_harms_nobody_on_s3(
    small_s3_world: World, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _is_stopped_and_undone(small_s3_world, FAULTS[fault], monkeypatch)


@pytest.mark.parametrize("fault", ["drops a stranger's row", "forgets a value"])
def test_a_faulty_table_eraser_is_undone_at_once(
    small_lakes: FolderLakes, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = small_lakes.fresh()
    user = world.cast.provider
    before, current = world.records(), world.storage.current("raw/")
    line = [str(a) for a in world.erase_line("--user-id", user, "--yes", "--purge-now")]
    with monkeypatch.context() as faulty:
        for name, value in world.environment.items():
            faulty.setenv(name, value)
        TABLES[fault](faulty)
        assert app.cli.run(line) == 3
    undone = world.erase("--user-id", user, "--undo")
    assert undone.code == 0, undone.out + undone.err
    assert world.storage.current("raw/") == current
    assert not world.records().differences(before)
