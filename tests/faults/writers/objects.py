"""Other writers at Bronze objects while an eraser works on them, as scenarios of any length."""

from __future__ import annotations

import json
import random
import threading
from pathlib import Path
from typing import Any

from app.domain.receipts import ObjectWork, WorkState
from tests.lake.bronze_world import (
    ANON,
    DEVICE,
    OTHER,
    SECOND,
    SESSION,
    USER,
    Journal,
    Lake,
    erased,
    event,
    text,
)

VALUES = (USER, ANON, DEVICE, SESSION, SECOND)
_ENDED = {WorkState.WRITTEN, WorkState.CLEAN}
_GONE = {WorkState.PURGED, WorkState.CLEAN}


def _lines(rng: random.Random, *, start: int, count: int) -> list[bytes]:
    """Numbered lines, some of the people's."""
    people = (USER, SECOND, OTHER, OTHER, None)
    return [event(rng.choice(people), number=start + n) for n in range(count)]


def _others(body: bytes) -> list[bytes]:
    """What must stay of a body, by a naive reading: whole lines of others that name nobody."""
    return [line for line in body.splitlines() if not any(v.encode() in line for v in VALUES)]


def held(lake: Lake, names: list[str]) -> list[str]:
    """Names of objects of which any version holds a value."""
    return [
        name
        for name in names
        for version in lake.versions(name)
        if not version.is_marker
        and any(v.encode() in lake.body(name, version.version_id) for v in VALUES)
    ]


def two_erasers(place: Any, spool: Path, *, objects: int, seed: int) -> dict[str, int]:
    """Two tools of ours that know nothing of each other rewrite the same objects at once: one of
    the two wins each object, the other finds nobody in what it reads again.
    """
    rng = random.Random(seed)
    lake = Lake(place, spool)
    names = [f"evt-{n}.ndjson" for n in range(objects)]
    bodies = {name: text(_lines(rng, start=100 * n, count=8)) for n, name in enumerate(names)}
    for name, body in bodies.items():
        lake.load(name, body)
    works: dict[str, list[ObjectWork]] = {}

    def run(name: str) -> None:
        works[name] = lake.erase(run_id=f"run_{name}", record=Journal(), spool=spool / name)

    _side_by_side(run, ("one", "two"))
    assert {w.state for found in works.values() for w in found} <= _ENDED
    for name, body in bodies.items():
        assert lake.body(name) == erased(body)[0], name
    for found in works.values():
        assert {w.state for w in lake.purge(found)} <= _GONE
    assert held(lake, names) == []
    return {"objects": objects, "written": sum(w.new_version is not None for w in works["one"])}


def overwritten_meanwhile(place: Any, spool: Path, *, objects: int, seed: int) -> dict[str, int]:
    """Somebody puts longer bodies on top of the objects, the people's lines among them, while they
    are erased. No line of others is lost, and the next run has whatever came late.
    """
    rng = random.Random(seed)
    lake = Lake(place, spool)
    names = [f"evt-{n}.ndjson" for n in range(objects)]
    latest = {name: text(_lines(rng, start=1000 * n, count=6)) for n, name in enumerate(names)}
    for name, body in latest.items():
        lake.load(name, body)
    puts = [0]

    def act(who: str) -> None:
        if who == "eraser":
            first.extend(lake.erase())
            return
        for number in range(2 * objects):
            name = rng.choice(names)
            latest[name] += text(_lines(rng, start=10_000 + 100 * number, count=4))
            lake.load_over(name, latest[name])
            puts[0] += 1

    first: list[ObjectWork] = []
    _side_by_side(act, ("eraser", "writer"))
    assert {w.state for w in first} <= _ENDED | {WorkState.PARKED}
    lake.purge([w for w in first if w.state is not WorkState.PARKED])
    second = lake.erase(run_id="run_2", record=Journal())
    assert {w.state for w in second} <= _ENDED
    assert {w.state for w in lake.purge(second)} <= _GONE
    assert held(lake, names) == []
    for name, body in latest.items():
        assert _others(lake.body(name)) == _others(body), name
        numbers = [json.loads(line).get("number") for line in lake.body(name).splitlines()]
        assert numbers == sorted(numbers)
    return {"puts": puts[0], "parked": sum(w.state is WorkState.PARKED for w in first)}


def _side_by_side(act: Any, names: tuple[str, ...]) -> None:
    failed: list[BaseException] = []

    def run(name: str) -> None:
        try:
            act(name)
        except BaseException as err:
            failed.append(err)
            raise

    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
