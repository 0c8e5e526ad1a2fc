"""A made lake at a place of its own, and the product's command line pointed at it.

Not here: what is expected of either (records, the tests).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

from app.domain.datasets import Catalog
from app.lake.datamap import map_text
from app.lake.local import LocalLoader
from app.lake.make import Cast, make_lake
from app.lake.ports import Loader
from app.lake.pyiceberg_engine import PyIcebergEngine
from app.lake.stitch import stitch
from app.servers import Servers
from tests.e2e.forking import Done, Runner, Running
from tests.e2e.reader import Bucket, Held, in_folder
from tests.e2e.records import Gone, Records, gone_people, read_records
from tests.e2e.storage import BucketStorage, FolderStorage, Storage
from tests.places import Place

START = date(2026, 11, 2)
_NO_MORE: Mapping[str, str] = MappingProxyType({})
ROLES = {"": "reader", "ERASE_": "eraser", "PURGE_": "purger", "VERIFY_": "verifier"}


@dataclass(frozen=True)
class Size:
    """How large a lake is made."""

    events: int = 1500
    users: int = 60
    days: int = 2
    seed: int = 1
    codec: str = "none"


@dataclass
class World:
    """A lake, and a desk to work on it from: map, state folder, report, environment."""

    kind: str
    root: str
    desk: Path
    storage: Storage
    environment: dict[str, str] = field(repr=False)
    cast: Cast
    runner: Runner = field(repr=False)
    loader: Loader
    engine: PyIcebergEngine
    said: list[Done] = field(default_factory=list, repr=False)
    """Everything that was printed, for the search at the end."""

    @property
    def map_path(self) -> Path:
        return self.desk / "lake.yaml"

    @property
    def report(self) -> Path:
        return self.desk / "reports" / "report.json"

    @property
    def state(self) -> Path:
        return self.desk / "state"

    def edit_map(self, old: str, new: str) -> None:
        """Change the data map; the old text must be there once at least."""
        text = self.map_path.read_text(encoding="utf-8")
        assert old in text
        self.map_path.write_text(text.replace(old, new), encoding="utf-8")

    def run(
        self, *arguments: str | Path, limit: int = 0, env: Mapping[str, str] = _NO_MORE
    ) -> Done:
        """A command line of the product, in a process of its own."""
        done = self.start(*arguments, limit=limit, env=env).end()
        self.said.append(done)
        return done

    def start(
        self, *arguments: str | Path, limit: int = 0, env: Mapping[str, str] = _NO_MORE
    ) -> Running:
        """Begin it. `env` is added to this world's; `limit` is the largest file it may write."""
        return self.runner.start(arguments, environment={**self.environment, **env}, limit=limit)

    def erase(self, *arguments: str, limit: int = 0, env: Mapping[str, str] = _NO_MORE) -> Done:
        """`clearlake erase` with this world's map, report and state."""
        return self.run(*self.erase_line(*arguments), limit=limit, env=env)

    def erase_line(self, *arguments: str) -> list[str | Path]:
        """Its arguments."""
        where = ("--map", self.map_path, "--report", self.report, "--state", self.state)
        return ["erase", *where, *arguments]

    def check(self, *arguments: str) -> Done:
        return self.run("check", "--map", self.map_path, *arguments)

    def records(self) -> Records:
        return read_records(self.storage)

    def gone(self, *, users: tuple[str, ...] = (), anons: tuple[str, ...] = ()) -> Gone:
        return gone_people(self.records(), users=users, anons=anons)

    def held(self, gone: Gone) -> list[Held]:
        """Where these people stand: lake, catalog, reports, journal, and all that was printed.

        The map and the keys stand on the desk too, so they are searched with it.
        """
        found = self.storage.held(gone.values) + in_folder(self.desk, gone.values)
        return found + self.told(gone)

    def told(self, gone: Gone) -> list[Held]:
        """Where their values stand in what the commands printed."""
        printed = "\n".join(done.out + done.err for done in self.said)
        return [Held("printed", "", "text", v) for v in gone.values if v in printed]

    def clean_of(self, gone: Gone, *, before: Records) -> None:
        """Nothing of them is left, and everybody else is as before."""
        left = self.held(gone)
        assert not left, left[:3]
        differences = self.records().settled.differences(before.without(gone))
        assert not differences, differences[:3]


