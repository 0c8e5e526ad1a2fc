"""How soon a worker is back after the broker was away. Not here: what it does then (tasks)."""

from __future__ import annotations

from functools import partial
from typing import Any

from celery.worker.consumer import Consumer

LONGEST_PAUSE = 5.0
"""Seconds between two tries to connect. By itself Celery would pause for up to 30, however long the
broker has been back.
"""


class Reconnecting(Consumer):
    """Celery's consumer, as `worker_consumer` names it."""

    def ensure_connected(self, conn: Any) -> Any:
        """Try again and again. `conn`: of kombu, not yet connected."""
        conn.ensure_connection = partial(conn.ensure_connection, interval_max=LONGEST_PAUSE)
        return super().ensure_connected(conn)
