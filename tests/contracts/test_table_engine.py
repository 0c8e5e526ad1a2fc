"""What every TableEngine must do, by the words of app.lake.ports; on S3 and in a folder."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.manifest import DataFile as Record
from pyiceberg.manifest import DataFileContent, FileFormat
from pyiceberg.table.snapshots import Operation

from app.domain.errors import (
    CommitConflictError,
    LakeError,
    ObjectMissingError,
)
from app.domain.failpoints import FailpointError
from app.lake.pyiceberg_engine.commits import Change
from app.lake.table_ports import DataFile

TABLE = "lake.things"
SCHEMA = pa.schema(
    [
        ("day", pa.string()),
        ("who", pa.string()),
        ("deep", pa.struct([("a", pa.string()), ("many", pa.list_(pa.string()))])),
        ("tags", pa.list_(pa.struct([("k", pa.string())]))),
    ]
)


def _rows(*who: str, day: str = "d1") -> pa.Table:
    return pa.Table.from_pylist(
        [{"day": day, "who": w, "deep": {"a": w, "many": [w]}, "tags": None} for w in who],
        schema=SCHEMA,
    )


def _make(place: Any, *tables: pa.Table, partition_by: str | None = "day") -> Any:
    engine = place.engine
    engine.create_table(TABLE, SCHEMA, partition_by=partition_by, properties={})
    for table in tables:
        engine.append(TABLE, table)
    return engine


def _files(engine: Any) -> list[DataFile]:
    return list(engine.files(TABLE, snapshot_id=engine.head(TABLE).snapshot_id))


def _who(engine: Any) -> list[str]:
    found = engine.batches(TABLE, columns=["who"])
    return sorted(w for batch in found for w in batch.column("who").to_pylist())


def _without(engine: Any, file: DataFile, who: str, *, name: str = "run_1-a") -> str:
    path = str(engine.new_data_path(TABLE, file, name=name))
    with engine.open(file.path) as source:
        table = pq.read_table(source)
    kept = table.filter(pa.array([w != who for w in table["who"].to_pylist()]))
    with engine.create(path) as sink:
        pq.write_table(kept, sink, store_schema=False)
    return path


def _metadata_files(place: Any) -> set[str]:
    found = {v.uri for v in place.reader.versions(place.root) if not v.is_marker}
    return {uri for uri in found if "/metadata/" in uri}


def test_a_table_is_made_once_and_its_head_tells_all(place: Any) -> None:
    engine = _make(place)
    assert not engine.exists("lake.nothing")
    assert engine.exists(TABLE)
    engine.create_table(TABLE, SCHEMA, partition_by=None, properties={"a": "b"})
    first = engine.append(TABLE, _rows("x"))
    head = engine.head(TABLE)
    assert head.snapshot_id == first
    assert head.snapshots == (first,)
    assert head.refs == {"main": first}
    assert head.location.startswith(place.root)
    assert head.metadata_location.startswith(head.location)
    assert head.columns["deep.many.element"] == "string"
    assert head.columns.keys() == head.field_ids.keys()
    assert head.keys == {0: ("day",)}
    assert head.plain["deep.many.element"] == "deep.many"
    assert head.properties == {}
    with pytest.raises(LakeError):
        engine.head("lake.nothing")


def test_paths_are_the_addresses_that_the_store_lists(place: Any) -> None:
    engine = _make(place, _rows("x"))
    reach = engine.reach(TABLE)
    known = set(reach.metadata).union(*reach.by_snapshot.values())
    assert known == {v.uri for v in place.reader.versions(place.root)}


def test_rows_come_back_as_flat_columns_and_null_lists_stay_null(place: Any) -> None:
    engine = _make(place, _rows("x", "y"), _rows("z", day="d2"))
    assert _who(engine) == ["x", "y", "z"]
    (batch, *_) = list(engine.batches(TABLE, columns=["deep.a", "deep.many"]))
    assert batch.schema.names == ["deep.a", "deep.many"]
    for file in _files(engine):
        with engine.open(file.path) as source:
            assert pq.read_table(source)["tags"].null_count == file.rows


def test_a_file_that_is_gone_is_missing(place: Any) -> None:
    engine = _make(place, _rows("x"))
    with pytest.raises(ObjectMissingError):
        engine.open(f"{place.root}lake/things/data/nothing.parquet")


def test_many_files_are_replaced_in_one_marked_snapshot(place: Any) -> None:
    engine = _make(place, _rows("x", "y"), _rows("x", day="d2"), _rows("z", day="d3"))
    one, two, three = _files(engine)
    path = _without(engine, one, "x")
    snapshot = engine.replace(TABLE, [(one, path), (two, None)], run_id="run_1", step_id="s1")
    assert _who(engine) == ["y", "z"]
    assert engine.head(TABLE).snapshot_id == snapshot
    assert {f.path for f in _files(engine)} == {path, three.path}
    assert engine.find_commit(TABLE, run_id="run_1", step_id="s1") == snapshot
    assert engine.find_commit(TABLE, run_id="run_1", step_id="s2") is None
    assert path.rpartition("/")[0] == one.path.rpartition("/")[0]
    assert engine._load(TABLE).scan().to_arrow().num_rows == 2


def test_a_replaced_file_is_never_replaced_again(place: Any) -> None:
    engine = _make(place, _rows("x", "y"), _rows("z", day="d2"))
    one, two = _files(engine)
    path = _without(engine, one, "x")
    engine.replace(TABLE, [(one, path)], run_id="run_1", step_id="s1")
    head, written = engine.head(TABLE).snapshot_id, _metadata_files(place)
    with pytest.raises(CommitConflictError):
        engine.replace(TABLE, [(two, None), (one, path)], run_id="run_1", step_id="s2")
    assert engine.head(TABLE).snapshot_id == head
    assert _metadata_files(place) == written


def test_a_lost_swap_looks_again_and_leaves_nothing(
    place_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the swap another writer lands: its rows stay, ours go."""
    engine = _make(place_file, _rows("x", "y"))
    (one,) = _files(engine)
    path = _without(engine, one, "x")
    _once_before_a_swap(engine, monkeypatch, act=lambda: engine.append(TABLE, _rows("late")))
    engine.replace(TABLE, [(one, path)], run_id="run_1", step_id="s1")
    assert _who(engine) == ["late", "y"]
    reach = engine.reach(TABLE)
    assert _metadata_files(place_file) == {
        p for p in set(reach.metadata).union(*reach.by_snapshot.values()) if "/metadata/" in p
    }


