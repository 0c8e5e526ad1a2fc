"""/openapi.json, and /docs for people's eyes: from this service alone, without internet."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from app.domain.errors import NotFoundError

router = APIRouter(include_in_schema=False)

_STATIC = Path(__file__).with_name("static")
_ASSETS = MappingProxyType(
    {
        "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
        "swagger-ui.css": "text/css; charset=utf-8",
        "docs.js": "text/javascript; charset=utf-8",
    }
)
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": _POLICY, "Cache-Control": "public, max-age=3600"}


@router.get("/openapi.json")
def document(request: Request) -> Response:
    """The OpenAPI document."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
def page() -> Response:
    """The page."""
    return Response((_STATIC / "docs.html").read_bytes(), headers=_HEADERS, media_type="text/html")


@router.get("/docs/{name}")
def asset(name: str) -> Response:
    """One of its files."""
    if name not in _ASSETS:
        raise NotFoundError("There is no such file.")
    return Response((_STATIC / name).read_bytes(), headers=_HEADERS, media_type=_ASSETS[name])
