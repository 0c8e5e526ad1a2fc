"""Asking the service over HTTP, for the commands: its address and key, one answer shown.

Not here: what is asked (app.cli.cases, app.cli.runs). CLEARLAKE_URL, CLEARLAKE_API_KEY.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any
from urllib.parse import quote

import typer

from app.cli.display import OUT, print_json
from app.client import Client
from app.domain.errors import SettingsError
from app.settings import PREFIX, with_files

FINDINGS, WAITING, STUCK = 3, 4, 5
"""Exit codes."""
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


@contextmanager
def service() -> Iterator[Client]:
    """The service that the environment names. SettingsError."""
    found = with_files(os.environ)
    url, key = found.get(f"{PREFIX}URL"), found.get(f"{PREFIX}API_KEY")
    if not url or not key:
        name, what = ("URL", "the address of the service") if not url else ("API_KEY", "a key")
        raise SettingsError(f"{PREFIX}{name}: expected {what}.")
    with Client(url.rstrip("/"), key, patience=10) as client:
        yield client


def part(id_: str) -> str:
    """As one part of a path: what is typed can lead nowhere else."""
    return quote(id_, safe="")


def show_document(document: Mapping[str, Any], *, as_json: bool) -> None:
    """One answer: as JSON, or a line a field."""
    if as_json:
        print_json(document)
        return
    for name, value in document.items():
        text = value if isinstance(value, str) else json.dumps(value)
        OUT.print(f"{name:<16} {text}", markup=False, soft_wrap=True)
