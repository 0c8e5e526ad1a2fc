"""Makes the tables beside this file with the real Spark and the real Iceberg. Not run by the tests.

Needs Java 17 and an environment of its own with pyspark 3.5.6 and snowpark-connect-deps-iceberg
1.0.3, whose iceberg-spark-runtime 1.10.2 lacks the Jackson that it was relocated to: `jackson`
makes that of Spark's own. `SPARK_LOCAL_IP=127.0.0.1 python make.py FOLDER`: FOLDER is its scratch.
"""

from __future__ import annotations

import struct
import sys
import tarfile
import zipfile
from pathlib import Path

import pyspark
import snowpark_connect_deps_iceberg
from pyspark.sql import SparkSession

HERE = Path(__file__).parent
BUCKET = "made-by-spark"
"""Every path in the tables begins with s3://made-by-spark/lake/."""

ROWS = """
select date_add(date'2026-01-01', cast(id % 2 as int)) event_dt,
  concat('evt_', lpad(cast(id as string), 20, '0')) event_id,
  if(id % 9 = 0, 'identity.link', concat('page.view', id % 3)) name,
  if(id % 5 = 4, null, {user}) user_id,
  {anon} anon_id,
  if(id % 4 = 0, null, named_struct('path', concat('/u/', {other}),
    'ref', cast(null as string))) page,
  if(id % 3 = 0, null, array(named_struct('sku', 's', 'by', {other}), null)) items,
  if(id % 4 = 1, null, array({anon}, null)) anon_ids,
  if(id % 2 = 0, null, map({user}, if(id % 4 = 1, null, named_struct('v', {anon})))) attributes,
  concat('{{"n":', id, ',"u":"', {user}, '"}}') payload,
  cast(cast(id as decimal(10,2)) / 4 as decimal(10,2)) amount,
  timestamp'2026-01-01 00:00:00' + make_interval(0, id % 2, 0, id % 3, 0, 0, id) ts,
  cast(id as int) small, cast(id / 3 as float) part
from range({first}, {last})
"""
USER = "concat('usr_', lpad(cast(id % 5 as string), 6, '0'), repeat('KX', 10))"
OTHER = "concat('usr_', lpad(cast(id % 6 as string), 6, '0'), repeat('KX', 10))"
ANON = "concat('a_', lpad(cast(id % 7 as string), 6, '0'), repeat('qZ', 8))"

