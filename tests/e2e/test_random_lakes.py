"""Random lakes, random people, a random crash: who left is gone, everybody else is equal."""

from __future__ import annotations

import re
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from app.domain.datasets import Catalog
from app.lake.local import LocalLoader
from app.lake.pyiceberg_engine import PyIcebergEngine
from app.lake.table_settings import table_properties
from tests.e2e.forking import Runner
from tests.e2e.random_lakes import GONE, MAP, SCHEMA, USERS, RandomLake, random_lake
from tests.e2e.records import decoded, read_records
from tests.e2e.storage import FolderStorage
from tests.e2e.worlds import plain_environment

TOMBSTONE = re.compile(r"tomb_[uadx]_[0-9a-hjkmnp-tv-z]{26}")
PLACES = (
    "bronze.after_intent", "bronze.after_put", "bronze.before_written", "local.before_rename",
    "local.after_rename", "stages.before_checked", "journal.after_works", "tables.journalled",
    "tables.written", "engine.before_swap", "engine.after_swap", "tables.committed",
    "tables.flushed", "purge_objects.after_purge", "engine.after_expire", "local.after_purge",
    "purge_tables.before_purge", "report.after_file", "keys.shred_marked", "run.before_shred",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("random")


def _written(folder: Path, lake: RandomLake) -> tuple[FolderStorage, dict[str, str]]:
    shutil.rmtree(folder)
    root = f"file://{folder}/lake/"
    uri = f"sqlite:///{folder}/catalog.db"
    loader = LocalLoader()
    folder.mkdir()
    loader.ensure_bucket(root, object_lock=False)
    for name, body in lake.objects.items():
        loader.load(root + name, body)
    with closing(PyIcebergEngine(Catalog("lake", "sql", uri, root), io_properties={})) as engine:
        properties = table_properties(SCHEMA.names)
        engine.create_table("lake.people", SCHEMA, partition_by=None, properties=properties)
        for rows in lake.appends:
            engine.append("lake.people", rows)
    (folder / "lake.yaml").write_text(MAP.format(root=root))
    return FolderStorage(folder / "lake", folder / "catalog.db"), plain_environment(uri)


@given(seed=st.integers(0, 2**32), place=st.sampled_from(PLACES), turn=st.integers(1, 3))
@example(seed=1, place="tables.committed", turn=1)
@settings(
    max_examples=4,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # a lake of a seed cannot shrink
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_who_left_is_gone_and_everybody_else_is_equal(
    folder: Path, runner: Runner, seed: int, place: str, turn: int
) -> None:
    lake = random_lake(seed)
    storage, environment = _written(folder, lake)
    line: list[str | Path] = ["erase", "--map", folder / "lake.yaml", "--state", folder / "state"]
    for value in sorted(lake.gone):
        line += ["--user-id" if value in USERS else "--anon-id", value]
    line += ["--report", folder / "report.json", "--yes", "--purge-now"]
    crashed = {**environment, "CLEARLAKE_FAILPOINTS": f"{place}=kill@{turn}"}
    killed = runner.run(*line, environment=crashed)
    assert killed.code in (-9, 0), killed.out + killed.err
    done = runner.run(*line, environment=environment)
    assert done.code == 0, done.out + done.err

    now = read_records(storage)
    assert {n: _settled(t) for n, t in storage.current("raw/").items()} == lake.left
    assert sorted(TOMBSTONE.sub(GONE, t) for t in now.rows["people"]) == lake.rows_left
    left = storage.held(lake.gone)
    assert not left, left[:3]


def _settled(data: bytes) -> bytes:
    return TOMBSTONE.sub(GONE, decoded(data).decode()).encode()
