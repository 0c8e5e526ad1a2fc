"""What Athena or Spark write and PyIceberg does not: position deletes, partition transforms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table.snapshots import Operation
from pyiceberg.typedef import Record

from app.lake.pyiceberg_engine import footers
from app.lake.pyiceberg_engine.commits import Change

PATH_ID, POS_ID = 2147483546, 2147483545
_SCHEMA = pa.schema(
    [
        pa.field("file_path", pa.string(), False, {"PARQUET:field_id": str(PATH_ID)}),
        pa.field("pos", pa.int64(), False, {"PARQUET:field_id": str(POS_ID)}),
    ]
)


def hide(place: Any, hidden: Iterable[tuple[Any, list[int]]], *, table: str = "lake.events") -> str:
    """One delete file that hides these rows of these data files; its path."""
    pairs = sorted((f.handle.file_path, p) for f, positions in hidden for p in positions)
    first = next(f for f, _ in hidden)
    path = f"{first.path.rpartition('/')[0]}/{uuid4()}-deletes.parquet"
    columns = [pa.array([p for p, _ in pairs]), pa.array([n for _, n in pairs])]
    with place.engine.create(path) as sink:
        pq.write_table(pa.table(columns, schema=_SCHEMA), sink, store_schema=False)
    with place.engine.open(path) as source:
        size = source.seek(0, 2)
    record = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=first.handle.partition,
        record_count=len(pairs),
        file_size_in_bytes=size,
        lower_bounds={PATH_ID: pairs[0][0].encode()},
        upper_bounds={PATH_ID: pairs[-1][0].encode()},
    )
    record.spec_id = first.spec_id
    change = Change(added=(record,), operation=Operation.DELETE)
    place.engine._commit(table, lambda _, __: change, marks={})
    return path


def append_partitioned(place: Any, rows: pa.Table, *, column: str) -> None:
    """Add rows to `lake.events`, which is partitioned by one transform of a column."""
    table = place.engine._load("lake.events")
    field = table.spec().fields[0]
    transform = field.transform.transform(table.schema().find_type(field.source_id))
    values = rows[column].cast(pa.int64()) if column == "ts" else rows[column]
    parts = [transform(v) for v in values.to_pylist()]
    schema = schema_to_pyarrow(table.schema(), include_field_ids=True)
    added = []
    for part in sorted(set(parts)):
        mine = rows.filter(pa.array([p == part for p in parts])).cast(schema)
        path = f"{table.metadata.location}/data/part={part}/{uuid4()}.parquet"
        with place.engine.create(path) as sink:
            pq.write_table(mine, sink, store_schema=False)
        with place.engine.open(path) as source:
            size = source.seek(0, 2)
            footer = pq.read_metadata(source)
        record = footers.data_file(
            footer,
            plan=footers.plan_of(table.metadata),
            path=path,
            size=size,
            partition=Record(part),
            spec_id=table.spec().spec_id,
            sort_order_id=None,
        )
        added.append(record)
    change = Change(added=tuple(added), operation=Operation.APPEND)
    place.engine._commit("lake.events", lambda _, __: change, marks={})