EVOLVED = (
    "create table {t} using iceberg partitioned by (hours(ts)) tblproperties ({v1}) as {rows0}",
    "alter table {t} add column extra string after name",
    "alter table {t} add column page.added string first",
    "alter table {t} rename column user_id to customer",
    "alter table {t} rename column page.path to where",
    "alter table {t} drop column event_dt",
    "alter table {t} alter column small type bigint",
    "alter table {t} alter column part type double",
    "alter table {t} alter column amount type decimal(14,2)",
    "alter table {t} alter column payload first",
    "alter table {t} replace partition field ts_hour with months(ts)",
    "alter table {t} add partition field truncate(6, name)",
    (
        "insert into {t} select payload, event_id, name, 'x', user_id, anon_id,"
        " if(page is null, null, named_struct('added', 'y', 'where', page.path, 'ref', page.ref)),"
        " items, anon_ids, attributes, amount, ts, small, part from ({rows1})"
    ),
)
TABLES = {
    "deletes": (
        (
            "create table {t} using iceberg partitioned by (days(ts), bucket(2, name)) "
            "tblproperties "
            "({v2}, 'write.delete.mode'='merge-on-read', 'write.update.mode'='merge-on-read',"
            " 'write.merge.mode'='merge-on-read', 'write.delete.granularity'='partition')"
            " as {rows0}"
        ),
        "insert into {t} {rows1}",
        "delete from {t} where amount between 3 and 5",
        "update {t} set name = 'n9' where amount in (7, 11)",
    ),
    "evolved1": EVOLVED,
    "evolved2": tuple(s.replace("{v1}", "{v2}") for s in EVOLVED),
    "void": (
        (
            "create table {t} using iceberg partitioned by (user_id, days(ts)) "
            "tblproperties ({v1}) as {rows0}"
        ),
        "alter table {t} drop partition field user_id",
        "call c.system.rewrite_data_files(table => '{n}', options => map('rewrite-all', 'true'))",
        "insert into {t} {rows1}",
    ),
    "odd": (
        (
            "create table {t} (`user.id` string, `ANON Id` string, `sélect` string, `key` string, "
            "`value` struct<`key`: string, `value`: string>, `element` array<string>, "
            "`order` map<string, string>, `1st-%` string) using iceberg tblproperties ({v2})"
        ),
        (
            "insert into {t} select user_id, anon_id, payload, name, "
            "named_struct('key', event_id, 'value', user_id), anon_ids, "
            "if(user_id is null, null, map(user_id, anon_id)), page.path from ({rows0})"
        ),
    ),
    "refs": (
        "create table {t} using iceberg tblproperties ({v2}) as {rows0}",
        "alter table {t} create tag holds",
        "alter table {t} create branch beside",
        "delete from {t} where user_id is not null",
        "insert into {t}.branch_beside {rows1}",
        "insert into {t} select * from ({rows1}) where user_id is not null",
    ),
    "statistics": (
        "create table {t} using iceberg partitioned by (event_dt) tblproperties ({v2}) as {rows0}",
        "call c.system.compute_table_stats(table => '{n}')",
        "call c.system.compute_partition_stats(table => '{n}')",
        "insert into {t} {rows1}",
        "call c.system.compute_table_stats(table => '{n}')",
    ),
    "sorted": (
        (
            "create table {t} using iceberg tblproperties "
            "({v2}, 'write.metadata.compression-codec'='gzip',"
            " 'write.object-storage.enabled'='true',"
            " 'write.parquet.compression-codec'='gzip') as {rows0}"
        ),
        "alter table {t} write ordered by user_id, ts",
        "insert into {t} {rows1}",
    ),
    "vectors": (
        (
            "create table {t} using iceberg tblproperties "
            "({v3}, 'write.delete.mode'='merge-on-read') as {rows0}"
        ),
        "delete from {t} where amount = 3",
    ),
    "orc": (
        (
            "create table {t} using iceberg tblproperties ({v2}, 'write.format.default'='orc') "
            "as {rows0}"
        ),
    ),
    "avro": (
        (
            "create table {t} using iceberg tblproperties ({v2},"
            " 'write.delete.mode'='merge-on-read',"
            " 'write.delete.format.default'='avro') as {rows0}"
        ),
        "delete from {t} where amount = 3",
    ),
    "outside": (
        (
            "create table {t} (event_id string, user_id string, anon_id string, payload string, "
            "page struct<path: string, ref: string>) using iceberg tblproperties ({v2})"
        ),
        "call c.system.add_files(table => '{n}', source_table => '`parquet`.`{root}files`')",
    ),
    "added": (
        (
            "create table {t} (event_id string, user_id string, anon_id string, payload string, "
            "page struct<path: string, ref: string>) using iceberg tblproperties ({v2})"
        ),
        (
            "call c.system.add_files("
            "table => '{n}', source_table => '`parquet`.`{root}added/imported`')"
        ),
        "alter table {t} rename column user_id to customer",
        "alter table {t} rename column page.path to where",
        "insert into {t} select event_id, user_id, anon_id, payload, page from ({rows1})",
    ),
    "lost": (
        (
            "create table {t} using iceberg partitioned by (truncate(4, name), event_dt) "
            "tblproperties ({v2}) as {rows0}"
        ),
        "alter table {t} drop partition field truncate(4, name)",
        "alter table {t} drop partition field event_dt",
        "alter table {t} drop column event_dt",
        (
            "insert into {t} select event_id, name, user_id, anon_id, page, items, anon_ids, "
            "attributes, payload, amount, ts, small, part from ({rows1})"
        ),
    ),
}


def runtime() -> Path:
    """The Iceberg runtime for the Scala that pyspark comes with."""
    jars = Path(snowpark_connect_deps_iceberg.__file__).parent / "jars"
    return jars / "iceberg-spark-runtime-3.5_2.12-1.10.2.jar"


