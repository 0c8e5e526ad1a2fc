"""A lake to try on, made on the servers from wheels, and the settings that reach it.

Not here: what is in it (app.lake.make).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app import wiring
from app.domain.datasets import DataMap
from app.domain.progress import Say
from app.lake.datamap import map_text
from app.lake.make import Codec, LakeMade, make_lake
from app.lake.pyiceberg_engine import PyIcebergEngine
from app.lake.stitch import stitch
from app.servers import Servers
from app.settings import Settings
from app.wiring import lakes

ROOT = "s3://analytics/"
RETENTION = timedelta(days=30)
"""GOVERNANCE retention that the loader sets on each Bronze object."""


@dataclass(frozen=True, slots=True)
class Size:
    """How large a lake to make."""

    events: int = 250_000
    users: int = 2_000
    days: int = 7
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Made:
    """The lake, its map and an engine for its tables."""

    lake: LakeMade
    data_map: DataMap
    engine: PyIcebergEngine


def lake_settings(servers: Servers, *, catalog_uri: str) -> dict[str, str]:
    """Where the S3 server and the catalog are, each role with a key of its own."""
    keys = servers.s3.credentials
    pairs = {"": "reader", "ERASE_": "eraser", "PURGE_": "purger", "VERIFY_": "verifier"}
    settings = {
        "CLEARLAKE_S3_ENDPOINT": servers.s3.endpoint,
        "CLEARLAKE_S3_REGION": servers.s3.region,
        "CLEARLAKE_CATALOG_URI": catalog_uri,
    }
    for prefix, role in pairs.items():
        settings[f"CLEARLAKE_{prefix}S3_ACCESS_KEY"] = keys[role].access_key
        settings[f"CLEARLAKE_{prefix}S3_SECRET_KEY"] = keys[role].secret_key
    return settings


def write_map(path: Path) -> None:
    """The data map of the lake under ROOT."""
    path.write_text(map_text(root=ROOT), encoding="utf-8")


def make_lake_of(
    environment: Mapping[str, str], map_path: Path, *, servers: Servers, size: Size, say: Say
) -> Made:
    """Make the bucket, the objects and the tables, and stitch the identities."""
    data_map = lakes.data_map_of(map_path, environment)
    assert data_map.catalog is not None
    as_role = {role: _settings_as(role, environment, servers) for role in ("admin", "writer")}
    with lakes.loader_of(as_role["admin"], ROOT) as owner:
        owner.ensure_bucket(ROOT, object_lock=True)
    engine = lakes.engine_of(as_role["writer"], data_map.catalog, endpoint=None, role=None)
    now = datetime.now(UTC)
    with lakes.loader_of(as_role["writer"], ROOT) as loader:
        made = make_lake(
            events=size.events,
            users=size.users,
            days=size.days,
            seed=size.seed,
            codec=Codec.NONE,
            root=ROOT,
            loader=loader,
            engine=engine,
            start=now.date() - timedelta(days=size.days - 1),
            retain_until=now + RETENTION,
            progress=say,
        )
    stitch(engine, built_at=now)
    say("stitch", "dim_identity", 1, 1)
    return Made(made, data_map, engine)


def _settings_as(role: str, environment: Mapping[str, str], servers: Servers) -> Settings:
    key = servers.s3.credentials[role]
    return wiring.settings_of(
        {
            **environment,
            "CLEARLAKE_S3_ACCESS_KEY": key.access_key,
            "CLEARLAKE_S3_SECRET_KEY": key.secret_key,
        }
    )
