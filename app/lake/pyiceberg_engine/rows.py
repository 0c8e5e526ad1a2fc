"""Rows into new Parquet files and out of a table; PyIceberg converts no value on the way in.

Not here: replacing files (commits) and what is erased (app.lake.tables).
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import _determine_partitions, schema_to_pyarrow
from pyiceberg.table import (
    Table,
    TableProperties,
    _to_arrow_batch_reader_via_file_scan_tasks,
)
from pyiceberg.typedef import Record
from pyiceberg.types import StringType

from app.domain.errors import CommitConflictError
from app.lake.pyiceberg_engine import footers
from app.lake.table_names import normalise

ROW_GROUP = 131_072
FILE_ROWS = 2_000_000
"""Of rows that come in pieces, about so many go into one file."""
_AHEAD = 4
"""Files that are read at the same time, and held until somebody takes their rows."""


def write(table: Table, rows: pa.Table | Iterable[pa.Table]) -> Iterator[Any]:
    """Write rows into new data files and yield their records: one a partition, and of rows in
    pieces another one whenever it has FILE_ROWS.
    """
    schema = schema_to_pyarrow(table.metadata.schema(), include_field_ids=True)
    pieces = [rows] if isinstance(rows, pa.Table) else rows
    fitting = (piece.select(schema.names).cast(schema) for piece in pieces if piece.num_rows)
    if table.metadata.spec().is_unpartitioned():
        for group in _grouped(fitting):
            yield _write_one(table, group, schema=schema, key=None)
        return
    for piece in fitting:
        for part in _determine_partitions(table.metadata.spec(), table.metadata.schema(), piece):
            only = [part.arrow_table_partition]
            yield _write_one(table, only, schema=schema, key=part.partition_key)


def _grouped(pieces: Iterator[pa.Table]) -> Iterator[Iterator[pa.Table]]:
    """Runs of pieces that belong into one file each; take each run to its end."""

    def run(piece: pa.Table) -> Iterator[pa.Table]:
        rows = piece.num_rows
        yield piece
        while rows < FILE_ROWS and (following := next(pieces, None)) is not None:
            rows += following.num_rows
            yield following

    while (first := next(pieces, None)) is not None:
        yield run(first)


def _write_one(table: Table, pieces: Iterable[pa.Table], *, schema: pa.Schema, key: Any) -> Any:
    name = f"{uuid.uuid4()}.parquet"
    path = table.location_provider().new_data_location(name, key)
    codec = table.properties.get(
        TableProperties.PARQUET_COMPRESSION, TableProperties.PARQUET_COMPRESSION_DEFAULT
    )
    output = table.io.new_output(path)
    try:
        with (
            output.create() as file,
            pq.ParquetWriter(
                file,
                schema,
                compression="none" if codec == "uncompressed" else codec,
                store_schema=False,
            ) as writer,
        ):
            for piece in pieces:
                writer.write_table(piece, row_group_size=ROW_GROUP)
    except BaseException:
        with suppress(OSError):
            table.io.delete(path)
        raise
    with table.io.new_input(path).open() as file:
        footer = pq.read_metadata(file)
    return footers.data_file(
        footer,
        plan=footers.plan_of(table.metadata),
        path=path,
        size=len(output),
        partition=key.partition if key is not None else Record(),
        spec_id=table.metadata.default_spec_id,
        sort_order_id=None,
    )


def replacements(table: Table, pairs: Iterable[tuple[Any, str]], *, io: Any) -> Iterator[Any]:
    """The record of each A' (a path) for its A: its own footer, A's partition, spec and order."""
    plan = footers.plan_of(table.metadata)
    for old, path in pairs:
        source = io.new_input(path)
        with source.open() as file:
            footer = pq.read_metadata(file)
        yield footers.data_file(
            footer,
            plan=plan,
            path=path,
            size=len(source),
            partition=old.partition,
            spec_id=old.spec_id,
            sort_order_id=None if _sorted_by_text(table, old) else old.sort_order_id,
        )


def _sorted_by_text(table: Table, old: Any) -> bool:
    """A tombstone does not sort where the value stood: A' must not claim that order."""
    order = table.sort_orders().get(old.sort_order_id or 0)
    schema = table.schema()
    sources = [field.source_id for field in order.fields] if order is not None else []
    return any(
        schema.find_column_name(s) is None or isinstance(schema.find_type(s), StringType)
        for s in sources
    )


def batches(
    table: Table, *, columns: tuple[str, ...], files: Collection[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The current rows, these dotted columns only, flat; of these files only, where some are named.
    A few files at a time: PyIceberg reads all that it is given ahead of whoever takes the rows.
    """
    if table.metadata.current_snapshot_id is None:
        return
    scan = table.scan(selected_fields=columns)
    tasks = list(scan.plan_files())
    if files is not None:
        wanted = set(files)
        tasks = [task for task in tasks if normalise(task.file.file_path) in wanted]
        if len(tasks) < len(wanted):
            raise CommitConflictError("A file was replaced since the table was looked at.")
    for start in range(0, len(tasks), _AHEAD):
        reader = _to_arrow_batch_reader_via_file_scan_tasks(
            scan, scan.projection(), tasks[start : start + _AHEAD]
        )
        for batch in reader:
            arrays = [_column(batch, c) for c in columns]
            yield pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _column(batch: pa.RecordBatch, path: str) -> pa.Array:
    if path in batch.schema.names:  # a name may hold dots itself
        return batch.column(path)
    first, *rest = path.split(".")
    column = batch.column(first)
    return pc.struct_field(column, rest) if rest else column
