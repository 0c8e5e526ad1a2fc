"""Fresh places and databases as often as a scenario asks, within one test.

Not here: those that a test gets one of (tests.conftest).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
from sqlalchemy import make_url

from app.domain.datasets import Catalog
from app.lake.local import LocalLoader, LocalPurger, LocalStore
from app.lake.ports import Purger
from app.servers import Servers
from tests.conftest import _as_service, _at, _schema
from tests.places import Place, S3Doors


@contextmanager
def fresh_place(kind: str, folder: Path, *, s3_doors: S3Doors) -> Iterator[Place]:
    """A bucket, or a folder below this one, with a catalog of its own."""
    made = _bucket(s3_doors) if kind == "s3" else _folder(folder)
    with made as place:
        try:
            yield place
        finally:
            place.close()


@contextmanager
def _bucket(s3_doors: S3Doors) -> Iterator[Place]:
    root = s3_doors.buckets.take()
    catalog = _schema(s3_doors.servers.postgres.url, f"lake_{uuid4().hex[:12]}")
    with ExitStack() as closing:

        def purger(prefixes: tuple[str, ...]) -> Purger:
            made = s3_doors.purger(prefixes)
            closing.callback(made.close)
            return made

        yield Place(
            kind="s3",
            root=root,
            reader=s3_doors.reader,
            eraser=s3_doors.eraser,
            verifier=s3_doors.verifier,
            loader=s3_doors.loader,
            purger_of=purger,
            catalog=Catalog(name="lake", type="sql", uri=catalog, warehouse=root),
            io_properties=s3_doors.io_properties("eraser"),
        )


@contextmanager
def _folder(folder: Path) -> Iterator[Place]:
    root = f"file://{folder}/lake/"
    store = LocalStore([root])
    uri = f"sqlite:///{folder}/catalog.db"
    place = Place(
        kind="file",
        root=root,
        reader=store,
        eraser=store,
        verifier=store,
        loader=LocalLoader(),
        purger_of=LocalPurger,
        catalog=Catalog(name="lake", type="sql", uri=uri, warehouse=root),
    )
    place.loader.ensure_bucket(root, object_lock=False)
    yield place


@contextmanager
def fresh_database(servers: Servers, template: str) -> Iterator[tuple[str, str]]:
    """A service database: as its owner sees it, and as the service does."""
    url, name = servers.postgres.url, f"test_{uuid4().hex[:12]}"
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as link:
        link.execute(f'create database "{name}" template "{template}" strategy file_copy')
        try:
            yield _at(url, name), _as_service(_at(url, name))
        finally:
            link.execute(f'drop database "{name}" with (force)')


def behind(url: str, port: int) -> str:
    """The same database, reached through a port of ours."""
    at = make_url(url).set(host="127.0.0.1", port=port)
    return at.render_as_string(hide_password=False)
