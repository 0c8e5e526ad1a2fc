"""The bytes of a lake as they lie there now: current objects, all versions, the catalog's pointers.

Independent of the product: it imports nothing of it. Not here: what the bytes mean (records).
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psycopg

from tests.e2e.reader import Bucket, Held, in_bucket, in_folder, in_postgres, in_sqlite

_TABLES = "select table_name, metadata_location from iceberg_tables"
OWN = ".clearlake"
"""Where a folder lake keeps superseded bytes."""


class Storage(Protocol):
    """A lake's storage of either kind."""

    def current(self, prefix: str) -> dict[str, bytes]:
        """Current objects under a prefix, by name."""
        ...

    def read(self, uri: str) -> bytes:
        """The current bytes at a URI."""
        ...

    def tables(self) -> dict[str, str]:
        """Table name (without namespace) -> where its metadata is."""
        ...

    def versions(self) -> dict[str, str]:
        """Every version of everything, and every catalog row -> digest of its bytes."""
        ...

    def held(self, values: Iterable[str]) -> list[Held]:
        """Where these values stand in the lake and its catalog."""
        ...


@dataclass(frozen=True)
class FolderStorage:
    """A lake in a folder with a SQLite catalog."""

    folder: Path
    catalog: Path

    def current(self, prefix: str) -> dict[str, bytes]:
        files = (p for p in (self.folder / prefix).rglob("*") if p.is_file())
        return {
            str(p.relative_to(self.folder)): p.read_bytes() for p in files if OWN not in p.parts
        }

    def read(self, uri: str) -> bytes:
        return Path(uri.removeprefix("file://")).read_bytes()

    def tables(self) -> dict[str, str]:
        with closing(sqlite3.connect(self.catalog)) as link:
            return dict(link.execute(_TABLES).fetchall())

    def versions(self) -> dict[str, str]:
        found = {
            str(p.relative_to(self.folder)): _digest(p.read_bytes())
            for p in self.folder.rglob("*")
            if p.is_file()
        }
        return found | self.tables()

    def held(self, values: Iterable[str]) -> list[Held]:
        wanted = list(values)
        return in_folder(self.folder, wanted) + in_sqlite(self.catalog, wanted)


@dataclass(frozen=True)
class BucketStorage:
    """A lake in a bucket with a catalog in a schema of Postgres."""

    bucket: Bucket
    catalog: str

    def current(self, prefix: str) -> dict[str, bytes]:
        client, name = self.bucket.client, self.bucket.name
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=name, Prefix=prefix)
        keys = [o["Key"] for page in pages for o in page.get("Contents", [])]
        return {k: client.get_object(Bucket=name, Key=k)["Body"].read() for k in keys}

    def read(self, uri: str) -> bytes:
        where = urlsplit(uri)
        answer = self.bucket.client.get_object(Bucket=where.netloc, Key=where.path.lstrip("/"))
        return bytes(answer["Body"].read())

    def tables(self) -> dict[str, str]:
        with psycopg.connect(self.catalog.replace("+psycopg", "", 1)) as link:
            return dict(link.execute(_TABLES).fetchall())

    def versions(self) -> dict[str, str]:
        client, name = self.bucket.client, self.bucket.name
        found = self.tables()
        for page in client.get_paginator("list_object_versions").paginate(Bucket=name):
            for version in page.get("Versions", []):
                key, number = version["Key"], version["VersionId"]
                answer = client.get_object(Bucket=name, Key=key, VersionId=number)
                found[f"{key} {number}"] = _digest(answer["Body"].read())
            for marker in page.get("DeleteMarkers", []):
                found[f"{marker['Key']} {marker['VersionId']}"] = "marker"
        return found

    def held(self, values: Iterable[str]) -> list[Held]:
        wanted = list(values)
        return in_bucket(self.bucket, wanted) + in_postgres(self.catalog, wanted)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
