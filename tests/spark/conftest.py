"""A place whose tables are Spark's and ours alike, or a skip that says what is missing for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.domain.datasets import Catalog
from app.lake.local import LocalLoader, LocalPurger, LocalStore
from app.lake.spark_engine import Spark, SparkEngine
from app.servers import Servers
from tests.conftest import _schema
from tests.places import Place
from tests.spark.local import LocalSpark, missing


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """py4j leaves sockets to the collector: what it warns of is none of these tests' business."""
    left = "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings(left))


@pytest.fixture(scope="session")
def local_spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSpark]:
    if lacks := missing():
        pytest.skip(f"Spark is not tried here, for want of: {', '.join(lacks)}")
    yield LocalSpark.of(tmp_path_factory.mktemp("spark"))
    from pyspark import SparkContext

    if SparkContext._active_spark_context is not None:
        SparkContext._active_spark_context.stop()


@pytest.fixture
def place_file(local_spark: LocalSpark, servers: Servers, tmp_path: Path) -> Iterator[Place]:
    """A folder, and a catalog that Spark reaches too. Iceberg's own library makes every commit."""
    with spark_place(local_spark, servers, tmp_path, engine="spark") as place:
        yield place


@pytest.fixture
def place_auto(local_spark: LocalSpark, servers: Servers, tmp_path: Path) -> Iterator[Place]:
    """The same, where Spark is asked only for what PyIceberg must refuse."""
    with spark_place(local_spark, servers, tmp_path, engine="auto") as place:
        yield place


@pytest.fixture
def place(place_file: Place) -> Place:
    """The same: what a contract asks of S3 is not tried with Spark."""
    return place_file


@contextmanager
def spark_place(
    local_spark: LocalSpark, servers: Servers, folder: Path, *, engine: str
) -> Iterator[Place]:
    """A place of its own, every table of it by one engine."""
    root = f"file://{folder}/lake/"
    uri = _schema(servers.postgres.url, f"lake_{uuid4().hex[:12]}")
    where = local_spark.place(uri=uri, warehouse=root)
    store = LocalStore([root])
    place = Place(
        kind="file",
        root=root,
        reader=store,
        eraser=store,
        verifier=store,
        loader=LocalLoader(),
        purger_of=LocalPurger,
        catalog=Catalog(name=where.catalog, type="sql", uri=uri, warehouse=root),
    )
    place.loader.ensure_bucket(root, object_lock=False)
    vars(place)["engine"] = SparkEngine(
        place.catalog, io_properties={}, spark=_Shared(where), engines=_Every(engine)
    )
    yield place
    place.close()


class _Shared(Spark):
    """One driver for all tests: nobody ends it before the last."""

    def close(self) -> None:
        self._session = None


class _Every(dict[str, str]):
    """The same engine for every table."""

    def __init__(self, engine: str) -> None:
        super().__init__()
        self._engine = engine

    def get(self, _key: Any, _default: Any = None) -> str:
        return self._engine
