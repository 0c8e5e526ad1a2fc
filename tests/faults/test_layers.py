"""Random lakes, broken off at two places and overtaken by another writer: who left is gone,
everybody else is equal byte for byte, nothing lies about. The protocols C (Bronze) and D (tables).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.domain.receipts import ObjectWork, TableWork, WorkState
from app.lake.tables import plan_table
from tests.faults.crashing import Pair, armed, pairs, recorded, to_its_end
from tests.faults.effort import Effort
from tests.faults.places import fresh_place
from tests.lake import people_table as people
from tests.lake.bronze_world import (
    ANON,
    DEVICE,
    OTHER,
    OTHER_ANON,
    SECOND,
    SESSION,
    USER,
    Lake,
    event,
    plan_objects,
)
from tests.places import Place, S3Doors

WANTED = 2000
GONE = frozenset({USER, SECOND})
NEAR = (USER + "0", USER.lower(), "x" + USER, ANON[:-1], OTHER, OTHER_ANON)
_VALUE = re.compile(
    rb"(?<![\w-])(?:"
    + b"|".join(v.encode() for v in (USER, SECOND, ANON, DEVICE, SESSION))
    + rb"|tomb_[uadx]_[0-9a-hjkmnp-tv-z]{26})(?![\w-])"
)


# --- Bronze --------------------------------------------------------------------------------------


def _line(luck: random.Random) -> bytes:
    user = luck.choice([USER, SECOND, OTHER, None, *NEAR])
    named = luck.choice([USER, OTHER, *NEAR])
    return event(
        user,
        luck.choice([ANON, OTHER_ANON, None]),
        name=luck.choice(["identity.link", "profile.view"]),
        session_id=luck.choice([SESSION, "s_other"]),
        payload={"user_id": named, "note": f"see {luck.choice(NEAR)}, {named} and {DEVICE}"},
    ) + luck.choice([b"\n", b"\n", b"\r\n"])


def _left(body: bytes) -> list[bytes]:
    """What must be left of it, values blotted out; no code of ours."""
    kept = []
    for line in body.splitlines(keepends=True):
        said = json.loads(line)
        owners = {said["user"]["user_id"]} - {None}
        if said["name"] == "identity.link":
            owners.add(said["payload"]["user_id"])
        if not (owners and owners <= GONE):
            kept.append(_VALUE.sub(b"*", line))
    return kept


class _Bronze:
    """A lake of a seed, a run over it, and what is expected."""

    def __init__(self, place: Place, folder: Path, luck: random.Random) -> None:
        self.lake, self.luck = Lake(place, folder / "spool"), luck
        self.bodies = {f"evt-{n}.ndjson": self.body() for n in range(luck.randint(1, 3))}
        for name, body in self.bodies.items():
            self.lake.load(name, body)
        self.planned = plan_objects(place.eraser, self.lake.dataset)
        self.original = dict(self.bodies)
        self.undoes = luck.random() < 0.25
        self.overtaken = not self.undoes and luck.random() < 0.5
        self.erased = False

    def body(self) -> bytes:
        return b"".join(_line(self.luck) for _ in range(self.luck.randint(1, 30)))

    def record(self, works: Sequence[ObjectWork]) -> None:
        if self.overtaken:
            self.overtaken = False
            name = self.luck.choice(sorted(self.bodies))
            self.bodies[name] += self.body()
            self.lake.load(name, self.bodies[name])
        self.lake.journal(works)

    def works(self) -> list[ObjectWork]:
        return [self.lake.journal.works.get(w.uri, w) for w in self.planned]

    def go(self) -> None:
        """From wherever the journal stands."""
        if not self.erased:
            self.lake.erase(self.works(), record=self.record)
            self.erased = True
        if self.undoes:
            self.lake.undo(self.works())
        else:
            self.lake.purge(self.works())

    def wrong(self) -> list[str]:
        found = []
        for name in self.bodies:
            now = self.lake.body(name)
            if self.undoes:
                found += [f"{name}: undo gave other bytes"] * (now != self.original[name])
                continue
            blotted = [_VALUE.sub(b"*", line) for line in now.splitlines(keepends=True)]
            found += [f"{name}: other lines"] * (blotted != _left(self.bodies[name]))
            for version in self.lake.versions(name):
                held = _VALUE.sub(_blot_tombstones, self.lake.body(name, version.version_id))
                found += [f"{name}: a version names somebody"] * (held.count(b"!") > 0)
        states = {w.state for w in self.works()}
        over = {WorkState.PURGED, WorkState.CLEAN, WorkState.UNDONE}
        return found + [f"ended {s.value}" for s in states - over]


def _blot_tombstones(match: re.Match[bytes]) -> bytes:
    return b"*" if match.group().startswith(b"tomb_") else b"!"


def _bronze_round(place: Place, folder: Path, pair: Pair, *, seed: int, patch: Any) -> list[str]:
    world = _Bronze(place, folder, random.Random(seed))
    with armed(pair, patch=patch):
        to_its_end(world.go)
    return world.wrong()


def test_bronze_is_right_whatever_two_crashes_and_another_writer_do(
    effort: Effort, s3_doors: S3Doors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, least, wanted, share in (("file", 12, WANTED, 0.12), ("s3", 2, 0, 0.03)):
        scenario = f"bronze, two crashes and another writer ({kind})"
        with effort.measuring("G5", scenario, wanted=wanted) as measured:
            folder = tmp_path / kind
            folder.mkdir()
            places = recorded(
                partial(_recorded_bronze, kind, folder, s3_doors),
                file=folder / "passed",
                patch=monkeypatch,
            )
            drawn = list(pairs(places, seed=effort.seed, count=max(WANTED, len(places) ** 2)))
            measured.figure.note("pairs of places", len(places) ** 2)
            for n in measured.rounds(least=least, most=len(drawn), share=share):
                here = folder / str(n)
                here.mkdir()
                with fresh_place(kind, here, s3_doors=s3_doors) as place:
                    seed = effort.seed * 100_000 + n
                    wrong = _bronze_round(place, here, drawn[n], seed=seed, patch=monkeypatch)
                measured.figure.faults += [f"{drawn[n]} seed {seed}: {w}" for w in wrong]


def _recorded_bronze(kind: str, folder: Path, s3_doors: S3Doors) -> None:
    with fresh_place(kind, folder, s3_doors=s3_doors) as place:
        world = _Bronze(place, folder, random.Random(0))
        world.undoes = False
        world.go()


# --- tables --------------------------------------------------------------------------------------


class _Table:
    """A table of a seed, a run over it, and what is expected."""

    def __init__(self, place: Place, luck: random.Random, *, patch: pytest.MonkeyPatch) -> None:
        self.place, self.luck, self.patch = place, luck, patch
        people.make(place, *(self.rows() for _ in range(luck.randint(1, 2))))
        self.before = people.read_rows(place)
        self.journal = people.Journal()
        self.journal.last = plan_table(place.engine, people.EVENTS)
        self.overtaken = luck.random() < 0.5

    def rows(self) -> Any:
        count, seed = self.luck.randint(5, 40), self.luck.randrange(1 << 30)
        return people.rows(count, seed=seed, days=self.luck.randint(1, 2))

    def check(self, work: TableWork) -> list[Any]:
        """Between rewrite and commit somebody appends rows, the person's own among them."""
        if self.overtaken:
            self.overtaken = False
            rows = self.rows()
            with self.patch.context() as theirs:  # it is we who crash
                theirs.delenv("CLEARLAKE_FAILPOINTS", raising=False)
                self.place.engine.append(people.TABLE, rows)
            self.before += rows.to_pylist()
        return []

    def go(self) -> None:
        """From wherever the journal stands."""
        work = people.erase(
            self.place, work=self.journal.last, journal=self.journal, check=self.check
        )
        people.purge(self.place, work, journal=self.journal)

    def wrong(self) -> list[str]:
        now = people.read_rows(self.place)
        expected = people.expected(self.before, people.ONE)
        found = ["other rows"] * (people.blotted(now, people.ONE) != expected)
        found += [f"left in {name}" for name in people.leftovers(self.place, people.ONE)[:2]]
        assert self.journal.last is not None
        state = self.journal.last.state
        was_there = any(value in repr(self.before) for value in people.ONE.by_value)
        over = WorkState.PURGED if was_there else WorkState.CLEAN
        return found + [f"ended {state.value}"] * (state is not over)

    def loose(self) -> list[str]:
        """Files that nothing reaches."""
        found = people.files_on_disk(self.place) - people.reached(self.place)
        return [uri.rpartition("/")[2] for uri in sorted(found)]


