"""The OpenAPI document says all that may be answered; its page comes from here alone."""

from __future__ import annotations

import re

import httpx
from fastapi import FastAPI

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


def test_every_operation_describes_its_answers_and_its_problems(app: FastAPI) -> None:
    document = app.openapi()
    assert document["paths"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            place = f"{method} {path}"
            responses = operation["responses"]
            good = [r for status, r in responses.items() if status.startswith("2")]
            assert good, place
            assert all(r.get("content") for r in good), place
            assert responses["default"]["content"] == PROBLEM, place
            assert operation.get("description") or operation.get("summary"), place
            if "requestBody" in operation:
                assert {"413", "415", "422"} <= set(responses), place
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_bodies_are_closed_and_every_text_is_bounded(app: FastAPI) -> None:
    document = app.openapi()
    schemas = document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            body = operation.get("requestBody")
            if body is None:
                continue
            schema = body["content"]["application/json"]["schema"]
            assert unbounded(schema, schemas, path) == []


def unbounded(schema: dict[str, object], schemas: dict[str, object], place: str) -> list[str]:
    """Places in a schema where somebody could send as much as he likes."""
    found: list[str] = []
    if "$ref" in schema:
        target = schemas[str(schema["$ref"]).rpartition("/")[2]]
        assert isinstance(target, dict)
        return unbounded(target, schemas, place)
    for keyword in ("anyOf", "allOf", "oneOf"):
        for part in schema.get(keyword, ()):  # type: ignore[attr-defined]  # JSON
            found += unbounded(part, schemas, place)
    if schema.get("type") == "string" and not is_bounded(schema):
        found.append(f"{place}: a text without a bound")
    if schema.get("type") == "array":
        found += [] if "maxItems" in schema else [f"{place}: a list without a bound"]
        found += unbounded(schema["items"], schemas, place + "[]")  # type: ignore[arg-type]  # JSON
    if schema.get("type") == "object":
        if "maxProperties" in schema and "patternProperties" in schema:
            for pattern, part in schema["patternProperties"].items():  # type: ignore[attr-defined]  # JSON
                found += [] if is_bounded({"pattern": pattern}) else [f"{place}: open names"]
                found += unbounded(part, schemas, place + ".*")
        elif schema.get("additionalProperties") is not False:
            found.append(f"{place}: an open object")
        for name, part in schema.get("properties", {}).items():  # type: ignore[attr-defined]  # JSON
            found += unbounded(part, schemas, f"{place}.{name}")
    return found


def is_bounded(schema: dict[str, object]) -> bool:
    if {"maxLength", "enum", "const", "format"} & set(schema):
        return True
    pattern = str(schema.get("pattern", ""))
    ends = pattern.startswith("^") and pattern.endswith("$")
    return ends and not re.search(r"[*+]|\{\d*,\}", re.sub(r"\[[^]]*\]", "", pattern))


def test_the_page_and_all_it_loads_come_from_here(http: httpx.Client) -> None:
    page = http.get("/docs")
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {"docs/swagger-ui-bundle.js", "docs/swagger-ui.css", "docs/docs.js"} <= set(loaded)
    for address in loaded:
        assert not re.match(r"[a-z]+:(?!,)|//", address), address
        if not address.startswith("data:"):
            assert http.get(f"/{address}").status_code == 200
    policy = page.headers["Content-Security-Policy"]
    assert re.findall(r"(?:https?:|\*|unsafe-eval)", policy) == []
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    outside = re.findall(r"https?://[^\"'` )]+", http.get("/docs/docs.js").text)
    styles = re.findall(
        r"url\(['\"]?(?!data:|\"data:)[^)]{0,40}", http.get("/docs/swagger-ui.css").text
    )
    assert (outside, styles) == ([], [])


def test_no_other_file_is_served(http: httpx.Client) -> None:
    for name in ("docs.html", "..%2Fkeys.py", "%2e%2e/keys.py", "swagger-ui.LICENSE.txt"):
        assert http.get(f"/docs/{name}").status_code == 404
