"""`clearlake bench` on a made lake: complete, names nobody, counts what a run then does, and leaves
every byte where it is.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.worlds import World

FIGURES = {"bronze": 3, "tables": 5}
"""How many acts are measured for each dataset."""


def _people(world: World) -> tuple[Path, list[str]]:
    path = world.desk / "people.ndjson"
    users = [world.cast.active_buyer, world.cast.provider]
    path.write_text("".join(json.dumps({"user_id": user}) + "\n" for user in users))
    return path, users


def test_what_is_measured_is_what_an_erasure_then_does(folder_world: World) -> None:
    world = folder_world
    path, users = _people(world)
    gone = world.gone(users=tuple(users))
    before = world.storage.versions()
    counted = {}
    for what, figures in FIGURES.items():
        done = world.run(
            "bench", what, "--map", world.map_path, "--subjects", path, "--rounds", "1", "--json"
        )
        assert done.code == 0, done.out + done.err
        found = done.document
        assert (found["what"], found["people"], found["rounds"]) == (what, 2, 1)
        assert found["identifiers"] == len(gone.values)
        assert found["memory"]["measuring"] >= found["memory"]["resolving"] > 0
        for dataset in found["datasets"]:
            assert len(dataset["figures"]) == figures
            assert all(f["cost"]["cpu_seconds"] >= 0 for f in dataset["figures"])
            counts = dataset["counts"]
            counted[dataset["dataset"]] = (counts["deleted"], counts["tombstoned"])
    assert world.storage.versions() == before
    assert not world.told(gone)
    whom = [word for user in users for word in ("--user-id", user)]
    erased = world.erase(*whom, "--yes", "--purge-now", "--shared-review", "tombstone", "--json")
    assert erased.code == 0, erased.out + erased.err
    rows = erased.document["datasets"]
    assert {r["name"]: (r["deleted"], r["tombstoned"]) for r in rows} == counted


@pytest.mark.parametrize("what", FIGURES)
def test_a_folder_is_enough_where_a_made_lake_is(folder_world: World, what: str) -> None:
    world = folder_world
    path, users = _people(world)
    folder = world.root.removeprefix("file://")
    done = world.run("bench", what, "--dir", folder, "--subjects", path, "--rounds", "1")
    assert done.code == 0, done.out + done.err
    assert "2 people with " in done.out
    datasets = ("raw_events",) if what == "bronze" else ("events", "fact_orders", "dim_identity")
    assert all(f"\n{name}: " in done.out for name in datasets)
    assert not [user for user in users if user in done.out + done.err]


def test_a_folder_or_a_map_one_of_the_two(folder_world: World) -> None:
    world = folder_world
    path, _ = _people(world)
    for where in ((), ("--map", world.map_path, "--dir", world.desk)):
        done = world.run("bench", "bronze", "--subjects", path, *where)
        assert (done.code, "Give --map or --dir" in done.err) == (2, True)
    unset = {"CLEARLAKE_CATALOG_URI": ""}
    done = world.run("bench", "bronze", "--subjects", path, "--dir", world.desk, env=unset)
    assert (done.code, "no catalog.db" in done.err) == (2, True)