def test_a_base_dropped_just_before_the_swap_is_a_conflict(
    place_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = _make(place_file, _rows("x", "y"))
    (one,) = _files(engine)
    path = _without(engine, one, "x")
    _once_before_a_swap(
        engine,
        monkeypatch,
        act=lambda: engine.replace(TABLE, [(one, None)], run_id="other", step_id="o"),
    )
    with pytest.raises(CommitConflictError):
        engine.replace(TABLE, [(one, path)], run_id="run_1", step_id="s1")
    assert _who(engine) == []


def _once_before_a_swap(
    engine: Any, monkeypatch: pytest.MonkeyPatch, *, act: Callable[[], Any]
) -> None:
    done: list[bool] = []

    def passing(name: str) -> None:
        if name == "engine.before_swap" and not done:
            done.append(True)
            act()

    monkeypatch.setattr("app.lake.pyiceberg_engine.commits.failpoint", passing)


def test_appends_and_replacements_side_by_side_lose_nothing(place: Any) -> None:
    engine = _make(place, *[_rows("x", f"keep{n}", day=f"d{n}") for n in range(4)])
    names = [f"new{n}" for n in range(6)]

    def append() -> None:
        for name in names:
            engine.append(TABLE, _rows(name))

    other = threading.Thread(target=append)
    files = _files(engine)
    other.start()
    for number, file in enumerate(files):
        path = _without(engine, file, "x", name=f"run_1-{number}")
        engine.replace(TABLE, [(file, path)], run_id="run_1", step_id=f"s{number}")
    other.join()
    assert _who(engine) == sorted([*names, *(f"keep{n}" for n in range(4))])


def test_a_failed_preparation_leaves_nothing(place_file: Any) -> None:
    engine = _make(place_file, _rows("x"))
    before = _metadata_files(place_file)
    broken = Record.from_args(
        content=DataFileContent.DATA,
        file_path="file:///nowhere",
        file_format=FileFormat.PARQUET,
        partition=None,
        record_count=1,
        file_size_in_bytes=1,
    )
    broken.spec_id = 0
    with pytest.raises((AttributeError, TypeError)):
        engine._commit(TABLE, lambda _, __: Change(added=(broken,)), marks={})
    assert _metadata_files(place_file) == before


def test_after_a_flush_no_live_manifest_names_what_left(place: Any) -> None:
    engine = _make(place, _rows("x", "y"), _rows("z", day="d2"))
    one, _ = _files(engine)
    path = _without(engine, one, "x")
    replaced = engine.replace(TABLE, [(one, path)], run_id="run_1", step_id="s1")
    assert engine.reach(TABLE).named[replaced] == {one.path}
    flushed = engine.flush(TABLE, run_id="run_1", step_id="s2")
    assert engine.reach(TABLE).named[flushed] == set()
    assert _who(engine) == ["y", "z"]
    assert engine.find_commit(TABLE, run_id="run_1", step_id="s2") == flushed


def test_exactly_the_named_snapshots_expire_and_no_file_goes(place: Any) -> None:
    engine = _make(place, _rows("x"), _rows("y"), _rows("z"))
    one, two, three = engine.head(TABLE).snapshots
    files = {v.uri for v in place.reader.versions(place.root)}
    engine.expire(TABLE, [one])
    engine.expire(TABLE, [one])
    assert engine.head(TABLE).snapshots == (two, three)
    assert files <= {v.uri for v in place.reader.versions(place.root)}
    assert _who(engine) == ["x", "y", "z"]
    with pytest.raises(LakeError):
        engine.expire(TABLE, [three])


def test_the_metadata_log_forgets_files_that_list_an_expired_snapshot(place_file: Any) -> None:
    engine = _make(place_file, _rows("x"), _rows("y"))
    properties = dict(engine.head(TABLE).properties)
    one, _ = engine.head(TABLE).snapshots
    engine.expire(TABLE, [one])
    for path in engine.reach(TABLE).metadata:
        with engine.open(path) as file:
            said = json.loads(file.read())
        listed = [*said.get("snapshots", ()), *said.get("snapshot-log", ())]
        # A child may say who its parent was (Iceberg's library leaves that): a number, and no file.
        assert one not in {entry["snapshot-id"] for entry in listed}
    assert engine.head(TABLE).properties == properties


def test_overwrite_wants_the_head_that_was_read(place: Any) -> None:
    engine = _make(place, _rows("x"), partition_by=None)
    head = engine.head(TABLE).snapshot_id
    with pytest.raises(CommitConflictError):
        engine.overwrite(TABLE, _rows("no"), base_snapshot=None)
    second = engine.overwrite(TABLE, _rows("y"), base_snapshot=head)
    assert _who(engine) == ["y"]
    with pytest.raises(CommitConflictError):
        engine.overwrite(TABLE, _rows("no"), base_snapshot=head)
    assert engine.head(TABLE).snapshot_id == second


def test_restore_puts_files_back_in_one_snapshot(place: Any) -> None:
    engine = _make(place, _rows("x", "y"), _rows("x", day="d2"))
    one, two = _files(engine)
    path = _without(engine, one, "x")
    engine.replace(TABLE, [(one, path), (two, None)], run_id="run_1", step_id="s1")
    back = {one.path: path, two.path: None}
    engine.restore(TABLE, back=back, deletes=(), run_id="run_1", step_id="undo")
    assert _who(engine) == ["x", "x", "y"]
    with pytest.raises(CommitConflictError):
        engine.restore(TABLE, back=back, deletes=(), run_id="run_1", step_id="undo2")


def test_a_new_file_is_there_only_once_it_is_closed_whole(place: Any) -> None:
    engine = _make(place, _rows("x"))
    path = f"{place.root}lake/things/data/new.bin"
    with engine.create(path) as sink:
        sink.write(b"abc")
        sink.write(b"def")
    with engine.open(path) as source:
        assert source.read() == b"abcdef"
        source.seek(2)
        assert source.read(2) == b"cd"
    engine.discard([path])
    engine.discard([path])


def test_a_crash_before_the_swap_changes_nothing(
    place_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = _make(place_file, _rows("x"))
    head = engine.head(TABLE)

    def crash(name: str) -> None:
        raise FailpointError(name)

    monkeypatch.setattr("app.lake.pyiceberg_engine.commits.failpoint", crash)
    with pytest.raises(FailpointError):
        engine.append(TABLE, _rows("y"))
    monkeypatch.undo()
    assert engine.head(TABLE) == head


# --- shapes that are refused ----------------------------------------------------------------------


def _with_file(engine: Any, **changed: Any) -> None:
    arguments: dict[str, Any] = {
        "content": DataFileContent.DATA,
        "file_path": f"{engine.head(TABLE).location}/data/x.parquet",
        "file_format": FileFormat.PARQUET,
        "partition": _files(engine)[0].handle.partition,  # type: ignore[attr-defined]
        "record_count": 1,
        "file_size_in_bytes": 1,
        **changed,
    }
    record = Record.from_args(**arguments)
    record.spec_id = 0
    change = Change(added=(record,), operation=Operation.APPEND)
    engine._commit(TABLE, lambda _, __: change, marks={})


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"content": DataFileContent.EQUALITY_DELETES, "equality_ids": [2]}, "equality deletes"),
        ({"content": DataFileContent.POSITION_DELETES, "file_format": FileFormat.PUFFIN}, "vector"),
        ({"file_format": FileFormat.ORC}, "ORC"),
        ({"key_metadata": b"k"}, "encrypted"),
    ],
)
def test_a_shape_that_cannot_be_erased_is_refused_with_the_way_out(
    changed: dict[str, Any], word: str, place_file: Any
) -> None:
    engine = _make(place_file, _rows("x"))
    assert engine.refusals(TABLE) == ()
    _with_file(engine, **changed)
    (reason,) = engine.refusals(TABLE)
    assert word in reason
    assert "Use Spark" in reason


