"""A backup is put back, and with it people who were erased: the replay takes them out again."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import psycopg
import pytest

from app import cli
from app.cli import replay as command
from app.domain.datasets import DataMap
from app.domain.dsars import State
from app.domain.errors import NotFoundError, UsageError
from app.domain.runs import Stage
from app.domain.steps import NewStep, StepKind, StepState
from app.services import late, replay
from app.services.actors import OPERATOR
from app.services.ledger import Worker, perform
from app.services.parts import Parts
from app.services.replay import Requested, Standing
from app.store import steps
from tests.lake.bronze_world import USER, event
from tests.places import Place
from tests.services.backups import backup_of
from tests.services.dsar_cases import dumped, entries_of, get
from tests.services.erased import held, let_go, state_of, with_rules
from tests.services.late_worlds import HOUR, World, followed, world
from tests.services.run_worlds import EVERY_ACT, ON_FILE, RunWorld


@pytest.fixture
def erased(place_file: Place, file_parts: Callable[[DataMap], Parts], tmp_path: Path) -> World:
    """Somebody erased, settling."""
    return world(place_file, file_parts, tmp_path)


def asked(parts: Parts, since: datetime) -> Requested:
    with parts.database.transaction() as tx:
        return replay.request(OPERATOR, tx, since=since)


def standing(parts: Parts, step_id: str) -> Standing:
    with parts.database.transaction() as tx:
        return replay.standing(tx, step_id=step_id)


def replayed(world: World) -> dict[str, int | str]:
    """One replay as a worker does it; what came of it."""
    world.nights += 1
    step, lease = held(world.parts, StepKind.REPLAY, f"restore {world.nights}")
    try:
        end = late.replay(step, lease, world.parts)
    finally:
        let_go(world.parts, step)
    return {**end.receipt, "state": end.state.value}


def execute(owner_url: str, statement: str) -> None:
    """What no service can do: time passes."""
    url = owner_url.replace("+psycopg", "", 1)
    with psycopg.connect(url, autocommit=True, options="-csearch_path=clearlake") as link:
        link.execute(statement.encode())


@ON_FILE
def test_whoever_a_restored_backup_brings_back_is_erased_again_and_nobody_else_is_touched(
    run_world: RunWorld, tmp_path: Path, owner_database_url: str
) -> None:
    """Of a closed case, whose keys are shredded: only the digests know who it was."""
    world, user = run_world, run_world.cast.active_buyer
    world.acts = MappingProxyType(
        {**EVERY_ACT, StepKind.SWEEP: late.sweep, StepKind.REPLAY: late.replay}
    )
    world.parts = with_rules(
        world.parts, max_writer_lifetime=timedelta(microseconds=1), shred_after=timedelta(0)
    )
    aside = tmp_path / "backup"
    aside.mkdir()
    before, gone, since = world.records(), world.gone(user), datetime.now(UTC)
    put_back = backup_of(world.place, world.storage, aside)
    (case,) = world.queued(user)
    world.start()
    world.work()
    world.clean_of(gone, before=before)
    assert get(world.parts, case).shredded_at is not None
    put_back()
    assert world.storage.held(gone.values)
    request = asked(world.parts, since)
    assert (request.erased, request.lost) == (1, ())
    world.work()
    done = standing(world.parts, request.step_id)
    assert (done.state, done.found, done.unreadable, done.is_over) == (
        StepState.DONE, 1, 0, True,
    )  # fmt: skip
    assert (done.stage, world.state(case)) == (Stage.CLOSED, State.COMPLETED)
    assert done.run_id is not None
    assert [r.addendum for r in world.reports(done.run_id) if r.kind == "subject"] == [1]
    assert world.verdicts(done.run_id)[case][0] == "VERIFIED"
    world.clean_of(gone, before=before)
    assert dumped(owner_database_url).found(gone.values) == []
    assert asked(world.parts, since).step_id == request.step_id
    world.work()
    assert standing(world.parts, request.step_id).found == 0, "the second time nobody is there"


def test_what_looks_old_is_read_too(erased: World) -> None:
    """A sweep trusts its marks; after a restore they say nothing."""
    erased.lands(event(USER, ts=erased.before))
    long_ago = (erased.fence - timedelta(days=9)).timestamp()
    os.utime(erased.lake.uri("late.ndjson").removeprefix("file://"), (long_ago, long_ago))
    assert erased.sweep()["cases"] == 0
    assert replayed(erased)["cases"] == 1


def test_a_table_that_was_restored_alone_is_found_though_its_rows_tell_no_time(
    erased: World,
) -> None:
    erased.appended("built", USER, erased.fence)
    assert erased.sweep()["cases"] == 0
    assert replayed(erased)["cases"] == 1
    assert [i.subject for i in followed(erased)] == [erased.case_id]


def test_of_somebody_active_again_such_a_row_may_be_new_and_stays(erased: World) -> None:
    erased.appended("built", USER, erased.fence)
    erased.appended("timed", USER, erased.fence + HOUR)
    done = replayed(erased)
    assert (done["cases"], done["active_again"], done["state"]) == (0, 0, "done")
    assert state_of(erased.parts, erased.case_id) is State.COMPLETED


def test_old_rows_of_somebody_active_again_are_said_each_time_they_return(erased: World) -> None:
    erased.lands(event(USER, ts=erased.before), event(USER, ts=erased.after))
    assert erased.sweep()["active_again"] == 1
    assert erased.sweep()["active_again"] == 0
    assert replayed(erased)["active_again"] == 1
    said = [verb for verb, _ in entries_of(erased.parts, erased.case_id)]
    assert said.count("dsar.late_data_left") == 2


def test_while_a_run_has_the_lake_a_replay_waits_for_it(erased: World) -> None:
    erased.lands(event(USER, ts=erased.before))
    first = erased.sweep()
    assert "run_id" in first
    erased.appended("untimed", USER, erased.fence)
    assert replayed(erased)["state"] == "done", "the case is its run's"
    assert erased.follow_up == first["run_id"]


# --- asking for one ------------------------------------------------------------------------------


def test_a_case_whose_digests_have_ended_is_refused_by_name(
    erased: World, owner_database_url: str
) -> None:
    erased.sweep()
    since = erased.fence - HOUR
    assert asked(erased.parts, since).lost == ()
    execute(owner_database_url, "update suppression set until = now()")
    request = asked(erased.parts, since)
    assert (request.erased, request.lost) == (1, (erased.case_id,))
    (*_, (verb, facts)) = entries_of(erased.parts, request.step_id)
    assert verb == "replay.requested"
    assert msgspec.json.decode(facts) == {
        "since": since.isoformat(), "erased": 1, "lost": [erased.case_id],
    }  # fmt: skip


def test_cases_whose_runs_had_ended_before_the_backup_are_not_counted(
    erased: World, owner_database_url: str
) -> None:
    execute(owner_database_url, "update run set ended_at = now() - interval '2 days'")
    assert asked(erased.parts, erased.fence - HOUR).erased == 0
    execute(owner_database_url, "update run set ended_at = null")
    assert asked(erased.parts, erased.fence - HOUR).erased == 1


def test_a_backup_of_tomorrow_is_refused(erased: World) -> None:
    with pytest.raises(UsageError, match="--since"):
        asked(erased.parts, erased.fence + timedelta(days=1))


def test_only_a_replay_is_shown_as_one(erased: World) -> None:
    with erased.parts.database.transaction() as tx:
        (step_id,) = steps.put(tx, [NewStep(StepKind.SWEEP, "a night")])
    with pytest.raises(NotFoundError):
        standing(erased.parts, step_id)


# --- the command ---------------------------------------------------------------------------------


@pytest.fixture
def shell(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator's, on the machine of the service."""
    monkeypatch.setenv("CLEARLAKE_DATABASE_URL", database_url)
    monkeypatch.setenv("CLEARLAKE_KEYS_URI", f"file://{tmp_path / 'keys'}")


