"""`clearlake lake scan` on a made lake: what its map leaves out is told, and nobody is named."""

from __future__ import annotations

import yaml

from tests.e2e.worlds import World


def test_what_a_map_leaves_out_is_told_with_lines_to_add(folder_world: World) -> None:
    world = folder_world
    line = ("lake", "scan", "--map", world.map_path)
    whole = world.run(*line, "--json")
    assert whole.code == 3, whole.out + whole.err
    assert (whole.document["tables"], whole.document["places"]) == ([], [])
    held = {column["path"] for column in whole.document["columns"]}
    assert held <= {"page.path", "page.ref", "payload.items", "payload.q"}, "texts with a value in"
    said = yaml.safe_load(world.map_path.read_text("utf-8"))
    said["datasets"] = [d for d in said["datasets"] if d["name"] != "fact_sessions"]
    said["datasets"][0]["mentions"]["user_id"].remove("payload.provider_id")
    world.map_path.write_text(yaml.safe_dump(said), encoding="utf-8")
    before = world.storage.versions()
    less = world.run(*line, "--suggest")
    assert less.code == 3, less.out + less.err
    assert "- {name: fact_sessions, layer: gold, table: gold.fact_sessions, owner:" in less.out
    assert "mentions: {user_id: [payload.provider_id]}" in less.out
    assert "usr_" not in less.out + less.err
    assert world.storage.versions() == before
