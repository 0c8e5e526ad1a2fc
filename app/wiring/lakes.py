"""Settings -> the lake: its map, its doors by role, and the parts of those who open them.

Kept apart from the rest of the wiring because PyArrow and PyIceberg take a second to import.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextlib import closing as closing_at_end
from dataclasses import replace
from functools import partial
from pathlib import Path

from redis import Redis

from app.domain.datasets import Catalog, DataMap
from app.domain.errors import SettingsError
from app.lake.datamap import read_map
from app.lake.local import LocalLoader, LocalPurger, LocalStore
from app.lake.ports import Doors, Loader, ObjectStore
from app.lake.pyiceberg_engine import PyIcebergEngine
from app.lake.s3 import S3Loader, S3Purger, S3Store
from app.lake.spark_engine import Spark, SparkEngine, SparkPlace, read_conf
from app.lake.table_names import normalise
from app.lake.table_ports import TableEngine
from app.services.parts import Lake, Parts
from app.services.readiness import Check, Health
from app.settings import Settings, with_files
from app.store.transaction import Ring
from app.wiring import require, service_parts


def data_map_of(path: Path, environment: Mapping[str, str] | None = None) -> DataMap:
    """The data map of a file, its variables filled in from the environment, or from the file that
    the variable of the same name with `_FILE` names.
    """
    return read_map(
        path, environment=with_files(os.environ if environment is None else environment)
    )


def places_of(data_map: DataMap, *, engine: TableEngine | None) -> list[str]:
    """The URI prefixes the map speaks of: Bronze locations and where its tables lie."""
    places = [d.location for d in data_map.bronze if d.location]
    if engine is not None:
        tables = [d.table for d in data_map.tables if d.table and engine.exists(d.table)]
        places += [normalise(engine.head(table).location).rstrip("/") + "/" for table in tables]
    return places


@contextmanager
def lake_doors(settings: Settings, data_map: DataMap) -> Iterator[Doors]:
    """Every door to the lake of a map: S3 when its places are on s3://, else folders."""
    with ExitStack() as closing:
        engine, verify_engine = (
            table_engine(settings, data_map, role=role) for role in ("erase", "verify")
        )
        for opened in (engine, verify_engine):
            if opened is not None:
                closing.callback(opened.close)
        places = places_of(data_map, engine=engine)
        if not any(place.startswith("s3://") for place in places):
            store = LocalStore(places)
            yield Doors(store, store, store, LocalPurger(places), engine, verify_engine)
            return
        reader, eraser, verifier = (
            closing.enter_context(closing_at_end(_s3_store(settings, data_map, role=role)))
            for role in (None, "erase", "verify")
        )
        access, secret = settings.s3_keys("purge")
        purger = S3Purger(
            data_map.endpoint or settings.s3_endpoint,
            settings.s3_region,
            access,
            secret,
            prefixes=places,
            per_hour=settings.purge_per_hour,
        )
        closing.callback(purger.close)
        yield Doors(reader, eraser, verifier, purger, engine, verify_engine)


@contextmanager
def reader_of(settings: Settings, data_map: DataMap) -> Iterator[ObjectStore]:
    """The door to the objects of a map that reads, and no other."""
    places = places_of(data_map, engine=None)
    if any(place.startswith("s3://") for place in places):
        with closing_at_end(_s3_store(settings, data_map, role=None)) as store:
            yield store
    else:
        yield LocalStore(places)


def _s3_store(settings: Settings, data_map: DataMap, *, role: str | None) -> S3Store:
    access, secret = settings.s3_keys(role)
    endpoint = data_map.endpoint or settings.s3_endpoint
    return S3Store(endpoint, settings.s3_region, access, secret)


def table_engine(
    settings: Settings, data_map: DataMap, *, role: str | None
) -> PyIcebergEngine | None:
    """The engine for the map's tables with a role's credential; None when it names no catalog.
    Beside Spark, where one is set; the second look never is.
    """
    if data_map.catalog is None:
        return None
    spark = spark_place(settings, data_map)
    if spark is None or role == "verify":
        return engine_of(settings, data_map.catalog, endpoint=data_map.endpoint, role=role)
    return SparkEngine(
        data_map.catalog,
        io_properties=_io_properties(settings, endpoint=data_map.endpoint, role=role),
        spark=Spark(spark),
        engines={d.table: d.engine for d in data_map.tables if d.table is not None},
    )


