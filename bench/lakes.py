"""The lake that is measured on: made from a seed once, kept in `bench/data/`, the same for all.

Two million events, five million with BENCH=large, 200,000 with BENCH=small. Not here: a lake of
one's own.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from app.domain.datasets import DataMap, Dataset
from app.domain.identifiers import Identifier, Identity, Kind
from app.lake.datamap import map_text, parse_map
from app.lake.local import LocalLoader
from app.lake.make import make_lake
from app.lake.pyiceberg_engine import PyIcebergEngine
from app.lake.stitch import stitch
from app.lake.table_ports import TableEngine

SIZES = {"small": 200_000, "": 2_000_000, "large": 5_000_000}
SEED = 1
_DATA = Path(__file__).parent / "data"
_DONE = "made"


@dataclass(frozen=True)
class BenchLake:
    """A made lake in a folder."""

    folder: Path
    events: int
    data_map: DataMap = field(repr=False)
    files: Sequence[Path] = field(repr=False)
    """Bronze objects, sorted."""
    users: Sequence[Identity] = field(repr=False)
    """Everybody whom dim_identity knows, with what is linked to them; in no order of time."""

    @property
    def bronze(self) -> Dataset:
        return self.data_map.bronze[0]

    @property
    def bronze_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.files)

    def engine(self) -> PyIcebergEngine:
        """Another catalog on it; whoever asked for it closes it."""
        assert self.data_map.catalog is not None
        return PyIcebergEngine(self.data_map.catalog, io_properties={})

    def people(self, count: int) -> list[Identity]:
        """So many of them, spread evenly."""
        assert count <= len(self.users), f"the lake has {len(self.users)} users"
        step = len(self.users) // count
        return list(self.users[::step][:count])


def bench_lake() -> BenchLake:
    """The one that BENCH asks for; made now if it is not there."""
    return lake_of(size_asked_for())


def size_asked_for() -> int:
    """How many events, by BENCH."""
    asked = os.environ.get("BENCH", "")
    if asked not in SIZES:
        raise SystemExit("BENCH: expected small, large or nothing.")
    return SIZES[asked]


def lake_of(events: int) -> BenchLake:
    """A lake of so many events."""
    folder = _DATA / f"{events}-{SEED}"
    data_map = _map_of(folder)
    assert data_map.catalog is not None
    if not (folder / _DONE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with closing(PyIcebergEngine(data_map.catalog, io_properties={})) as engine:
            _make(folder, engine, events=events)
        (folder / _DONE).touch()
    with closing(PyIcebergEngine(data_map.catalog, io_properties={})) as engine:
        users = sorted(known_people(engine), key=lambda i: hash_of(i.subject))
    files = sorted((folder / "raw").rglob("*.ndjson"))
    return BenchLake(folder, events, data_map, files, users)


def hash_of(text: str) -> int:
    """An order that has nothing to do with time, the same in every process."""
    return int.from_bytes(text.encode()[::-1][:8], "big")


def _map_of(folder: Path) -> DataMap:
    return parse_map(
        map_text(root=f"file://{folder}/"),
        source="bench",
        environment={"CLEARLAKE_CATALOG_URI": f"sqlite:///{folder}/catalog.db"},
    )


def _make(folder: Path, engine: PyIcebergEngine, *, events: int) -> None:
    make_lake(
        events=events,
        users=events // 40,
        days=10,
        seed=SEED,
        codec="none",
        root=f"file://{folder}/",
        loader=LocalLoader(),
        engine=engine,
        start=date(2026, 1, 1),
        retain_until=datetime(2026, 2, 1, tzinfo=UTC),
    )
    stitch(engine, built_at=datetime(2026, 1, 20, tzinfo=UTC))


def known_people(engine: TableEngine) -> Iterator[Identity]:
    columns = ["user_id", "anon_ids", "device_fps"]
    for batch in engine.batches("gold.dim_identity", columns=columns):
        for row in batch.to_pylist():
            if row["user_id"] is not None:
                yield _identity(row["user_id"], row["anon_ids"] or (), row["device_fps"] or ())


def _identity(user: str, anons: Sequence[str], devices: Sequence[str]) -> Identity:
    linked = [Identifier(Kind.ANON_ID, a) for a in anons]
    linked += [Identifier(Kind.DEVICE_FP, d) for d in devices]
    given = frozenset({Identifier(Kind.USER_ID, user)})
    return Identity(user, given, frozenset(linked), frozenset(), ())
