"""Whoever was erased does not come back with what lands later; on lakes of both kinds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from app.domain.datasets import DataMap
from app.domain.dsars import Move, State
from app.domain.errors import StoppedError
from app.domain.failpoints import FailpointError
from app.domain.identifiers import Identifier, Kind
from app.domain.reports import Outcome
from app.domain.runs import Stage
from app.domain.steps import StepKind
from app.services import late
from app.services.parts import Parts
from app.store import runs as stored_runs
from app.store import suppression as store
from tests.lake.bronze_world import ANON, DEVICE, OTHER, OTHER_ANON, SECOND, USER, event
from tests.places import Place
from tests.services.dsar_cases import entries_of, moved, somebody
from tests.services.erased import (
    end_run,
    finish,
    held,
    put_facts,
    queued,
    started,
    state_of,
    suppress,
)
from tests.services.late_worlds import HOUR, A, U, World, followed, person, world


@pytest.fixture
def erased(place: Place, lake_parts: Callable[[DataMap], Parts], tmp_path: Path) -> World:
    """Somebody erased, settling; on a lake of each kind."""
    return world(place, lake_parts, tmp_path)


@pytest.fixture
def erased_file(place_file: Place, file_parts: Callable[[DataMap], Parts], tmp_path: Path) -> World:
    """The same in a folder."""
    return world(place_file, file_parts, tmp_path)


# --- hits ----------------------------------------------------------------------------------------


def test_a_late_event_from_before_the_erasure_begins_a_follow_up_run_of_its_values(
    erased: World,
) -> None:
    erased.lands(event(USER, ANON, ts=erased.before), event(OTHER, ts=erased.before))
    assert erased.sweep() == {
        "places": 1, "unreadable": 0, "cases": 1, "values": 2, "active_again": 0,
        "settled": 0, "state": "done", "run_id": erased.follow_up,
    }  # fmt: skip
    assert {i.subject: i.identifiers for i in followed(erased)} == {
        erased.case_id: frozenset({U, A})
    }
    assert state_of(erased.parts, erased.case_id) is State.RUNNING


def test_what_happened_after_the_erasure_is_a_new_fact(erased: World) -> None:
    erased.lands(event(USER, ANON, ts=erased.after))
    assert erased.sweep()["cases"] == 0
    assert erased.follow_up is None
    assert state_of(erased.parts, erased.case_id) is State.COMPLETED


def test_of_a_closed_account_every_later_event_is_late_data(erased_file: World) -> None:
    world = erased_file
    closed = replace(person(world.case_id), given=frozenset({Identifier(Kind.USER_ID, SECOND)}))
    suppress(world.parts, world.run_id, closed, closed={world.case_id: True})
    world.lands(event(SECOND, OTHER_ANON, ts=world.after))
    assert world.sweep()["cases"] == 1


def test_a_shared_value_is_nobodys_late_data(erased: World) -> None:
    erased.lands(event(OTHER, device={"fp": DEVICE}, ts=erased.before))
    assert (erased.sweep()["cases"], erased.follow_up) == (0, None)


def test_a_row_that_tells_no_time_counts_as_late(erased_file: World) -> None:
    erased_file.lands(event(USER, OTHER_ANON, ts="some time"))
    assert erased_file.sweep()["cases"] == 1


def test_a_sweep_that_found_nobody_is_not_repeated_on_the_same_data(erased: World) -> None:
    erased.lands(event(OTHER, ts=erased.before))
    assert erased.sweep()["cases"] == 0
    first = erased.marks["raw_events"]
    assert erased.sweep()["cases"] == 0
    assert erased.marks["raw_events"] >= first


def test_objects_that_a_run_of_ours_rewrote_hold_nobody(erased: World) -> None:
    erased.lands(event(USER, ANON, ts=erased.before), event(OTHER, ts=erased.before))
    done = erased.lake.erase(run_id=erased.run_id)
    erased.lake.purge(done)
    assert (erased.sweep()["cases"], erased.follow_up) == (0, None)


# --- tables --------------------------------------------------------------------------------------


def test_late_rows_of_a_table_are_found_by_their_time(erased: World) -> None:
    erased.appended("timed", OTHER, erased.fence - HOUR)
    assert erased.sweep()["cases"] == 0
    assert state_of(erased.parts, erased.case_id) is State.COMPLETED
    snapshot = erased.appended("timed", USER, erased.fence - HOUR)
    assert erased.marks["timed"] != str(snapshot)
    assert erased.sweep()["cases"] == 1, "nobody comes back to a completed case either"
    assert erased.marks["timed"] == str(snapshot)


def test_later_rows_of_a_table_are_new_facts(erased_file: World) -> None:
    erased_file.appended("timed", USER, erased_file.fence + HOUR)
    swept = erased_file.sweep()
    assert (swept["cases"], swept["active_again"], erased_file.follow_up) == (0, 0, None)


def test_a_table_without_times_is_as_late_as_what_it_is_built_from(erased_file: World) -> None:
    erased_file.appended("built", USER, erased_file.fence)
    assert erased_file.sweep()["cases"] == 0


def test_a_table_without_times_that_is_built_from_nothing_counts_as_late(
    erased_file: World,
) -> None:
    erased_file.appended("untimed", USER, erased_file.fence)
    assert erased_file.sweep()["cases"] == 1


# --- what stands in the way ----------------------------------------------------------------------


def test_while_the_lake_is_busy_nothing_moves_and_the_sweep_comes_again(
    erased_file: World,
) -> None:
    world = erased_file
    queued(world.parts, somebody(2), of=lambda d: replace(person(d), given=frozenset()))
    other = started(world.parts)
    world.lands(event(USER, ts=world.before))
    before = world.marks
    assert world.sweep()["state"] == "ready"
    assert (world.marks, world.swept_at) == (before, None)
    assert state_of(world.parts, world.case_id) is State.SETTLING
    end_run(world.parts, other)
    assert world.sweep()["state"] == "done"
    assert world.follow_up is not None


def test_what_cannot_be_read_keeps_the_marks_and_every_case_settling(erased: World) -> None:
    erased.lake.load("late.ndjson", b"PAR1 no lines at all")
    swept = erased.sweep()
    assert (swept["unreadable"], swept["settled"], erased.swept_at) == (1, 0, None)
    assert state_of(erased.parts, erased.case_id) is State.SETTLING


def test_a_mark_never_passes_the_horizon_of_a_run_at_work(erased_file: World) -> None:
    """What landed after it is left to nobody but a later sweep."""
    world = erased_file
    queued(world.parts, somebody(2), of=lambda d: replace(person(d), given=frozenset()))
    other = started(world.parts)
    with world.parts.database.transaction() as tx:
        first = store.first_horizons(tx)
    world.sweep()
    assert world.marks == first, "the run has no horizon yet"
    horizon = world.place.reader.now()
    put_facts(world.parts, other, {"horizon:raw_events": horizon.isoformat()})
    world.sweep()
    assert world.marks["raw_events"] == horizon.isoformat()
    end_run(world.parts, other)
    world.sweep()
    assert datetime.fromisoformat(world.marks["raw_events"]) > horizon


def test_a_case_at_work_is_left_to_its_run_and_looked_at_again_after_it(
    erased_file: World,
) -> None:
    world = erased_file
    world.lands(event(USER, ts=world.before))
    with world.parts.database.transaction() as tx:
        stored_runs.put(tx, world.run_id, stage=Stage.VERIFIED)
    assert (world.sweep()["cases"], world.follow_up) == (0, None)
    end_run(world.parts, world.run_id)
    assert world.sweep()["cases"] == 1


def test_what_a_waiting_case_has_left_is_known_and_what_lands_later_is_not(
    erased_file: World,
) -> None:
    world = erased_file
    moved_to(world, Move.RETAKE)
    world.lands(event(USER, ts=world.before), name="held.ndjson")
    horizon = world.place.reader.now() + timedelta(milliseconds=1)
    put_facts(world.parts, world.run_id, {"horizon:raw_events": horizon.isoformat()})
    finish(world.parts, world.run_id, world.case_id, outcome=Outcome.ON_HOLD)
    with world.parts.database.transaction() as tx:
        store.put_marks(tx, {"raw_events": world.before}, swept_at=tx.now())
    time.sleep(0.01)
    assert (world.sweep()["cases"], world.follow_up) == (0, None)
    with world.parts.database.transaction() as tx:
        store.put_marks(tx, {"raw_events": world.before}, swept_at=tx.now())
    world.lands(event(USER, ts=world.before), name="later.ndjson")
    assert world.sweep()["cases"] == 1


def moved_to(world: World, move: Move) -> None:
    moved(world.parts, world.case_id, move)


def test_an_undone_case_has_no_late_data(erased_file: World) -> None:
    world = erased_file
    moved_to(world, Move.RETAKE)
    moved_to(world, Move.PUT_BACK)
    world.lands(event(USER, ts=world.before))
    assert (world.sweep()["cases"], world.follow_up) == (0, None)


# --- crashes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["late.loaded", "late.before_record", "late.before_marks"])
def test_a_sweep_killed_anywhere_is_repeated_and_begins_one_follow_up(
    erased_file: World, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    world = erased_file
    world.lands(event(USER, ts=world.before))
    monkeypatch.setattr("app.domain.failpoints._passed", Counter())
    monkeypatch.setenv("CLEARLAKE_FAILPOINTS", f"{point}=raise")
    with pytest.raises(FailpointError):
        world.sweep()
    monkeypatch.delenv("CLEARLAKE_FAILPOINTS")
    assert (world.follow_up, world.swept_at) == (None, None)
    assert world.sweep()["cases"] == 1
    follow_up = world.follow_up
    assert follow_up is not None
    assert world.sweep()["cases"] == 0, "the case is its run's now"
    assert world.follow_up == follow_up


def test_told_to_stop_a_sweep_gives_its_step_back(erased_file: World) -> None:
    world = erased_file
    world.lands(event(USER, ts=world.before))
    step, lease = held(world.parts, StepKind.SWEEP, "a night")
    lease._lost = True
    with pytest.raises(StoppedError):
        late.sweep(step, lease, world.parts)
    assert world.swept_at is None


def test_what_is_written_down_of_a_sweep_is_numbers(erased_file: World) -> None:
    world = erased_file
    world.lands(event(USER, ANON, ts=world.before))
    step, lease = held(world.parts, StepKind.SWEEP, "a night")
    late.sweep(step, lease, world.parts)
    ((verb, facts),) = entries_of(world.parts, step.id)
    assert verb == "sweep.finished"
    assert msgspec.json.decode(facts) == {
        "counts": {
            "places": 1,
            "unreadable": 0,
            "cases": 1,
            "values": 2,
            "active_again": 0,
            "settled": 0,
        },
        "run_id": world.follow_up,
    }