def jackson(folder: Path) -> Path:
    """Spark's Jackson under the names that this Iceberg was compiled against."""
    made = folder / "jackson.jar"
    with zipfile.ZipFile(made, "w") as jar:
        for part in ("core", "databind", "annotations"):
            jars = Path(pyspark.__file__).parent / "jars"
            with zipfile.ZipFile(next(jars.glob(f"jackson-{part}-2.*.jar"))) as source:
                for name in source.namelist():
                    if name.startswith("com/fasterxml") and name.endswith(".class"):
                        jar.writestr(
                            f"org/apache/iceberg/shaded/{name}", _renamed(source.read(name))
                        )
    return made


def _renamed(code: bytes) -> bytes:
    """A class file with the package's names in its constant pool made longer."""
    sizes = {3: 5, 4: 5, 5: 9, 6: 9, 7: 3, 8: 3, 9: 5, 10: 5, 11: 5, 12: 5, 15: 4, 16: 3, 17: 5}
    sizes |= {18: 5, 19: 3, 20: 3}
    out, at, number = bytearray(code[:10]), 10, 1
    while number < struct.unpack(">H", code[8:10])[0]:
        tag = code[at]
        if tag == 1:
            size = struct.unpack(">H", code[at + 1 : at + 3])[0]
            text = code[at + 3 : at + 3 + size]
            for dot in (b"/", b"."):
                old = b"com/fasterxml/jackson".replace(b"/", dot)
                text = text.replace(old, b"org/apache/iceberg/shaded/".replace(b"/", dot) + old)
            out += b"\x01" + struct.pack(">H", len(text)) + text
            at += 3 + size
        else:
            out += code[at : at + sizes[tag]]
            at += sizes[tag]
            number += tag in (5, 6)
        number += 1
    return bytes(out + code[at:])


def _spark(folder: Path) -> SparkSession:
    """A session whose s3://made-by-spark/lake is a folder: no object store is needed."""
    overload = "org.apache.hadoop.fs.viewfs.ViewFileSystemOverloadScheme"
    conf = {
        "spark.jars": f"{runtime()},{jackson(folder)}",
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.catalog.c": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.c.type": "hadoop",
        "spark.sql.catalog.c.warehouse": f"s3://{BUCKET}/lake",
        "spark.hadoop.fs.s3.impl": overload,
        "spark.hadoop.fs.viewfs.overload.scheme.target.s3.impl": (
            "org.apache.hadoop.fs.LocalFileSystem"
        ),
        f"spark.hadoop.fs.viewfs.mounttable.{BUCKET}.link./lake": f"file://{folder}/lake",
        "spark.ui.enabled": "false",
        "spark.driver.memory": "700m",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": "1",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.catalog.c.cache-enabled": "false",
    }
    builder = SparkSession.builder.master("local[1]")
    for key, value in conf.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def main(folder: Path) -> None:
    """Make every table, or those named after the folder."""
    (folder / "lake").mkdir(parents=True)
    spark = _spark(folder)
    spark.sparkContext.setLogLevel("ERROR")
    words = {f"v{n}": f"'format-version'='{n}'" for n in (1, 2, 3)}
    for number in (0, 1):
        words[f"rows{number}"] = ROWS.format(
            user=USER, anon=ANON, other=OTHER, first=60 * number, last=60 * number + 60
        )
    words["root"] = f"s3://{BUCKET}/lake/p/"
    plain = spark.sql(f"select event_id, user_id, anon_id, payload, page from ({words['rows0']})")
    for name in ("files", "added/imported"):
        plain.write.parquet(words["root"] + name)
    for name in sys.argv[2:] or TABLES:
        for statement in TABLES[name]:
            spark.sql(statement.format(**words, t=f"c.p.{name}", n=f"p.{name}"))
        with tarfile.open(HERE / f"{name}.tar.xz", "w:xz") as archive:
            for path in sorted((folder / "lake" / "p").rglob("*")):
                part = path.relative_to(folder / "lake" / "p")
                mine = part.parts[0] in (name, {"outside": "files"}.get(name))
                if (
                    mine
                    and path.is_file()
                    and not path.name.endswith((".crc", "version-hint.text"))
                ):
                    archive.add(path, str(part))
        print(name, "made")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
