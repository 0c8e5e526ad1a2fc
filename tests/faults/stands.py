"""A stand: a small made lake, the service's database on it, and real workers to be killed there.

Not here: which faults they are put through (the tests), and the proxies (proxy).
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from uuid import uuid4

import psycopg
from sqlalchemy import func, select

from app.audit.keys import KeyStore
from app.domain.datasets import DataMap
from app.domain.dsars import State
from app.domain.runs import Stage
from app.domain.steps import OPEN, StepState
from app.lake.datamap import map_text
from app.lake.ports import Doors
from app.services import runs
from app.services.parts import Lake, Parts, Rules
from app.store.tables import audit_entry, step
from app.store.transaction import Database
from app.up import TRIAL
from tests.e2e.records import Gone, Records
from tests.e2e.worlds import plain_environment, s3_environment
from tests.faults.places import fresh_database, fresh_place
from tests.faults.zygote import Worker, Zygote
from tests.places import S3Doors
from tests.services.dsar_cases import OFFICER, get
from tests.services.run_worlds import RunWorld, made_run_world, storage_of

LEASE = 1.5
"""Seconds. What a stand measures is told beyond it: the service's own is 40."""
TIMES: Mapping[str, str] = MappingProxyType(
    {
        "CLEARLAKE_LEASE": f"{LEASE:g}s",
        "CLEARLAKE_HEARTBEAT": "300ms",
        "CLEARLAKE_RETRY_AFTER": "100ms",
        "CLEARLAKE_RECONCILE_EVERY": "300ms",
        "CLEARLAKE_RUN_EVERY": "1h",
    }
)
NONE: Mapping[str, str] = MappingProxyType({})
_WAITING = frozenset({Stage.PENDING, Stage.STUCK, Stage.UNDONE})


@dataclass
class Stand:
    """A lake with people in it, one of whom is taken out at a time."""

    world: RunWorld
    owner_url: str
    environment: dict[str, str] = field(repr=False)
    folder: Path
    zygote: Zygote = field(repr=False)
    people: list[str] = field(repr=False)
    """user_ids still in the lake; those with most rows last."""
    workers: list[Worker] = field(default_factory=list, repr=False)

    # --- workers ---------------------------------------------------------------------------------

    def worker(self, *, env: Mapping[str, str] = NONE, limit: int = 0, days_off: int = 0) -> Worker:
        """Start one; `env` is added to the stand's."""
        log = Path(os.devnull) if limit else self.folder / f"worker{len(self.workers)}.log"
        environment = {**self.environment, **env}
        made = self.zygote.worker(environment, log=log, limit=limit, days_off=days_off)
        self.workers.append(made)
        return made

    def kill_all(self) -> None:
        """Every worker that is left."""
        for worker in self.workers:
            worker.kill()

    # --- a case ----------------------------------------------------------------------------------

    def begin(self, *, people: int = 1) -> Going:
        """People of the lake have approved cases, and the run that takes them begins."""
        users = [self.people.pop() for _ in range(people)]
        before, gone = self.world.records().settled, self.world.gone(*users)
        cases = self.world.queued(*users)
        return Going(self, self.world.start(), cases, gone, before)

    def wait(self, true: object, *, seconds: float = 60) -> None:
        """Until it is so. AssertionError with what the workers said."""
        assert callable(true)
        until = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < until, self.told()
            time.sleep(0.15)

    def told(self) -> str:
        """What the last workers are at, for a failing test's message."""
        return "\n".join(
            f"worker {w.pid} {'ended' if w.ended else 'is at work'}\n{w.said()}"
            for w in self.workers[-2:]
        )

    def started_after(self, moment: float) -> float | None:
        """When a step was first begun after a moment, by the ledger; seconds since the epoch."""
        with self.world.parts.database.transaction() as tx:
            found: datetime | None = tx.run(
                select(func.min(audit_entry.c.at)).where(
                    audit_entry.c.verb == "step.started",
                    audit_entry.c.at > func.to_timestamp(moment),
                )
            ).scalar_one()
        return None if found is None else found.timestamp()


