"""Tables that PyIceberg must refuse, on a Spark of this machine: prepared, erased, checked, purged
and verified by the same code as all others; nobody else's row is another afterwards.
"""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq
import pytest

from app.domain.errors import CheckFailedError, LakeError
from app.domain.failpoints import FailpointError
from app.domain.receipts import WorkState
from app.lake.pyiceberg_engine import PyIcebergEngine, rows
from app.lake.pyiceberg_engine.file_json import file_json
from app.lake.undo_tables import undo_table
from tests.lake.foreign import Foreign, dataset, without
from tests.lake.people_table import ONE, RUN, anon, blotted, user
from tests.spark.tables import PARQUET_FROM_NOW_ON, PLAIN, hide_equal, made, rows_by_spark


def _table(place: Any, name: str) -> Foreign:
    from tests.vectors.spark.make import TABLES

    if name == "equality":
        table = made(place, name, [PLAIN])
        hide_equal(place, table.table, column="user_id", values=[user(3)])
        hide_equal(place, table.table, column="anon_id", values=[anon(1)])
        return table
    return made(place, name, [*TABLES[name], PARQUET_FROM_NOW_ON])


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("vectors", "version 3"),
        ("equality", "equality deletes"),
        ("orc", "ORC files"),
        ("avro", "AVRO files"),
    ],
)
def test_what_pyiceberg_refuses_is_prepared_and_erased_and_nobody_elses_row_changes(
    name: str, word: str, place_auto: Any
) -> None:
    table = _table(place_auto, name)
    rules, before = dataset(table.table), rows_by_spark(table)
    assert word in " ".join(PyIcebergEngine.refusals(place_auto.engine, table.table))
    assert place_auto.engine.refusals(table.table) == ()
    assert any(row["user_id"] == user(1) for row in before)
    work, findings = table.gone(rules)
    assert (work.state, findings) == (WorkState.PURGED, [])
    assert blotted(rows_by_spark(table), ONE) == without(before)
    assert table.leftovers() == []
    reach = place_auto.engine.reach(table.table)
    assert not reach.unread


def test_what_the_driver_committed_can_be_undone(place_auto: Any) -> None:
    table = _table(place_auto, "vectors")
    before = rows_by_spark(table)
    erased = table.erased(dataset(table.table))
    assert len(rows_by_spark(table)) < len(before)
    work = undo_table(
        erased, engine=place_auto.engine, run_id=RUN, step_id="undo", record=lambda _: None
    )
    assert work.state is WorkState.UNDONE
    assert sorted(map(repr, rows_by_spark(table))) == sorted(map(repr, before))


def test_a_writer_that_lands_before_the_drivers_swap_keeps_its_rows(
    place_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = made(place_file, "plain", [PLAIN])
    engine = place_file.engine
    other = PyIcebergEngine(place_file.catalog, io_properties={})
    (file,) = engine.files(table.table, snapshot_id=engine.head(table.table).snapshot_id)
    with engine.open(file.path) as source:
        late = pq.read_table(source).slice(0, 7)
    landed: list[int] = []

    def passing(name: str) -> None:
        if name == "spark.before_swap" and not landed:
            landed.append(other.append(table.table, late))

    monkeypatch.setattr("app.lake.spark_engine.driver.failpoint", passing)
    engine.replace(table.table, [(file, None)], run_id=RUN, step_id="s")
    other.close()
    assert landed
    assert len(rows_by_spark(table)) == 7
    reach = engine.reach(table.table)
    reached = set(reach.metadata).union(*reach.by_snapshot.values())
    manifests = {p for p in table.files() if p.endswith(".avro") and "/metadata/" in p}
    assert manifests <= reached


@pytest.mark.parametrize("where", ["before_rewrite", "rewritten", "before_swap", "after_swap"])
def test_after_a_crash_it_is_run_again_and_the_rows_are_proven_all_the_same(
    where: str, place_auto: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = _table(place_auto, "vectors")
    rules, before = dataset(table.table), rows_by_spark(table)
    base = place_auto.engine.head(table.table).snapshot_id
    with monkeypatch.context() as patch:
        patch.setenv("CLEARLAKE_FAILPOINTS", f"spark.{where}=raise@*")
        with pytest.raises(FailpointError):
            table.erased(rules)
    place_auto.engine._proven.clear()
    place_auto.engine.prepare(table.table, since=base)
    assert place_auto.engine._proven
    work, findings = table.gone(rules)
    assert (work.state, findings) == (WorkState.PURGED, [])
    assert blotted(rows_by_spark(table), ONE) == without(before)


def test_files_written_anew_with_other_rows_stop_the_erasure(place_auto: Any) -> None:
    """A compaction that loses rows, as no Spark should."""
    table = _table(place_auto, "equality")
    engine, name = place_auto.engine, table.table
    base = engine.head(name).snapshot_id
    (file,) = engine.files(name, snapshot_id=base)
    path = engine.new_data_path(name, file, name="lossy")
    with engine.open(file.path) as source, engine.create(path) as sink:
        pq.write_table(pq.read_table(source).slice(0, 1), sink, store_schema=False)
    loaded = engine._load(name)
    [record] = rows.replacements(loaded, [(file.handle, path)], io=engine._io)
    driver = engine._driver
    theirs = driver._table(name)
    update = theirs.newRewrite().validateFromSnapshot(base)
    update.deleteFile(driver._file(file_json(loaded, file.handle), theirs.specs()))
    update.addFile(driver._file(file_json(loaded, record), theirs.specs()))
    update.commit()
    with pytest.raises(CheckFailedError, match="other rows"):
        engine.prepare(name, since=base)
    assert path in {f.path for f in engine.files(name, snapshot_id=_parent(engine, name))}


def _parent(engine: Any, name: str) -> int:
    """The head before Spark's own compaction."""
    head = engine.head(name)
    return int(head.parents[head.snapshot_id])


def test_what_spark_says_of_a_failure_is_not_repeated(place_auto: Any) -> None:
    spark = place_auto.engine._spark
    with pytest.raises(LakeError) as raised:
        spark.rows(f"select * from {spark.place.catalog}.lake.`{user(1)}`", what="table x")
    assert str(raised.value).startswith("table x: Spark did not do it (")
    assert user(1) not in str(raised.value)
    assert raised.value.__suppress_context__
