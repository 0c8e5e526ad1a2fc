"""`make bench`: every row of the goals' table, as a table and as `bench/results/latest.json`.

A module that fails does not take the others' rows away; the exit code says so. Not here: what is
measured (bronze, tables, ...).
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.lakes import BenchLake, bench_lake
from bench.rows import Row, document

MODULES = ("bronze", "tables")
RESULTS = Path(__file__).parent / "results" / "latest.json"


def main() -> int:
    """Run it."""
    asked = _arguments()
    begun = time.monotonic()
    lake = bench_lake()
    size = lake.bronze_bytes / 1e6
    print(
        f"{lake.events:,} events, {size:,.0f} MB of NDJSON in {len(lake.files)} objects", flush=True
    )
    rows: list[Row] = []
    broken = []
    for name in asked.only:
        try:
            for row in _rows(name, lake):
                print(row.line(), flush=True)
                rows.append(row)
        except Exception:
            traceback.print_exc()
            broken.append(name)
    found = document(rows, about=_about(lake, seconds=time.monotonic() - begun, broken=broken))
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{found['met']} of {len(rows)} goals met; {asked.json}")
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", nargs="*", default=list(MODULES), choices=MODULES)
    parser.add_argument("--json", type=Path, default=RESULTS)
    return parser.parse_args()


def _rows(name: str, lake: BenchLake) -> Iterator[Row]:
    module = importlib.import_module(f"bench.{name}")
    yield from module.rows(lake)


def _about(lake: BenchLake, *, seconds: float, broken: list[str]) -> dict[str, Any]:
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.system(),
        },
        "events": lake.events,
        "bronze_bytes": lake.bronze_bytes,
        "seconds": round(seconds, 1),
        "broken": broken,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


if __name__ == "__main__":
    sys.exit(main())
