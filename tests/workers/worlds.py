"""Worker processes on a database and a broker of a test, and what they told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import psutil
from sqlalchemy import insert

from app.domain.steps import NewStep, StepKind, StepState
from app.services.parts import Parts
from app.store import steps
from app.store.steps import StepRow
from app.store.tables import run

ROOT = Path(__file__).parents[2]
CELERY = ("-m", "celery", "-A", "tests.workers.entry")
WORKER = (*CELERY, "worker", "--without-mingle", "--without-gossip", "--without-heartbeat")
BEAT = (*CELERY, "beat")
POLLER = ("-m", "tests.workers.entry")


@dataclass(frozen=True)
class Told:
    """A line that an act wrote."""

    what: str
    target: str
    attempt: int
    pid: int
    at: float


@dataclass
class World:
    """A ledger, and processes that work on it."""

    parts: Parts
    database_url: str
    broker_url: str
    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(
        self, arguments: Sequence[str], *, environment: Mapping[str, str] = MappingProxyType({})
    ) -> subprocess.Popen[bytes]:
        """A process of its own, its log beside what is told."""
        environment = {
            **os.environ,
            **environment,
            "TEST_FOLDER": str(self.folder),
            "TEST_DATABASE_URL": self.database_url,
            "TEST_BROKER_URL": self.broker_url,
        }
        with (self.folder / f"log{len(self.processes)}").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def close(self) -> None:
        """Kill what is left, children too: some were stopped."""
        for process in self.processes:
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
                process.kill()
            process.wait()

    def put(self, *targets: str, max_attempts: int = 5) -> list[str]:
        """Put steps of no run, and ring."""
        new = [NewStep(StepKind.SHRED, t, max_attempts=max_attempts) for t in targets]
        with self.parts.database.transaction() as tx:
            ids = steps.put(tx, new)
            tx.ring(ids)
        return ids

    def put_run(self, targets: Sequence[str], *, run_id: str = "run_1") -> list[str]:
        """Put a run with these steps to begin with, and ring."""
        with self.parts.database.transaction() as tx:
            tx.run(insert(run).values(id=run_id, stage="planned", started_by="worker"))
            ids = steps.put(tx, [NewStep(StepKind.ERASE, t, run_id) for t in targets])
            tx.ring(ids)
        return ids

    def row(self, step_id: str) -> StepRow:
        with self.parts.database.transaction() as tx:
            found = steps.get(tx, step_id)
        assert found is not None
        return found

    def is_done(self, *step_ids: str) -> bool:
        return all(self.row(i).state is StepState.DONE for i in step_ids)

    def told(self, what: str, target: str | None = None) -> list[Told]:
        """What acts wrote, in order."""
        file = self.folder / "told"
        lines = file.read_text("ascii").splitlines() if file.exists() else []
        found = [Told(**json.loads(line)) for line in lines]
        return [t for t in found if t.what == what and target in (None, t.target)]

    def wait_for(self, true: Callable[[], bool], *, seconds: float = 40) -> float:
        """How long it took. AssertionError with the logs when it takes longer."""
        begun = time.monotonic()
        while not true():
            assert time.monotonic() - begun < seconds, self.logs()
            time.sleep(0.03)
        return time.monotonic() - begun

    def begun(self, target: str, *, attempt: int = 1) -> Told:
        """Wait until an act has begun that often."""
        self.wait_for(lambda: any(t.attempt == attempt for t in self.told("begun", target)))
        return next(t for t in self.told("begun", target) if t.attempt == attempt)

    def logs(self, length: int = 3000) -> str:
        return "\n".join(
            f"--- {p.name}\n{_but_rings(p.read_text(errors='replace'))[-length:]}"
            for p in sorted(self.folder.glob("log*"))
        )


def _but_rings(log: str) -> str:
    """Without the lines that come every half a second."""
    return "\n".join(line for line in log.splitlines() if "reconciler.rang" not in line)


def parent(pid: int) -> int:
    """The main process of a pool process."""
    return psutil.Process(pid).ppid()


def signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)
