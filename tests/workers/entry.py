"""Workers with acts of the tests, as processes: `celery -A tests.workers.entry worker|beat`, and
`python -m tests.workers.entry` for one without a broker. What acts do is written to a file.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from sqlalchemy import update

from app import logs
from app.audit.keys import KeyStore
from app.domain.errors import StoppedError
from app.domain.steps import NewStep, Step, StepEnd, StepKind, StepState
from app.services.ledger import Lease, Worker
from app.services.parts import Parts, Rules, Transaction
from app.services.schedule import Job
from app.store import steps
from app.store.tables import run
from app.store.transaction import Database, Ring
from workers.application import application
from workers.draining import Draining
from workers.pipeline import Pipeline, worker_name
from workers.poll import serve

FOLDER = Path(os.environ["TEST_FOLDER"])
RULES = Rules(
    lease=timedelta(seconds=2),
    heartbeat=timedelta(seconds=0.4),
    reconcile_every=timedelta(seconds=0.5),
    retry_after=timedelta(seconds=0.2),
)
SLOW = 3.0
"""Seconds that a slow act takes, when nobody stops it."""


def tell(what: str, step: Step) -> None:
    line = json.dumps(
        {
            "what": what,
            "target": step.target,
            "attempt": step.attempt,
            "pid": os.getpid(),
            "at": time.time(),
        }
    )
    with (FOLDER / "told").open("a", encoding="ascii") as file:
        file.write(line + "\n")


def act(step: Step, lease: Lease, parts: Parts) -> StepEnd:
    """What the target begins with says how it goes."""
    tell("begun", step)
    manner = step.target.partition("/")[0]
    if manner == "poison" or (manner == "mortal" and step.attempt == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    end = time.monotonic() + {"slow": SLOW, "stubborn": 0.5}.get(manner, 0.0)
    while time.monotonic() < end:
        if manner == "slow" and lease.stop():
            raise StoppedError("The worker is to end.")
        time.sleep(0.02)
    with parts.database.transaction() as tx:
        lease.guard(tx)
        tell("done", step)
    return StepEnd(receipt={"attempt": step.attempt})


def advance(tx: Transaction, parts: Parts, run_id: str) -> list[NewStep]:
    """Every ERASE, then CHECK, then REPORT, then the end."""
    found = {(s.kind, s.state) for s in steps.of_run(tx, run_id)}
    if any(state is not StepState.DONE for _, state in found):
        return []
    kinds = {kind for kind, _ in found}
    for kind in (StepKind.CHECK, StepKind.REPORT):
        if kind not in kinds:
            return [NewStep(kind, "quick/all", run_id)]
    tx.run(update(run).where(run.c.id == run_id).values(stage="closed"))
    return []


def put_nightly(tx: Transaction, parts: Parts) -> None:
    tx.ring(steps.put(tx, [NewStep(StepKind.SHRED, "quick/night")]))


def parts_of(ring: Ring) -> Parts:
    database = Database(os.environ["TEST_DATABASE_URL"], ring=ring)
    return Parts(database, KeyStore.open(FOLDER / "keys"), RULES)


def pipeline_of(ring: Ring, draining: Draining) -> Pipeline:
    acts = dict.fromkeys(StepKind, act)
    worker = Worker(worker_name(), parts_of(ring), acts, advance, draining)
    return Pipeline(worker, (Job("nightly", timedelta(days=1), put_nightly),), draining)


def silent(_: Sequence[str]) -> bool:
    return False


app = application(
    os.environ.get("TEST_BROKER_URL", "redis://127.0.0.1:1/0"),
    rules=RULES,
    parts_of=parts_of,
    pipeline_of=pipeline_of,
)

if __name__ == "__main__":
    logs.configure("worker")
    serve(pipeline_of(silent, Draining()))
