"""The HTTP application behind a real server, on a fresh database, and keys to knock with."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import httpx
import pytest
import structlog
import uvicorn
from fastapi import FastAPI

from app.domain.actors import ActorKind, Scope
from app.main import build
from app.services import actors
from app.services.parts import Parts
from app.services.readiness import Health


class MakeKey(Protocol):
    """`make_key(Scope.DSARS_READ, ...)` -> the headers of a new key with these scopes."""

    def __call__(
        self, *scopes: Scope, kind: ActorKind = ..., name: str = ...
    ) -> dict[str, str]: ...


@pytest.fixture(scope="session", autouse=True)
def quiet() -> Iterator[None]:
    """Log lines go nowhere: what they look like is tested in processes of their own."""
    structlog.configure(processors=[], logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The application behind uvicorn on a free port of loopback; gives its URL."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_config=None, access_log=False, server_header=False,
        lifespan="off",
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def app(parts: Parts) -> FastAPI:
    return build(parts, health=Health(), public_url="http://127.0.0.1:8000", env="test")


@pytest.fixture
def http(app: FastAPI) -> Iterator[httpx.Client]:
    """A caller without a key."""
    with serving(app) as url, httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
def make_key(parts: Parts) -> MakeKey:
    def make(
        *scopes: Scope, kind: ActorKind = ActorKind.PERSONAL, name: str = "A. Officer"
    ) -> dict[str, str]:
        with parts.database.transaction() as tx:
            _, secret = actors.create(
                actors.OPERATOR, tx, parts=parts, name=name, kind=kind, scopes=scopes,
                expires_at=None,
            )  # fmt: skip
        return {"Authorization": f"Bearer {secret}"}

    return make


@pytest.fixture
def as_admin(make_key: MakeKey) -> dict[str, str]:
    """Headers of a key with `admin`."""
    return make_key(Scope.ADMIN)
