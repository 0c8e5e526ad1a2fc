"""A run that goes over one part of the lake first: what it touches and says, how it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.audit.report_verify import require_valid, verify_report
from app.domain.canary import Limit
from app.domain.dsars import State
from app.domain.errors import IllegalMoveError, InvalidFieldsError
from app.domain.runs import Stage
from app.services import dsar_views, run_views, runs
from app.store import run_reports
from tests.services.dsar_cases import OFFICER
from tests.services.run_worlds import ON_FILE, ON_S3, START, RunWorld

WINDOW = "undo_window: PT0S", "undo_window: P1D"
DAY = f"event_dt={START}"


def start(world: RunWorld, limit: Limit) -> str:
    with world.parts.database.transaction() as tx:
        run_id = runs.start(OFFICER, tx, parts=world.parts, limit=limit)
    assert run_id is not None
    return run_id


def widen(world: RunWorld, run_id: str) -> None:
    with world.parts.database.transaction() as tx:
        runs.widen(OFFICER, tx, parts=world.parts, run_id=run_id)


def undo(world: RunWorld, run_id: str) -> None:
    with world.parts.database.transaction() as tx:
        runs.undo(OFFICER, tx, parts=world.parts, run_id=run_id)


def legal(world: RunWorld, run_id: str) -> list[str]:
    with world.parts.database.transaction() as tx:
        return [m.value for m in run_views.overview(tx, run_id=run_id).legal_moves]


def report(world: RunWorld, run_id: str, case: str | None, *, folder: Path) -> dict[str, Any]:
    """The newest report, as somebody outside reads and checks it."""
    document, signature, key_id = world.report_bytes(run_id, case)
    with world.parts.database.transaction() as tx:
        objects = run_reports.run_report(tx, run_id, kind="objects", addendum=None)
    assert objects is not None
    path, beside = folder / "report.json", folder / "objects"
    path.write_bytes(document)
    path.with_name("report.json.sig").write_bytes(signature)
    beside.write_bytes(objects.document)
    pem = world.parts.keys.public_keys()[key_id]
    require_valid(verify_report(path, public_key_pem=pem, attachment=beside))
    found: dict[str, Any] = json.loads(document)
    return found


def untouched(said: dict[str, Any]) -> set[str]:
    return {e["dataset"] for e in said["exceptions"] if e["what"] == "untouched"}


@ON_S3
def test_a_day_of_objects_goes_first_and_the_rest_when_somebody_has_looked(
    run_world: RunWorld, tmp_path: Path
) -> None:
    world = run_world
    user = world.cast.active_buyer
    before, gone = world.records(), world.gone(user)
    objects, tables = world.storage.current("raw/"), world.storage.tables()
    [case] = world.queued(user)
    run_id = start(world, Limit("raw_events", DAY))
    world.work()
    assert world.parked(run_id) == []
    assert (world.stage(run_id), world.state(case)) == (Stage.PENDING, State.RUNNING)
    assert world.storage.tables() == tables
    now = world.storage.current("raw/")
    touched = {key for key in objects if now[key] != objects[key]}
    assert touched
    assert all(f"/{DAY}/" in key for key in touched)
    assert not any(v.encode() in now[key] for key in touched for v in gone.values)
    said = report(world, run_id, case, folder=tmp_path)
    assert (said["verdict"]["value"], said["verdict"]["outcome"]) == ("PARTIAL", "limited")
    assert said["case"]["completed_at"] is None
    others = {d.name for d in world.data_map.tables}
    assert untouched(said) == {"raw_events", *others, "beside the declared places"}
    with world.parts.database.transaction() as tx:
        assert dsar_views.overview(tx, dsar_id=case).needs.exit == "run widen RUN"
    assert legal(world, run_id) == ["resume", "widen"]
    with world.parts.database.transaction() as tx:
        assert runs.start(OFFICER, tx, parts=world.parts) is None, "no case is queued"
    widen(world, run_id)
    world.work()
    assert (world.stage(run_id), world.state(case)) == (Stage.CLOSED, State.SETTLING)
    said = report(world, run_id, case, folder=tmp_path)
    assert (said["verdict"]["value"], said["case"]["addendum"]) == ("VERIFIED", 1)
    assert untouched(said) == set()
    world.clean_of(gone, before=before)


@ON_FILE
def test_a_table_goes_first_and_is_looked_at_again_with_the_whole(
    run_world: RunWorld, tmp_path: Path
) -> None:
    world = run_world
    user = world.cast.active_buyer
    before, gone, objects = world.records(), world.gone(user), world.storage.current("raw/")
    [case] = world.queued(user)
    run_id = start(world, Limit("events"))
    world.work()
    assert world.stage(run_id) is Stage.PENDING
    assert world.storage.current("raw/") == objects
    first = report(world, run_id, None, folder=tmp_path)
    assert [d["name"] for d in first["datasets"]] == ["events"]
    deleted = first["datasets"][0]["run_totals"]["deleted"]
    assert deleted > 0
    widen(world, run_id)
    world.work()
    assert world.stage(run_id) is Stage.CLOSED
    assert world.verdicts(run_id)[case] == ("VERIFIED", "fulfilled")
    whole = report(world, run_id, None, folder=tmp_path)
    [events] = [d for d in whole["datasets"] if d["name"] == "events"]
    assert events["run_totals"]["deleted"] == deleted, "what the first pass did is counted once"
    world.clean_of(gone, before=before)


@ON_FILE
def test_a_canary_and_later_the_whole_can_each_be_undone_within_their_window(
    run_world: RunWorld, owner_database_url: str
) -> None:
    world = run_world
    world.with_map(*WINDOW)
    user = world.cast.active_buyer
    before, current = world.records(), world.storage.current("raw/")
    [case] = world.queued(user)
    run_id = start(world, Limit("raw_events"))
    world.work()
    assert (world.stage(run_id), legal(world, run_id)) == (Stage.CHECKED, ["stop", "undo"])
    undo(world, run_id)
    world.work()
    assert (world.stage(run_id), world.state(case)) == (Stage.UNDONE, State.AWAITING_APPROVAL)
    assert world.storage.current("raw/") == current
    world.approved(case)
    run_id = start(world, Limit("raw_events"))
    world.work()
    world.execute(owner_database_url, "update step set not_before = null where kind = 'purge'")
    world.work()
    assert world.stage(run_id) is Stage.PENDING
    canary = world.records()
    widen(world, run_id)
    world.work()
    assert (world.stage(run_id), legal(world, run_id)) == (Stage.CHECKED, ["stop", "undo"])
    undo(world, run_id)
    world.work()
    assert (world.stage(run_id), world.state(case)) == (Stage.UNDONE, State.AWAITING_APPROVAL)
    assert not world.records().differences(canary), "what the canary destroyed stays so"
    assert world.records().differences(before)


@ON_FILE
def test_after_such_an_undo_nothing_that_was_known_of_the_person_is_forgotten(
    run_world: RunWorld, owner_database_url: str
) -> None:
    """The canary destroyed the only line that links a cookie; the next run erases it all the same,
    where it stands without the person.
    """
    world = run_world
    world.with_map(*WINDOW)
    user, cookie = world.cast.active_buyer, nobodys_cookie(world)
    world.load_link(user, anon=cookie)
    gone = world.gone(user, anons=(cookie,))
    [case] = world.queued(user)
    run_id = start(world, Limit("raw_events"))
    work_through(world, owner_database_url)
    widen(world, run_id)
    world.work()
    undo(world, run_id)
    world.work()
    assert (world.stage(run_id), world.state(case)) == (Stage.UNDONE, State.AWAITING_APPROVAL)
    assert world.storage.held({cookie}), "Silver has it, on rows that name nobody"
    world.approved(case)
    run_id = world.start()
    work_through(world, owner_database_url)
    assert (world.stage(run_id), world.state(case)) == (Stage.CLOSED, State.SETTLING)
    left = world.storage.held(gone.values)
    assert not left, left[:3]


def nobodys_cookie(world: RunWorld) -> str:
    """One that stands in the lake on rows of nobody, and that no link names."""
    lines = [
        json.loads(line)
        for body in world.storage.current("raw/").values()
        for line in body.splitlines()
    ]
    named = {e["user"]["anon_id"] for e in lines if e["user"]["user_id"] is not None}
    named |= {e["payload"].get("anon_id") for e in lines}
    return min(
        str(e["user"]["anon_id"])
        for e in lines
        if e["user"]["user_id"] is None and e["user"]["anon_id"] not in named
    )


def work_through(world: RunWorld, owner_database_url: str) -> None:
    """Work until nothing is left to do, as if the undo window were over."""
    world.work()
    world.execute(owner_database_url, "update step set not_before = null where kind = 'purge'")
    world.work()


@ON_FILE
def test_what_cannot_be_a_limit_is_refused_before_anything_begins(run_world: RunWorld) -> None:
    world = run_world
    world.queued(world.cast.active_buyer)
    for wrong in (
        Limit("no_such_dataset"),
        Limit("events", DAY),
        Limit("raw_events", "../silver"),
        Limit("raw_events", "a//b"),
    ):
        with world.parts.database.transaction() as tx, pytest.raises(InvalidFieldsError):
            runs.start(OFFICER, tx, parts=world.parts, limit=wrong)
    versions = world.storage.versions()
    run_id = start(world, Limit("dim_identity"))
    world.work()
    assert (world.stage(run_id), legal(world, run_id)) == (Stage.STUCK, ["resume", "undo"])
    with world.parts.database.transaction() as tx, pytest.raises(IllegalMoveError):
        runs.widen(OFFICER, tx, parts=world.parts, run_id=run_id)
    undo(world, run_id)
    world.work()
    assert world.stage(run_id) is Stage.UNDONE
    assert world.storage.versions() == versions
