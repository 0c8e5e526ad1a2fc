"""W1: one run by 1, 2 and 4 worker processes. W2-W4: a plan of a million objects, in a real ledger.

Each run of W1 has a copy of the lake; the worker is the service's own, without a broker. Not here:
what the child of W2-W4 does (simulated_plan).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import psycopg
from sqlalchemy import make_url

from app.domain.actors import Actor, ActorKind, Scope
from app.domain.dsars import DsarType, Regulation, RequesterKind
from app.domain.runs import Stage
from app.domain.steps import StepKind
from app.lake.datamap import map_text
from app.servers import Servers, remove_state
from app.services import decisions, dsars, runs
from app.services.decisions import Approval
from app.services.dsars import Asked
from app.services.ledger import Worker, perform
from app.services.parts import Parts
from app.settings import read_settings
from app.store import dsars as cases
from app.store import leases, run_reports, schedule
from app.store import runs as run_rows
from app.store.migrate import migrate
from app.wiring import no_bell
from app.wiring.lakes import worker_parts
from bench.lakes import BenchLake
from bench.rows import Row
from workers.pipeline import acts

PEOPLE = 50
PROCESSES = (1, 2, 4)
PLANNED = {200_000: 100_000}
"""Events of the lake -> objects of the simulated plan; a million for the larger ones."""
_STAGES = ("planned", "erased", "checked", "purged", "verified", "closed")
OFFICERS = tuple(Actor(f"key_{n}", ActorKind.PERSONAL, frozenset(Scope)) for n in range(2))


def rows(lake: BenchLake) -> Iterator[Row]:
    """W1 to W4."""
    with servers() as url:
        yield from by_processes(lake, url)
        yield from plans(PLANNED.get(lake.events, 1_000_000), url)


@contextmanager
def servers() -> Iterator[str]:
    """A Postgres of our own; the URL of its owner."""
    folder = Path(tempfile.mkdtemp(prefix="clearlake-bench-"))
    folder.chmod(0o711)  # where we are root, Postgres runs as nobody
    try:
        with Servers(folder, parts={"postgres"}) as running:
            yield running.postgres.url
    finally:
        remove_state(folder)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def database(owner: str, name: str) -> Iterator[str]:
    """A migrated database; the URL of the service's role."""
    url = make_url(owner)
    with psycopg.connect(owner.replace("+psycopg", "", 1), autocommit=True) as link:
        link.execute(f'create database "{name}"'.encode())
        theirs = url.set(database=name).render_as_string(hide_password=False)
        service = url.set(database=name, username="clearlake_bench", password="bench")
        found = service.render_as_string(hide_password=False)
        migrate(theirs, found)
        yield found
        link.execute(f'drop database "{name}" with (force)'.encode())


# --- W1 ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ran:
    """A run from its plan to its report."""

    wall_seconds: float
    cpu_seconds: float
    """Of the worker processes."""
    stages: dict[str, float]
    """Stage -> seconds until it was reached, from the one before."""


def by_processes(lake: BenchLake, owner: str) -> Iterator[Row]:
    """The same run over the same lake, by more and more processes."""
    ran = {n: _ran(lake, owner, processes=n) for n in PROCESSES}
    one = ran[PROCESSES[0]]
    for number in PROCESSES[1:]:
        many = ran[number]
        objects = _share(one, many, "erased", "checked")
        more: dict[str, float | int | str] = {
            "cores": os.cpu_count() or 1,
            "wall_seconds": many.wall_seconds,
            "wall_seconds_of_one": one.wall_seconds,
            "cpu_seconds": many.cpu_seconds,
            "cpu_seconds_of_one": one.cpu_seconds,
            "erase_and_check": round(objects, 2),
            **{f"{name}_seconds": seconds for name, seconds in many.stages.items()},
        }
        goal = 1.6 if number == 2 else 1.0
        what = f"a whole run by {number} processes: times faster than by one (wall)"
        value = one.wall_seconds / many.wall_seconds
        yield Row(f"W1 {number}", what, value, goal, is_at_least=True, more=more)


