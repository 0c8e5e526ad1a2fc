"""Real servers for the whole session, and a fresh place (bucket or folder, catalog) a test."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import boto3
import psycopg
import pytest
from hypothesis import settings
from sqlalchemy import make_url

from app.audit.keys import KeyStore
from app.domain.datasets import Catalog, DataMap
from app.lake.local import LocalLoader, LocalPurger, LocalStore
from app.lake.ports import Doors, Purger
from app.lake.s3 import S3Loader, S3Store
from app.servers import Servers, remove_state
from app.services.parts import Lake, Parts, Rules
from app.store.migrate import migrate
from app.store.transaction import Database
from tests.faults.effort import effort_of_environment
from tests.places import Buckets, Place, S3Doors

# Where the tests were started in the background it is ignored, and so it would be in every process
# that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("clearlake", deadline=None)  # how long anything took fails no test
settings.load_profile("clearlake")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked `long` is for `make faults`."""
    if effort_of_environment().long:
        return
    long = [item for item in items if item.get_closest_marker("long")]
    items[:] = [item for item in items if not item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=long)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """S3, Postgres and Valkey, once for the session; gone with it."""
    folder = Path(tempfile.mkdtemp(prefix="clearlake-tests-"))
    folder.chmod(0o711)  # where we are root, Postgres runs as nobody
    try:
        with Servers(folder) as servers:
            _hurry(servers.postgres.url)
            yield servers
    finally:
        remove_state(folder)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def s3_doors(servers: Servers) -> Iterator[S3Doors]:
    s3 = servers.s3
    with ExitStack() as closing:

        def store(role: str) -> S3Store:
            key = s3.credentials[role]
            made = S3Store(s3.endpoint, s3.region, key.access_key, key.secret_key)
            closing.callback(made.close)
            return made

        key = s3.credentials["writer"]
        loader = S3Loader(s3.endpoint, s3.region, key.access_key, key.secret_key)
        closing.callback(loader.close)
        key = s3.credentials["purger"]
        janitor = boto3.client(
            "s3",
            endpoint_url=s3.endpoint,
            region_name=s3.region,
            aws_access_key_id=key.access_key,
            aws_secret_access_key=key.secret_key,
        )
        closing.callback(janitor.close)
        buckets = Buckets(loader, janitor)
        closing.callback(buckets.close)
        stores = store("reader"), store("eraser"), store("verifier")
        yield S3Doors(servers, *stores, loader, buckets)


@pytest.fixture
def place_s3(s3_doors: S3Doors) -> Iterator[Place]:
    """A fresh bucket with Object Lock, and a catalog in a schema of its own in Postgres."""
    root = s3_doors.buckets.take()
    schema = _schema(s3_doors.servers.postgres.url, f"lake_{uuid4().hex[:12]}")
    with ExitStack() as closing:

        def purger(prefixes: tuple[str, ...]) -> Purger:
            made = s3_doors.purger(prefixes)
            closing.callback(made.close)
            return made

        place = Place(
            kind="s3",
            root=root,
            reader=s3_doors.reader,
            eraser=s3_doors.eraser,
            verifier=s3_doors.verifier,
            loader=s3_doors.loader,
            purger_of=purger,
            catalog=Catalog(name="lake", type="sql", uri=schema, warehouse=root),
            io_properties=s3_doors.io_properties("eraser"),
        )
        yield place
        place.close()


@pytest.fixture
def place_file(tmp_path: Path) -> Iterator[Place]:
    """A folder of its own, and a catalog in SQLite."""
    folder = tmp_path / "lake"
    root = f"file://{folder}/"
    store = LocalStore([root])
    place = Place(
        kind="file",
        root=root,
        reader=store,
        eraser=store,
        verifier=store,
        loader=LocalLoader(),
        purger_of=LocalPurger,
        catalog=Catalog(
            name="lake", type="sql", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=root
        ),
    )
    place.loader.ensure_bucket(root, object_lock=False)
    yield place
    place.close()


@pytest.fixture(params=["s3", "file"])
def place(request: pytest.FixtureRequest) -> Place:
    """A place of each kind: the test runs on both."""
    found: Place = request.getfixturevalue(f"place_{request.param}")
    return found


def _schema(url: str, name: str) -> str:
    """A schema of its own: as good as a database, and made in a millisecond."""
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as link:
        link.execute(f'create schema "{name}"')
    return f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{name}"


@pytest.fixture(scope="session")
def database_template(servers: Servers) -> str:
    """The name of a migrated database that each test copies."""
    name = f"template_{uuid4().hex[:12]}"
    url = servers.postgres.url
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as link:
        link.execute(f'create database "{name}"')
    migrate(_at(url, name), _as_service(_at(url, name)))
    return name


@pytest.fixture
def empty_database_url(servers: Servers) -> Iterator[str]:
    """A database with nothing in it, as its owner sees it; gone with the test."""
    url, name = servers.postgres.url, f"empty_{uuid4().hex[:12]}"
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as link:
        link.execute(f'create database "{name}"')
        yield _at(url, name)
        link.execute(f'drop database "{name}" with (force)')


@pytest.fixture
def owner_database_url(servers: Servers, database_template: str) -> Iterator[str]:
    """A fresh service database as its owner sees it; gone with the test."""
    url, name = servers.postgres.url, f"test_{uuid4().hex[:12]}"
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as link:
        link.execute(f'create database "{name}" template "{database_template}" strategy file_copy')
        yield _at(url, name)
        link.execute(f'drop database "{name}" with (force)')


@pytest.fixture
def database_url(owner_database_url: str) -> str:
    """The same with the rights that the service has, no others."""
    return _as_service(owner_database_url)


@pytest.fixture
def rung() -> list[str]:
    """The steps the bell was rung for."""
    return []


@pytest.fixture
def parts(database_url: str, rung: list[str], tmp_path: Path) -> Iterator[Parts]:
    """The service's parts on a fresh database, without a lake; the bell only writes down."""

    def ring(step_ids: Sequence[str]) -> bool:
        rung.extend(step_ids)
        return True

    database = Database(database_url, ring=ring)
    rules = Rules(scope_delay=timedelta(0), approval_grace=timedelta(0))
    yield Parts(database=database, keys=KeyStore.open(tmp_path / "keys"), rules=rules)
    database.close()


@pytest.fixture
def lake_parts(parts: Parts, place: Place, tmp_path: Path) -> Callable[[DataMap], Parts]:
    """The same with a lake: call it with the data map of what the test put into `place`."""

    def with_lake(data_map: DataMap) -> Parts:
        @contextmanager
        def opened() -> Iterator[Doors]:
            yield place.doors()

        spool = tmp_path / "spool"
        spool.mkdir(exist_ok=True)
        return replace(parts, lake=Lake(data_map, opened, spool))

    return with_lake


def _hurry(url: str) -> None:
    """Nobody pulls the plug of this server: a database each test, ten times as fast. Tests that
    kill a server start their own.
    """
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as link:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            link.execute(f"alter system set {name} = off")
        link.execute("select pg_reload_conf()")


def _at(url: str, database: str) -> str:
    return make_url(url).set(database=database).render_as_string(hide_password=False)


def _as_service(url: str) -> str:
    """The URL with the service's login instead of the owner's."""
    login = make_url(url).set(username="clearlake_api", password="known-to-every-test")
    return login.render_as_string(hide_password=False)
