"""What can be done behind a run's back to the table of a lake in a folder."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.table.snapshots import Operation

from app.lake.pyiceberg_engine.commits import Change
from app.lake.table_ports import DataFile
from tests.faults.sabotage import PERSON, Lab, Sabotage
from tests.verify.material import user
from tests.verify.planted import TABLE, puffin, rows

_LONG_AGO = (1_000_000_000,) * 2


def _replacement(lab: Lab) -> Path:
    """A' of the file that held the person and a stranger."""
    [path] = [f.new_path for f in lab.table().files if f.new_path is not None]
    return lab.path(path)


def _rewrites(change: Callable[[pa.Table], pa.Table]) -> Callable[[Lab], None]:
    def act(lab: Lab) -> None:
        path = _replacement(lab)
        table = pq.ParquetFile(path).read()
        pq.write_table(change(table), path)

    return act


def _renamed(table: pa.Table) -> pa.Table:
    number = table.schema.get_field_index("user_id")
    changed = pc.replace_substring(table.column(number), user(7), user(6))
    return table.set_column(number, table.schema.field(number), changed)


def _bases(lab: Lab) -> list[DataFile]:
    """The files that the run replaced, as the table knows them while it still does."""
    work = lab.table()
    old = {f.old_path for f in work.files if f.new_path is not None}
    found = lab.place.engine.files(TABLE, snapshot_id=work.base_snapshot or 0)
    return [f for f in found if f.path in old]


def _adds_the_old_file_again(lab: Lab) -> None:
    added = tuple(f.handle for f in _bases(lab))
    change = Change(added=added, operation=Operation.APPEND)
    lab.place.engine._commit(TABLE, lambda _, __: change, marks={})


def _tags_the_base(lab: Lab) -> None:
    table = lab.place.engine._load(TABLE)
    base = lab.table().base_snapshot
    assert base is not None
    table.manage_snapshots().create_tag(base, "audit").commit()


def _folder(lab: Lab, name: str) -> Path:
    return lab.path(f"{lab.place.engine.head(TABLE).location}/{name}")


def _leaves_an_orphan(lab: Lab) -> None:
    path = _folder(lab, "data/left-behind.parquet")
    pq.write_table(rows({"user_id": PERSON}), path)
    os.utime(path, _LONG_AGO)


def _leaves_statistics(lab: Lab) -> None:
    body = puffin(b"x", properties={"by": PERSON})
    _folder(lab, "metadata/left-behind.stats").write_bytes(body)


def _live(lab: Lab, suffix: str) -> Path:
    head = lab.place.engine.head(TABLE)
    reach = lab.place.engine.reach(TABLE).by_snapshot[head.snapshot_id or 0]
    return lab.path(min(p for p in reach if p.endswith(suffix)))


def _corrupts(suffix: str) -> Callable[[Lab], None]:
    def act(lab: Lab) -> None:
        path = _live(lab, suffix)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return act


def _removes_a_data_file(lab: Lab) -> None:
    _live(lab, ".parquet").unlink()


def _cuts_the_metadata(lab: Lab) -> None:
    path = lab.path(lab.place.engine.head(TABLE).metadata_location)
    path.write_bytes(path.read_bytes()[:100])


def _restores_the_catalog(lab: Lab) -> None:
    """From a backup of before the run: it points at metadata that is gone."""
    gone = f"file://{_folder(lab, 'metadata')}/00001-gone.metadata.json"
    with sqlite3.connect(lab.place.catalog.uri.removeprefix("sqlite:///")) as link:
        link.execute("update iceberg_tables set metadata_location = ?", (gone,))
    link.close()


def _adds_rows_to_a_clean_file(lab: Lab) -> None:
    path = _live(lab, ".parquet")
    table = pq.ParquetFile(path).read()
    pq.write_table(pa.concat_tables([table, table]), path)


_HERE = (
    Sabotage("a replaced file added again", "checked", _adds_the_old_file_again, "user_id"),
    Sabotage("a snapshot tagged by others", "checked", _tags_the_base, "column user_id"),
    Sabotage("a stranger's row dropped", "purged", _rewrites(lambda t: t.slice(1)), "rows"),
    Sabotage(
        "a row written twice", "purged",
        _rewrites(lambda t: pa.concat_tables([t, t.slice(0, 1)])), "rows",
    ),
    Sabotage("a stranger's row changed", "purged", _rewrites(_renamed), "other bytes"),
    Sabotage("an orphan data file", "purged", _leaves_an_orphan, "column user_id"),
    Sabotage("a statistics file", "purged", _leaves_statistics, "Puffin footer"),
    Sabotage("a manifest cut short", "purged", _corrupts("m0.avro"), "cannot_see"),
    Sabotage("a data file cut short", "purged", _corrupts(".parquet"), "cannot_see"),
    Sabotage("a data file removed", "purged", _removes_a_data_file, "not there"),
    Sabotage("rows in an old file", "purged", _adds_rows_to_a_clean_file, "the manifest says"),
    Sabotage("the metadata cut short", "purged", _cuts_the_metadata, "table metadata"),
    Sabotage("the catalog points elsewhere", "purged", _restores_the_catalog, "table metadata"),
)  # fmt: skip
TABLES = tuple(replace(sabotage, dataset="events") for sabotage in _HERE)
