"""/healthz, /readyz and /metrics. They need no key: keep them inside.

Nothing they tell is personal or names a place: counts, states, ok or not.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import structlog
from anyio import CapacityLimiter, fail_after, to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from app.api.deps import PartsOf
from app.services import metrics
from app.services.readiness import Check

router = APIRouter(tags=["health"])

_SECONDS = 2.0
_THREADS = 16
"""A probe that hangs keeps its thread: past so many, asking again waits instead of piling up."""
_log = structlog.get_logger("clearlake.health")


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"]
    version: str


class Checked(BaseModel):
    """One thing the service leans on."""

    name: str
    ok: bool


class Ready(BaseModel):
    """`down` (503) without the database; `degraded` when something else does not answer: cases are
    still taken, and go on when it does.
    """

    status: Literal["ready", "degraded", "down"]
    checks: list[Checked]


@router.get("/healthz")
async def healthz(request: Request) -> Alive:
    """Whether the process answers at all."""
    return Alive(status="ok", version=request.app.version)


@router.get("/readyz", responses={503: {"model": Ready, "description": "No database."}})
async def readyz(request: Request, response: Response) -> Ready:
    """What the service leans on, each looked at for at most two seconds."""
    checks: tuple[Check, ...] = request.app.state.checks
    if not hasattr(request.app.state, "probes"):
        request.app.state.probes = CapacityLimiter(_THREADS)
    limiter: CapacityLimiter = request.app.state.probes
    found = await asyncio.gather(
        *(_look(check, limiter=limiter) for check in checks), return_exceptions=True
    )
    looked = [
        (check, not isinstance(end, Exception)) for check, end in zip(checks, found, strict=True)
    ]
    down = any(check.essential and not ok for check, ok in looked)
    response.status_code = 503 if down else 200
    status: Literal["ready", "degraded", "down"] = "ready"
    if not all(ok for _, ok in looked):
        status = "down" if down else "degraded"
        _log.warning("health.degraded", kind=",".join(c.name for c, ok in looked if not ok))
    return Ready(status=status, checks=[Checked(name=c.name, ok=ok) for c, ok in looked])


async def _look(check: Check, *, limiter: CapacityLimiter) -> None:
    with fail_after(_SECONDS):
        await to_thread.run_sync(check.probe, abandon_on_cancel=True, limiter=limiter)


@router.get("/metrics", response_class=PlainTextResponse)
def scrape(request: Request, parts: PartsOf) -> Response:
    """Prometheus text. Figures of the database are read now; without it the others still come."""
    text = request.app.state.metrics.text(parts)
    return Response(text, media_type=metrics.MEDIA_TYPE)
