"""Settings and map -> the installation that `clearlake doctor` looks at.

Parts are made when they are first asked for: what is down must not hide what is up.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from app.doctor.checkup import Installation
from app.doctor.permissions import ROLES
from app.domain.errors import SettingsError
from app.lake.s3.probe import S3Probe
from app.lake.table_ports import TableEngine
from app.settings import Settings
from app.wiring.lakes import data_map_of, table_engine


@contextmanager
def installation_of(settings: Settings, lake_map: Path | None) -> Iterator[Installation]:
    """The configured parts. `lake_map`: instead of CLEARLAKE_LAKE_MAP."""
    path = lake_map or settings.lake_map
    data_map = data_map_of(path) if path is not None else None
    database, broker = settings.database_url, settings.broker_url
    with ExitStack() as closing:

        @cache
        def engine_of() -> TableEngine:
            made = table_engine(settings, data_map, role=None) if data_map is not None else None
            if made is None:
                raise SettingsError("The map names no catalog.")
            closing.callback(made.close)
            return made

        @cache
        def doors_of() -> Mapping[str, S3Probe]:
            endpoint = (data_map.endpoint if data_map else None) or settings.s3_endpoint
            return {role: probe(endpoint, role) for role in ROLES}

        def probe(endpoint: str | None, role: str) -> S3Probe:
            keys = settings.s3_keys(None if role == "read" else role)
            made = S3Probe(endpoint, settings.s3_region, *keys)
            closing.callback(made.close)
            return made

        yield Installation(
            data_map=data_map,
            engine_of=engine_of,
            doors_of=doors_of,
            database_url=database.get_secret_value() if database else None,
            broker_url=broker.get_secret_value() if broker else None,
            lease=settings.lease,
            now=lambda: datetime.now(UTC),
            name=uuid.uuid4().hex,
        )
