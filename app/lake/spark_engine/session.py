"""A Spark session, opened when it is first needed: a driver in this process, or Spark Connect.

Not here: which statements are run (preparing) and Iceberg's library in the driver (driver).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.domain.errors import SettingsError
from app.lake.spark_engine.faults import spark_errors

_NEEDED: Mapping[str, str] = {"spark.sql.legacy.allowHashOnMapType": "true"}
"""A map's column counts in the digest of a snapshot's rows too."""


@dataclass(frozen=True, slots=True)
class SparkPlace:
    """Where Spark is: exactly one of `master` and `remote` is set."""

    catalog: str
    """The Iceberg catalog as Spark's configuration calls it."""
    master: str | None = None
    """`spark://host:7077`, `yarn`, `k8s://...`, `local[2]`: the driver is this process."""
    remote: str | None = None
    """`sc://host:15002`: Spark Connect, which takes statements and nothing else."""
    conf: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Spark's own properties: jars, the catalog, credentials."""


class Spark:
    """One session of one place."""

    def __init__(self, place: SparkPlace) -> None:
        self.place = place
        self._session: Any = None
        self._opening = threading.Lock()

    @property
    def has_driver(self) -> bool:
        """Whether Iceberg's own library can be reached, and not statements alone."""
        return self.place.master is not None

    def session(self) -> Any:
        """The session, opened now if it was not."""
        with self._opening:
            if self._session is None:
                self._session = _opened(self.place)
            return self._session

    def rows(self, statement: str, *, what: str) -> list[tuple[Any, ...]]:
        """Run one statement and take all of its answer. `what` it is, for errors."""
        session = self.session()
        with spark_errors(what):
            return [tuple(row) for row in session.sql(statement).collect()]

    def close(self) -> None:
        """End the session, if it was ever opened."""
        with self._opening:
            if self._session is not None:
                self._session.stop()
                self._session = None


def _opened(place: SparkPlace) -> Any:
    try:
        from pyspark.sql import SparkSession
    except ImportError as err:
        raise SettingsError(
            "CLEARLAKE_SPARK_MASTER or CLEARLAKE_SPARK_REMOTE is set: expected pyspark to be "
            "installed, as clearlake[spark] has it, and for a master Java 17 or later."
        ) from err
    builder = SparkSession.builder.appName("clearlake")
    for key, value in place.conf.items():
        builder = builder.config(key, value)
    with spark_errors("starting Spark"):
        if place.master is not None:
            session = builder.master(place.master).getOrCreate()
        else:
            session = builder.remote(place.remote).getOrCreate()
        for key, value in _NEEDED.items():
            session.conf.set(key, value)
    return session


def read_conf(text: str) -> dict[str, str]:
    """Properties as spark-defaults.conf has them: a key, blanks or `=`, and the value, one a
    line; `#` begins a comment. SettingsError names the line, never its value.
    """
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts = re.fullmatch(r"\s*([\w.-]+)\s*[\s=]\s*(.*?)\s*", line)
        if parts is None:
            raise SettingsError(f"CLEARLAKE_SPARK_CONF: line {number}: expected a key and a value.")
        found[parts[1]] = parts[2]
    return found
