"""Bad input gets one clear line and an exit code, names nobody, and loses nothing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from tests.e2e.worlds import World

SOMEBODY = "usr_SOMEBODY0SOMEBODY0SOMEBODY"
SECRET = "usr_NOBODY SHOULD READ THIS"


def _is_one_line(err: str, code: str) -> bool:
    return err.strip().endswith(f"[{code}]") and "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], "identifier_missing"),
        (["--device-fp", "fp_0123456789abcdef0123456789abcdef"], "identifier_too_weak"),
        (["--user-id", SECRET], "identifier_malformed"),
        (["--user-id", "null"], "identifier_malformed"),
        (["--user-id", "usr"], "identifier_malformed"),
        (["--user-id", "u" + "sr0" * 100], "identifier_malformed"),
        (["--anon-id", "a_\x00\x01\x02\x03"[:2] + "\x07zzz"], "identifier_malformed"),
        (["--anon-id", "tomb_a_00000000000000000000000000"], "identifier_malformed"),
    ],
)
def test_a_person_who_cannot_be_named_so_is_refused(
    folder_world: World, arguments: list[str], code: str
) -> None:
    versions = folder_world.storage.versions()
    for command in ("erase", "check"):
        done = folder_world.run(command, "--map", folder_world.map_path, *arguments)
        assert done.code == 2, done.err
        assert SECRET not in done.err
        if command == "erase":
            assert _is_one_line(done.err, code), done.err
    assert folder_world.storage.versions() == versions


@dataclass(frozen=True)
class BadMap:
    """A change of the map, and what the refusal must say."""

    old: str
    new: str
    says: str


BAD_MAPS = {
    "unknown key": BadMap("    format: ndjson", "    fromat: ndjson", "fromat"),
    "missing table": BadMap("table: gold.fact_orders", "table: gold.fact_odders", "no such table"),
    "missing prefix": BadMap('raw/"\n    partition', 'row/"\n    partition', "objects"),
    "missing column": BadMap("derived: [session_id]", "derived: [sesion_id]", "sesion_id"),
    "column that is not text": BadMap(
        "anon_id: [anon_id], device_fp: [device_fp]}\n    derived: [session_id]\n",
        "anon_id: [events], device_fp: [device_fp]}\n    derived: [session_id]\n",
        "expected a text column",
    ),
    "unset variable": BadMap("${CLEARLAKE_CATALOG_URI}", "${NOT_SET_ANYWHERE}", "NOT_SET_ANYWHERE"),
    "broken YAML": BadMap("version: 1", "version: [1", "YAML"),
    "another version": BadMap("version: 1", "version: 2", "version 1"),
}


@pytest.mark.parametrize("kind", BAD_MAPS)
def test_a_map_that_does_not_fit_is_refused_with_its_line(folder_world: World, kind: str) -> None:
    bad = BAD_MAPS[kind]
    folder_world.edit_map(bad.old, bad.new)
    versions = folder_world.storage.versions()
    done = folder_world.erase("--user-id", folder_world.cast.active_buyer, "--yes")
    assert done.code == 2, done.err
    assert _is_one_line(done.err, "data_map"), done.err
    assert f"{folder_world.map_path}:" in done.err
    assert bad.says in done.err
    assert folder_world.storage.versions() == versions


def test_a_map_that_is_not_there_is_said(folder_world: World) -> None:
    done = folder_world.run("check", "--map", "no-such-map.yaml", "--user-id", SOMEBODY)
    assert (done.code, _is_one_line(done.err, "data_map")) == (2, True)
    assert "no-such-map.yaml" in done.err


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_line_that_does_not_parse_stays_when_it_names_nobody(
    folder_world: World, end: str
) -> None:
    world = folder_world
    user = world.cast.active_buyer
    gone, broken = world.gone(users=(user,)), b'{"half": "a line' + end.encode()
    key, data = _object_of(world, user)
    path = world.root.removeprefix("file://") + key
    with open(path, "wb") as file:
        file.write(data + broken)
    done = world.erase("--user-id", user, "--yes", "--purge-now")
    assert done.code == 0, done.out + done.err
    assert world.storage.current("raw/")[key].endswith(b"\n" + broken)
    assert not world.held(gone)


def test_a_line_that_does_not_parse_is_parked_when_it_names_the_person(world: World) -> None:
    user = world.cast.active_buyer
    gone = world.gone(users=(user,))
    key, data = _object_of(world, user)
    broken = b'{"user_id": "' + user.encode() + b'", "half": '
    uri = f"{world.root}{key}-broken.ndjson"
    world.loader.load(uri, data + broken + b"\n" + data)
    done = world.erase("--user-id", user, "--yes", "--purge-now", "--json")
    assert done.code == 5, done.out + done.err
    assert done.document["verdict"] == "PARTIAL"
    assert user not in done.out + done.err
    left = world.storage.current("raw/")
    lines = left[f"{key}-broken.ndjson"].splitlines(keepends=True)
    assert [line for line in lines if user.encode() in line] == [broken + b"\n"]
    assert not [h for h in world.held(gone) if "-broken" not in h.place]
    again = world.erase("--user-id", user, "--yes", "--purge-now", "--json")
    assert again.code == 5, again.out + again.err
    assert world.storage.current("raw/") == left
    _named_in_the_report(world, "lines that cannot be parsed")
    dropped = world.erase("--user-id", user, "--yes", "--purge-now", "--unparsable", "drop")
    assert dropped.code == 0, dropped.out + dropped.err
    assert not world.storage.held(gone.values)


def _named_in_the_report(world: World, text: str) -> None:
    assert text in world.report.read_text(encoding="utf-8")


def _object_of(world: World, user: str) -> tuple[str, bytes]:
    """A Bronze object with lines of the person."""
    for key, data in sorted(world.storage.current("raw/").items()):
        if b'"user_id":"' + user.encode() in data:
            return key, data
    raise AssertionError("the made lake has no such person")


def test_a_tag_that_holds_the_person_is_named_and_nothing_is_lost(folder_world: World) -> None:
    world = folder_world
    user = world.cast.active_buyer
    before, gone = world.records(), world.gone(users=(user,))
    catalog = _catalog(world)
    try:
        table = catalog.load_table("lake.events")
        head = table.current_snapshot()
        assert head is not None
        table.manage_snapshots().create_tag(head.snapshot_id, "quarter").commit()
        done = world.erase("--user-id", user, "--yes", "--purge-now")
        assert done.code in (3, 5), done.out + done.err
        assert "quarter" in done.out + done.err + world.report.read_text()
        assert not world.records().settled.differences(before.without(gone))
        catalog.load_table("lake.events").manage_snapshots().remove_tag("quarter").commit()
        again = world.erase("--user-id", user, "--yes", "--purge-now")
        assert again.code == 0, again.out + again.err
        world.clean_of(gone, before=before)
    finally:
        catalog.close()


def _catalog(world: World) -> SqlCatalog:
    uri = world.environment["CLEARLAKE_CATALOG_URI"]
    return SqlCatalog("lake", uri=uri, warehouse=world.root)


def test_a_state_folder_that_cannot_be_one_is_said(folder_world: World) -> None:
    folder_world.state.parent.mkdir(exist_ok=True)
    folder_world.state.write_text("a file of somebody's")
    done = folder_world.erase("--user-id", folder_world.cast.active_buyer)
    assert done.code in (2, 6), done.err
    assert "Traceback" not in done.err
    assert folder_world.state.read_text() == "a file of somebody's"


def test_the_demo_leaves_a_folder_of_somebody_else_alone(folder_world: World) -> None:
    mine = folder_world.desk / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("the only copy")
    done = folder_world.run("demo", "--state", mine)
    assert (done.code, _is_one_line(done.err, "usage")) == (2, True), done.err
    assert (mine / "thesis.txt").read_text() == "the only copy"
