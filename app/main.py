"""Builds the HTTP application from its parts. Not here: settings (app.wiring), serving it (cli)."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import FastAPI

from app.api import (
    consents,
    docs,
    dsars,
    errors,
    holds,
    idempotency,
    keys,
    openapi,
    run_steps,
    runs,
)
from app.api import health as probes
from app.api.door import Door
from app.services.metrics import Metrics
from app.services.parts import Parts
from app.services.readiness import Check, Health

_WORDS = """Takes a person out of an event lake, and proves it.

Every answer that is not 2xx is an RFC 9457 problem with a stable `code`. Lists have `limit` and
`cursor`. A POST that creates takes `Idempotency-Key`. Times are UTC, RFC 3339."""


def build(parts: Parts, *, health: Health, public_url: str, env: str) -> FastAPI:
    """The application. `health`: what /readyz looks at beside the database. `public_url`: under
    which callers reach it.
    """
    app = FastAPI(
        title="Clearlake",
        version=version("clearlake"),
        description=_WORDS,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.parts = parts
    app.state.checks = (_database(parts), *health.checks)
    app.state.metrics = Metrics(version=app.version, env=env)
    app.add_middleware(Door, metrics=app.state.metrics, https=public_url.startswith("https://"))
    for module in (dsars, runs, run_steps, holds, consents, keys, probes, docs):
        app.include_router(module.router)
    errors.install(app)
    idempotency.install(app)
    openapi.install(app, public_url=public_url)
    return app


def _database(parts: Parts) -> Check:
    def probe() -> None:
        with parts.database.transaction() as tx:
            tx.now()

    return Check("database", probe, essential=True)
