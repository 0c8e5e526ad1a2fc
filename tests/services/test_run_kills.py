"""A worker that dies anywhere in a run: another goes on, and the end is the same.

The places are those that a run passes, so that new ones are covered by themselves.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.domain import failpoints
from app.domain.failpoints import FailpointError
from app.domain.runs import Stage
from tests.services.run_worlds import ON_FILE, RunWorld

_IN_A_THREAD = frozenset({"lease.before_heartbeat"})
"""Raised there, it would not end the worker. Real kills are tested with real workers."""
_DIED = "update step set lease_until = now() - interval '1 s', attempt = 0 where state = 'running'"


@contextmanager
def dying(places: Counter[str], *, seed: int, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """At each of these places once, at one of its passings."""
    chance = random.Random(seed)
    rules = [f"{name}=raise@{chance.randint(1, times)}" for name, times in sorted(places.items())]
    with patch.context() as switched:
        switched.setattr(failpoints, "_passed", Counter())
        switched.setenv("CLEARLAKE_FAILPOINTS", ",".join(rules))
        yield


def passed(world: RunWorld, user: str, *, file: Path, patch: pytest.MonkeyPatch) -> Counter[str]:
    """Every place that a run passes, and how often."""
    world.queued(user)
    with patch.context() as recording:
        recording.setenv("CLEARLAKE_FAILPOINTS_RECORD", str(file))
        run_id = world.start()
        world.work()
    assert world.stage(run_id) is Stage.CLOSED
    places = Counter(file.read_text(encoding="ascii").split())
    return Counter({place: n for place, n in places.items() if place not in _IN_A_THREAD})


@ON_FILE
def test_a_worker_that_dies_anywhere_changes_nothing_of_the_end(
    run_world: RunWorld, owner_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = run_world
    places = passed(world, world.cast.provider, file=tmp_path / "passed", patch=monkeypatch)
    assert len(places) > 40
    users = world.cast.active_buyer, world.cast.tablet_user
    before, gone = world.records().settled, world.gone(*users)
    world.queued(*users)
    run_id = world.start()
    deaths = 0
    with dying(places, seed=0, patch=monkeypatch):
        while True:
            try:
                world.work()
                break
            except FailpointError:
                deaths += 1
                world.execute(owner_database_url, _DIED)
    assert deaths > len(places) // 2
    assert world.stage(run_id) is Stage.CLOSED, world.parked(run_id)
    assert set(world.verdicts(run_id).values()) == {("VERIFIED", "fulfilled")}
    assert len(world.reports(run_id)) == 4
    left = world.storage.held(gone.values)
    assert not left, left[:3]
    differences = world.records().settled.differences(before.without(gone))
    assert not differences, differences[:3]
