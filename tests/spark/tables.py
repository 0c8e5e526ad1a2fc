"""Tables that the local Spark makes, by the statements of tests/vectors/spark, and what it reads
back of them. No code of ours reads them here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.typedef import Record

from app.lake.pyiceberg_engine.file_json import file_json
from app.lake.spark_engine.driver import Edit
from tests.lake.foreign import Foreign
from tests.places import Place

PLAIN = "create table {t} using iceberg tblproperties ({v2}) as {rows0}"
PARQUET_FROM_NOW_ON = (
    "alter table {t} set tblproperties ('write.format.default'='parquet',"
    " 'write.delete.format.default'='parquet')"
)


def made(place: Place, name: str, statements: Iterable[str]) -> Foreign:
    """A table of this place, `lake.NAME`, as these statements leave it."""
    from tests.vectors.spark.make import ANON, OTHER, ROWS, USER

    spark, engine = place.engine._spark, place.engine  # type: ignore[attr-defined]  # a SparkEngine
    engine._catalog.create_namespace_if_not_exists("lake")
    words = {f"v{n}": f"'format-version'='{n}'" for n in (1, 2, 3)}
    for number in (0, 1):
        words[f"rows{number}"] = ROWS.format(
            user=USER, anon=ANON, other=OTHER, first=60 * number, last=60 * number + 60
        )
    words |= {"t": f"{spark.place.catalog}.lake.{name}", "n": f"lake.{name}"}
    for statement in statements:
        spark.rows(statement.format(**words), what=name)
    return Foreign(place, f"lake.{name}")


def rows_by_spark(table: Foreign) -> list[dict[str, Any]]:
    """The current rows as Spark reads them."""
    spark = table.place.engine._spark
    found = spark.session().sql(f"select * from {spark.place.catalog}.{table.table}").collect()
    return [row.asDict(recursive=True) for row in found]


def hide_equal(place: Any, table: str, *, column: str, values: list[str]) -> str:
    """An equality delete file, as Flink writes one: rows with these values are no more. Its path.

    Spark writes none, and PyIceberg's manifests of one are not read by Iceberg's own library.
    """
    engine = place.engine
    head = engine.head(table)
    number = head.field_ids[column]
    path = f"{head.location}/data/equal-{len(head.snapshots)}.parquet"
    schema = pa.schema([pa.field(column, pa.string(), metadata={"PARQUET:field_id": str(number)})])
    with engine.create(path) as sink:
        pq.write_table(pa.table([values], schema=schema), sink, store_schema=False)
    with engine.open(path) as source:
        size = source.seek(0, 2)
    record = DataFile.from_args(
        content=DataFileContent.EQUALITY_DELETES,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=len(values),
        file_size_in_bytes=size,
        equality_ids=[number],
    )
    record.spec_id = 0
    edit = Edit(added=(file_json(engine._load(table), record),))
    engine._driver.commit(table, edit, base=head.snapshot_id, marks={})
    return path
