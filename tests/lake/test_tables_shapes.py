"""Tables of every shape: partitions, evolved schemas, files as other writers make them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.transforms import BucketTransform, DayTransform, IdentityTransform, TruncateTransform
from pyiceberg.types import StringType

from app.domain.datasets import Roles
from app.domain.errors import UnsupportedTableError
from app.domain.receipts import WorkState
from app.lake.tables import plan_table
from tests.lake.people_table import (
    EVENTS,
    ONE,
    SCHEMA,
    TABLE,
    blotted,
    erase,
    expected,
    leftovers,
    make,
    purge,
    read_rows,
    rows,
    user,
)
from tests.lake.position_deletes import append_partitioned


def _files(place: Any) -> list[Any]:
    head = place.engine.head(TABLE)
    return list(place.engine.files(TABLE, snapshot_id=head.snapshot_id))


def _seen_by_pyiceberg(place: Any) -> int:
    return int(place.engine._load(TABLE).scan().to_arrow().num_rows)


# --- partitions and schemas -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "transform"),
    [("ts", DayTransform()), ("event_id", BucketTransform(4)), ("name", TruncateTransform(3))],
)
def test_partitions_by_a_transform_keep_their_tuples(
    column: str, transform: Any, place_file: Any
) -> None:
    make(place_file, partition_by=None)
    with place_file.engine._load(TABLE).update_spec() as spec:
        spec.add_field(column, transform, "part")
    append_partitioned(place_file, rows(60), column=column)
    tuples = {f.path: repr(f.handle.partition) for f in _files(place_file)}
    before = read_rows(place_file)
    work = purge(place_file, erase(place_file))
    now = {f.path: repr(f.handle.partition) for f in _files(place_file)}
    for pair in work.files:
        if pair.new_path is not None:
            assert now[pair.new_path] == tuples[pair.old_path]
    assert blotted(read_rows(place_file), ONE) == expected(before, ONE)
    assert _seen_by_pyiceberg(place_file) == len(read_rows(place_file))


def test_files_of_an_older_partition_spec_keep_it(place_file: Any) -> None:
    make(place_file, rows(20))
    with place_file.engine._load(TABLE).update_spec() as spec:
        spec.add_field("name", IdentityTransform(), "name")
    place_file.engine.append(TABLE, rows(20, seed=2))
    before = read_rows(place_file)
    specs = sorted({f.spec_id for f in _files(place_file)})
    assert len(specs) == 2
    erase(place_file)
    assert sorted({f.spec_id for f in _files(place_file)}) == specs
    assert blotted(read_rows(place_file), ONE) == expected(before, ONE)


def test_renamed_and_dropped_columns_are_known_by_their_ids(place_file: Any) -> None:
    make(place_file, rows(40))
    with place_file.engine._load(TABLE).update_schema() as schema:
        schema.rename_column("user_id", "customer")
        schema.delete_column("anon_ids")
        schema.add_column("extra", StringType())
    before = read_rows(place_file)
    dataset = replace(EVENTS, roles=replace(EVENTS.roles, owner=("customer",)))
    work = erase(place_file, dataset=dataset)
    after = read_rows(place_file)
    assert blotted(after, ONE) == expected(before, ONE)
    assert not any(v in repr(after) for v in ONE.by_value)
    purge(place_file, work, dataset=dataset)
    assert leftovers(place_file, ONE) == []


def test_a_partition_made_of_an_identifier_is_refused(place_file: Any) -> None:
    make(place_file, partition_by=None)
    with place_file.engine._load(TABLE).update_spec() as spec:
        spec.add_field("user_id", BucketTransform(4), "b")
    with pytest.raises(UnsupportedTableError, match="Use Spark"):
        plan_table(place_file.engine, EVENTS)


def test_an_identifier_in_a_partition_nobody_declared_parks_the_table(place_file: Any) -> None:
    make(place_file, partition_by="name")
    table = rows(6).set_column(2, "name", pa.array([user(1)] * 6))
    place_file.engine.append(TABLE, table)
    work = erase(place_file, dataset=replace(EVENTS, json={}))
    assert work.state is WorkState.PARKED
    assert "Use Spark" in (work.reason or "")


# --- files as others write them -------------------------------------------------------------------


def _foreign_file(place: Any, table: pa.Table, **options: Any) -> None:
    """Put a data file of somebody else's making into the table."""
    place.engine.append(TABLE, table)
    old = _files(place)[-1]
    with place.engine.open(old.path) as source:
        own = pq.read_table(source)
    path = old.path.replace(".parquet", "-foreign.parquet")
    with place.engine.create(path) as sink:
        pq.write_table(own, sink, **options)
    place.engine.replace(TABLE, [(old, path)], run_id="other", step_id=path)


