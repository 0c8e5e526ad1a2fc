"""Tables that PyIceberg must refuse: Spark brings their rows into files that are erased like any
other, and Iceberg's own library in Spark's driver commits what PyIceberg cannot write.

The only door to Spark. Not here: what is erased, and how it is checked (app.lake.tables, verify).
"""

from app.lake.spark_engine.engine import SparkEngine
from app.lake.spark_engine.session import Spark, SparkPlace, read_conf

__all__ = ["Spark", "SparkEngine", "SparkPlace", "read_conf"]