@contextmanager
def made_world(
    place: Place, desk: Path, *, runner: Runner, size: Size, servers: Servers
) -> Iterator[World]:
    """A made lake in a test's bucket."""
    cast = _make(place.root, place.engine, place.loader, size=size)
    environment = plain_environment(place.catalog.uri)
    environment |= s3_environment(servers)
    key = servers.s3.credentials["admin"]
    name = place.root.removeprefix("s3://").rstrip("/")
    bucket = Bucket(servers.s3.endpoint, key.access_key, key.secret_key, name)
    world = World(
        kind=place.kind,
        root=place.root,
        desk=desk,
        storage=BucketStorage(bucket, place.catalog.uri),
        environment=environment,
        cast=cast,
        runner=runner,
        loader=place.loader,
        engine=place.engine,
    )
    _furnish(world)
    with closing(bucket.client):
        yield world


def _furnish(world: World) -> None:
    (world.desk / "reports").mkdir(parents=True)
    world.map_path.write_text(map_text(root=world.root), encoding="utf-8")


def _make(root: str, engine: PyIcebergEngine, loader: Loader, *, size: Size) -> Cast:
    made = make_lake(
        events=size.events,
        users=size.users,
        days=size.days,
        seed=size.seed,
        codec=size.codec,
        root=root,
        loader=loader,
        engine=engine,
        start=START,
        retain_until=datetime.now(UTC) + timedelta(days=30),
    )
    stitch(engine, built_at=datetime(2026, 11, 6, tzinfo=UTC))
    return made.cast


def plain_environment(catalog_uri: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "TMPDIR", "LANG"}}
    return {**kept, "CLEARLAKE_CATALOG_URI": catalog_uri, "COLUMNS": "200"}


def s3_environment(servers: Servers) -> Mapping[str, str]:
    """The settings of an S3 lake, each role with its own key."""
    s3 = servers.s3
    found = {"CLEARLAKE_S3_ENDPOINT": s3.endpoint, "CLEARLAKE_S3_REGION": s3.region}
    for prefix, role in ROLES.items():
        found[f"CLEARLAKE_{prefix}S3_ACCESS_KEY"] = s3.credentials[role].access_key
        found[f"CLEARLAKE_{prefix}S3_SECRET_KEY"] = s3.credentials[role].secret_key
    return found


class FolderLakes:
    """One made lake in a folder, put back as it was as often as a test asks."""

    def __init__(self, place: Path, *, runner: Runner, size: Size) -> None:
        self._place, self._kept = place / "here", place / "kept"
        self._place.mkdir(parents=True)
        root = f"file://{self._place}/lake/"
        catalog = self._place / "catalog.db"
        loader = LocalLoader()
        loader.ensure_bucket(root, object_lock=False)
        uri = f"sqlite:///{catalog}"
        engine = PyIcebergEngine(Catalog("lake", "sql", uri, root), io_properties={})
        with closing(engine):
            cast = _make(root, engine, loader, size=size)
        self.world = World(
            kind="file",
            root=root,
            desk=self._place / "desk",
            storage=FolderStorage(self._place / "lake", catalog),
            environment=plain_environment(uri),
            cast=cast,
            runner=runner,
            loader=loader,
            engine=engine,
        )
        _furnish(self.world)
        shutil.copytree(self._place, self._kept)

    def fresh(self) -> World:
        """The lake as it was made, at the same paths, on a clean desk."""
        self.world.engine.close()  # it would go on with the catalog that goes now
        shutil.rmtree(self._place)
        shutil.copytree(self._kept, self._place)
        return replace(self.world, said=[])
