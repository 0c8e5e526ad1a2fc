"""A backup of a lake, bytes and catalog, and putting it back. Not here: what is expected."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg

from tests.e2e.storage import BucketStorage, FolderStorage, Storage
from tests.places import Place

_POINTERS = "update iceberg_tables set metadata_location = %s where table_name = %s"


def backup_of(place: Place, storage: Storage, aside: Path) -> Callable[[], None]:
    """Keep everything as it is now; what is returned puts it back."""
    if isinstance(storage, FolderStorage):
        return _of_folder(storage, aside)
    assert isinstance(storage, BucketStorage)
    return _of_bucket(place, storage)


def _of_folder(storage: FolderStorage, aside: Path) -> Callable[[], None]:
    """As a disk's snapshot: files come back with the times they had."""
    shutil.copytree(storage.folder, aside / "lake")
    _copy(storage.catalog, to=aside / "catalog.db")

    def put_back() -> None:
        shutil.rmtree(storage.folder)
        shutil.copytree(aside / "lake", storage.folder)
        _copy(aside / "catalog.db", to=storage.catalog)

    return put_back


def _copy(catalog: Path, *, to: Path) -> None:
    """By SQLite itself: somebody has it open."""
    with closing(sqlite3.connect(catalog)) as source, closing(sqlite3.connect(to)) as sink:
        source.backup(sink)


def _of_bucket(place: Place, storage: BucketStorage) -> Callable[[], None]:
    """As a copy in another account: bytes come back as new versions."""
    bodies, pointers = storage.current(""), storage.tables()

    def put_back() -> None:
        for key, body in bodies.items():
            place.loader.load(place.root + key, body)
        url = storage.catalog.replace("+psycopg", "", 1)
        with psycopg.connect(url, autocommit=True) as link:
            for table, location in pointers.items():
                link.execute(_POINTERS, (location, table))

    return put_back