def _share(one: Ran, many: Ran, *stages: str) -> float:
    return sum(one.stages[s] for s in stages) / sum(many.stages[s] for s in stages)


def _ran(lake: BenchLake, owner: str, *, processes: int) -> Ran:
    with ExitStack() as closing:
        closing.enter_context(_lent(lake.folder))
        folder = Path(tempfile.mkdtemp(prefix="clearlake-bench-"))
        closing.callback(shutil.rmtree, folder, ignore_errors=True)
        url = closing.enter_context(database(owner, f"bench_{processes}"))
        environment = _settings(lake, folder, url)
        name = "CLEARLAKE_CATALOG_URI"  # a map's variables are those of the process that reads it
        os.environ[name] = environment[name]
        parts = worker_parts(read_settings(environment), ring=no_bell)
        closing.callback(parts.database.close)
        with parts.database.transaction() as tx:
            schedule.ensure(tx, {"runs": timedelta(days=365)})  # begun by nobody but us
        approved(parts, [i.subject for i in lake.people(PEOPLE)])
        workers = closing.enter_context(_started(environment, folder, processes))
        return _timed(parts, workers)


@contextmanager
def _lent(folder: Path) -> Iterator[None]:
    """A copy of the lake in its own place, because a table names its files by where they lie; the
    lake itself is back afterwards, or at the next start.
    """
    kept = folder.with_name(folder.name + ".kept")
    if not kept.exists():
        folder.rename(kept)
    try:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(kept, folder)
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        kept.rename(folder)


def _settings(lake: BenchLake, folder: Path, url: str) -> dict[str, str]:
    """What a worker on the lake reads."""
    data_map = folder / "lake.yaml"
    data_map.write_text(map_text(root=f"file://{lake.folder}/"), encoding="utf-8")
    return {
        **os.environ,
        "CLEARLAKE_ENV": "demo",
        "CLEARLAKE_DATABASE_URL": url,
        "CLEARLAKE_KEYS_URI": f"file://{folder / 'keys'}",
        "CLEARLAKE_LAKE_MAP": str(data_map),
        "CLEARLAKE_CATALOG_URI": f"sqlite:///{lake.folder}/catalog.db",
        "CLEARLAKE_SPOOL": str(folder / "spool"),
        "CLEARLAKE_APPROVAL_GRACE": "0s",
        "CLEARLAKE_MAX_WRITER_LIFETIME": "0s",
        "CLEARLAKE_RUN_EVERY": "365d",
        "CLEARLAKE_SCOPE_DELAY": "0s",
        "CLEARLAKE_MAX_DSARS_A_DAY": "100000",
    }


def approved(parts: Parts, users: Sequence[str]) -> None:
    """Cases of these users, scoped and approved: the next run takes them."""
    asker, officer = OFFICERS
    ids = []
    for user in users:
        asked = Asked(
            type=DsarType.ERASURE,
            regulation=Regulation.GDPR,
            requester_kind=RequesterKind.SELF,
            user_id=user,
        )
        with parts.database.transaction() as tx:
            ids.append(dsars.submit(asker, tx, parts=parts, asked=asked).dsar.id)
    _scoped(parts)
    for dsar_id in ids:
        with parts.database.transaction() as tx:
            case, scope = cases.get(tx, dsar_id), cases.scope_of(tx, dsar_id)
            assert scope is not None
            tripped = tuple(b.kind.value for b in case.breakers)
            review = "tombstone" if scope.undecided else None
            approval = Approval(scope.digest, review, "bench", accept=tripped)
            decisions.approve(officer, tx, parts=parts, dsar_id=dsar_id, approval=approval)


def _scoped(parts: Parts) -> None:
    worker = Worker("bench", parts, acts(), runs.advance)
    while True:
        with parts.database.transaction() as tx:
            ready = leases.claimable(tx, kinds=(StepKind.SCOPE,), limit=1)
        if not ready:
            return
        perform(ready[0], worker=worker)


