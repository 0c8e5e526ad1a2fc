"""A worker that could not tell the broker that a message is done.

Celery writes that down and goes on. But the message stays among those under way, one is all that a
worker takes, and so it would never take another, nor look at its connection again. Not here: what a
message asks for (workers.tasks).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import Celery, Task
from celery.worker import strategy


def answering(task: Task[..., Any], app: Celery, consumer: Any) -> Callable[..., None]:
    """Celery's way of taking a message; where its answer is lost, the worker connects anew.

    `consumer`: of celery.worker.consumer. Its loop sends an answer in the turn after it was given.
    """
    take = strategy.default(task, app, consumer)

    def taken(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> None:
        look = _Look(consumer, message)
        for answer in (ack, reject):
            answer.then(lambda *_: consumer.hub.on_tick.add(look))
        take(message, body, ack, reject, callbacks)

    return taken


class _Look:
    """At the answer to one message, in the loop's turns after it was given."""

    def __init__(self, consumer: Any, message: Any) -> None:
        self._consumer, self._message = consumer, message
        self._turns = 0

    def __call__(self) -> None:
        """ConnectionResetError: it was not told. The loop takes that for what it is."""
        self._turns += 1
        told = self._message.acknowledged
        if not told and self._turns == 1:
            return  # given in the turn that ends here, to be sent in the next
        self._consumer.hub.on_tick.discard(self)
        if not told and self._message.channel is self._consumer.task_consumer.channel:
            raise ConnectionResetError("The broker was not told that a message is done.")
