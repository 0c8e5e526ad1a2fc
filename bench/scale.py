"""The model of docs/scale.md: hours, requests and cost of one run over a large lake.

`python -m bench.scale` prints its tables, with the constants of `bench/results/latest.json` where
that has them. It measures nothing; what it assumes is in Assumed, what was measured in Measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from math import ceil
from typing import Any

from app.domain.shares import shares_of
from app.stages.grouping import limits_for
from bench.lakes import size_asked_for
from bench.results import path_of

MB = 10**6


@dataclass(frozen=True, slots=True)
class Measured:
    """Constants of the code, each from a row of the bench. A second is one of a processor."""

    erase_mb: float = 150.0
    """B2 digest: MB of NDJSON a second, looked through and where needed rewritten."""
    look_mb: float = 150.0
    """V1: MB of NDJSON a second, checked as a pair or verified."""
    look_rewrite: float = 0.6
    """V1: a table's second look, as a share of writing it anew."""
    scan_mb: float = 380.0
    """S2: MB of Parquet (zstd) a second, identifier columns only."""
    rewrite_mb: float = 19.0
    """S1: MB of Parquet (zstd) a second, written anew."""
    requests_changed: float = 5.0
    requests_unchanged: float = 1.0
    """R1, R2: requests for an object in a whole run; the second look's are among them."""
    plan_ms: float = 0.5
    """W2: an object planned and looked for again: this process and Postgres together."""
    step_ms: float = 30.0
    """W4: a step claimed, begun and finished, without what it does: the same."""


