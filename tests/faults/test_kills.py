"""Workers killed or put to sleep at every place of a run: another takes over, the end is the same.

The places are those that a run passes. Real processes, real signals.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from zlib import crc32

import pytest

from tests.faults.effort import Effort
from tests.faults.stands import LEASE, Stand, Stands, passed_by, turns

OWN_LEASE = 40.0
"""The service's own lease, that every wait here is told with: 40 s instead of LEASE."""
IN_ITS_WAY = 12.0
"""Seconds. A folder's door holds locks on files, and the kernel takes them from the dead alone: who
comes after a sleeper may wait there until it wakes.
"""
HALVES = pytest.mark.parametrize("half", [0, pytest.param(1, marks=pytest.mark.long)])
"""Of the places: they run side by side."""
ROOM = 4
"""People left in a lake when the next one is made."""


def half_of(drawn: list[tuple[str, int]], half: int) -> list[tuple[str, int]]:
    """By the places' names: each process has recorded its own, and one may lack a heartbeat."""
    return [one for one in drawn if crc32(one[0].encode()) % 2 == half]


class Stable:
    """One stand after the other: the next when most people of the last are gone."""

    def __init__(self, stands: Stands, kind: str) -> None:
        self._stands, self.kind = stands, kind
        self._closing = ExitStack()
        self._stand: Stand | None = None

    def stand(self) -> Stand:
        if self._stand is None or len(self._stand.people) < ROOM:
            self._closing.close()
            self._stand = self._closing.enter_context(self._stands.fresh(self.kind))
        return self._stand

    def places(self) -> Counter[str]:
        """Those that a run passes, recorded once a session."""
        if self.kind not in _PLACES:
            _PLACES[self.kind] = passed_by(self.stand())
        return _PLACES[self.kind]

    def close(self) -> None:
        self._closing.close()


_PLACES: dict[str, Counter[str]] = {}


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.long)])
def stable(request: pytest.FixtureRequest, stands: Stands) -> Iterator[Stable]:
    """On S3 the short form is tests/e2e/test_service_kills.py."""
    stable = Stable(stands, request.param)
    yield stable
    stable.close()


@HALVES
def test_killed_at_every_place_of_a_run_another_worker_goes_on(
    stable: Stable, effort: Effort, half: int
) -> None:
    kind = stable.kind
    places = stable.places()
    assert len(places) > 60
    kills = half_of(turns(places, seed=effort.seed), half)
    scenario = f"kill -9 at every place of a run ({kind} {half + 1})"
    wanted, share = (len(kills), 0.2) if kind == "file" else (0, 0.03)
    with effort.measuring("G3", scenario, wanted=wanted, limit=75) as measured:
        for n in measured.rounds(least=1, most=len(kills), share=share):
            place, turn = kills[n]
            going = stable.stand().begin()
            victim = going.stand.worker(env={"CLEARLAKE_FAILPOINTS": f"{place}=kill@{turn}"})
            going.stand.wait(lambda v=victim, g=going: v.ended or g.settled())
            died_at = time.time()
            was_over = going.over()
            if not victim.ended:
                measured.figure.note("passed less often", 1)
                victim.kill()
            going.finish()
            if not was_over and (next_at := going.stand.started_after(died_at)):
                measured.figure.took(next_at - died_at - LEASE + OWN_LEASE)
            measured.figure.faults += [f"{place}@{turn}: {wrong}" for wrong in going.wrong()]


@HALVES
def test_put_to_sleep_for_three_leases_at_every_place_it_writes_nothing_when_it_wakes(
    stable: Stable, effort: Effort, half: int
) -> None:
    kind = stable.kind
    sleeps = half_of(turns(stable.places(), seed=effort.seed + 1), half)
    scenario = f"SIGSTOP for three leases at every place of a run ({kind} {half + 1})"
    wanted, share = (len(sleeps), 0.25) if kind == "file" else (0, 0.03)
    with effort.measuring("G4", scenario, wanted=wanted) as measured:
        for n in measured.rounds(least=1, most=len(sleeps), share=share):
            place, turn = sleeps[n]
            going = stable.stand().begin()
            asleep = going.stand.worker(env={"CLEARLAKE_FAILPOINTS": f"{place}=stop@{turn}"})
            going.stand.wait(lambda a=asleep, g=going: a.stopped or g.settled())
            slept_at = time.monotonic()
            other = going.stand.worker()
            until = slept_at + (IN_ITS_WAY if kind == "file" else 60.0)
            going.stand.wait(lambda g=going, t=until: g.settled() or time.monotonic() > t)
            time.sleep(max(0.0, slept_at + 3 * LEASE - time.monotonic()))
            if kind == "s3" and not going.settled():
                measured.figure.faults.append(f"{place}@{turn}: the other waited for it")
            measured.figure.note("waited until it woke", int(not going.settled()))
            asleep.signal(signal.SIGCONT)
            time.sleep(0.3)
            going.wait_over(asleep, other)
            measured.figure.faults += [f"{place}@{turn}: {wrong}" for wrong in going.wrong()]
