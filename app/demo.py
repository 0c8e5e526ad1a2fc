"""The demo: servers from wheels, a lake, five people taken out of it in one run, and the proof.

Returns what happened; showing it is app.cli.demo.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

from app import wiring
from app.domain.datasets import DataMap
from app.domain.errors import UsageError
from app.domain.identifiers import Identifier, Kind, Subject
from app.lake.make import LakeMade
from app.lake.ports import TableEngine
from app.offline.journal import StateFolder
from app.offline.run import Ended, OfflineRun, Request
from app.servers import Servers, remove_state
from app.stages.search import Say
from app.up import ROOT, Size, lake_settings, make_lake_of, write_map

IDENTITY = "gold.dim_identity"
MARK = "this-is-a-clearlake-demo"
"""A file of this name says that a folder was made by the demo and may be made anew by it."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Everything `clearlake demo` tells."""

    subjects: tuple[Subject, ...] = field(repr=False)
    stories: tuple[str, ...]
    ended: Ended
    lake: LakeMade
    data_map: Path
    servers: Mapping[str, Any] = field(repr=False)
    seconds: Mapping[str, float]


@contextmanager
def demo(state: Path, *, size: Size, subjects: int, say: Say) -> Iterator[Shown]:
    """Run the demo; the servers stay up until the context ends."""
    started = monotonic()
    _fresh(state)
    with Servers(state / "servers", parts={"s3", "postgres", "valkey"}) as servers:
        environment = lake_settings(servers, catalog_uri=servers.postgres.url)
        seconds = {"servers": monotonic() - started}
        say("start", "servers", 3, 3)
        map_path = state / "lake.yaml"
        write_map(map_path)
        started = monotonic()
        found = make_lake_of(environment, map_path, servers=servers, size=size, say=say)
        made, data_map = found.lake, found.data_map
        seconds["lake"] = monotonic() - started
        people = _people(made, found.engine, count=subjects)
        ended = _erase(tuple(s for s, _ in people), environment, data_map, state=state, say=say)
        yield Shown(
            subjects=tuple(s for s, _ in people),
            stories=tuple(story for _, story in people),
            ended=ended,
            lake=made,
            data_map=map_path,
            servers=_described(servers),
            seconds={**seconds, **ended.seconds},
        )


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


def _people(made: LakeMade, engine: TableEngine, *, count: int) -> list[tuple[Subject, str]]:
    """The people with a story first, then ordinary users, up to `count`."""
    cast = made.cast
    chosen = {
        cast.tablet_user: "a buyer who shares a tablet with others",
        cast.provider: "a provider whom many other people's events name",
        cast.active_buyer: "the most active buyer",
        cast.disputed_buyer: "a buyer with an order under dispute",
    }
    visitor = Identifier(Kind.ANON_ID, cast.visitor_anon_id)
    named = [(visitor, "a visitor known by an anon_id only")]
    named += [(Identifier(Kind.USER_ID, value), story) for value, story in chosen.items()]
    others = (
        value
        for batch in engine.batches(IDENTITY, columns=["user_id"])
        for value in batch.column("user_id").drop_null().to_pylist()
        if value not in chosen
    )
    named += [(Identifier(Kind.USER_ID, value), "a user") for value in islice(others, count)]
    if len(named) < count:
        raise UsageError(f"--subjects: this lake has {len(named)} people to choose from.")
    return [(Subject(f"s{n}", (i,)), story) for n, (i, story) in enumerate(named[:count], 1)]


def _erase(
    subjects: tuple[Subject, ...],
    environment: Mapping[str, str],
    data_map: DataMap,
    *,
    state: Path,
    say: Say,
) -> Ended:
    reports = state / "reports"
    reports.mkdir(exist_ok=True)
    request = Request(subjects=subjects, report=reports / "report.json")
    folder = StateFolder(state / "run")
    try:
        with wiring.lake_doors(wiring.settings_of(environment), data_map) as doors:
            run = OfflineRun(request, data_map=data_map, doors=doors, state=folder, say=say)
            try:
                plan, identities = run.plan()
                run.start(plan, identities, confirmed=plan.digest)
                return run.go()
            finally:
                run.close()
    finally:
        folder.close()


def _described(servers: Servers) -> dict[str, Any]:
    key = servers.s3.credentials["admin"]
    return {
        "s3": {
            "endpoint": servers.s3.endpoint,
            "access_key": key.access_key,
            "secret_key": key.secret_key,
            "region": servers.s3.region,
            "bucket": ROOT.removeprefix("s3://").rstrip("/"),
        },
        "postgres": {"url": servers.postgres.url.replace("+psycopg", "")},
        "valkey": {"url": servers.valkey.url},
    }


def values_by_kind(subject: Subject) -> dict[str, list[str]]:
    """What a subject was named by, as `--json` shows it to whoever started the demo."""
    kinds = {"user_ids": Kind.USER_ID, "anon_ids": Kind.ANON_ID, "device_fps": Kind.DEVICE_FP}
    return {
        name: [i.value for i in subject.given if i.kind is kind] for name, kind in kinds.items()
    }