@pytest.mark.parametrize(
    ("kind", "part", "least", "share"),
    [
        ("file", 0, 4, 0.3),
        pytest.param("file", 1, 1, 0.3, marks=pytest.mark.long),
        pytest.param("file", 2, 1, 0.3, marks=pytest.mark.long),
        ("s3", 0, 1, 0.04),
    ],
)
def test_tables_are_right_whatever_two_crashes_and_another_writer_do(
    effort: Effort,
    s3_doors: S3Doors,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    part: int,
    least: int,
    share: float,
) -> None:
    """In parts, so that they can run side by side: every third pair is one's."""
    places = recorded(
        partial(_recorded_table, kind, tmp_path, s3_doors, monkeypatch),
        file=tmp_path / "passed",
        patch=monkeypatch,
    )
    drawn = list(pairs(places, seed=effort.seed, count=max(WANTED, len(places) ** 2)))[part::3]
    name = f"tables, two crashes and another writer ({kind} {part + 1})"
    wanted = min(-(-WANTED // 3), len(drawn)) if kind == "file" else 0
    with (
        effort.measuring("G5", name, wanted=wanted) as measured,
        effort.measuring("G11", f"unreferenced files after: {name}") as loose,
    ):
        measured.figure.note("pairs of places", len(places) ** 2)
        for n in measured.rounds(least=least, most=len(drawn), share=share):
            here = tmp_path / str(n)
            here.mkdir()
            with fresh_place(kind, here, s3_doors=s3_doors) as place:
                seed = effort.seed * 100_000 + 3 * n + part
                world = _Table(place, random.Random(seed), patch=monkeypatch)
                with armed(drawn[n], patch=monkeypatch):
                    to_its_end(world.go)
                said = f"{drawn[n]} seed {seed}"
                measured.figure.faults += [f"{said}: {w}" for w in world.wrong()]
                loose.figure.faults += [f"{said}: {w}" for w in world.loose()]
                loose.figure.rounds += 1


def _recorded_table(kind: str, folder: Path, s3_doors: S3Doors, patch: pytest.MonkeyPatch) -> None:
    with fresh_place(kind, folder, s3_doors=s3_doors) as place:
        _Table(place, random.Random(0), patch=patch).go()
