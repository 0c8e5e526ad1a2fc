"""An Iceberg DataFile record of a Parquet file, from the file's own footer and the table's metrics.

Partition and spec come from whoever knows them (the file that is replaced), never from statistics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.conversions import to_bytes
from pyiceberg.io.pyarrow import MetricModeTypes, compute_statistics_plan
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.types import StringType
from pyiceberg.utils.truncate import truncate_upper_bound_text_string

FIELD_ID = b"PARQUET:field_id"
Plan = Mapping[int, Any]
"""Field id -> what a table's metrics modes ask for of that column."""


def leaf_fields(schema: pa.Schema) -> Iterator[pa.Field]:
    """The leaves of an Arrow schema in the order of Parquet's columns."""
    for field in schema:
        yield from _leaves(field)


def _leaves(field: pa.Field) -> Iterator[pa.Field]:
    kind = field.type
    if pa.types.is_struct(kind):
        for index in range(kind.num_fields):
            yield from _leaves(kind.field(index))
    elif pa.types.is_map(kind):
        yield from _leaves(kind.key_field)
        yield from _leaves(kind.item_field)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _leaves(kind.value_field)
    else:
        yield field


def field_id(field: pa.Field) -> int | None:
    """The Iceberg field id that a Parquet column carries, if any."""
    raw = (field.metadata or {}).get(FIELD_ID)
    return int(raw) if raw is not None else None


def plan_of(metadata: TableMetadata) -> Plan:
    """What a table asks to be told of each column. As costly as one small file's footer."""
    plan: Plan = compute_statistics_plan(metadata.schema(), metadata.properties)
    return plan


def data_file(
    footer: pq.FileMetaData,
    *,
    plan: Plan,
    path: str,
    size: int,
    partition: Any,
    spec_id: int,
    sort_order_id: int | None,
) -> Any:
    """The record of one file, as PyIceberg's DataFile. `plan`: plan_of its table."""
    metrics = _Metrics(footer, plan=plan)
    record = DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=partition,
        record_count=footer.num_rows,
        file_size_in_bytes=size,
        sort_order_id=sort_order_id,
        split_offsets=metrics.split_offsets or None,
        column_sizes=metrics.sizes,
        value_counts=metrics.values,
        null_value_counts=metrics.nulls,
        nan_value_counts={},
        lower_bounds=metrics.lower,
        upper_bounds=metrics.upper,
        equality_ids=None,
        key_metadata=None,
    )
    record.spec_id = spec_id
    return record


class _Metrics:
    """Counts and bounds of a footer, as far as the table's metrics modes ask for them."""

    def __init__(self, footer: pq.FileMetaData, *, plan: Plan) -> None:
        self.sizes: dict[int, int] = {}
        self.values: dict[int, int] = {}
        self.nulls: dict[int, int] = {}
        self.lower: dict[int, bytes] = {}
        self.upper: dict[int, bytes] = {}
        self.split_offsets: list[int] = []
        ids = [field_id(f) for f in leaf_fields(footer.schema.to_arrow_schema())]
        for group in range(footer.num_row_groups):
            row_group = footer.row_group(group)
            first = row_group.column(0)
            self.split_offsets.append(first.dictionary_page_offset or first.data_page_offset)
            for index, identity in enumerate(ids):
                if identity is not None and identity in plan:
                    self._count(row_group.column(index), identity, plan[identity])
        for index, identity in enumerate(ids):
            if identity is not None and identity in plan and footer.num_row_groups:
                self._bound(footer, index, plan=plan[identity])

    def _count(self, chunk: Any, identity: int, plan: Any) -> None:
        self.sizes[identity] = self.sizes.get(identity, 0) + chunk.total_compressed_size
        if plan.mode.type is MetricModeTypes.NONE:
            return
        self.values[identity] = self.values.get(identity, 0) + chunk.num_values
        if chunk.is_stats_set and chunk.statistics.has_null_count:
            self.nulls[identity] = self.nulls.get(identity, 0) + chunk.statistics.null_count

    def _bound(self, footer: pq.FileMetaData, index: int, *, plan: Any) -> None:
        """Bounds only where they are certain: every chunk has them, and the type is a plain one."""
        if plan.mode.type not in (MetricModeTypes.TRUNCATE, MetricModeTypes.FULL):
            return
        lows: list[Any] = []
        highs: list[Any] = []
        for group in range(footer.num_row_groups):
            chunk = footer.row_group(group).column(index)
            if not chunk.is_stats_set:
                return
            if chunk.statistics.has_min_max:
                try:
                    lows.append(chunk.statistics.min)
                    highs.append(chunk.statistics.max)
                except UnicodeDecodeError:  # a string column that holds other bytes
                    return
            elif not chunk.statistics.has_null_count or (
                chunk.statistics.null_count != chunk.num_values
            ):
                return
        if not lows or str(plan.iceberg_type).partition("(")[0] in _NO_BOUNDS:
            return
        low, high = min(lows), max(highs)
        if isinstance(plan.iceberg_type, StringType):
            if not isinstance(low, str):  # a text column whose file says only bytes
                return
            if plan.mode.length is not None:
                low = low[: plan.mode.length]
                high = truncate_upper_bound_text_string(high, plan.mode.length)
            if high is None:
                return
        self.lower[plan.field_id] = to_bytes(plan.iceberg_type, low)
        self.upper[plan.field_id] = to_bytes(plan.iceberg_type, high)


_NO_BOUNDS = frozenset({"binary", "fixed", "decimal", "uuid", "unknown", "geometry", "geography"})
"""Types whose statistics need more care than a bound is worth: bounds are optional."""
