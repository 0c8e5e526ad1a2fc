"""A table that could not be erased from is seen before anybody asks for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table.snapshots import Operation
from pyiceberg.transforms import BucketTransform, IdentityTransform
from pyiceberg.typedef import Record

from app.doctor.catalog import examine_catalog
from app.doctor.results import Outcome, Probed
from app.domain.datasets import Catalog, DataMap, Roles
from app.domain.errors import UnreachableError
from app.lake.datamap import parse_map
from app.lake.pyiceberg_engine import PyIcebergEngine
from app.lake.pyiceberg_engine.commits import Change
from app.lake.table_settings import table_properties
from tests.doctor.conftest import failing, outcomes

TABLE = "lake.visits"
SCHEMA = pa.schema([("event_dt", pa.date32()), ("user_id", pa.string()), ("anon_id", pa.string())])
MAP = """
version: 1
catalog: {name: lake, type: sql, uri: "sqlite://", warehouse: "ROOT"}
datasets:
  - name: raw
    layer: bronze
    location: ROOTraw/
    owner: {user_id: [user_id]}
    loader: {kind: LOADER}
  - name: visits
    layer: silver
    table: TABLE
    owner: {user_id: [user_id]}
    linked: {anon_id: [anon_id]}
"""


def the_map(place: Any, *, loader: str = "none", table: str = TABLE) -> DataMap:
    words = {"ROOT": place.root, "LOADER": loader, "TABLE": table}
    text = MAP
    for word, value in words.items():
        text = text.replace(word, value)
    return replace(parse_map(text, source="lake.yaml", environment={}), catalog=place.catalog)


def make(place: Any, properties: Mapping[str, str] | None = None) -> None:
    wanted = table_properties(SCHEMA.names) if properties is None else properties
    place.engine.create_table(TABLE, SCHEMA, partition_by="event_dt", properties=wanted)


def look(place: Any, data_map: DataMap | None = None) -> list[Probed]:
    return list(examine_catalog(data_map or the_map(place), engine_of=lambda: place.engine))


def test_tables_as_they_should_be_pass(place: Any) -> None:
    make(place)
    found = outcomes(look(place))
    assert set(found.values()) == {Outcome.PASS}
    assert found.keys() >= {"reachable", "exists", "columns", "shape", "layout", "loader"}


def test_a_table_of_somebody_elses_settings_fails_and_says_how_to_mend_them(
    place_file: Any,
) -> None:
    make(place_file, {})
    found = look(place_file)
    assert failing(found) == {"isolation", "metrics", "metadata"}
    assert all("lake fix" in p.advice for p in found if p.outcome is Outcome.FAIL)


@pytest.mark.parametrize(
    ("key", "value", "check"),
    [
        ("write.delete.isolation-level", "serializable", "isolation"),
        ("write.update.isolation-level", "serializable", "isolation"),
        ("write.metadata.metrics.default", "truncate(16)", "metrics"),
        ("write.metadata.metrics.column.user_id", "full", "metrics"),
        ("write.metadata.delete-after-commit.enabled", "false", "metadata"),
    ],
)
def test_each_setting_is_looked_at(key: str, value: str, check: str, place_file: Any) -> None:
    make(place_file, {**table_properties(SCHEMA.names), key: value})
    found = look(place_file)
    assert failing(found) == {check}
    assert any(key in p.saw and value in p.saw for p in found)


def test_a_partition_or_a_sort_order_made_of_an_identifier_fails(place_file: Any) -> None:
    make(place_file)
    with place_file.engine._load(TABLE).update_sort_order() as order:
        order.asc("anon_id", IdentityTransform())
    found = look(place_file)
    assert failing(found) == {"layout"}
    with place_file.engine._load(TABLE).update_spec() as spec:
        spec.add_field("user_id", BucketTransform(4), "part")
    (said,) = [p.saw for p in look(place_file) if p.outcome is Outcome.FAIL]
    assert "anon_id, user_id" in said


def test_a_shape_that_would_be_refused_fails_with_the_way_out(place_file: Any) -> None:
    make(place_file)
    record = DataFile.from_args(
        content=DataFileContent.EQUALITY_DELETES,
        file_path=f"{place_file.root}lake/visits/data/d.parquet",
        file_format=FileFormat.PARQUET,
        partition=Record(None),
        record_count=1,
        file_size_in_bytes=10,
        equality_ids=[2],
    )
    record.spec_id = 0
    change = Change(added=(record,), operation=Operation.APPEND)
    place_file.engine._commit(TABLE, lambda _, __: change, marks={})
    found = look(place_file)
    assert failing(found) == {"shape"}
    assert any("equality deletes" in p.advice and "Use Spark" in p.advice for p in found)


def test_a_location_shared_with_another_table_fails(place_file: Any) -> None:
    make(place_file)
    engine = place_file.engine
    inner = engine.head(TABLE).location + "/inner"
    engine._catalog.create_table("lake.inner", engine._load(TABLE).schema(), location=inner)
    found = look(place_file)
    assert failing(found) == {"shape"}
    assert any("lake.inner" in p.advice for p in found)


def test_format_version_3_fails(place_file: Any) -> None:
    make(place_file)
    engine = place_file.engine
    engine.append(TABLE, pa.Table.from_pylist([{"user_id": "u"}], schema=SCHEMA))
    head = engine.head(TABLE)
    with engine.open(head.metadata_location) as file:
        document = json.loads(file.read())
    document |= {"format-version": 3, "next-row-id": 1}
    document["snapshots"][0] |= {"first-row-id": 0, "added-rows": 1}
    path = head.metadata_location.replace("/visits/", "/newer/")
    with engine.create(path) as file:
        file.write(json.dumps(document).replace("/visits", "/newer").encode())
    engine._catalog.register_table("lake.newer", path)
    found = look(place_file, the_map(place_file, table="lake.newer"))
    assert failing(found) == {"shape"}
    assert any("version 3" in p.saw for p in found if p.check == "exists")


def test_a_table_or_a_column_that_is_not_there_fails(place_file: Any) -> None:
    make(place_file)
    assert "exists" in failing(look(place_file, the_map(place_file, table="lake.none")))
    data_map = the_map(place_file)
    odd = replace(data_map.datasets[1], roles=Roles(owner=("customer",)))
    data_map = replace(data_map, datasets=(data_map.datasets[0], odd))
    found = look(place_file, data_map)
    assert failing(found) == {"columns"}
    assert any("'customer'" in p.saw and "lake.yaml:" in p.saw for p in found)


@pytest.mark.parametrize(
    ("loader", "says"),
    [
        ("none", "Nobody loads"),
        ("s3_event, dedupe_by: event_id", "leave an object alone that has clearlake-run"),
        ("mtime, acknowledged: true", "every row of theirs double"),
    ],
)
def test_what_a_loader_must_leave_out_is_said(loader: str, says: str, place_file: Any) -> None:
    make(place_file)
    found = look(place_file, the_map(place_file, loader=loader))
    assert failing(found) == set()
    assert any(p.check == "loader" and says in p.saw for p in found)


def test_a_loader_that_the_map_is_silent_of_fails(place_file: Any) -> None:
    make(place_file)
    data_map = the_map(place_file)
    silent = replace(data_map.datasets[0], loader={})
    data_map = replace(data_map, datasets=(silent, *data_map.datasets[1:]))
    assert failing(look(place_file, data_map)) == {"loader"}


def test_a_catalog_that_is_away_is_unreachable_and_the_map_is_looked_at_still(
    place_file: Any,
) -> None:
    away = "postgresql+psycopg://nobody:secret@127.0.0.1:1/none"
    catalog = Catalog(name="lake", type="sql", uri=away, warehouse=place_file.root)

    def engine() -> PyIcebergEngine:
        return PyIcebergEngine(catalog, io_properties={})

    found = list(examine_catalog(the_map(place_file), engine_of=engine))
    assert [(p.check, p.outcome) for p in found] == [
        ("reachable", Outcome.UNREACHABLE),
        ("loader", Outcome.PASS),
    ]
    assert not any("secret" in repr(p) for p in found)
    with pytest.raises(UnreachableError):
        engine()