@dataclass(frozen=True, slots=True)
class Assumed:
    """What is not ours to measure. Prices: AWS list prices, us-east-1, November 2026."""

    silver_share: float = 0.075
    """Bytes of Parquet for a byte of NDJSON, as our made lake has it."""
    object_mb: float = 100.0
    file_mb: float = 128.0
    changed: float = 0.3
    """Share of objects in which anybody of the run stands; every table file is taken to be hit."""
    reader_mb: float = 70.0
    """What one process gets from S3 a second, whatever its processor could do."""
    vcpu_hour: float = 0.036
    put_thousand: float = 0.005
    """PUT, COPY, POST, LIST."""
    get_thousand: float = 0.0004
    """GET and everything else but DELETE, which is free."""
    stored_gb_month: float = 0.023
    undo_days: float = 1.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage does over the whole lake."""

    name: str
    cpu_seconds: float
    bytes_read: float
    processes: int
    """As many as can share it; 0: as many as there are."""


@dataclass(frozen=True, slots=True)
class Lake:
    """A lake of so many bytes of NDJSON, and one table of the same events."""

    bytes: float

    def stages(self, m: Measured, a: Assumed) -> Iterator[Stage]:
        """In their order. Groups of objects are shared by all, a table is one step a stage."""
        silver, changed = self.bytes * a.silver_share, self.bytes * a.changed
        plan = self.objects(a) * m.plan_ms / 1000
        anew = silver / MB / m.rewrite_mb
        look = anew * m.look_rewrite
        yield Stage("plan, and look for newer", plan, 0, 1)
        yield Stage("erase objects", self.bytes / MB / m.erase_mb, self.bytes, 0)
        yield Stage("check pairs", 2 * changed / MB / m.look_mb, 2 * changed, 0)
        yield Stage("erase and check a table", silver / MB / m.scan_mb + anew + look, 2 * silver, 1)
        yield Stage("verify objects", self.bytes / MB / m.look_mb, self.bytes, self.looks(a))
        yield Stage("verify a table", look, silver, 1)

    def looks(self, a: Assumed) -> int:
        return shares_of(self.groups(a))

    def objects(self, a: Assumed) -> int:
        return ceil(self.bytes / MB / a.object_mb)

    def groups(self, a: Assumed) -> int:
        found = limits_for(objects=self.objects(a), size=int(self.bytes))
        a_group = min(found.objects, max(1, int(found.bytes // (a.object_mb * MB))))
        return ceil(self.objects(a) / a_group)


@dataclass(frozen=True, slots=True)
class Estimate:
    """One run, by so many processes of one processor each. Tables are erased beside the objects."""

    processes: int
    hours: dict[str, float]
    cpu_hours: float
    puts: float
    gets: float
    dollars: dict[str, float]

    @property
    def slowest(self) -> str:
        return max(self.hours, key=lambda name: self.hours[name])

    @property
    def elapsed(self) -> float:
        """Hours from the plan to the report, without waits: what runs side by side counts once."""
        beside = (
            ("erase objects", "erase and check a table"),
            ("verify objects", "verify a table"),
        )
        saved = sum(min(self.hours[one], self.hours[other]) for one, other in beside)
        return sum(self.hours.values()) - saved


def estimate(lake: Lake, *, processes: int, m: Measured, a: Assumed) -> Estimate:
    """Hours by stage: the larger of what the processors need and what S3 gives to the processes
    that share the stage.
    """
    hours = {}
    stages = list(lake.stages(m, a))
    for stage in stages:
        shared = min(processes, stage.processes or processes)
        seconds = max(stage.cpu_seconds, stage.bytes_read / MB / a.reader_mb)
        hours[stage.name] = seconds / shared / 3600
    cpu_hours = sum(s.cpu_seconds for s in stages) / 3600
    cpu_hours += 3 * lake.groups(a) * m.step_ms / 3.6e6
    objects, files = lake.objects(a), lake.bytes * a.silver_share / MB / a.file_mb
    lists = (4 + lake.looks(a)) * objects / 1000
    changed = objects * a.changed
    puts = 1.0 * changed + files + lists
    gets = changed * (m.requests_changed - 1) + (objects - changed) * m.requests_unchanged
    gets += 6 * files
    kept_gb = (lake.bytes * a.changed + lake.bytes * a.silver_share) / 1e9
    dollars = {
        "vCPU, all kept to the end": 0.0,
        "PUT and LIST": puts / 1000 * a.put_thousand,
        "GET": gets / 1000 * a.get_thousand,
        "superseded bytes until the purge": kept_gb * a.stored_gb_month * a.undo_days / 30,
    }
    found = Estimate(processes, hours, cpu_hours, puts, gets, dollars)
    dollars["vCPU, all kept to the end"] = found.elapsed * processes * a.vcpu_hour
    return found


def table(lake: Lake, *, processes: tuple[int, ...], m: Measured, a: Assumed) -> Iterator[str]:
    """As Markdown: a column for each number of processes."""
    found = [estimate(lake, processes=n, m=m, a=a) for n in processes]
    yield f"| {lake.bytes / 1e12:g} TB | " + " | ".join(f"{n} processes" for n in processes) + " |"
    yield "|---|" + "---:|" * len(processes)
    for name in found[0].hours:
        yield f"| {name}, hours | " + " | ".join(f"{e.hours[name]:,.2f}" for e in found) + " |"
    total = (e.elapsed for e in found)
    yield "| **from plan to report, hours** | " + " | ".join(f"**{t:,.1f}**" for t in total) + " |"
    yield "| longest | " + " | ".join(e.slowest for e in found) + " |"
    for name in found[0].dollars:
        yield f"| {name}, $ | " + " | ".join(f"{e.dollars[name]:,.2f}" for e in found) + " |"
    sums = (sum(e.dollars.values()) for e in found)
    yield "| **all, $** | " + " | ".join(f"**{s:,.0f}**" for s in sums) + " |"
    one = found[0]
    yield (
        f"\n{lake.objects(a):,} objects in {lake.groups(a):,} groups and {lake.looks(a)} looks; "
        f"{one.cpu_hours:,.0f} processor hours of work; {one.puts:,.0f} PUT and LIST, "
        f"{one.gets:,.0f} GET."
    )


def measured_here() -> Measured:
    """With what the latest bench found, as far as it ran."""
    path = path_of(size_asked_for())
    if not path.exists():
        return Measured()
    rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["rows"]
    by_name = {row["name"]: row for row in rows}
    named = {
        "erase_mb": ("B2 digest", "mb_per_cpu_second"),
        "look_mb": ("V1", "mb_per_cpu_second"),
        "plan_ms": ("W2", "plan_ms"),
        "step_ms": ("W4", "step_ms"),
    }
    values = {
        name: float(by_name[row]["more"][key])
        for name, (row, key) in named.items()
        if row in by_name and key in by_name[row]["more"]
    }
    return Measured(**values)


def main() -> None:
    """Print both tables and the constants."""
    m, a = measured_here(), Assumed()
    for constants in (m, a):
        print(", ".join(f"{f.name} {getattr(constants, f.name):g}" for f in fields(constants)))
    for size, processes in ((1e12, (1, 4, 16)), (1e14, (16, 64, 256))):
        print()
        print("\n".join(table(Lake(size), processes=processes, m=m, a=a)))


if __name__ == "__main__":
    main()
