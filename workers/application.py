"""The Celery application: options, tasks, and what happens as its processes begin and end.

Not here: settings (workers.main), what a step does (workers.pipeline).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cached_property

from celery import Celery, signals

from app import logs
from app.queue import CeleryBell, worker_conf
from app.services.parts import Parts, Rules
from app.store.transaction import Ring
from workers import tasks
from workers.draining import Draining
from workers.pipeline import Pipeline
from workers.reconciler import Reconciler
from workers.schedule import beat_conf

_CHATTY = ("celery.app.trace", "celery.worker.strategy", "celery.beat")
"""They tell of every message; the ledger tells of every step."""

PartsOf = Callable[[Ring], Parts]
PipelineOf = Callable[[Ring, Draining], Pipeline]


def application(
    broker_url: str, *, rules: Rules, parts_of: PartsOf, pipeline_of: PipelineOf
) -> Celery:
    """A Celery application. `parts_of`: what the main process needs to reconcile; `pipeline_of`:
    what each pool process works with. Both are called in the process that will use them.
    """
    app = Celery("clearlake", broker=broker_url)
    app.conf.update(worker_conf(rules.lease))
    app.conf.update(beat_conf(rules.reconcile_every))
    app.conf.worker_consumer = "workers.reconnecting:Reconnecting"
    processes = _Processes(broker_url, parts_of, pipeline_of)
    tasks.install(app, processes.draining, lambda: processes.pipeline)
    processes.connect()
    return app


class _Processes:
    """The main process and its pool. Everything is made after the fork, where it is used."""

    def __init__(self, broker_url: str, parts_of: PartsOf, pipeline_of: PipelineOf) -> None:
        self._broker_url = broker_url
        self._parts_of, self._pipeline_of = parts_of, pipeline_of
        self.draining = Draining()
        self._reconcilers: list[Reconciler] = []

    @cached_property
    def pipeline(self) -> Pipeline:
        """That of this pool process."""
        return self._pipeline_of(CeleryBell(self._broker_url), self.draining)

    def connect(self) -> None:
        """To the signals of Celery."""
        signals.setup_logging.connect(self._configure_logs, weak=False)
        signals.beat_init.connect(self._name_beat, weak=False)
        signals.worker_ready.connect(self._begin_to_reconcile, weak=False)
        signals.worker_shutting_down.connect(self._drain, weak=False)

    def _configure_logs(self, **_: object) -> None:
        logs.configure("worker")
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)

    def _name_beat(self, **_: object) -> None:
        logs.configure("beat")

    def _begin_to_reconcile(self, **_: object) -> None:
        if not self._reconcilers:
            bell = CeleryBell(self._broker_url)
            self._reconcilers.append(Reconciler(self._parts_of(bell), bell))
            self._reconcilers[0].start()

    def _drain(self, **_: object) -> None:
        self.draining.begin()
        for reconciler in self._reconcilers:
            reconciler.end()
