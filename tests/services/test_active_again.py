"""What is late of a value that is active again stays, is said once, and a person is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, time
from pathlib import Path

import msgspec
import pytest

from app.domain.datasets import DataMap
from app.domain.dsars import State
from app.domain.errors import StoppedError
from app.domain.failpoints import FailpointError
from app.domain.identifiers import Identifier, Kind
from app.domain.steps import StepKind
from app.lake.late_lines import moment
from app.services import late
from app.services.active_again import WHY
from app.services.parts import Parts
from app.services.timeline import timeline
from tests.lake.bronze_world import ANON, OTHER, OTHER_ANON, SECOND, USER, event
from tests.places import Place
from tests.services.dsar_cases import dumped, entries_of, get, somebody
from tests.services.erased import end_run, finish, held, queued, started, state_of, suppress
from tests.services.late_worlds import HOUR, A, U, World, followed, person, world


@pytest.fixture
def erased(place_file: Place, file_parts: Callable[[DataMap], Parts], tmp_path: Path) -> World:
    """Somebody erased, settling."""
    return world(place_file, file_parts, tmp_path)


def said(world: World, case_id: str | None = None) -> list[dict[str, int]]:
    """What was said to stay of a case, each time."""
    found = entries_of(world.parts, case_id or world.case_id)
    facts = [msgspec.json.decode(f) for verb, f in found if verb == "dsar.late_data_left"]
    assert all(f.keys() == {"values"} for f in facts)
    return [f["values"] for f in facts]


# --- who is active again -------------------------------------------------------------------------


def test_nothing_is_erased_of_a_value_that_is_active_again_and_a_person_is_asked(
    erased: World,
) -> None:
    erased.lands(event(USER, ts=erased.after), name="now.ndjson")
    assert erased.sweep()["cases"] == 0
    case = get(erased.parts, erased.case_id)
    assert case.state is State.COMPLETED
    erased.lands(event(USER, ts=erased.before))
    swept = erased.sweep()
    assert (swept["cases"], swept["active_again"], swept["state"]) == (0, 1, "done")
    assert erased.follow_up is None
    assert said(erased) == [{"user_id": 1}]
    assert state_of(erased.parts, erased.case_id) is State.COMPLETED, "its report stands"


def test_a_case_that_settles_is_stuck_with_the_reason(erased: World) -> None:
    erased.lands(event(USER, ts=erased.after), event(USER, ts=erased.before))
    assert erased.sweep()["settled"] == 0
    case = get(erased.parts, erased.case_id)
    assert (case.state, case.waiting_reason) == (State.STUCK, WHY)
    with erased.parts.database.transaction() as tx:
        told = [t.text for t in timeline(tx, dsar_id=erased.case_id)]
    stays = "Late data came of values that are active again (1 user_id): it stays, and so does what"
    assert told[-2] == f"{stays} comes late of them from now on. A new case erases all of it."
    assert told[-1] == f"It could not be finished: {WHY}."


def test_it_is_said_once_whatever_else_comes_late_of_the_same_value(erased: World) -> None:
    erased.lands(event(USER, ts=erased.after), event(USER, ts=erased.before))
    erased.sweep()
    assert erased.swept_at is not None, "the marks move on"
    erased.lands(event(USER, ts=erased.before), name="more.ndjson")
    assert erased.sweep()["active_again"] == 0
    assert said(erased) == [{"user_id": 1}]
    assert state_of(erased.parts, erased.case_id) is State.STUCK
    erased.lands(event(USER, ANON, ts=erased.before), name="another.ndjson")
    assert erased.sweep()["values"] == 1
    assert {i.subject: i.identifiers for i in followed(erased)} == {erased.case_id: frozenset({A})}


@pytest.mark.parametrize("where", ["object", "superseded", "table", "json"])
def test_a_later_row_counts_wherever_it_stands_and_however_long(erased: World, where: str) -> None:
    if where == "table":
        erased.appended("timed", USER, erased.fence + HOUR)
    elif where == "json":
        erased.lands(event(OTHER, payload={"user_id": USER}, ts=erased.after), name="old.ndjson")
    else:
        erased.lands(event(USER, ts=erased.after), name="old.ndjson")
    if where == "superseded":
        erased.lake.load_over("old.ndjson", event(OTHER, ts=erased.after))
    erased.sweep()
    erased.lands(event(USER, ts=erased.before))
    swept = erased.sweep()
    assert (swept["active_again"], swept["cases"]) == (1, 0)


def test_rows_without_a_time_do_not_make_anybody_active(erased: World) -> None:
    erased.appended("built", USER, erased.fence + HOUR)
    erased.appended("untimed", USER, erased.fence + HOUR)
    erased.lands(event(USER, ts="some time"), event(USER, ts=erased.before))
    swept = erased.sweep()
    assert (swept["active_again"], swept["cases"]) == (0, 1)


def test_a_day_that_may_end_later_counts_as_later(erased: World) -> None:
    """In doubt nothing is erased: who wants it exact names a column with the time of day."""
    day = erased.fence.date().isoformat()
    assert moment(day) == datetime.combine(erased.fence.date(), time.max, tzinfo=UTC)
    erased.lands(event(USER, ts=day), event(USER, ts=erased.before))
    assert erased.sweep()["active_again"] == 1


def test_of_a_case_with_both_kinds_the_follow_up_takes_the_one_and_the_other_is_said(
    erased: World,
) -> None:
    erased.lands(event(None, ANON, ts=erased.after), event(USER, ANON, ts=erased.before))
    swept = erased.sweep()
    assert (swept["cases"], swept["values"], swept["active_again"]) == (1, 1, 1)
    assert [i.identifiers for i in followed(erased)] == [frozenset({U})]
    assert said(erased) == [{"anon_id": 1}]
    assert state_of(erased.parts, erased.case_id) is State.RUNNING


def test_of_a_closed_account_all_is_erased_however_active(erased: World) -> None:
    account = frozenset({Identifier(Kind.USER_ID, SECOND)})
    closed = replace(person(erased.case_id), given=account)
    suppress(erased.parts, erased.run_id, closed, closed={erased.case_id: True})
    erased.lands(event(SECOND, ts=erased.after), event(SECOND, ts=erased.before))
    swept = erased.sweep()
    assert (swept["cases"], swept["active_again"]) == (1, 0)
    assert [i.identifiers for i in followed(erased)] == [account]


def test_activity_between_two_cases_of_one_person_is_the_second_ones_to_erase(
    erased: World,
) -> None:
    between = datetime.now(UTC).isoformat()
    second = queued(erased.parts, somebody(2), of=person)
    run_id = started(erased.parts)
    suppress(erased.parts, run_id, person(second.id))
    finish(erased.parts, run_id, second.id)
    end_run(erased.parts, run_id)
    erased.lands(event(USER, ts=between), event(USER, ts=erased.before))
    swept = erased.sweep()
    assert (swept["cases"], swept["active_again"]) == (2, 0)
    assert {i.subject for i in followed(erased)} == {erased.case_id, second.id}


def test_other_peoples_activity_makes_nobody_active(erased: World) -> None:
    erased.lands(event(OTHER, OTHER_ANON, ts=erased.after), event(USER, ts=erased.before))
    assert erased.sweep()["cases"] == 1


# --- what stands in the way ----------------------------------------------------------------------


def test_while_a_run_has_the_lake_nobody_is_called_active(erased: World) -> None:
    queued(erased.parts, somebody(2), of=lambda d: replace(person(d), given=frozenset()))
    other = started(erased.parts)
    erased.lands(event(USER, ts=erased.after), event(USER, ts=erased.before))
    assert erased.sweep()["state"] == "ready"
    assert (said(erased), state_of(erased.parts, erased.case_id)) == ([], State.SETTLING)
    end_run(erased.parts, other)
    assert erased.sweep()["active_again"] == 1


def test_a_run_that_begins_after_the_second_look_is_waited_for(
    erased: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    erased.lands(event(USER, ts=erased.after), event(USER, ts=erased.before))
    step, lease = held(erased.parts, StepKind.SWEEP, "a night")
    begun: list[str] = []

    def begins(name: str) -> None:
        if name == "late.before_record":
            queued(erased.parts, somebody(2), of=lambda d: replace(person(d), given=frozenset()))
            begun.append(started(erased.parts))

    monkeypatch.setattr(late, "failpoint", begins)
    end = late.sweep(step, lease, erased.parts)
    assert (end.reason, len(begun), said(erased)) == ("lake_busy", 1, [])


@pytest.mark.parametrize("point", ["late.before_telling_apart", "late.before_said"])
def test_a_sweep_killed_between_says_nothing_and_its_repeat_says_it_once(
    erased: World, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    erased.lands(event(USER, ts=erased.after), event(USER, ts=erased.before))
    monkeypatch.setattr("app.domain.failpoints._passed", Counter())
    monkeypatch.setenv("CLEARLAKE_FAILPOINTS", f"{point}=raise")
    with pytest.raises(FailpointError):
        erased.sweep()
    monkeypatch.delenv("CLEARLAKE_FAILPOINTS")
    assert (said(erased), state_of(erased.parts, erased.case_id)) == ([], State.SETTLING)
    assert erased.sweep()["active_again"] == 1
    assert said(erased) == [{"user_id": 1}]


def test_told_to_stop_in_the_second_look_it_stops(
    erased: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    erased.lands(event(USER, ts=erased.after), event(USER, ts=erased.before))
    step, lease = held(erased.parts, StepKind.SWEEP, "a night")

    def lost(name: str) -> None:
        lease._lost = name == "late.before_telling_apart"

    monkeypatch.setattr(late, "failpoint", lost)
    with pytest.raises(StoppedError):
        late.sweep(step, lease, erased.parts)
    assert said(erased) == []


def test_a_case_that_waits_already_keeps_what_it_waits_for(erased: World) -> None:
    erased.lands(event(USER, ts=erased.after), event(USER, ts=erased.before))
    erased.sweep()
    case = get(erased.parts, erased.case_id)
    erased.lands(event(None, ANON, ts=erased.after), event(None, ANON, ts=erased.before), name="b")
    assert erased.sweep()["active_again"] == 1
    after = get(erased.parts, erased.case_id)
    assert (after.state, after.waiting_reason) == (case.state, case.waiting_reason)
    assert said(erased) == [{"user_id": 1}, {"anon_id": 1}]


def test_what_is_said_holds_no_value(erased: World, database_url: str) -> None:
    erased.lands(event(USER, ANON, ts=erased.after), event(USER, ANON, ts=erased.before))
    erased.sweep()
    assert said(erased) == [{"anon_id": 1, "user_id": 1}]
    assert dumped(database_url).found([USER, ANON]) == []
