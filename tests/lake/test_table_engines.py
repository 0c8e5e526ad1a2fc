"""Which engine takes which table, without any Spark: what is lifted, what is refused all the same,
and what nobody reads in a table's past.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table.snapshots import Operation
from pyiceberg.typedef import Record

from app.domain.errors import SettingsError
from app.domain.findings import Finding
from app.domain.receipts import TableWork, WorkState
from app.lake.datamap import parse_map
from app.lake.pyiceberg_engine.commits import Change
from app.lake.spark_engine import Spark, SparkEngine, SparkPlace, read_conf
from app.settings import read_settings
from app.wiring.lakes import spark_place
from tests.lake.people_table import (
    ONE,
    TABLE,
    blotted,
    erase,
    expected,
    make,
    purge,
    read_rows,
    rows,
    user,
)

NOWHERE = SparkPlace(catalog="lake", master="spark://127.0.0.1:1")
CONNECT = SparkPlace(catalog="lake", remote="sc://127.0.0.1:1")


@contextmanager
def beside_spark(place: Any, where: SparkPlace, *, engine: str = "auto") -> Iterator[SparkEngine]:
    """An engine on the place's catalog whose Spark answers nobody."""
    made = SparkEngine(
        place.catalog,
        io_properties=place.io_properties,
        spark=Spark(where),
        engines={TABLE: engine},
    )
    with closing(made):
        yield made


def hide_users(place: Any, *users: str) -> str:
    """An equality delete file, as Flink writes one. Its path."""
    head = place.engine.head(TABLE)
    number = head.field_ids["user_id"]
    path = f"{head.location}/data/equal.parquet"
    column = pa.field("user_id", pa.string(), metadata={"PARQUET:field_id": str(number)})
    with place.engine.create(path) as sink:
        pq.write_table(pa.table([list(users)], schema=pa.schema([column])), sink)
    _add(place, content=DataFileContent.EQUALITY_DELETES, path=path, ids=[number])
    return path


def _add(
    place: Any,
    *,
    path: str,
    content: DataFileContent = DataFileContent.DATA,
    form: FileFormat = FileFormat.PARQUET,
    ids: list[int] | None = None,
) -> None:
    record = DataFile.from_args(
        content=content,
        file_path=path,
        file_format=form,
        partition=Record(),
        record_count=1,
        file_size_in_bytes=1,
        equality_ids=ids,
    )
    record.spec_id = 0
    change = Change(added=(record,), operation=Operation.APPEND)
    place.engine._commit(TABLE, lambda _, __: change, marks={})


def _drop(place: Any, path: str) -> None:
    change = Change(removed=frozenset({path}), operation=Operation.DELETE)
    place.engine._commit(TABLE, lambda _, __: change, marks={})


def test_a_table_that_pyiceberg_can_erase_never_wakes_spark(place_file: Any) -> None:
    make(place_file, rows(40))
    before = read_rows(place_file)
    with beside_spark(place_file, NOWHERE) as engine:
        work = erase(place_file, engine=engine)
        assert engine._spark._session is None
    assert work.state is WorkState.COMMITTED
    assert blotted(read_rows(place_file), ONE) == expected(before, ONE)


def test_spark_lifts_what_it_can_prepare_or_commit_and_nothing_else(place_file: Any) -> None:
    make(place_file, rows(10), partition_by=None)
    hide_users(place_file, user(7))
    with beside_spark(place_file, NOWHERE) as engine:
        assert engine.refusals(TABLE) == ()
    with beside_spark(place_file, NOWHERE, engine="pyiceberg") as engine:
        assert "equality deletes" in engine.refusals(TABLE)[0]
    with beside_spark(place_file, CONNECT) as engine:
        assert engine.refusals(TABLE) == ()
    _add(place_file, path=f"{place_file.engine.head(TABLE).location}/x.orc", form=FileFormat.ORC)
    with beside_spark(place_file, NOWHERE) as engine:
        assert engine.refusals(TABLE) == ()
        place_file.engine.set_properties(TABLE, {"write.format.default": "orc"})
        (reason,) = engine.refusals(TABLE)
        assert "ORC files" in reason
    inner = place_file.engine.head(TABLE).location + "/inner"
    schema = place_file.engine._load(TABLE).schema()
    place_file.engine._catalog.create_table("lake.inner", schema, location=inner)
    with beside_spark(place_file, NOWHERE) as engine:
        assert any("lake.inner" in reason for reason in engine.refusals(TABLE))


def test_an_equality_delete_that_comes_after_the_plan_parks_the_table(place_file: Any) -> None:
    """Committed beside it, a replacement would bring back the rows that it hides."""
    make(place_file, rows(20), partition_by=None)

    def meanwhile(_: TableWork) -> list[Finding]:
        hide_users(place_file, user(7))
        return []

    files = place_file.engine.files(TABLE, snapshot_id=place_file.engine.head(TABLE).snapshot_id)
    work = erase(place_file, check=meanwhile)
    assert work.state is WorkState.PARKED
    assert "equality deletes" in (work.reason or "")
    head = place_file.engine.head(TABLE)
    assert place_file.engine.files(TABLE, snapshot_id=head.snapshot_id) == files


def test_a_past_that_nobody_can_read_goes_with_its_snapshots(place_file: Any) -> None:
    make(place_file, rows(20), partition_by=None)
    before = read_rows(place_file)
    hidden = hide_users(place_file, user(77))
    _drop(place_file, hidden)
    old = place_file.engine.head(TABLE).snapshots
    assert place_file.engine.refusals(TABLE) == ()
    work = purge(place_file, erase(place_file))
    assert work.state is WorkState.PURGED
    assert set(old) <= set(work.expire)
    assert hidden not in {v.uri for v in place_file.reader.versions(place_file.root)}
    assert blotted(read_rows(place_file), ONE) == expected(before, ONE)


HEAD = (
    "version: 1\ncatalog: {name: l, type: sql, uri: x, warehouse: 's3://bkt/'}\ndatasets:\n"
    " - {name: a, layer: gold, table: t, engine: ENGINE}\n"
)


def _map(engine: str) -> Any:
    return parse_map(HEAD.replace("ENGINE", engine), source="lake.yaml", environment={})


def test_a_table_that_asks_for_spark_is_refused_with_its_line_where_none_is_set(
    tmp_path: Path,
) -> None:
    settings = read_settings({})
    assert spark_place(settings, _map("auto")) is None
    with pytest.raises(SettingsError, match=r"lake\.yaml:4: expected CLEARLAKE_SPARK_MASTER"):
        spark_place(settings, _map("spark"))
    both = {"CLEARLAKE_SPARK_MASTER": "local", "CLEARLAKE_SPARK_REMOTE": "sc://x"}
    with pytest.raises(SettingsError, match="not both"):
        spark_place(read_settings(both), _map("auto"))
    conf = tmp_path / "spark.conf"
    conf.write_text("# jars\nspark.jars  a.jar,b.jar\nspark.x=y z\n")
    set_up = {"CLEARLAKE_SPARK_MASTER": "yarn", "CLEARLAKE_SPARK_CONF": str(conf)}
    place = spark_place(read_settings(set_up), _map("spark"))
    assert place is not None
    assert (place.catalog, place.master) == ("l", "yarn")
    assert place.conf == {"spark.jars": "a.jar,b.jar", "spark.x": "y z"}
    assert "a.jar" not in repr(place)


def test_a_line_of_sparks_properties_that_is_none_is_named_and_not_shown() -> None:
    with pytest.raises(SettingsError, match="line 2") as raised:
        read_conf("spark.a b\nspark.password\n")
    assert "password" not in str(raised.value)
