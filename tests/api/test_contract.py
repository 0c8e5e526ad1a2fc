"""The whole OpenAPI document against the running service: whatever the document allows or forbids
is sent, and every answer is one that the document describes.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import httpx
import schemathesis
from fastapi import FastAPI
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.engine.recorder import ScenarioRecorder

from app.domain.actors import Scope
from tests.api.conftest import MakeKey, serving
from tests.api.matrix import BODIES

Case = schemathesis.Case[Any]
Headers = dict[str, str]
REFUSED_BY_RULE = ["412", "422"]
"""What no schema can say: a received_at within a year, a cursor that we made, a version read."""
CONFIG = {
    "checks": {
        "positive_data_acceptance": {
            "expected-statuses": ["2xx", "401", "403", "404", "409", *REFUSED_BY_RULE]
        }
    },
    "workers": 1,
    "cache": {"enabled": False},
    "generation": {"max-examples": 6, "database": "none"},
    "continue-on-failure": True,
    "max-failures": 20,
}


def with_examples(document: dict[str, Any]) -> dict[str, Any]:
    """The document with a body for each route that creates: from a good one the bad are made."""
    for (method, path), body in BODIES.items():
        asked = document["paths"][path][method.lower()]["requestBody"]["content"]
        asked["application/json"]["example"] = body
    return document


def keys(make_key: MakeKey) -> type[schemathesis.AuthProvider[Headers]]:
    """A key for each operation; a new one each time for those that may revoke or rotate it."""

    @cache
    def kept(label: str) -> Headers:
        return make_key(*Scope)

    class Keys:
        def get(self, case: Case, context: schemathesis.AuthContext) -> Headers:
            label = case.operation.label
            return make_key(*Scope) if "api-keys" in label else kept(label)

        def set(self, case: Case, data: Headers, context: schemathesis.AuthContext) -> None:
            case.headers.update(data)

    return Keys


def test_every_answer_is_as_the_document_says(app: FastAPI, make_key: MakeKey) -> None:
    failures, created = [], set()
    with serving(app) as url:
        config = SchemathesisConfig.from_dict(CONFIG | {"base-url": url})
        document = with_examples(httpx.get(f"{url}/openapi.json", trust_env=False).json())
        schema = schemathesis.openapi.from_dict(document, config=config)
        schema.auth(refresh_interval=None)(keys(make_key))
        for event in engine.from_schema(schema).execute():
            assert not isinstance(event, engine.events.NonFatalError), event.value
            assert not isinstance(event, engine.events.FatalError), event.exception
            if isinstance(event, engine.events.ScenarioFinished):
                failures += told(event.recorder)
                created |= {
                    event.recorder.label
                    for done in event.recorder.interactions.values()
                    if done.response is not None and 200 <= done.response.status_code < 300
                }
    assert not failures, "\n\n".join(failures)
    assert {f"{method} {path}" for method, path in BODIES} <= created


def told(recorder: ScenarioRecorder) -> list[str]:
    """What was found, with the request that found it."""
    return [
        f"{recorder.label}: {check.failure_info.failure}\n{check.failure_info.code_sample}"
        for checks in recorder.checks.values()
        for check in checks
        if check.failure_info is not None
    ]