@pytest.mark.usefixtures("shell")
def test_the_command_asks_the_workers_and_names_whom_nobody_can_find(
    erased: World, owner_database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    since = (erased.fence - HOUR).isoformat()
    assert cli.run(["run", "replay", "--since", since, "--no-wait", "--json"]) == 0
    told = msgspec.json.decode(capsys.readouterr().out)
    assert (told["erased"], told["lost"], told["state"]) == (1, [], "ready")
    execute(owner_database_url, "update suppression set until = now()")
    assert cli.run(["run", "replay", "--since", since, "--no-wait"]) == 5
    assert f"{erased.case_id}: its digests have ended" in capsys.readouterr().err


@pytest.mark.usefixtures("shell")
@pytest.mark.parametrize("since", ["yesterday", "2999-01-01"])
def test_the_command_refuses_a_time_that_is_none(
    erased: World, since: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["run", "replay", "--since", since]) == 2
    assert "--since: expected" in capsys.readouterr().err


def test_the_command_waits_until_nothing_more_comes_by_itself(erased: World) -> None:
    request = asked(erased.parts, erased.fence)
    slept = []

    def sleep(seconds: float) -> None:
        """A worker is done by the second look."""
        slept.append(seconds)
        if len(slept) == 2:
            perform(request.step_id, worker=worker)

    worker = Worker("w", erased.parts, {StepKind.REPLAY: late.replay}, lambda *_: [])
    done = command._over(erased.parts, request.step_id, sleep)
    assert (len(slept), done.state, done.found, done.run_id) == (2, StepState.DONE, 0, None)


CLEAN = Standing(
    state=StepState.DONE,
    error_code=None,
    unreadable=0,
    found=1,
    active_again=0,
    run_id="run_1",
    stage=Stage.CLOSED,
)


@pytest.mark.parametrize(
    ("changes", "lost", "code"),
    [
        ({}, (), 0),
        ({"run_id": None, "stage": None}, (), 0),
        ({"stage": Stage.PENDING}, (), 4),
        ({"stage": Stage.STUCK}, (), 5),
        ({"stage": Stage.UNDONE}, (), 5),
        ({"unreadable": 1}, (), 5),
        ({"active_again": 1}, (), 5),
        ({"state": StepState.PARKED, "run_id": None, "stage": None}, (), 5),
        ({}, ("dsar_1",), 5),
    ],
)
def test_only_where_nobody_is_back_is_the_exit_code_0(
    changes: dict[str, Any], lost: tuple[str, ...], code: int
) -> None:
    assert command._code(Requested("step_1", 2, lost), replace(CLEAN, **changes)) == code
