"""A Spark of this machine, where everything that it needs is there. Not here: what is tested on it.

Needed: Java 17 or later, pyspark, an Iceberg runtime of the same Spark and Scala, and the JDBC
driver of Postgres (Debian: libpostgresql-jdbc-java). CLEARLAKE_TEST_SPARK_JARS names jars of one's
own, the runtime and the driver among them, with `:` between.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

from sqlalchemy import make_url

from app.lake.spark_engine import SparkPlace

MASTER = "local[1]"
_PACKAGE = "snowpark_connect_deps_iceberg"
"""Carries an Iceberg runtime for Spark 3.5 that lacks its own Jackson."""
_POSTGRES = Path("/usr/share/java/postgresql.jar")


def missing() -> list[str]:
    """What a local Spark lacks here; empty: nothing."""
    lacks = []
    if shutil.which("java") is None:
        lacks.append("java (17 or later)")
    if find_spec("pyspark") is None:
        lacks.append("pyspark")
    if not os.environ.get("CLEARLAKE_TEST_SPARK_JARS"):
        if find_spec(_PACKAGE) is None:
            lacks.append(f"an Iceberg runtime ({_PACKAGE.replace('_', '-')})")
        if not _POSTGRES.exists():
            lacks.append(f"{_POSTGRES} (libpostgresql-jdbc-java)")
    return lacks


@dataclass(frozen=True)
class LocalSpark:
    """Its jars. The driver begins with the first session of the process."""

    jars: str

    @classmethod
    def of(cls, folder: Path) -> LocalSpark:
        """The jars of this machine; what they lack is made in `folder`."""
        named = os.environ.get("CLEARLAKE_TEST_SPARK_JARS")
        if named:
            return cls(",".join(named.split(":")))
        from tests.vectors.spark.make import jackson, runtime

        return cls(f"{runtime()},{jackson(folder)},{_POSTGRES}")

    def place(self, *, uri: str, warehouse: str) -> SparkPlace:
        """A catalog of its own over the SQL catalog that PyIceberg has at `uri`."""
        name = f"c{uuid4().hex[:12]}"
        url = make_url(uri)
        options = dict(url.query)
        schema = str(options.get("options", "")).partition("search_path=")[2]
        catalog = f"spark.sql.catalog.{name}"
        conf: Mapping[str, str] = {
            "spark.jars": self.jars,
            "spark.sql.extensions": (
                "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"
            ),
            catalog: "org.apache.iceberg.spark.SparkCatalog",
            f"{catalog}.type": "jdbc",
            f"{catalog}.uri": (
                f"jdbc:postgresql://{url.host}:{url.port}/{url.database}?currentSchema={schema}"
            ),
            f"{catalog}.jdbc.user": url.username or "",
            f"{catalog}.jdbc.password": str(url.password or ""),
            f"{catalog}.jdbc.schema-version": "V1",
            f"{catalog}.warehouse": warehouse,
            f"{catalog}.cache-enabled": "false",
            "spark.ui.enabled": "false",
            "spark.network.timeout": "900s",
            "spark.sql.warehouse.dir": warehouse,
            "spark.driver.memory": "700m",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.sql.shuffle.partitions": "1",
            "spark.sql.session.timeZone": "UTC",
        }
        return SparkPlace(catalog=name, master=MASTER, conf=conf)
