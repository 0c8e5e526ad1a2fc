"""The demo: servers from wheels, a lake, the service, and people taken out of the lake over HTTP.

Returns what happened; showing it is app.cli.demo.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from app.demo.people import chosen
from app.demo.walk import Walked, walk
from app.domain.errors import UsageError
from app.domain.progress import Say
from app.lake.make import LakeMade
from app.servers import remove_state
from app.settings import PREFIX
from app.up import ROOT, Made, Service, Size, complete
from app.up.crew import Tell

MARK = "this-is-a-clearlake-demo"
"""A file of this name says that a folder was made by the demo and may be made anew by it."""
WORKERS = 2
_SETTINGS: Mapping[str, str] = {
    "CLEARLAKE_RUN_EVERY": "1h",  # the demo begins its run itself
    "CLEARLAKE_STITCH_EVERY": "1d",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """Everything `clearlake demo` tells."""

    walked: Walked
    lake: LakeMade
    data_map: Path
    servers: Mapping[str, Any] = field(repr=False)
    seconds: Mapping[str, float]


@contextmanager
def demo(state: Path, *, size: Size, subjects: int, say: Say, tell: Tell) -> Iterator[Shown]:
    """Run the demo; servers and service stay up until the context ends."""
    _fresh(state)
    clock = _Clock(say)
    made: list[Made] = []

    def keep(lake: Made) -> dict[str, str]:
        made.append(lake)
        return {}  # its people leave: the state remembers nobody

    environment = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
    with (
        complete(
            {**environment, **_SETTINGS},
            state,
            size=size,
            say=clock.say,
            tell=tell,
            made=keep,
        ) as completed,
        Service(completed, state / "service", workers=WORKERS, tell=tell) as running,
    ):
        clock.mark("service")
        assert running.admin_key is not None
        people = chosen(made[0], count=subjects)
        walked = walk(
            people, url=running.url, admin_key=running.admin_key, reports=state / "reports", say=say
        )
        yield Shown(
            walked=walked,
            lake=made[0].lake,
            data_map=state / "lake.yaml",
            servers=_described(completed, running.url, running.admin_key),
            seconds={**clock.seconds, **walked.seconds},
        )


class _Clock:
    """How long servers, lake and service took."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._since = monotonic()
        self.seconds: dict[str, float] = {}

    def say(self, stage: str, dataset: str, done: int, total: int) -> None:
        if dataset == "servers" and done == total:
            self.mark("servers")
        if stage == "stitch" and done == total:
            self.mark("lake")
        self._say(stage, dataset, done, total)

    def mark(self, name: str) -> None:
        now = monotonic()
        self.seconds[name] = now - self._since
        self._since = now


def forget_servers(state: Path) -> None:
    """Remove the servers' data; reports, keys and map stay."""
    remove_state(state / "servers")


def _fresh(state: Path) -> None:
    if state.exists() and any(state.iterdir()):
        if not (state / MARK).exists():
            raise UsageError(
                f"{state}: this folder holds something else. Give the demo another --state."
            )
        remove_state(state / "servers")
        shutil.rmtree(state)
    state.mkdir(mode=0o711, parents=True, exist_ok=True)
    (state / MARK).touch()


def _described(environment: Mapping[str, str], url: str, key: str) -> dict[str, Any]:
    """Where everything is, for whoever started the demo."""
    database = environment["CLEARLAKE_OWNER_DATABASE_URL"].replace("+psycopg", "")
    return {
        "s3": {
            "endpoint": environment["CLEARLAKE_S3_ENDPOINT"],
            "access_key": environment["CLEARLAKE_S3_ACCESS_KEY"],
            "secret_key": environment["CLEARLAKE_S3_SECRET_KEY"],
            "region": environment["CLEARLAKE_S3_REGION"],
            "bucket": ROOT.removeprefix("s3://").rstrip("/"),
        },
        "postgres": {"url": database},
        "valkey": {"url": environment["CLEARLAKE_BROKER_URL"]},
        "api": {"url": url, "key": key},
    }
