"""A Valkey that a test may kill, and worker processes that end with the test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis

from app.queue import CeleryBell
from app.servers import Servers, remove_state
from app.services.parts import Parts
from app.store.transaction import Database
from tests.workers.worlds import World


@pytest.fixture(scope="module")
def own_valkey() -> Iterator[Servers]:
    folder = Path(tempfile.mkdtemp(prefix="clearlake-valkey-"))
    try:
        with Servers(folder, parts={"valkey"}) as servers:
            yield servers
    finally:
        remove_state(folder)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def redis(own_valkey: Servers) -> Iterator[Redis]:
    """Its client; it begins empty."""
    with Redis.from_url(own_valkey.valkey.url) as client:
        client.flushall()
        yield client


@pytest.fixture
def world(
    own_valkey: Servers, redis: Redis, database_url: str, parts: Parts, tmp_path: Path
) -> Iterator[World]:
    """A ledger whose bell is real; no process yet."""
    broker_url = own_valkey.valkey.url
    bell = CeleryBell(broker_url)
    database = Database(database_url, ring=bell)
    found = World(replace(parts, database=database), database_url, broker_url, tmp_path)
    try:
        yield found
    finally:
        found.close()
        database.close()
        bell.close()


@pytest.fixture
def quick(parts: Parts) -> Parts:
    """With a lease that a test can wait for."""
    rules = replace(
        parts.rules,
        lease=timedelta(seconds=1.5),
        heartbeat=timedelta(seconds=0.2),
        retry_after=timedelta(0),
    )
    return replace(parts, rules=rules)
