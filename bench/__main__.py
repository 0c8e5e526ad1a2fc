"""`make bench`: every row of the goals' table, printed and kept as JSON under `bench/results/`.

A module that fails does not take the others' rows away; the exit code says so. Not here: what is
measured (bronze, tables, ...).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from bench.apart import run_apart
from bench.lakes import bench_lake, size_asked_for
from bench.results import Results, markdown, path_of
from bench.rows import Row

MODULES = ("bronze", "tables", "verifying", "requests", "workers", "stitching", "api")


def main() -> int:
    """Run it. 0: every module came to its end, whatever its goals; 1: some did not."""
    asked = _arguments()
    path = asked.json or path_of(size_asked_for())
    if asked.markdown:
        print(markdown(json.loads(path.read_text("utf-8"))))
        return 0
    lake = bench_lake()
    size = lake.bronze_bytes / 1e6
    print(
        f"{lake.events:,} events, {size:,.0f} MB of NDJSON in {len(lake.files)} objects", flush=True
    )
    results = Results(path, lake)
    broken = [name for name in asked.only if not _measure(name, lake.events, results)]
    found = results.document()
    print(f"{found['met']} of {len(found['rows'])} goals met; {path}")
    if broken:
        print(f"broken off: {', '.join(broken)}")
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", default=MODULES, choices=MODULES, help="The others' rows stay."
    )
    parser.add_argument(
        "--json", type=Path, help="The file of results. Default: one for each size of lake."
    )
    parser.add_argument(
        "--markdown", action="store_true", help="Measure nothing: print the file as a table."
    )
    return parser.parse_args()


def _measure(name: str, events: int, results: Results) -> bool:
    rows: list[Row] = []

    def taken(row: Row) -> None:
        print(row.line(), flush=True)
        rows.append(row)

    usage = None
    try:
        usage = run_apart(name, events, taken=taken)
    finally:  # also when it is interrupted
        results.put(name, rows, usage=usage)
    return usage is not None


if __name__ == "__main__":
    sys.exit(main())
