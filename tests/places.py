"""A place of a test in the lake: its doors by role, and its catalog. Fixtures: conftest."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from uuid import uuid4

from mypy_boto3_s3 import S3Client

from app.domain.datasets import Catalog
from app.lake.ports import Doors, Loader, ObjectStore, Purger
from app.lake.pyiceberg_engine import PyIcebergEngine
from app.lake.s3 import S3Loader, S3Purger, S3Store
from app.servers import Servers


@dataclass
class Place:
    """A lake's place of its own: `root` (with the last slash), doors by role, a catalog."""

    kind: str
    """s3 | file"""
    root: str
    reader: ObjectStore
    eraser: ObjectStore
    verifier: ObjectStore
    loader: Loader
    purger_of: Callable[[tuple[str, ...]], Purger] = field(repr=False)
    catalog: Catalog
    io_properties: dict[str, str] = field(default_factory=dict)

    def purger(self, *prefixes: str) -> Purger:
        """A purger for these prefixes; for the whole place when none is given."""
        return self.purger_of(prefixes or (self.root,))

    @cached_property
    def engine(self) -> PyIcebergEngine:
        """An engine on the place's own, empty catalog."""
        return PyIcebergEngine(self.catalog, io_properties=self.io_properties)

    def doors(self) -> Doors:
        """Every door at once, as wiring gives them."""
        engine = self.engine
        return Doors(self.reader, self.eraser, self.verifier, self.purger(), engine, engine)

    def close(self) -> None:
        """Let go of the catalog, if anybody asked for it."""
        if "engine" in vars(self):
            self.engine.close()


class Buckets:
    """Fresh buckets with Object Lock, a few made ahead: the first write into one takes 0.2 s."""

    def __init__(self, loader: S3Loader, janitor: S3Client, *, ahead: int = 3) -> None:
        # The janitor is no purger of ours: this thread must not pass the failpoints of a test.
        self._loader, self._janitor = loader, janitor
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="buckets")
        self._coming: deque[Future[str]] = deque(
            self._pool.submit(self._make) for _ in range(ahead)
        )

    def take(self) -> str:
        """The root of a bucket that nobody has used."""
        self._coming.append(self._pool.submit(self._make))
        return self._coming.popleft().result()

    def close(self) -> None:
        """Make no more."""
        self._pool.shutdown(cancel_futures=True)

    def _make(self) -> str:
        root = f"s3://lake-{uuid4().hex[:12]}/"
        self._loader.ensure_bucket(root, object_lock=True)
        version = self._loader.load(root + "first", b"x")
        bucket = root.removeprefix("s3://").rstrip("/")
        self._janitor.delete_object(Bucket=bucket, Key="first", VersionId=version)
        return root


@dataclass(frozen=True)
class S3Doors:
    """Stores that all S3 places of a session share: a client belongs to a credential."""

    servers: Servers
    reader: S3Store
    eraser: S3Store
    verifier: S3Store
    loader: S3Loader
    buckets: Buckets

    def purger(self, prefixes: tuple[str, ...]) -> S3Purger:
        s3 = self.servers.s3
        key = s3.credentials["purger"]
        return S3Purger(s3.endpoint, s3.region, key.access_key, key.secret_key, prefixes=prefixes)

    def io_properties(self, role: str) -> dict[str, str]:
        """What a table engine needs to read and write with a role's credential."""
        key = self.servers.s3.credentials[role]
        return {
            "s3.endpoint": self.servers.s3.endpoint,
            "s3.region": self.servers.s3.region,
            "s3.access-key-id": key.access_key,
            "s3.secret-access-key": key.secret_key,
        }