def test_format_version_3_is_refused(place_file: Any) -> None:
    engine = _make(place_file, _rows("x"))
    head = engine.head(TABLE)
    with engine.open(head.metadata_location) as file:
        document = json.loads(file.read())
    document |= {"format-version": 3, "next-row-id": 1}
    document["snapshots"][0] |= {"first-row-id": 0, "added-rows": 1}
    path = head.metadata_location.replace("/things/", "/newer/")
    with engine.create(path) as file:
        file.write(json.dumps(document).replace("/things", "/newer").encode())
    engine._catalog.register_table("lake.newer", path)
    (reason,) = engine.refusals("lake.newer")
    assert "version 3" in reason
    assert "Use Spark" in reason


def test_a_location_inside_another_tables_is_refused(place_file: Any) -> None:
    engine = _make(place_file, _rows("x"))
    inner = engine.head(TABLE).location + "/inner"
    engine._catalog.create_table("lake.inner", engine._load(TABLE).schema(), location=inner)
    assert any("lake.inner" in reason for reason in engine.refusals(TABLE))
    assert any(TABLE in reason for reason in engine.refusals("lake.inner"))


def test_a_version_1_table_is_replaced_too(place_file: Any) -> None:
    engine = place_file.engine
    engine.create_table(TABLE, SCHEMA, partition_by="day", properties={"format-version": "1"})
    engine.append(TABLE, _rows("x", "y"))
    (one,) = _files(engine)
    engine.replace(TABLE, [(one, _without(engine, one, "x"))], run_id="run_1", step_id="s")
    engine.flush(TABLE, run_id="run_1", step_id="f")
    assert _who(engine) == ["y"]


def test_every_table_is_listed_in_nested_namespaces_too(place: Any) -> None:
    for name in ("lake.things", "lake.deep.er.things", "alone.things"):
        place.engine.create_table(name, SCHEMA, partition_by=None, properties={})
    assert place.engine.tables() == ["alone.things", "lake.deep.er.things", "lake.things"]
