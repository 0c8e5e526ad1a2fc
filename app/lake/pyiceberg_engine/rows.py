"""Rows into new Parquet files and out of a table; PyIceberg converts no value on the way in.

Not here: replacing files (commits) and what is erased (app.lake.tables).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import _determine_partitions, schema_to_pyarrow
from pyiceberg.table import Table, TableProperties
from pyiceberg.typedef import Record
from pyiceberg.types import StringType

from app.lake.pyiceberg_engine import footers

ROW_GROUP = 131_072


def write(table: Table, rows: pa.Table) -> Iterator[Any]:
    """Write rows into new data files, one a partition, and yield their records."""
    if rows.num_rows == 0:
        return
    metadata = table.metadata
    schema = schema_to_pyarrow(metadata.schema(), include_field_ids=True)
    rows = rows.select(schema.names).cast(schema)
    if metadata.spec().is_unpartitioned():
        yield _write_one(table, rows, key=None)
        return
    for part in _determine_partitions(metadata.spec(), metadata.schema(), rows):
        yield _write_one(table, part.arrow_table_partition, key=part.partition_key)


def _write_one(table: Table, rows: pa.Table, *, key: Any) -> Any:
    name = f"{uuid.uuid4()}.parquet"
    path = table.location_provider().new_data_location(name, key)
    codec = table.properties.get(
        TableProperties.PARQUET_COMPRESSION, TableProperties.PARQUET_COMPRESSION_DEFAULT
    )
    output = table.io.new_output(path)
    with output.create() as file:
        pq.write_table(
            rows,
            file,
            compression="none" if codec == "uncompressed" else codec,
            row_group_size=ROW_GROUP,
            store_schema=False,
        )
    with table.io.new_input(path).open() as file:
        footer = pq.read_metadata(file)
    return footers.data_file(
        footer,
        metadata=table.metadata,
        path=path,
        size=len(output),
        partition=key.partition if key is not None else Record(),
        spec_id=table.metadata.default_spec_id,
        sort_order_id=None,
    )


def replacement(table: Table, *, old: Any, path: str, io: Any) -> Any:
    """The record of A' (`path`): its own footer, A's partition, spec and sort order."""
    source = io.new_input(path)
    with source.open() as file:
        footer = pq.read_metadata(file)
    return footers.data_file(
        footer,
        metadata=table.metadata,
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


def batches(table: Table, *, columns: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """The current rows, these dotted columns only, flat."""
    if table.metadata.current_snapshot_id is None:
        return
    reader = table.scan(selected_fields=columns).to_arrow_batch_reader()
    for batch in reader:
        yield pa.RecordBatch.from_arrays([_column(batch, c) for c in columns], names=list(columns))


def _column(batch: pa.RecordBatch, path: str) -> pa.Array:
    if path in batch.schema.names:  # a name may hold dots itself
        return batch.column(path)
    first, *rest = path.split(".")
    column = batch.column(first)
    return pc.struct_field(column, rest) if rest else column
