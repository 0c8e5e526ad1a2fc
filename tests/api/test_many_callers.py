"""More callers at once than there are threads and connections: they wait, nobody is sent away."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx
from fastapi import FastAPI

from app.api.deps import AT_ONCE
from app.domain.actors import Scope
from tests.api.conftest import MakeKey, serving

CALLERS = 80


def answers(url: str, headers: Mapping[str, str], paths: list[str]) -> list[httpx.Response]:
    async def ask() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=len(paths))
        async with httpx.AsyncClient(
            base_url=url, timeout=60, trust_env=False, limits=limits
        ) as client:
            return await asyncio.gather(*(client.get(p, headers=headers) for p in paths))

    return asyncio.run(ask())


def test_eighty_callers_at_once_are_all_answered(app: FastAPI, make_key: MakeKey) -> None:
    headers = make_key(Scope.CONSENTS_READ)
    paths = [f"/v1/consents/check?user_id=usr_{n}&purpose=marketing" for n in range(CALLERS)]
    with serving(app) as url:
        found = answers(url, headers, paths)
    assert {r.status_code for r in found} == {200}
    assert CALLERS > 4 * AT_ONCE
