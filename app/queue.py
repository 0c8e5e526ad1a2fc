"""The bell: task names, the options of our broker, and waking a worker for a step.

A message is one opaque step id. A bell that nobody hears costs nothing: the ledger rings again.
Not here: what a woken worker does (workers.tasks).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

__all__ = ["QUEUE", "STEP", "TICK", "CeleryBell", "worker_conf"]

STEP = "clearlake.step"
TICK = "clearlake.tick"
QUEUE = "clearlake"

_BELL_SECONDS = 0.5
"""To connect, and for each answer of the broker."""
_DEAF_SECONDS = 1.0
"""After a failure nobody else waits for the broker that long."""


_MESSAGES = {
    "task_default_queue": QUEUE,
    "task_ignore_result": True,
    "task_publish_retry": False,
    "result_backend": None,
    "task_serializer": "json",
    "event_serializer": "json",
    "accept_content": ["json"],
}


def worker_conf(lease: timedelta) -> dict[str, Any]:
    """The options of workers and beat. A message that nobody acknowledged comes back when the
    lease of its step is long over: until then it would find the step taken.
    """
    return {
        **_MESSAGES,
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "worker_concurrency": 1,
        "worker_pool": "prefork",
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "worker_soft_shutdown_timeout": 60.0,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "visibility_timeout": round(lease.total_seconds()) + 60,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_connect_timeout": 5,
            "socket_timeout": 10,
            "socket_keepalive": True,
            "health_check_interval": 10,  # a wait that the broker has forgotten ends after 21 s
        },
    }


class CeleryBell:
    """Wakes workers through one broker. Threads may share it; a forked process makes its own."""

    def __init__(self, broker_url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`broker_url`: redis://[:password@]host:port/db."""
        self._app = Celery("clearlake-bell", broker=broker_url, set_as_current=False)
        self._app.conf.update(_MESSAGES)
        self._app.conf.broker_transport_options = {
            "socket_connect_timeout": _BELL_SECONDS,
            "socket_timeout": _BELL_SECONDS,
            "max_retries": 0,
        }
        connection = self._app.connection_for_write()
        self._errors: tuple[type[BaseException], ...] = (
            OperationalError,
            *connection.connection_errors,
            *connection.channel_errors,
        )
        self._clock = clock
        self._deaf_until: float | None = None
        self._trying = threading.Lock()
        self.failures = 0
        """How often the broker did not answer."""

    def __call__(self, step_ids: Sequence[str]) -> bool:
        """Wake workers for these steps. False: not all of them were heard. Never raises, and never
        takes longer than a second or two.
        """
        return self._rung([(STEP, [step_id]) for step_id in step_ids])

    def tick(self) -> bool:
        """Have a worker look at what is due."""
        return self._rung([(TICK, [])])

    def waiting(self) -> int | None:
        """How many messages wait in the queue; None when the broker does not answer."""
        if self._is_deaf():
            return None
        try:
            with self._app.producer_pool.acquire(block=True) as producer:
                channel: Any = producer.channel
                return int(channel.queue_declare(QUEUE).message_count)
        except self._errors:
            self._failed()
            return None

    def close(self) -> None:
        """Let go of the broker."""
        self._app.close()

    def _rung(self, messages: Sequence[tuple[str, list[str]]]) -> bool:
        if self._deaf_until is None:
            return self._sent(messages)
        # while the broker is away one caller tries it now and then; the others do not wait
        if self._is_deaf() or not self._trying.acquire(blocking=False):
            return False
        try:
            return self._sent(messages)
        finally:
            self._trying.release()

    def _sent(self, messages: Sequence[tuple[str, list[str]]]) -> bool:
        try:
            with self._app.producer_pool.acquire(block=True) as producer:
                for name, args in messages:
                    self._app.send_task(name, args=args, producer=producer, retry=False)
        except self._errors:
            self._failed()
            return False
        self._deaf_until = None
        return True

    def _failed(self) -> None:
        self.failures += 1
        self._deaf_until = self._clock() + _DEAF_SECONDS

    def _is_deaf(self) -> bool:
        deaf_until = self._deaf_until
        return deaf_until is not None and self._clock() < deaf_until
