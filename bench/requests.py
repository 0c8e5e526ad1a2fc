"""R1 to R4: requests to S3 that a whole run makes for an object it changes, for one it does not,
for all of them, and for a file of a table.

Counted on the wire, before a server of our own. Not here: time, and other servers' prices.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from app.audit.keys import KeyStore
from app.domain.datasets import Catalog, DataMap
from app.domain.findings import What
from app.domain.identifiers import Identity, Targets
from app.domain.receipts import FileWork, ObjectWork, WorkState
from app.lake.datamap import map_text, parse_map
from app.lake.make import make_lake
from app.lake.ports import Doors
from app.lake.pyiceberg_engine import PyIcebergEngine
from app.lake.s3 import S3Loader, S3Purger, S3Store
from app.lake.stitch import stitch
from app.offline.journal import Journal
from app.servers import Servers
from app.servers.seaweed import S3Server
from app.stages.acts import Acts
from app.stages.search import seeing
from bench.lakes import BenchLake, hash_of, known_people
from bench.rows import Row
from tests.faults.proxy import HttpProxy
from tests.faults.proxy.asked import LOOK, PROTOCOL, Requests

EVENTS, USERS, DAYS = 40_000, 1_000, 5
PEOPLE = 2
CHANGED, UNCHANGED, PASSES = 5, 1, 6
"""A listing each: the plan, the erasure, its end, the check, the purge, the second look."""
ROOT = "s3://lake/"
_PAGE = 1000


def rows(lake: BenchLake) -> Iterator[Row]:
    """R1 and R2 with the second look apart, and what a run asks of a bucket."""
    for locked, name in ((True, ""), (False, " unlocked")):
        with tempfile.TemporaryDirectory(prefix="clearlake-bench-") as folder:
            yield from _rows_of(_counted(Path(folder), locked=locked), name)


def _rows_of(counted: Counted, name: str) -> Iterator[Row]:
    told = (
        ("R1", "changed", counted.changed, CHANGED),
        ("R2", "unchanged", counted.unchanged, UNCHANGED),
    )
    for row, what, works, goal in told:
        asked = counted.requests.about((w.uri for w in works), *PROTOCOL)
        yield Row(f"{row}{name}", f"requests for an object that is {what}: plan to purge",
                  asked.total() / len(works), goal, is_at_least=False, unit="requests",
                  more=_by_kind(asked, len(works)))  # fmt: skip
        asked = counted.requests.about((w.uri for w in works), LOOK)
        yield Row(f"{row}{name} look", "and for it when everything is read again",
                  asked.total() / len(works), 1, is_at_least=False, unit="requests",
                  more=_by_kind(asked, len(works)))  # fmt: skip
    objects = len(counted.changed) + len(counted.unchanged)
    pages = -(-(objects + len(counted.changed)) // _PAGE)
    listed = counted.requests.listings(f"{ROOT}raw", *PROTOCOL, LOOK)
    yield Row(f"R3{name}", "times that a run lists its objects", listed / pages, PASSES,
              is_at_least=False, unit="listings", more={"objects": objects})  # fmt: skip
    uris = [u for f in counted.files for u in (f.old_path, f.new_path) if u is not None]
    asked = counted.requests.about(uris, *PROTOCOL)
    yield Row(f"R4{name}", "requests for a table's file that is replaced: plan to purge",
              asked.total() / len(counted.files), CHANGED, is_at_least=False, unit="requests",
              more=_by_kind(asked, len(counted.files)))  # fmt: skip


def _by_kind(asked: Counter[str], number: int) -> dict[str, float | int | str]:
    return {kind: round(count / number, 3) for kind, count in sorted(asked.items())}


@dataclass(frozen=True)
class Counted:
    """A run, and what it asked."""

    requests: Requests
    changed: list[ObjectWork]
    unchanged: list[ObjectWork]
    files: list[FileWork]
    """Of tables, every one replaced."""


def _counted(folder: Path, *, locked: bool) -> Counted:
    """Make a lake on a server, erase a few people of it, and count."""
    with ExitStack() as closed:
        servers = closed.enter_context(Servers(folder / "servers", parts={"s3"}))
        proxy = closed.enter_context(HttpProxy(servers.s3.endpoint))
        data_map = _map(folder)
        _make(folder, servers.s3, data_map, locked=locked)
        doors = closed.enter_context(_doors(servers.s3, data_map, endpoint=proxy.endpoint))
        assert doors.engine is not None
        people = sorted(known_people(doors.engine), key=lambda i: hash_of(i.subject))[:PEOPLE]
        return _run(folder, data_map, doors, people=people, requests=Requests(proxy))


def _run(
    folder: Path, data_map: DataMap, doors: Doors, *, people: list[Identity], requests: Requests
) -> Counted:
    keys = KeyStore.open(folder / "keys")
    keys.create("run")
    with closing(Journal(folder / "journal.sqlite")) as journal:
        journal.begin(keys.sealer("run"))
        acts = Acts(
            run_id="run",
            data_map=data_map,
            doors=doors,
            journal=journal,
            targets=Targets.of(people),
            secret=keys.secret("run", purpose="tombstones"),
            spool=folder / "spool",
            say=lambda *_: None,
            stop=lambda: False,
        )
        requests.of_run(acts)
        journal.put_facts(erased_at=doors.reader.now().isoformat())
        _must_be_clean(acts)
        works = journal.works(data_map.bronze[0].name)
        tables = [journal.table_work(d.name) for d in data_map.tables]
        files = [f for table in tables if table is not None for f in table.files]
    changed = [w for w in works if w.state is WorkState.PURGED and w.new_version]
    unchanged = [w for w in works if w.state is WorkState.CLEAN]
    assert changed
    assert unchanged
    assert len(changed) + len(unchanged) == len(works)
    return Counted(requests, changed, unchanged, files)


def _must_be_clean(acts: Acts) -> None:
    seen = seeing(acts.journal, acts.data_map)
    harmful = [f for f in seen.findings if f.what not in (What.NOTE, What.WITHHELD)]
    assert not harmful, harmful[:3]


# --- the lake, and its doors through the proxy ---------------------------------------------------


def _map(folder: Path) -> DataMap:
    return parse_map(
        map_text(root=ROOT),
        source="bench",
        environment={
            "CLEARLAKE_CATALOG_URI": f"sqlite:///{folder}/catalog.db",
            "CLEARLAKE_S3_ENDPOINT": "http://127.0.0.1",
        },
    )


def _make(folder: Path, s3: S3Server, data_map: DataMap, *, locked: bool) -> None:
    key = s3.credentials["writer"]
    days, seconds = (30, 0) if locked else (0, 240)  # a lock that ends so soon is not repeated
    retain_until = datetime.now(UTC) + timedelta(days=days, seconds=seconds)
    assert data_map.catalog is not None
    with (
        closing(S3Loader(s3.endpoint, s3.region, key.access_key, key.secret_key)) as loader,
        closing(_engine(s3, data_map.catalog, role="writer", endpoint=s3.endpoint)) as engine,
    ):
        make_lake(
            events=EVENTS,
            users=USERS,
            days=DAYS,
            seed=1,
            codec="none",
            root=ROOT,
            loader=loader,
            engine=engine,
            start=date(2026, 1, 1),
            retain_until=retain_until,
        )
        stitch(engine, built_at=datetime(2026, 1, 20, tzinfo=UTC))


@contextmanager
def _doors(s3: S3Server, data_map: DataMap, *, endpoint: str) -> Iterator[Doors]:
    assert data_map.catalog is not None
    with ExitStack() as closed:

        def store(role: str) -> S3Store:
            key = s3.credentials[role]
            made = S3Store(endpoint, s3.region, key.access_key, key.secret_key)
            return closed.enter_context(closing(made))

        def engine(role: str) -> PyIcebergEngine:
            assert data_map.catalog is not None
            made = _engine(s3, data_map.catalog, role=role, endpoint=endpoint)
            return closed.enter_context(closing(made))

        key = s3.credentials["purger"]
        purger = closed.enter_context(
            closing(S3Purger(endpoint, s3.region, key.access_key, key.secret_key, prefixes=[ROOT]))
        )
        stores = store("reader"), store("eraser"), store("verifier")
        yield Doors(*stores, purger, engine("eraser"), engine("verifier"))


def _engine(s3: S3Server, catalog: Catalog, *, role: str, endpoint: str) -> PyIcebergEngine:
    key = s3.credentials[role]
    properties = {
        "s3.endpoint": endpoint,
        "s3.region": s3.region,
        "s3.access-key-id": key.access_key,
        "s3.secret-access-key": key.secret_key,
    }
    return PyIcebergEngine(catalog, io_properties=properties)
