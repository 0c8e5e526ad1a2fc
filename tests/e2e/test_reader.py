"""The independent reader can see: a value planted in any place, in any form, is found there."""

from __future__ import annotations

import gzip
import io
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import fastavro
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from app.servers import Servers
from tests.e2e.reader import Bucket, Held, in_bucket, in_folder, in_postgres, in_sqlite
from tests.e2e.worlds import World
from tests.places import Place

VALUE = "usr_0PLANTED0PLANTED0PLANTED00"
OTHER = "usr_0OTHER0000OTHER0000OTHER00"


def _parquet(column: pa.Array, **options: object) -> bytes:
    schema = pa.schema([("c", column.type)], metadata=options.pop("metadata", None))
    sink = io.BytesIO()
    pq.write_table(pa.table([column], schema=schema), sink, compression="zstd", **options)
    return sink.getvalue()


def _manifest(bound: bytes) -> bytes:
    pair = {
        "type": "record",
        "name": "pair",
        "fields": [{"name": "key", "type": "int"}, {"name": "value", "type": "bytes"}],
    }
    bounds = {"type": "array", "items": pair}
    file = {
        "type": "record",
        "name": "file",
        "fields": [{"name": "lower_bounds", "type": bounds}],
    }
    schema = {
        "type": "record",
        "name": "entry",
        "fields": [{"name": "data_file", "type": file}],
    }
    sink = io.BytesIO()
    entry = {"data_file": {"lower_bounds": [{"key": 1, "value": bound}]}}
    fastavro.writer(sink, schema, [entry], codec="deflate")
    return sink.getvalue()


def _nested() -> pa.Array:
    return pa.array([[{"a": OTHER}, {"a": VALUE}]])


def _unused_dictionary() -> bytes:
    """A value that is in the dictionary page and on no row."""
    return _parquet(pa.DictionaryArray.from_arrays(pa.array([0, 0]), pa.array([OTHER, VALUE])))


PLANTED: dict[str, Callable[[], bytes]] = {
    "plain": VALUE.encode,
    "json-escaped": lambda: VALUE.replace("_", "\\u005f").encode(),
    "percent-encoded": lambda: VALUE.replace("_", "%5F").encode(),
    "both": lambda: VALUE.replace("_", "\\u00255f").encode(),
    "behind a percent code": lambda: b"next=%2Faccount%2F" + VALUE.encode(),
    "second gzip member": lambda: gzip.compress(b"a\n") + gzip.compress(VALUE.encode()),
    "second zstd frame": lambda: zstandard.compress(b"a\n") + zstandard.compress(VALUE.encode()),
    "parquet page": lambda: _parquet(
        pa.array([OTHER, VALUE, OTHER]), use_dictionary=False, write_statistics=False
    ),
    "parquet page of a nested column": lambda: _parquet(_nested(), write_statistics=False),
    "parquet dictionary only": _unused_dictionary,
    "parquet key-value metadata": lambda: _parquet(pa.array([OTHER]), metadata={"k": VALUE}),
    "whole bound": lambda: _manifest(VALUE.encode()),
    "truncated bound": lambda: _manifest(VALUE[:16].encode()),
    "truncated bound counted up": lambda: _manifest(VALUE[:15].encode() + b"F"),
}


@pytest.mark.parametrize("form", PLANTED)
def test_a_planted_value_is_seen_in_a_file(form: str, tmp_path: Path) -> None:
    value = VALUE[:15] + "E" + VALUE[16:] if form.endswith("up") else VALUE
    data = PLANTED[form]()
    (tmp_path / "file").write_bytes(data)
    assert {h.value for h in in_folder(tmp_path, [value, "usr_absent"])} == {value}


def test_another_name_that_begins_or_ends_alike_is_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(
        f"{VALUE}0 x{VALUE} {VALUE}-1 {VALUE}%5F {VALUE.lower()}".encode()
    )
    assert in_folder(tmp_path, [VALUE]) == []


def test_statistics_are_read_where_pages_do_not_show_them(tmp_path: Path) -> None:
    data = _parquet(pa.array([OTHER, VALUE]), use_dictionary=False)
    (tmp_path / "file").write_bytes(data)
    assert "statistics of c" in {h.part for h in in_folder(tmp_path, [VALUE])}


def test_a_file_name_is_seen(tmp_path: Path) -> None:
    (tmp_path / f"user={VALUE}").write_bytes(b"")
    assert [h.source for h in in_folder(tmp_path, [VALUE])] == ["key"]


def test_every_corner_of_a_bucket_is_seen(place_s3: Place, servers: Servers) -> None:
    key = servers.s3.credentials["admin"]
    name = place_s3.root.removeprefix("s3://").rstrip("/")
    bucket = Bucket(servers.s3.endpoint, key.access_key, key.secret_key, name)
    with closing(bucket.client) as s3:
        s3.put_object(Bucket=name, Key="old", Body=VALUE)
        s3.put_object(Bucket=name, Key="old", Body=b"")
        s3.put_object(Bucket=name, Key="hidden", Body=VALUE)
        s3.delete_object(Bucket=name, Key="hidden")
        s3.put_object(Bucket=name, Key="marked", Body=b"", Metadata={"who": VALUE})
        s3.put_object(Bucket=name, Key="tagged", Body=b"", Tagging=f"who={VALUE}")
        s3.put_object(Bucket=name, Key=f"named/{VALUE}", Body=b"")
        s3.delete_object(Bucket=name, Key=f"only-a-marker/{VALUE}")
        s3.create_multipart_upload(Bucket=name, Key=f"open/{VALUE}")
        found = in_bucket(bucket, [VALUE])
    seen = {(h.source, h.place.split()[0].split("/")[0]) for h in found}
    assert seen == {
        ("object", "old"),
        ("object", "hidden"),
        ("metadata", "marked"),
        ("tags", "tagged"),
        ("key", "named"),
        ("key", "only-a-marker"),
        ("upload", "open"),
    }


def test_catalog_rows_are_seen(place_s3: Place, tmp_path: Path) -> None:
    with psycopg.connect(place_s3.catalog.uri.replace("+psycopg", "", 1)) as link:
        link.execute("create table kept (a jsonb)")
        link.execute("insert into kept values (%s)", (json.dumps({"k": [VALUE]}),))
    assert [h.source for h in in_postgres(place_s3.catalog.uri, [VALUE])] == ["catalog"]
    with closing(sqlite3.connect(tmp_path / "c.db")) as link:
        link.execute("create table kept (a text)")
        link.execute("insert into kept values (?)", (VALUE,))
        link.commit()
    assert {h.place for h in in_sqlite(tmp_path / "c.db", [VALUE])} >= {"kept"}


def test_somebody_of_a_made_lake_is_seen_in_every_layer(world: World) -> None:
    found = world.storage.held(world.gone(users=(world.cast.active_buyer,)).values)
    layers = {_layer(h) for h in found}
    assert {"raw", "events", "fact_sessions", "fact_orders", "dim_identity"} <= layers


def _layer(held: Held) -> str:
    known = ("raw", "events", "fact_sessions", "fact_orders", "dim_identity")
    parts = held.place.split("/")
    return next((name for name in known if name in parts), "")
