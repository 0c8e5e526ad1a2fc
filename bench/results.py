"""The document of a bench run, schema clearlake.bench/1: kept module by module, shown as Markdown.

One file a size of lake, so that a small run never takes a large one's place. Not here: measuring.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.bench.costs import machine
from bench.apart import Usage
from bench.lakes import BenchLake
from bench.rows import Row

SCHEMA = "clearlake.bench/1"
FOLDER = Path(__file__).parent / "results"
_NAMES = {2_000_000: "latest.json"}


def path_of(events: int) -> Path:
    """Where the results on a lake of so many events are kept: latest.json for the usual one."""
    return FOLDER / _NAMES.get(events, f"events-{events}.json")


class Results:
    """What was reached, module by module. A run of some modules leaves the others' rows."""

    def __init__(self, path: Path, lake: BenchLake) -> None:
        self._path = path
        self._lake = {
            "events": lake.events,
            "users": len(lake.users),
            "bronze_objects": len(lake.files),
            "bronze_bytes": lake.bronze_bytes,
        }
        self._machine = machine()
        kept = _read(path)
        same = kept.get("lake") == self._lake and _same(kept.get("machine"), self._machine)
        self._modules: dict[str, Any] = dict(kept["modules"]) if same else {}

    def put(self, name: str, rows: Iterable[Row], *, usage: Usage | None) -> None:
        """What a module came to, as far as it came; written down at once."""
        self._modules[name] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "commit": _commit(),
            "whole": usage is not None,
            "usage": asdict(usage) if usage is not None else None,
            "rows": [row.document() for row in rows],
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self.document(), indent=1) + "\n", encoding="utf-8")

    def document(self) -> dict[str, Any]:
        """All of it."""
        rows = [
            {"module": name} | row
            for name, module in self._modules.items()
            for row in module["rows"]
        ]
        return {
            "schema": SCHEMA,
            "machine": self._machine,
            "lake": self._lake,
            "rows": rows,
            "met": sum(row["met"] for row in rows),
            "modules": self._modules,
        }


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) and found.get("schema") == SCHEMA else {}


def _same(one: Mapping[str, Any] | None, other: Mapping[str, Any]) -> bool:
    """Whether two runs were on one machine, whatever its load."""
    return one is not None and {**one, "load": 0} == {**other, "load": 0}


def _commit() -> str | None:
    """The commit that is checked out, `+` behind it when something is changed; None without git."""
    try:
        return _git("rev-parse", "--short=12", "HEAD") + "+" * bool(_git("status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def markdown(document: Mapping[str, Any]) -> str:
    """The table of docs/performance.md."""
    about, lake = document["machine"], document["lake"]
    size = f"{lake['bronze_bytes'] / 1e9:.2f} GB of NDJSON in {lake['bronze_objects']} objects"
    met = f"{document['met']} of {len(document['rows'])}"
    lines = [
        f"{lake['events']:,} events of {lake['users']:,} users, {size}.",
        f"{about['processor']}, {about['cores']} cores, {about['memory_gb']} GB of memory,",
        f"{about['system']}, Python {about['python']}. Goals met: {met}.",
        "",
        "| # | what | reached | goal | |",
        "|---|---|---|---|---|",
        *(_markdown_row(row) for row in document["rows"]),
        "",
        *(_markdown_module(name, module) for name, module in document["modules"].items()),
    ]
    return "\n".join(lines)


def _markdown_row(row: Mapping[str, Any]) -> str:
    sign = "at least" if row["is_at_least"] else "at most"
    unit = "" if row["unit"] == "x" else f" {row['unit']}"
    state = "met" if row["met"] else "**not met**"
    reached, goal = f"{row['value']:.2f}{unit}", f"{sign} {row['goal']:g}{unit}"
    return f"| {row['name']} | {row['what']} | {reached} | {goal} | {state} |"


def _markdown_module(name: str, module: Mapping[str, Any]) -> str:
    usage, commit = module["usage"], module["commit"] or "unknown"
    about = f"- `bench/{name}.py` at {module['at']}, commit {commit}:"
    if usage is None:
        return f"{about} **broken off**."
    spent, memory = usage["cpu_seconds"], usage["peak_memory"] / 1e6
    return f"{about} {spent:.0f} CPU s in {usage['wall_seconds']:.0f} s, at most {memory:.0f} MB."