def spark_place(settings: Settings, data_map: DataMap) -> SparkPlace | None:
    """Where the Spark of a map's tables is. SettingsError: a table needs one and none is set."""
    if settings.spark_master is not None and settings.spark_remote is not None:
        raise SettingsError("Set CLEARLAKE_SPARK_MASTER or CLEARLAKE_SPARK_REMOTE, not both.")
    if settings.spark_master is None and settings.spark_remote is None:
        for dataset in data_map.tables:
            if dataset.engine == "spark":
                raise SettingsError(
                    f"{data_map.at(dataset.name, 'engine')}: expected CLEARLAKE_SPARK_MASTER or "
                    "CLEARLAKE_SPARK_REMOTE to be set, as this table asks for Spark."
                )
        return None
    assert data_map.catalog is not None
    path = settings.spark_conf
    return SparkPlace(
        catalog=settings.spark_catalog or data_map.catalog.name,
        master=settings.spark_master,
        remote=settings.spark_remote,
        conf=read_conf(_text_of(path)) if path is not None else {},
    )


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise SettingsError("CLEARLAKE_SPARK_CONF: cannot read the file it names.") from err


def engine_of(
    settings: Settings, catalog: Catalog, *, endpoint: str | None, role: str | None
) -> PyIcebergEngine:
    """A PyIceberg engine on a catalog, its files read and written with a role's credential."""
    properties = _io_properties(settings, endpoint=endpoint, role=role)
    return PyIcebergEngine(catalog, io_properties=properties)


def _io_properties(
    settings: Settings, *, endpoint: str | None, role: str | None
) -> Mapping[str, str]:
    access, secret = settings.s3_keys(role)
    properties = {
        "s3.endpoint": endpoint or settings.s3_endpoint,
        "s3.region": settings.s3_region,
        "s3.access-key-id": access,
        "s3.secret-access-key": secret,
    }
    return {k: v for k, v in properties.items() if v}


@contextmanager
def loader_of(settings: Settings, root: str) -> Iterator[Loader]:
    """A loader for a lake under `root`, with the plain credential."""
    if root.startswith("s3://"):
        access, secret = settings.s3_keys(None)
        loader = S3Loader(settings.s3_endpoint, settings.s3_region, access, secret)
        try:
            yield loader
        finally:
            loader.close()
    else:
        yield LocalLoader()


def made_catalog(settings: Settings, root: str) -> Catalog:
    """The SQL catalog of a lake that is being made under `root`."""
    if settings.catalog_uri is None:
        raise SettingsError(
            "CLEARLAKE_CATALOG_URI: expected the URL of a SQL catalog, such as "
            "sqlite:////path/catalog.db or postgresql+psycopg://user@host/name."
        )
    return Catalog(
        name="lake", type="sql", uri=settings.catalog_uri.get_secret_value(), warehouse=root
    )


# --- the service ------------------------------------------------------------------------------


def worker_parts(settings: Settings, *, ring: Ring) -> Parts:
    """What a worker needs: also the lake."""
    require(settings, "lake_map")
    assert settings.lake_map is not None
    parts = service_parts(settings, ring=ring)
    data_map = data_map_of(settings.lake_map)
    spool = settings.spool or Path(tempfile.gettempdir()) / f"clearlake-spool-{os.getuid()}"
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    return replace(parts, lake=Lake(data_map, lambda: lake_doors(settings, data_map), spool))


def parts_with_names(settings: Settings, *, ring: Ring) -> Parts:
    """What the HTTP service needs: no lake, but the names of its datasets where a map is given."""
    parts = service_parts(settings, ring=ring)
    if settings.lake_map is None:
        return parts
    named = data_map_of(settings.lake_map).datasets
    return replace(parts, datasets=frozenset(d.name for d in named))


def health_of(settings: Settings) -> Health:
    """What /readyz asks beside the database: the broker, and where a map is given the lake, each
    with the reading credential.
    """
    checks = []
    if settings.broker_url is not None:
        bell = Redis.from_url(
            settings.broker_url.get_secret_value(), socket_connect_timeout=1, socket_timeout=1
        )
        checks.append(Check("broker", bell.ping))
    if settings.lake_map is not None:
        data_map = data_map_of(settings.lake_map)
        bronze = next((d.location for d in data_map.bronze if d.location), None)
        if bronze is not None and bronze.startswith("s3://"):
            store = _s3_store(settings, data_map, role=None)
            checks.append(Check("bucket", partial(store.require_versioned, bronze)))
        engine = table_engine(settings, data_map, role=None)
        table = next((d.table for d in data_map.tables if d.table), None)
        if engine is not None and table is not None:
            checks.append(Check("catalog", partial(engine.exists, table)))
    return Health(tuple(checks))
