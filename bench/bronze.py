"""Bronze in one process: the erasure rule against only reading the bytes and parsing every line.

Ratios of CPU seconds in one run; the median of three. `make bench`; BENCH_EVENTS sets the size.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec

from app.domain.datasets import Dataset
from app.domain.identifiers import Identifier, Identity, Kind, Targets
from app.lake.bronze_lines import Rule, Tally, rewritten
from app.lake.codecs import BLOCK, blocks
from app.lake.datamap import map_text, parse_map
from app.lake.local import LocalLoader
from app.lake.make import make_lake
from app.lake.pyiceberg_engine import PyIcebergEngine
from app.lake.tombstones import Tombstones

EVENTS = int(os.environ.get("BENCH_EVENTS", "250000"))
ROUNDS = 3


def made(folder: Path) -> tuple[Dataset, list[Path], list[str]]:
    """A lake in a folder: its Bronze dataset, files, and some user_ids."""
    root = f"file://{folder}/"
    data_map = parse_map(
        map_text(root=root),
        source="bench",
        environment={"CLEARLAKE_CATALOG_URI": f"sqlite:///{folder}/c.db"},
    )
    assert data_map.catalog is not None
    engine = PyIcebergEngine(data_map.catalog, io_properties={})
    make_lake(
        events=EVENTS, users=max(EVENTS // 100, 100), days=3, seed=1, codec="none", root=root,
        loader=LocalLoader(), engine=engine, start=date(2026, 1, 1),
        retain_until=datetime(2026, 2, 1, tzinfo=UTC),
    )  # fmt: skip
    users = {
        value
        for batch in engine.batches("lake.events", columns=["user_id"])
        for value in batch.column("user_id").drop_null().to_pylist()
    }
    return data_map.bronze[0], sorted(folder.rglob("*.ndjson")), sorted(users)


def only_read(files: list[Path]) -> None:
    """The limit: the bytes into fresh memory."""
    for path in files:
        with path.open("rb") as file:
            while file.read(BLOCK):
                pass


def parse_all(files: list[Path]) -> None:
    """Every line decoded, nothing done with it."""
    decoder = msgspec.json.Decoder()
    for path in files:
        for line in path.read_bytes().splitlines():
            decoder.decode(line)


def erase(files: list[Path], rule: Rule) -> Tally:
    """The rule over every file; pieces are thrown away."""
    total = Tally()
    for path in files:
        with path.open("rb") as file:
            for _ in rewritten(
                blocks(iter(lambda f=file: f.read(BLOCK), b"")), rule=rule, tally=total
            ):
                pass
    return total


def cpu(act: Callable[[], object]) -> float:
    """The median of CPU seconds of some rounds."""
    spent = []
    for _ in range(ROUNDS):
        started = time.process_time()
        act()
        spent.append(time.process_time() - started)
    return statistics.median(spent)


def main() -> None:
    """Print the table and write `bench/results/latest.json`."""
    with tempfile.TemporaryDirectory() as folder:
        dataset, files, users = made(Path(folder))
        size = sum(f.stat().st_size for f in files) / 1e6
        rows = [("only reading", cpu(lambda: only_read(files)))]
        rows.append(("parsing every line", cpu(lambda: parse_all(files))))
        for number in (1, 10, 100):
            step = len(users) // number
            people = [
                Identity(v, frozenset({Identifier(Kind.USER_ID, v)}), frozenset(), frozenset(), ())
                for v in users[::step][:number]
            ]
            rule = Rule.of(
                dataset,
                targets=Targets.of(people),
                tombstones=Tombstones(bytes(32)),
                unparsable="park",
            )
            tally = erase(files, rule)
            assert tally.deleted > 0
            name = f"erasing {number} people ({tally.deleted + tally.tombstoned} lines hit)"
            rows.append((name, cpu(lambda r=rule: erase(files, r))))
    print(f"{EVENTS:,} events, {size:.0f} MB of NDJSON, {len(files)} objects")
    found = []
    for name, seconds in rows:
        ratio = seconds / rows[0][1]
        found.append({"name": name, "cpu_seconds": round(seconds, 4), "x_reading": round(ratio, 2)})
        print(
            f"{name:<42} {seconds:8.3f} CPU-s {size / seconds:8.0f} MB/CPU-s {ratio:6.1f}x reading"
        )
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "latest.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
