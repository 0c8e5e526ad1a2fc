"""A worker whose broker is away tries again soon, however long that lasts."""

from __future__ import annotations

import logging
import re
from types import SimpleNamespace

import kombu.utils.functional
import pytest
from celery import Celery

from app.servers.state import free_ports
from workers.reconnecting import LONGEST_PAUSE, Reconnecting

TRIES = 12


class _EnoughError(Exception):
    """Seen enough."""


def test_the_pause_between_two_tries_stays_short(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(pauses()) > TRIES:
            raise _EnoughError

    def pauses() -> list[float]:
        found = (re.search(r"in ([0-9.]+) seconds", r.getMessage()) for r in caplog.records)
        return [float(match[1]) for match in found if match is not None]

    monkeypatch.setattr(kombu.utils.functional, "sleep", sleep)
    app = Celery("away", broker=f"redis://127.0.0.1:{free_ports(1)[0]}/0", set_as_current=False)
    app.conf.broker_connection_max_retries = None
    controller = SimpleNamespace(use_eventloop=False)
    consumer = Reconnecting(lambda *_: None, app=app, controller=controller)
    consumer.first_connection_attempt = False
    with caplog.at_level(logging.ERROR, "celery.worker.consumer"), pytest.raises(_EnoughError):
        consumer.connection_for_read()
    assert len(pauses()) > TRIES
    assert max(pauses()) == LONGEST_PAUSE
    assert sum(slept) > TRIES
