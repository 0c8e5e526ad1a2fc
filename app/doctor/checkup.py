"""The whole look: which parts are configured, and every probe of those that were asked for.

Not here: building the parts from settings (app.wiring.doctor), showing the answers (app.cli).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.doctor import catalog
from app.doctor.broker import Broker, examine_broker
from app.doctor.database import examine_database
from app.doctor.folders import Folder, examine_folder
from app.doctor.permissions import examine_rights
from app.doctor.results import Area, Outcome, Probed
from app.doctor.storage import Bucket, examine_bucket
from app.domain.datasets import DataMap
from app.domain.errors import ClearlakeError
from app.lake.s3.connection import split
from app.lake.s3.probe import S3Probe
from app.lake.table_names import normalise
from app.lake.table_ports import TableEngine

CONFIGURED = "configured"
"""The check of a part that no setting names."""


@dataclass(frozen=True, slots=True)
class Installation:
    """The parts as settings and map name them; None: not configured."""

    data_map: DataMap | None
    engine_of: Callable[[], TableEngine]
    """Of the map's catalog, with the reading credential; made once."""
    doors_of: Callable[[], Mapping[str, S3Probe]]
    """read | erase | purge | verify -> its calls; made once."""
    database_url: str | None = field(repr=False)
    broker_url: str | None = field(repr=False)
    lease: timedelta
    now: Callable[[], datetime]
    name: str
    """Of the scratch prefixes of this look: random."""


def look(installation: Installation, areas: Iterable[Area]) -> Iterator[Probed]:
    """Every probe of these areas, in their order. What is not configured is said so."""
    for area in areas:
        missing = _missing(installation, area)
        if missing is None:
            yield from _PROBES[area](installation)
        else:
            yield Probed(area, CONFIGURED, area.value, Outcome.NOT_APPLICABLE, missing)


def _missing(installation: Installation, area: Area) -> str | None:
    data_map = installation.data_map
    needs = {
        Area.DATABASE: (installation.database_url, "CLEARLAKE_DATABASE_URL is not set."),
        Area.BROKER: (installation.broker_url, "CLEARLAKE_BROKER_URL is not set."),
        Area.STORAGE: (data_map, "No map is given: --map or CLEARLAKE_LAKE_MAP."),
        Area.PERMISSIONS: (data_map, "No map is given: --map or CLEARLAKE_LAKE_MAP."),
        Area.CATALOG: (data_map and data_map.catalog, "No map with a catalog is given."),
    }
    found, words = needs[area]
    return words if found is None else None


def _storage(installation: Installation) -> Iterator[Probed]:
    for uri in sorted(p for p in _places(installation) if p.startswith("file://")):
        yield from examine_folder(Folder(uri, installation.name))
    for bucket in _buckets(installation):
        yield from examine_bucket(bucket, name=installation.name)


def _permissions(installation: Installation) -> Iterator[Probed]:
    buckets = _buckets(installation)
    for bucket in buckets:
        yield from examine_rights(bucket, name=installation.name)
    if not buckets:
        words = "The lake lies in folders: the file system's rights decide."
        area = Area.PERMISSIONS
        yield Probed(area, "folders", area.value, Outcome.NOT_APPLICABLE, words)


def _catalog(installation: Installation) -> Iterator[Probed]:
    assert installation.data_map is not None
    yield from catalog.examine_catalog(installation.data_map, engine_of=installation.engine_of)


def _broker(installation: Installation) -> Iterator[Probed]:
    assert installation.broker_url is not None
    yield from examine_broker(Broker(installation.broker_url, installation.lease))


def _database(installation: Installation) -> Iterator[Probed]:
    assert installation.database_url is not None
    yield from examine_database(installation.database_url, now=installation.now)


_PROBES: Mapping[Area, Callable[[Installation], Iterator[Probed]]] = {
    Area.STORAGE: _storage,
    Area.CATALOG: _catalog,
    Area.BROKER: _broker,
    Area.DATABASE: _database,
    Area.PERMISSIONS: _permissions,
}


def _places(installation: Installation) -> dict[str, bool]:
    """URI of each place -> whether files of tables lie there."""
    data_map = installation.data_map
    assert data_map is not None
    found = {d.location: False for d in data_map.bronze if d.location}
    if data_map.catalog is not None:
        for place in _table_places(installation, data_map):
            found[place] = True
    return found


def _table_places(installation: Installation, data_map: DataMap) -> list[str]:
    """Where the map's tables lie, as far as the catalog tells; its warehouse otherwise."""
    assert data_map.catalog is not None
    try:
        engine = installation.engine_of()
        tables = [d.table for d in data_map.tables if d.table]
        found = [engine.head(table).location.rstrip("/") + "/" for table in tables]
    except ClearlakeError:  # the catalog's own probes say why
        found = []
    return found or [normalise(data_map.catalog.warehouse).rstrip("/") + "/"]


def _buckets(installation: Installation) -> list[Bucket]:
    data_map = installation.data_map
    assert data_map is not None
    found = _places(installation).items()
    places = {split(uri): tables for uri, tables in found if uri.startswith("s3://")}
    names = sorted({bucket for bucket, _ in places})
    locking = {d.location for d in data_map.bronze if d.location and d.worm != "none"}
    worm = {split(uri)[0] for uri in locking if uri.startswith("s3://")}
    return [
        Bucket(
            name=name,
            doors=installation.doors_of(),
            prefixes=tuple(sorted(key for bucket, key in places if bucket == name)),
            worm=name in worm,
            tables=any(tables for (bucket, _), tables in places.items() if bucket == name),
            known=frozenset(names),
            now=installation.now,
            undo_window=data_map.undo_window,
        )
        for name in names
    ]