def test_a_rewritten_file_keeps_codec_row_groups_dictionaries_and_field_ids(
    place_file: Any,
) -> None:
    make(place_file, partition_by=None)
    _foreign_file(
        place_file,
        rows(100),
        compression={"user_id": "gzip", **dict.fromkeys(("name", "event_id"), "snappy")},
        row_group_size=30,
        use_dictionary=["name"],
        version="1.0",
        write_page_index=True,
    )
    (old,) = _files(place_file)
    with place_file.engine.open(old.path) as source:
        before = pq.read_metadata(source)
    erase(place_file)
    (new,) = _files(place_file)
    with place_file.engine.open(new.path) as source:
        after = pq.read_metadata(source)
    assert after.num_row_groups == before.num_row_groups == 4
    assert after.format_version == before.format_version
    for index in range(before.num_columns):
        one, other = before.row_group(0).column(index), after.row_group(0).column(index)
        assert one.path_in_schema == other.path_in_schema
        assert one.compression == other.compression
        assert one.has_dictionary_page == other.has_dictionary_page
        assert one.has_column_index == other.has_column_index
    assert before.schema.to_arrow_schema().equals(
        after.schema.to_arrow_schema(), check_metadata=True
    )


def test_nothing_of_a_deleted_row_stays_in_a_dictionary(place_file: Any) -> None:
    make(place_file, partition_by=None)
    table = rows(50, people=2)
    _foreign_file(place_file, table, compression="none", use_dictionary=True)
    erase(place_file)
    kept = {r["event_id"] for r in read_rows(place_file)}
    gone = {r["event_id"] for r in table.to_pylist()} - kept
    assert gone
    (new,) = _files(place_file)
    with place_file.engine.open(new.path) as source:
        raw = source.read()
    assert all(e.encode() in raw for e in kept)
    assert not any(e.encode() in raw for e in gone)


def test_dictionaries_large_types_and_arrow_schemas_survive(place_file: Any) -> None:
    make(place_file, partition_by=None)
    table = rows(60)
    before = table.to_pylist()
    wide = table.cast(
        pa.schema(
            [
                pa.field(f.name, _wide(f.type)) if f.name in ("user_id", "payload") else f
                for f in table.schema
            ]
        )
    )
    place_file.engine.append(TABLE, table)
    (old,) = _files(place_file)
    with place_file.engine.open(old.path) as source:
        ids = pq.read_schema(source)
    fields = [
        pa.field(f.name, wide.schema.field(f.name).type, metadata=f.metadata)
        if f.name in ("user_id", "payload")
        else f
        for f in ids
    ]
    path = old.path.replace(".parquet", "-wide.parquet")
    with place_file.engine.create(path) as sink:
        columns = [
            wide[f.name] if f.name in ("user_id", "payload") else table[f.name].cast(f.type)
            for f in fields
        ]
        pq.write_table(pa.table(columns, schema=pa.schema(fields)), sink, store_schema=True)
    place_file.engine.replace(TABLE, [(old, path)], run_id="other", step_id="wide")
    erase(place_file)
    (new,) = _files(place_file)
    with place_file.engine.open(new.path) as source:
        after = pq.read_table(source)
    assert after.schema.field("user_id").type == wide.schema.field("user_id").type
    assert after.schema.field("payload").type == pa.large_string()
    assert blotted(after.to_pylist(), ONE) == expected(before, ONE)


def _wide(kind: pa.DataType) -> pa.DataType:
    return pa.large_string()


def test_text_that_is_not_utf8_keeps_its_bytes(place_file: Any) -> None:
    make(place_file, rows(4), partition_by=None)
    (old,) = _files(place_file)
    with place_file.engine.open(old.path) as source:
        table = pq.read_table(source)
    raw = [b"\xff\xfe " + user(1).encode() + b" \x80", b"\xed\xa0\x80", None, b"ok"]
    broken = pa.array(raw, pa.binary()).view(pa.string())
    index = table.schema.get_field_index("payload")
    table = table.set_column(index, table.schema.field("payload"), broken)
    nobody = pa.nulls(4, pa.string())
    for name in ("user_id", "anon_id"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(name), nobody)
    path = old.path.replace(".parquet", "-x.parquet")
    with place_file.engine.create(path) as sink:
        pq.write_table(table, sink)
    place_file.engine.replace(TABLE, [(old, path)], run_id="other", step_id="x")
    erase(place_file)
    (new,) = _files(place_file)
    with place_file.engine.open(new.path) as source:
        after = pq.read_table(source)["payload"].combine_chunks().view(pa.binary()).to_pylist()
    first = after[0]
    assert first.startswith(b"\xff\xfe tomb_u_")
    assert first.endswith(b" \x80")
    assert after[1:] == raw[1:]