@contextmanager
def _started(
    environment: dict[str, str], folder: Path, processes: int
) -> Iterator[list[psutil.Process]]:
    """Worker processes that have begun to look for steps."""
    root = Path(__file__).parents[1]
    with ExitStack() as closing:
        found = []
        for number in range(processes):
            log = closing.enter_context((folder / f"worker{number}.log").open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", "workers.poll"],
                cwd=root,
                env=environment,
                stdout=log,
                stderr=log,
            )
            closing.callback(_end, process)
            found.append(psutil.Process(process.pid))
        while not all(p.connections() for p in found):
            assert all(p.is_running() for p in found)
            time.sleep(0.2)
        yield found


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(30)


def _timed(parts: Parts, workers: Sequence[psutil.Process]) -> Ran:
    """Start a run, and wait for its report."""
    before, wall = _cpu_of(workers), time.perf_counter()
    with parts.database.transaction() as tx:
        run_id = runs.start(OFFICERS[1], tx, parts=parts)
    assert run_id is not None
    stage = Stage.OPEN
    while stage is not Stage.CLOSED:
        time.sleep(0.2)
        with parts.database.transaction() as tx:
            stage = run_rows.get(tx, run_id).stage
        assert stage not in (Stage.STUCK, Stage.PENDING), "the run did not come to its end"
    wall = time.perf_counter() - wall
    cpu = _cpu_of(workers) - before
    with parts.database.transaction() as tx:
        verdicts = {r.verdict for r in run_reports.of_run(tx, run_id) if r.kind != "objects"}
        assert verdicts == {"VERIFIED"}, "a run that went wrong counts nothing"
        facts = run_rows.facts(tx, run_id)
    return Ran(round(wall, 1), round(cpu, 1), _between(facts))


def _cpu_of(workers: Sequence[psutil.Process]) -> float:
    times = [p.cpu_times() for p in workers]
    return float(sum(t.user + t.system for t in times))


def _between(facts: dict[str, str]) -> dict[str, float]:
    names = ("resolved", *_STAGES)
    at = [datetime.fromisoformat(facts[f"{name}_at"]) for name in names]
    pairs = zip(_STAGES, at[1:], at, strict=False)
    return {name: round((end - begin).total_seconds(), 1) for name, end, begin in pairs}


# --- W2 to W4 ------------------------------------------------------------------------------------


def plans(count: int, owner: str) -> Iterator[Row]:
    """A plan of so many objects, and one of a tenth of them for comparison."""
    small, large = (_planned(n, owner) for n in (count // 10, count))
    minutes = (large["plan_seconds"] + large["newer_seconds"]) / 60
    yield Row("W2", f"{count:,} objects planned, stored, and listed again", minutes, 20.0,
              is_at_least=False, unit="minutes", more=large)  # fmt: skip
    grown = [max(s["plan_grown"] + s["newer_grown"], 1) for s in (small, large)]
    yield Row("W3", f"{count:,} objects planned: peak memory added",
              grown[1] / 1e6, 300.0, is_at_least=False, unit="MB",
              more={"of_a_tenth": round(grown[0] / 1e6, 1)})  # fmt: skip
    yield Row("W4", f"a run of {count:,} objects shown, times a second",
              large["overviews_a_second"], 20.0, is_at_least=True, unit="a second")  # fmt: skip


def _planned(count: int, owner: str) -> dict[str, float]:
    with (
        database(owner, f"plan_{count}") as url,
        tempfile.TemporaryDirectory(prefix="clearlake-bench-") as folder,
    ):
        line = [sys.executable, "-m", "bench.simulated_plan", str(count), folder, url]
        done = subprocess.run(line, stdout=subprocess.PIPE, check=True)
    seen: dict[str, float] = json.loads(done.stdout)
    return seen
