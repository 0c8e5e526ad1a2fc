"""From a woken process to the ledger: the parts, the acts and the recurring jobs put together.

Not here: what an act does (app.services), who wakes whom (workers.application, workers.poll).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog

from app.domain.actors import WORKER
from app.domain.errors import DatabaseUnavailableError
from app.domain.steps import StepKind
from app.services.ledger import Acts, Performed, Worker, perform
from app.services.parts import Rules
from app.services.schedule import Job, put_step, remind, tick
from app.settings import Settings
from app.store.transaction import Ring
from workers.draining import Draining

log = structlog.get_logger(__name__)

Make = Callable[[Draining], "Pipeline"]
"""Builds the pipeline of a process, with connections of its own."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What one process works with."""

    worker: Worker
    jobs: Sequence[Job]
    draining: Draining

    def step(self, step_id: str) -> Performed:
        """Do a step, if it is to be had. While the database is away nothing is: the ledger rings
        again.
        """
        try:
            return perform(step_id, worker=self.worker)
        except DatabaseUnavailableError as err:
            log.warning("step.unreachable", step_id=step_id, code=err.code)
            return Performed.NOTHING

    def tick(self) -> None:
        """Do what recurs and is due."""
        if self.draining():
            return
        try:
            tick(self.worker.parts, self.jobs)
        except DatabaseUnavailableError as err:
            log.warning("schedule.unreachable", code=err.code)


def pipeline_of(settings: Settings, ring: Ring, draining: Draining) -> Pipeline:
    """The service's own. The lake is imported here, in the process that will use it."""
    from app.services.runs import advance
    from app.wiring.lakes import worker_parts

    parts = worker_parts(settings, ring=ring)
    worker = Worker(worker_name(), parts, acts(), advance, draining)
    return Pipeline(worker, jobs_of(parts.rules), draining)


def worker_name() -> str:
    """Host and process: what a lease names its owner by."""
    return f"{socket.gethostname()}:{os.getpid()}"


def acts() -> Acts:
    """Every kind of step, and who does it."""
    from app.services import endings, erasures, late, lifted, order_holds, scopes, stitching

    return {
        **erasures.ACTS,
        StepKind.SCOPE: scopes.scope_cases,
        StepKind.STITCH: stitching.stitch_identities,
        StepKind.SWEEP: late.sweep,
        StepKind.REPLAY: late.replay,
        StepKind.LIFT: lifted.look,
        StepKind.SHRED: endings.shred,
        StepKind.LOOK: order_holds.look,
    }


def jobs_of(rules: Rules) -> tuple[Job, ...]:
    """Everything that recurs."""
    from app.services import endings, generations, holds, idempotency, runs, suppression

    soon, daily = rules.reconcile_every, timedelta(days=1)
    stitch, sweep = put_step(StepKind.STITCH), put_step(StepKind.SWEEP)
    return (
        Job("runs", rules.run_every, lambda tx, parts: runs.start(WORKER, tx, parts=parts)),
        Job("resume", soon, lambda tx, parts: runs.resume_due(WORKER, tx, parts=parts)),
        Job("settle", soon, endings.settle_due),
        Job("holds", soon, lambda tx, _: holds.settle(tx)),
        Job("stitch", rules.stitch_every, stitch, first=rules.stitch_every),
        Job("sweep", rules.sweep_every, sweep, first=rules.sweep_every),
        Job("lift", rules.sweep_every, put_step(StepKind.LIFT), first=rules.sweep_every),
        Job("remind", daily, remind),
        Job("forget", timedelta(hours=1), endings.forget_due),
        Job("forget_holds", timedelta(hours=1), holds.forget_due),
        Job("answers", daily, lambda tx, _: idempotency.forget_old(tx)),
        Job("expire", timedelta(hours=1), lambda tx, _: suppression.expire(tx)),
        Job("digest keys", daily, generations.destroy_ended),
    )
