"""lake.yaml is read completely, and refused with file, line and what was expected."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.domain.datasets import DownstreamNone, Layer
from app.domain.errors import DataMapError
from app.domain.identifiers import Kind
from app.lake.datamap import DEFAULT_MAP, parse_map, read_map

ENVIRONMENT = {
    "CLEARLAKE_CATALOG_URI": "sqlite:///x.db",
    "CLEARLAKE_S3_ENDPOINT": "http://127.0.0.1:1",
    "CLEARLAKE_LAKE_ROOT": "s3://analytics/",
}
HEAD = "version: 1\ncatalog: {name: l, type: sql, uri: x, warehouse: 's3://bkt/'}\ndatasets:\n"


RAW = HEAD + " - name: raw\n   layer: bronze\n   location: 's3://bkt/raw/'\n   replicas: "


def parse(text: str) -> object:
    return parse_map(text, source="lake.yaml", environment=ENVIRONMENT)


def test_the_shipped_map_is_the_contract_of_the_lake_we_make() -> None:
    data_map = read_map(DEFAULT_MAP, environment=ENVIRONMENT)
    bronze, silver = data_map.datasets[0], data_map.datasets[1]
    assert [d.layer for d in data_map.datasets] == [Layer.BRONZE, Layer.SILVER, *[Layer.GOLD] * 3]
    assert bronze.location == "s3://analytics/raw/"
    assert bronze.roles.owner == ("user.user_id",)
    assert bronze.roles.owner_when[0].columns == ("payload.user_id",)
    assert dict(silver.json["payload"].linked)[Kind.DEVICE_FP] == ("device_fp",)
    assert data_map.tables[-1].is_identity
    assert data_map.tables[-1].roles.owner == ("user_id",)
    assert data_map.dataset("fact_orders").treatment.kind == "tombstone"
    assert isinstance(data_map.downstream, DownstreamNone)
    assert data_map.at("events", "json").endswith("default_lake.yaml:31")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lake.yaml:1: expected a data map, found an empty file"),
        ("a: [", "lake.yaml:1: is not YAML"),
        ("version: 2\ndatasets: []", "lake.yaml:1: expected version 1"),
        ("version: 1", "lake.yaml:1: expected the key datasets"),
        ("version: 1\nversion: 1\n", "lake.yaml:2: expected each key once"),
        ("version: 1\ndatasets: []", "lake.yaml:2: expected at least one dataset"),
        (HEAD + " - {name: a, layer: tin, table: t}", "lake.yaml:4: expected one of bronze"),
        (HEAD + " - {name: a, layer: gold, tabel: t}", "lake.yaml:4: expected one of name, layer"),
        (HEAD + " - {name: a, layer: gold}", "lake.yaml:4: expected either location or table"),
        (
            HEAD + " - {name: a, layer: gold, table: t, engine: hive}",
            "lake.yaml:4: expected one of pyiceberg, spark, auto",
        ),
        (
            HEAD + " - {name: a, layer: bronze, location: 's3://bkt/r/', engine: spark}",
            "lake.yaml:4: expected an engine only of a dataset with a table",
        ),
        (HEAD + " - {name: a, layer: bronze, location: raw}", "lake.yaml:4: expected s3://bucket"),
        (
            HEAD + " - {name: a, layer: bronze, location: 'file:///x/'}",
            "lake.yaml:4: expected all places on s3:// or all in folders",
        ),
        (
            HEAD + " - {name: a, layer: gold, table: t}\n - {name: a, layer: gold, table: u}",
            "lake.yaml:4: expected each name once",
        ),
        (
            HEAD
            + " - {name: a, layer: bronze, location: 's3://bkt/raw/'}\n"
            + " - {name: b, layer: bronze, location: 's3://bkt/raw/x/'}",
            "lake.yaml:4: expected a location of its own",
        ),
        *(
            (
                HEAD + " - name: a\n   layer: bronze\n   location: 's3://bkt/raw/'\n"
                f"   loader: {{{loader}}}",
                f"lake.yaml:7: expected {said}",
            )
            for loader, said in (
                ("kind: mtime", "dedupe_by"),
                ("kind: s3_event, acknowledged: false", "dedupe_by"),
                ("kind: s3_event, acknowledged: perhaps", "one of true, false"),
                ("kind: cron", "one of none, s3_event, glue_bookmark, mtime, manifest"),
                ("dedupe_by: event_id", "the key kind"),
            )
        ),
        (
            HEAD + " - {name: a, layer: gold, table: t, replicas: ['s3://two/t/']}",
            "lake.yaml:4: expected replicas only of a dataset with a location",
        ),
        (RAW + "[]", "lake.yaml:7: expected at least one location"),
        (RAW + "s3://two/raw/", "lake.yaml:7: expected a list"),
        (RAW + "\n   - raw/", "lake.yaml:8: expected s3://bucket"),
        (RAW + "\n   - 'file:///x/'", "lake.yaml:4: expected all places on s3://"),
        (RAW + "\n   - 's3://bkt/raw/'", "lake.yaml:4: expected a location of its own"),
        (RAW + "\n   - 's3://bkt/'", "lake.yaml:8: expected a location of its own"),
        (RAW + "\n   - 's3://two/r/'\n   - 's3://two/r/'", "lake.yaml:8: expected a location"),
        (
            RAW + "['s3://two/raw/']\n - {name: raw@1, layer: gold, table: t}",
            "lake.yaml:7: expected each name once; 'raw@1'",
        ),
        (
            RAW + "['s3://two/raw/']\nlinks: {dataset: raw@1, where: {name: x}}",
            "lake.yaml:8: expected the name of a dataset",
        ),
        (
            RAW + "['s3://two/raw/']\n - {name: a, layer: gold, table: t, built_from: [raw@1]}",
            "lake.yaml:8: expected built_from to name datasets",
        ),
        (
            HEAD + " - {name: a, layer: gold, table: t, treatment: {kind: tombstone}}",
            "lake.yaml:4: expected the key purpose",
        ),
        (
            HEAD + " - name: a\n   layer: gold\n   table: ${NOT_SET}",
            "lake.yaml:6: expected the variable NOT_SET to be set",
        ),
        (
            HEAD + " - {name: a, layer: gold, table: t, owner: {anon_id: [x]}}",
            "lake.yaml:4: expected one of user_id",
        ),
        (
            HEAD + " - {name: a, layer: gold, table: t}\nundo_window: soon",
            "lake.yaml:5: expected an ISO 8601 duration",
        ),
        (
            "version: 1\ndatasets:\n - {name: a, layer: gold, table: t}",
            "lake.yaml:3: expected the key catalog",
        ),
    ],
)
def test_a_wrong_map_is_refused_with_its_line_and_what_was_expected(text: str, said: str) -> None:
    with pytest.raises(DataMapError) as refusal:
        parse(text)
    assert str(refusal.value).startswith(said)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(DataMapError, match="there is no such file"):
        read_map(DEFAULT_MAP.with_name("nowhere.yaml"), environment={})


def test_what_a_map_leaves_out_has_a_careful_default() -> None:
    found = parse_map(
        HEAD + " - {name: a, layer: gold, table: t}", source="lake.yaml", environment={}
    )
    assert found.unparsable == "park"
    assert found.tags == "fail"
    assert found.undo_window == timedelta(days=1)
    assert found.datasets[0].treatment.kind == "delete"
    assert found.datasets[0].elsewhere == "replace"
    assert found.downstream == ()


def test_the_digest_is_of_the_text_and_not_of_the_variables() -> None:
    text = HEAD + " - {name: a, layer: gold, table: '${CLEARLAKE_CATALOG_URI}'}"
    one = parse_map(text, source="a", environment=ENVIRONMENT)
    two = parse_map(text, source="b", environment={"CLEARLAKE_CATALOG_URI": "other"})
    assert one.digest == two.digest
    assert one.datasets[0].table != two.datasets[0].table


def test_each_replica_is_a_dataset_of_its_own_like_the_declared_one() -> None:
    text = (
        RAW + "\n   - s3://two/raw\n   - s3://three/copy/\n   loader: {kind: mtime, dedupe_by: id}"
    )
    found = parse_map(text, source="lake.yaml", environment={})
    raw, first, second = found.datasets
    assert [(d.name, d.location, d.replica_of) for d in found.bronze] == [
        ("raw", "s3://bkt/raw/", None),
        ("raw@1", "s3://two/raw/", "raw"),
        ("raw@2", "s3://three/copy/", "raw"),
    ]
    assert first.roles == second.roles == raw.roles
    assert (raw.loader["kind"], first.loader) == ("mtime", {})
    assert found.at("raw@2", "location") == found.at("raw@2") == "lake.yaml:9"
