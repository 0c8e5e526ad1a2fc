"""The two tasks: an id in, nothing out. Not here: what they do (workers.pipeline)."""

from __future__ import annotations

from collections.abc import Callable

from celery import Celery

from app.queue import STEP, TICK
from workers.draining import Draining
from workers.pipeline import Pipeline

ANSWERING = "workers.answering:answering"


def install(app: Celery, draining: Draining, pipeline: Callable[[], Pipeline]) -> None:
    """Register them. `pipeline` gives the one of this process."""

    @app.task(name=STEP, Strategy=ANSWERING)
    def step(step_id: str) -> None:
        with draining.listening():
            pipeline().step(step_id)

    @app.task(name=TICK, Strategy=ANSWERING)
    def tick() -> None:
        pipeline().tick()