def test_a_name_in_a_files_own_metadata_goes_too(place_file: Any) -> None:
    make(place_file, partition_by=None)
    quiet = rows(3).set_column(3, "user_id", pa.array([user(7)] * 3))
    for name in ("anon_id", "page", "items", "anon_ids", "attributes", "payload"):
        at = SCHEMA.get_field_index(name)
        quiet = quiet.set_column(at, name, pa.nulls(3, SCHEMA.field(name).type))
    place_file.engine.append(TABLE, quiet)
    (old,) = _files(place_file)
    with place_file.engine.open(old.path) as source:
        own = pq.read_table(source)
    path = old.path.replace(".parquet", "-m.parquet")
    with (
        place_file.engine.create(path) as sink,
        pq.ParquetWriter(sink, own.schema, store_schema=False) as writer,
    ):
        writer.write_table(own)
        writer.add_key_value_metadata({"made-for": user(1), "job": "nightly"})
    place_file.engine.replace(TABLE, [(old, path)], run_id="other", step_id="m")
    before = read_rows(place_file)
    purge(place_file, erase(place_file))
    assert read_rows(place_file) == before
    assert leftovers(place_file, ONE) == []
    (new,) = _files(place_file)
    with place_file.engine.open(new.path) as source:
        assert pq.read_metadata(source).metadata[b"job"] == b"nightly"


def test_nested_nulls_are_told_from_empty(place_file: Any) -> None:
    """Null, empty, and lists of null stay what they are, next to an edited neighbour."""
    table = rows(5).set_column(3, "user_id", pa.array([user(5)] * 5))
    kinds = {name: SCHEMA.field(name).type for name in SCHEMA.names}
    hit = {"sku": user(1), "by": None}
    values = {
        "items": [None, [], [None], [hit], [{"sku": None, "by": "x"}, None, hit]],
        "attributes": [None, [], [("a", None)], [(user(1), {"v": user(1)})], [("b", {"v": None})]],
        "page": [None, {"path": None, "ref": user(1)}, {"path": "", "ref": None}, None, None],
        "anon_ids": [None, [], [None], [user(1)], ["", None]],
        "payload": [None] * 5,
        "anon_id": [None] * 5,
    }
    for name, column in values.items():
        at = SCHEMA.get_field_index(name)
        table = table.set_column(at, name, pa.array(column, kinds[name]))
    make(place_file, table, partition_by=None)
    before = read_rows(place_file)
    erase(place_file)
    after = read_rows(place_file)
    assert blotted(after, ONE) == blotted(before, ONE)
    assert not any(user(1) in repr(row) for row in after)


@pytest.mark.parametrize("seed", range(6))
def test_random_tables_lose_exactly_the_person(seed: int, place_file: Any) -> None:
    rng = np.random.default_rng(seed)
    tables = [
        rows(int(rng.integers(1, 60)), seed=seed * 10 + n, people=int(rng.integers(2, 6)))
        for n in range(3)
    ]
    make(place_file, *tables)
    before = read_rows(place_file)
    work = purge(place_file, erase(place_file))
    assert blotted(read_rows(place_file), ONE) == expected(before, ONE)
    assert work.state in (WorkState.PURGED, WorkState.CLEAN)
    assert leftovers(place_file, ONE) == []


def test_bytes_called_text_by_the_table_are_refused(place_file: Any) -> None:
    make(place_file, rows(3), partition_by=None)
    (old,) = _files(place_file)
    with place_file.engine.open(old.path) as source:
        table = pq.read_table(source)
    at = table.schema.get_field_index("payload")
    field = table.schema.field("payload").with_type(pa.binary())
    table = table.set_column(at, field, table["payload"].cast(pa.binary()))
    path = old.path.replace(".parquet", "-b.parquet")
    with place_file.engine.create(path) as sink:
        pq.write_table(table, sink)
    place_file.engine.replace(TABLE, [(old, path)], run_id="other", step_id="b")
    work = erase(place_file)
    assert work.state is WorkState.PARKED
    assert "Use Spark" in (work.reason or "")


def test_roles_without_owner_tombstone_everything(place_file: Any) -> None:
    dataset = replace(EVENTS, json={}, roles=Roles())
    make(place_file, rows(30))
    before = read_rows(place_file)
    work = erase(place_file, dataset=dataset)
    assert work.counts.deleted == 0
    assert blotted(read_rows(place_file), ONE) == blotted(before, ONE)
