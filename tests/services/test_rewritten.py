"""Loaders are told which objects a run has rewritten, without naming anybody by a key."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from app import cli
from app.domain.datasets import DataMap
from app.domain.errors import UsageError
from app.lake.rewritten import Rewritten, rewritten_objects
from app.servers import Servers
from app.services.parts import Parts
from tests.lake.bronze_world import OTHER, USER, Lake, event, text
from tests.places import Place
from tests.services.late_worlds import MAP, U, World, world
from tests.services.run_worlds import ON_S3

NAMED = f"by={USER}/a.ndjson"
ENCODED = f"by%3D{USER}.ndjson"


@pytest.fixture
def erased(place: Place, lake_parts: Callable[[DataMap], Parts], tmp_path: Path) -> World:
    """Three objects of somebody, two of which are named by the person, and one of another."""
    found = world(place, lake_parts, tmp_path)
    for name in ("a.ndjson", NAMED, ENCODED):
        found.lands(event(USER), event(OTHER), name=name)
    found.lands(event(OTHER), name="b.ndjson")
    found.lake.erase()
    return found


def listed(world: World, *, since: datetime | None = None) -> list[Rewritten]:
    store, dataset = world.place.reader, world.lake.dataset
    return list(rewritten_objects(dataset, store=store, since=since, erased=U.__eq__))


@ON_S3
def test_the_current_versions_of_ours_are_listed_and_nobody_is_named(erased: World) -> None:
    found = listed(erased)
    assert [r.uri for r in found] == [erased.lake.uri("a.ndjson"), None, None]
    assert {r.run_id for r in found} == {"run_1"}
    newest = erased.lake.versions("a.ndjson")[0]
    assert (found[0].version_id, found[0].modified) == (newest.version_id, newest.modified)
    assert listed(erased, since=newest.modified + timedelta(minutes=1)) == []
    erased.lands(event(OTHER), name="a.ndjson")
    assert [r.uri for r in listed(erased)] == [None, None]


@ON_S3
def test_a_loader_asks_by_the_command(
    erased: World,
    servers: Servers,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lake_map = tmp_path / "lake.yaml"
    lake_map.write_text(MAP.format(uri=erased.place.catalog.uri, root=erased.place.root))
    key = servers.s3.credentials["reader"]
    settings = {
        "DATABASE_URL": database_url,
        "KEYS_URI": f"file://{tmp_path / 'keys'}",
        "LAKE_MAP": str(lake_map),
        "S3_ENDPOINT": servers.s3.endpoint,
        "S3_ACCESS_KEY": key.access_key,
        "S3_SECRET_KEY": key.secret_key,
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"CLEARLAKE_{name}", value)
    assert cli.run(["lake", "rewritten", "--dataset", "raw_events"]) == 0
    said = capsys.readouterr()
    assert said.out.split() == [erased.lake.uri("a.ndjson")]
    assert "2 more, whose keys name erased people" in said.err
    assert cli.run(["lake", "rewritten", "--dataset", "raw_events", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert ([o["run"] for o in told["objects"]], told["withheld"]) == (["run_1"], 2)
    assert cli.run(["lake", "rewritten", "--dataset", "raw_events", "--since", "then"]) == 2


def test_a_folder_says_that_it_keeps_no_marks(place_file: Place, tmp_path: Path) -> None:
    lake = Lake(place_file, tmp_path / "spool")
    lake.load("a.ndjson", text([event(USER)]))
    with pytest.raises(UsageError, match="raw_events: only objects in a bucket"):
        list(
            rewritten_objects(
                lake.dataset, store=place_file.reader, since=None, erased=lambda _: False
            )
        )
