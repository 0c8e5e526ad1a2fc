"""Killed at any place, the same command again finishes: nobody is left, harmed or counted twice."""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.servers import Servers
from tests.e2e.forking import Runner
from tests.e2e.records import Records
from tests.e2e.worlds import FolderLakes, Size, World, made_world
from tests.faults.effort import effort_of_environment, one_in
from tests.places import Place

SMALL = Size(events=300, users=12, days=1, codec="gz")
KILLED = -9
PARTS = 8
"""Of all places; `make test` looks at one."""
LATER = 4
S3_SAMPLE = 5 if effort_of_environment().long else 2
SEED = 2


def _line(world: World) -> tuple[str, ...]:
    return ("--user-id", world.cast.active_buyer, "--yes", "--purge-now")


def _passed(world: World) -> Counter[str]:
    """The places that one whole run passes, and how often."""
    record = world.desk / "passed"
    done = world.erase(*_line(world), env={"CLEARLAKE_FAILPOINTS_RECORD": str(record)})
    assert done.code == 0, done.out + done.err
    return Counter(record.read_text(encoding="ascii").split())


def _survives(world: World, place: str, turn: int) -> str:
    """What is wrong after a kill there and the same command again; '' when nothing is."""
    user = world.cast.active_buyer
    before, gone = world.records(), world.gone(users=(user,))
    killed = world.erase(*_line(world), env={"CLEARLAKE_FAILPOINTS": f"{place}=kill@{turn}"})
    if killed.code != KILLED:
        return f"was not killed: {killed.code} {killed.err}"
    between = _nobody_else_is_harmed(world, before)
    if between:
        return f"after the kill: {between}"
    again = world.erase(*_line(world), "--json")
    if again.code != 0:
        return f"ended with {again.code}: {again.out}{again.err}"
    left = world.held(gone)
    differences = world.records().settled.differences(before.without(gone))
    return "; ".join([*map(str, left[:2]), *differences[:2], *_leftovers(world)])


def _nobody_else_is_harmed(world: World, before: Records) -> str:
    """In the middle too: a current line is the old one or the new one, none twice or missing."""
    user = world.cast.active_buyer
    gone = frozenset({user})
    now = world.records()
    if now.lines.keys() != before.lines.keys():
        return "objects are missing"
    if now.rows.keys() != before.rows.keys():
        return "tables are missing"
    for was, is_now in ((before.lines, now.lines), (before.rows, now.rows)):
        for name, lines in was.items():
            if len(is_now[name]) > len(lines) or not _others(lines, gone) <= len(is_now[name]):
                return f"{name} has {len(is_now[name])} records of {len(lines)}"
    return ""


def _others(lines: tuple[str, ...], gone: frozenset[str]) -> int:
    return sum(not any(value in line for value in gone) for line in lines)


def _leftovers(world: World) -> Iterator[str]:
    """The journal is empty, and no half-written file lies about."""
    with closing(sqlite3.connect(world.state / "journal.sqlite")) as journal:
        for table in ("fact", "document", "work"):
            if journal.execute(f"select count(*) from {table}").fetchone() != (0,):
                yield f"the journal's {table}s are left"
    for path in world.desk.parent.rglob("*"):
        if path.is_file() and {"spool", "incoming", "superseded"} & set(path.parts):
            yield f"a file is left: {path}"


@pytest.fixture(scope="module")
def small_lakes(runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> FolderLakes:
    return FolderLakes(tmp_path_factory.mktemp("kills"), runner=runner, size=SMALL)


@pytest.fixture(scope="module")
def kills(small_lakes: FolderLakes) -> list[tuple[str, int]]:
    """Every place that a whole run passes, at its first passing; some at a later one too."""
    passed = _passed(small_lakes.fresh())
    assert len(passed) > 40
    luck = random.Random(SEED)
    often = sorted(place for place, times in passed.items() if times > 1)
    later = [(place, luck.randint(2, passed[place])) for place in luck.sample(often, LATER)]
    return [(place, 1) for place in sorted(passed)] + later


@pytest.mark.parametrize("part", one_in(PARTS, range(PARTS)))
def test_killed_anywhere_in_a_folder_the_same_command_finishes(
    small_lakes: FolderLakes, kills: list[tuple[str, int]], part: int
) -> None:
    """In parts, so that they can run side by side."""
    found = {kill: _survives(small_lakes.fresh(), *kill) for kill in kills[part::PARTS]}
    assert {kill: wrong for kill, wrong in found.items() if wrong} == {}


def test_killed_twice_it_still_finishes(small_lakes: FolderLakes) -> None:
    world = small_lakes.fresh()
    user = world.cast.active_buyer
    before, gone = world.records(), world.gone(users=(user,))
    for place in (
        "bronze.after_put",
        # Not again at a put: other threads may have put everything before the first kill, and
        # then all is adopted.
        "bronze.before_intent",
        "tables.committed",
        "engine.after_expire",
    ):
        killed = world.erase(*_line(world), env={"CLEARLAKE_FAILPOINTS": f"{place}=kill"})
        assert killed.code == KILLED, killed.out + killed.err
    assert world.erase(*_line(world)).code == 0
    world.clean_of(gone, before=before)


def test_killed_at_a_sample_of_places_on_s3_the_same_command_finishes(
    request: pytest.FixtureRequest, tmp_path: Path, runner: Runner, servers: Servers
) -> None:
    """One lake after the other: each kill takes another person out of the lake that is there."""
    place: Place = request.getfixturevalue("place_s3")
    size = Size(events=300, users=16, days=1)
    with made_world(place, tmp_path / "desk", runner=runner, size=size, servers=servers) as world:
        people = _users(world)
        passed = _passed_by(world, people.pop())
        luck = random.Random(SEED)
        wrong = []
        for where in luck.sample(sorted(passed), S3_SAMPLE):
            user = people.pop()
            wrong += _taken_out(world, user, where)
        assert wrong == []


def _users(world: World) -> list[str]:
    """user_ids with many events last."""
    counts: Counter[str] = Counter()
    for line in (json.loads(t) for ts in world.records().lines.values() for t in ts):
        counts.update([line["user"]["user_id"] or ""])
    return [user for user, _ in reversed(counts.most_common()) if user]


def _passed_by(world: World, user: str) -> set[str]:
    record = world.desk / "passed"
    line = ("--user-id", user, "--yes", "--purge-now")
    assert world.erase(*line, env={"CLEARLAKE_FAILPOINTS_RECORD": str(record)}).code == 0
    return set(record.read_text(encoding="ascii").split())


def _taken_out(world: World, user: str, where: str) -> list[str]:
    before, gone = world.records(), world.gone(users=(user,))
    line = ("--user-id", user, "--yes", "--purge-now")
    killed = world.erase(*line, env={"CLEARLAKE_FAILPOINTS": f"{where}=kill"})
    again = world.erase(*line)
    if again.code:
        return [f"{where}: ended with {again.code}: {again.out}{again.err}"]
    left = world.held(gone)
    differences = world.records().settled.differences(before.settled.without(gone))
    wrong = "; ".join([*map(str, left[:2]), *differences[:2]])
    assert killed.code in (KILLED, 0)
    return [f"{where}: {wrong}"] if wrong else []