@dataclass
class Going:
    """A run on a stand, and how the lake was before."""

    stand: Stand
    run_id: str
    cases: list[str]
    gone: Gone = field(repr=False)
    before: Records = field(repr=False)

    def over(self) -> bool:
        """Closed, its cases completed and shredded, and nothing left to do."""
        parts = self.stand.world.parts
        with parts.database.transaction() as tx:
            waiting = select(func.count()).where(step.c.state.in_(sorted(OPEN)))
            busy = tx.run(waiting).scalar_one()
        cases = [get(parts, c) for c in self.cases]
        return not busy and all(
            c.state is State.COMPLETED and c.shredded_at is not None for c in cases
        )

    def stuck(self) -> bool:
        """It waits for a person."""
        return self.stand.world.stage(self.run_id) in _WAITING

    def settled(self) -> bool:
        """Over, or waiting for a person."""
        return self.over() or self.stuck()

    def resume(self) -> None:
        """A person has what was parked tried again."""
        parts = self.stand.world.parts
        with parts.database.transaction() as tx:
            runs.resume(OFFICER, tx, parts=parts, run_id=self.run_id)

    def see_through(self, *workers: Worker, seconds: float = 120) -> int:
        """All is well again: a person resumes it as often as it waits for one, then these workers
        end. How often that was.
        """
        resumed = 0
        self.stand.wait(self.settled, seconds=seconds)
        while self.stuck() and resumed < 5:
            self.resume()
            resumed += 1
            self.stand.wait(self.settled, seconds=seconds)
        self.wait_over(*workers, seconds=seconds)
        return resumed

    def finish(self, *, seconds: float = 60) -> None:
        """With one more worker, which is told to end then."""
        self.wait_over(self.stand.worker(), seconds=seconds)

    def wait_over(self, *workers: Worker, seconds: float = 60) -> None:
        """Until it is over or stuck; then these end."""
        self.stand.wait(self.settled, seconds=seconds)
        for worker in workers:
            worker.signal(signal.SIGTERM)
        for worker in workers:
            worker.wait()

    def wrong(self) -> list[str]:
        """What is not as it must be; nothing when all is."""
        world = self.stand.world
        if world.stage(self.run_id) is not Stage.CLOSED:
            left = [
                (s.kind.value, s.state.value, s.error_code)
                for s in world.steps(self.run_id)
                if s.state is not StepState.DONE
            ]
            return [f"is {world.stage(self.run_id)}: {left}"]
        found = [
            f"{(who and 'a case') or 'the run'} says {said}"
            for who, said in world.verdicts(self.run_id).items()
            if said != ("VERIFIED", "fulfilled")
        ]
        found += [f"left: {held}" for held in world.storage.held(self.gone.values)[:2]]
        found += world.records().settled.differences(self.before.without(self.gone))[:2]
        return found


# --- making stands -------------------------------------------------------------------------------


@dataclass
class Stands:
    """Makes stands, one after the other; the one before ends with the next."""

    s3_doors: S3Doors
    template: str
    zygote: Zygote
    folder: Path

    @contextmanager
    def fresh(
        self, kind: str, *, env: Mapping[str, str] = NONE, events: int = 300
    ) -> Iterator[Stand]:
        """A stand on a lake of a kind (s3, file). `env`: other settings for its workers."""
        folder = self.folder / uuid4().hex[:12]
        folder.mkdir()
        with ExitStack() as closing:
            place = closing.enter_context(fresh_place(kind, folder, s3_doors=self.s3_doors))
            servers = self.s3_doors.servers
            owner_url, url = closing.enter_context(fresh_database(servers, self.template))
            database = Database(url, ring=lambda _: False)
            closing.callback(database.close)
            keys = KeyStore.open(folder / "keys")
            trial = {
                name: timedelta(0)
                for name in ("scope_delay", "approval_grace", "max_writer_lifetime", "shred_after")
            }
            parts = Parts(database=database, keys=keys, rules=Rules(**trial))  # type: ignore[arg-type]  # durations
            spool = folder / "spool"
            spool.mkdir(mode=0o700)

            def with_lake(data_map: DataMap) -> Parts:
                @contextmanager
                def opened() -> Iterator[Doors]:
                    yield place.doors()

                return replace(parts, lake=Lake(data_map, opened, spool))

            storage = closing.enter_context(storage_of(place, folder, servers))
            world = made_run_world(place, with_lake, storage=storage, events=events)
            (folder / "lake.yaml").write_text(map_text(root=place.root), "utf-8")
            environment = {
                **plain_environment(place.catalog.uri),
                **TRIAL,
                **TIMES,
                **(s3_environment(servers) if kind == "s3" else {}),
                "CLEARLAKE_DATABASE_URL": url,
                "CLEARLAKE_KEYS_URI": f"file://{folder}/keys",
                "CLEARLAKE_LAKE_MAP": str(folder / "lake.yaml"),
                "CLEARLAKE_SPOOL": str(spool),
                **env,
            }
            stand = Stand(world, owner_url, environment, folder, self.zygote, _people(world))
            closing.callback(stand.kill_all)
            yield stand


def _people(world: RunWorld) -> list[str]:
    """user_ids of the lake, those with most lines last."""
    lines = [json.loads(t) for ts in world.records().lines.values() for t in ts]
    counts = Counter(line["user"]["user_id"] for line in lines)
    return [user for user, _ in reversed(counts.most_common()) if user]


def passed_by(stand: Stand) -> Counter[str]:
    """Every place that a worker passes from a run's begin to the end of its cases."""
    record = stand.folder / "passed"
    going = stand.begin()
    going.wait_over(stand.worker(env={"CLEARLAKE_FAILPOINTS_RECORD": str(record)}))
    assert going.wrong() == []
    return Counter(record.read_text("ascii").split())


def turns(places: Mapping[str, int], *, seed: int) -> list[tuple[str, int]]:
    """Every place once, at one of its passings, in an order of the seed's."""
    luck = random.Random(seed)
    order = sorted(places)
    luck.shuffle(order)
    return [(place, luck.randint(1, places[place])) for place in order]


def execute(owner_url: str, statement: str) -> None:
    """What no service may do."""
    with psycopg.connect(owner_url.replace("+psycopg", "", 1), autocommit=True) as link:
        link.execute(statement.encode())
