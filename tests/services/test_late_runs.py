"""A whole run, and then what lands late: the sweep, the follow-up run, the end of the case."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest

from app.domain.dsars import State
from app.domain.runs import Stage
from app.domain.steps import NewStep, StepKind
from app.services import late
from app.store import runs as run_rows
from app.store import steps
from tests.services.dsar_cases import dumped, entries_of, get
from tests.services.erased import with_rules
from tests.services.run_worlds import EVERY_ACT, ON_FILE, RunWorld

DAY = timedelta(days=1)


@pytest.fixture
def swept_world(run_world: RunWorld) -> RunWorld:
    """Its worker sweeps too; no writer lives for long, and keys go with the close."""
    run_world.acts = MappingProxyType({**EVERY_ACT, StepKind.SWEEP: late.sweep})
    run_world.parts = with_rules(
        run_world.parts, max_writer_lifetime=timedelta(microseconds=1), shred_after=timedelta(0)
    )
    return run_world


def an_event(world: RunWorld, user: str, *, at: datetime) -> bytes:
    """One of the user's own lines, at another time."""
    line = next(
        line
        for body in world.storage.current("raw/").values()
        for line in body.splitlines()
        if json.loads(line)["user"]["user_id"] == user
    )
    return json.dumps({**json.loads(line), "ts": at.isoformat()}).encode() + b"\n"


def sweep(world: RunWorld, night: str) -> None:
    with world.parts.database.transaction() as tx:
        steps.put(tx, [NewStep(StepKind.SWEEP, night)])
    world.work()


def newest_run(world: RunWorld) -> str:
    with world.parts.database.transaction() as tx:
        return run_rows.page(tx, limit=1, after=None)[0].id


@ON_FILE
def test_who_comes_back_after_the_end_of_the_case_is_erased_again(
    swept_world: RunWorld, owner_database_url: str
) -> None:
    world, user = swept_world, swept_world.cast.active_buyer
    again = an_event(world, user, at=datetime.now(UTC) - DAY)
    before, gone = world.records(), world.gone(user)
    (case,) = world.queued(user)
    first = world.start()
    world.work()
    closed = get(world.parts, case)
    assert (closed.state, closed.shredded_at is None) == (State.COMPLETED, False)
    world.load(again)
    sweep(world, "first night")
    second = newest_run(world)
    assert (second != first, world.stage(second)) == (True, Stage.CLOSED)
    assert [r.addendum for r in world.reports(second) if r.kind == "subject"] == [1]
    assert get(world.parts, case).state is State.COMPLETED
    assert world.storage.held(gone.values) == []
    differences = world.records().settled.differences(before.without(gone))
    assert [d for d in differences if "evt-late" not in d] == []
    assert dumped(owner_database_url).found(gone.values) == []
    sweep(world, "second night")
    assert newest_run(world) == second


@ON_FILE
def test_whoever_is_active_again_is_left_alone_until_a_new_case_erases_all(
    swept_world: RunWorld,
) -> None:
    world, user = swept_world, swept_world.cast.active_buyer
    late_line = an_event(world, user, at=datetime.now(UTC) - DAY)
    own_line = an_event(world, user, at=datetime.now(UTC) + DAY)
    before, gone = world.records(), world.gone(user)
    (case,) = world.queued(user)
    first = world.start()
    world.work()
    world.load(own_line, name="now")
    sweep(world, "first night")
    world.load(late_line)
    landed = world.storage.current("raw/")
    sweep(world, "second night")
    sweep(world, "third night")
    assert (newest_run(world), world.state(case)) == (first, State.COMPLETED)
    assert world.storage.current("raw/") == landed
    said = [facts for verb, facts in entries_of(world.parts, case) if verb == "dsar.late_data_left"]
    assert len(said) == 1
    (again,) = world.queued(user)
    world.start()
    world.work()
    assert world.state(again) is State.COMPLETED
    assert world.storage.held(gone.values) == []
    differences = world.records().settled.differences(before.without(gone))
    assert [d for d in differences if "evt-late" not in d and "evt-now" not in d] == []
