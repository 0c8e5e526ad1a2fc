"""T1, T2: the identity table from identity.link events alone, one million and ten million of them.

Each in a process of its own, on a table in a folder. Not here: what a stitch gives (its tests).
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.domain.datasets import Catalog
from app.lake.make_tables import SCHEMAS
from app.lake.pyiceberg_engine import PyIcebergEngine
from app.lake.stitch import stitch
from bench.lakes import BenchLake
from bench.rows import Row

SIZES = {200_000: (100_000, 1_000_000)}
"""Events of the lake -> links, few and many."""
USUAL = (1_000_000, 10_000_000)
_A_FILE = 250_000
_EVENTS, _IDENTITIES = "lake.events", "gold.dim_identity"
_NIGHT = datetime(2026, 1, 20, tzinfo=UTC)


def rows(lake: BenchLake) -> Iterator[Row]:
    """T1, T2, and what going on from the last night costs."""
    few, many = (_child(lake, links) for links in SIZES.get(lake.events, USUAL))
    for seen in (few, many):
        # every link is of another browser; users have five of them each
        assert seen["users"] == seen["links"] // 5
        assert seen["identities"] == seen["users"]
    cpu = many["cpu_seconds"]
    yield Row("T1", f"a rebuild over {many['links']:,} links, a CPU second", many["links"] / cpu,
              100_000, is_at_least=True, unit="links", more=many)  # fmt: skip
    what = f"memory that {many['links']:,} links take beside what {few['links']:,} take"
    yield Row("T2", what, many["grown"] / max(few["grown"], 1), 2.0, is_at_least=False, more=few)
    what = "1 % new links on top of the rows of the last night: cost over a rebuild"
    yield Row("T1 since", what, many["since_cpu_seconds"] / cpu, 1.0, is_at_least=False)


def _child(lake: BenchLake, links: int) -> dict[str, int]:
    lake.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="clearlake-bench-", dir=lake.folder.parent) as folder:
        line = [sys.executable, "-m", "bench.stitching", folder, str(links)]
        done = subprocess.run(line, stdout=subprocess.PIPE, check=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found


def _measure(folder: Path, links: int) -> None:
    """The child: prints counts, CPU seconds and what its memory grew by."""
    catalog = Catalog(
        name="lake", type="sql", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/"
    )
    with closing(PyIcebergEngine(catalog, io_properties={})) as engine:
        engine.create_table(_EVENTS, SCHEMAS[_EVENTS], partition_by=None, properties={})
        for start in range(0, links, _A_FILE):
            _append(engine, start, min(_A_FILE, links - start), users=links // 5)
    # once more, so that what making the events took is not taken for the stitch's
    line = [sys.executable, "-m", "bench.stitching", str(folder), str(links), "stitch"]
    subprocess.run(line, check=True)


def _stitch(folder: Path, links: int) -> None:
    catalog = Catalog(
        name="lake", type="sql", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/"
    )
    with closing(PyIcebergEngine(catalog, io_properties={})) as engine:
        engine.tables()
        before, began = _peak(), time.process_time()
        done = stitch(engine, built_at=_NIGHT, spool=folder)
        cpu, grown = time.process_time() - began, _peak() - before
        assert done.rebuilt
        assert done.links == links
        _append(engine, links, max(links // 100, 1), users=links // 5)
        began = time.process_time()
        since = stitch(engine, built_at=_NIGHT, spool=folder)
        since_cpu = time.process_time() - began
        assert (since.rebuilt, since.links) == (False, max(links // 100, 1))
    found = {
        "links": links,
        "identities": done.identities,
        "users": done.users,
        "cpu_seconds": round(cpu, 2),
        "since_cpu_seconds": round(since_cpu, 2),
        "grown": grown,
        "before": before,
    }
    print(json.dumps(found))


def _append(engine: PyIcebergEngine, start: int, count: int, *, users: int) -> None:
    """So many logins: the nth of all links is the nth browser's, and one user's of many."""
    number = np.arange(start, start + count, dtype=np.int64)
    user = _named("usr_", (number * 7919) % users, 26)
    anon, device = _named("a_", number, 22), _named("fp_", number, 32)
    parts = ['{"user_id":"', user, '","anon_id":"', anon, '","device_fp":"', device, '"}']
    payload = pc.binary_join_element_wise(*parts, "")
    at = pa.array(1_767_225_600_000_000 + number * 1000, pa.timestamp("us", tz="UTC"))
    filled = {
        "ts": at,
        "event_dt": at.cast(pa.date32()),
        "event_id": _named("evt_", number, 26),
        "name": pa.repeat(pa.scalar("identity.link"), count),
        "user_id": user,
        "anon_id": anon,
        "device_fp": device,
        "payload": payload,
    }
    schema = SCHEMAS[_EVENTS]
    columns = [filled.get(f.name, pa.nulls(count, f.type)) for f in schema]
    engine.append(_EVENTS, pa.table(columns, schema=schema))


def _named(prefix: str, number: np.ndarray, width: int) -> pa.Array:
    text = pc.utf8_lpad(pa.array(number).cast(pa.string()), width, padding="0")
    return pc.binary_join_element_wise(prefix, text, "")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    act = _stitch if len(sys.argv) > 3 else _measure
    act(Path(sys.argv[1]), int(sys.argv[2]))
