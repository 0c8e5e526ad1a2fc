"""What recurs is done once, whoever ticks; what was missed is done at the next tick."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from sqlalchemy import func, insert, update

from app.domain.actors import WORKER
from app.domain.errors import LakeBusyError
from app.domain.steps import StepKind
from app.services import entries
from app.services.parts import Parts, Transaction
from app.services.schedule import Job, put_step, remind, tick
from app.store import audit, leases
from app.store import schedule as schedule_rows
from app.store.tables import dsar, schedule

DAY = timedelta(days=1)


def told(parts: Parts, about: str) -> list[dict[str, object]]:
    with parts.database.transaction() as tx:
        return [json.loads(e.facts) for e in audit.of_objects(tx, [about])]


def telling(name: str) -> Callable[[Transaction, Parts], None]:
    def do(tx: Transaction, parts: Parts) -> None:
        entries.record(WORKER, tx, verb="test.done", about=name)

    return do


def let_time_pass(parts: Parts, by: timedelta) -> None:
    with parts.database.transaction() as tx:
        tx.run(update(schedule).values(due_at=schedule.c.due_at - by))


def test_of_ten_that_tick_at_once_one_does_it(parts: Parts) -> None:
    job = Job("nightly", DAY, telling("nightly"))
    with ThreadPoolExecutor(10) as pool:
        done = list(pool.map(lambda _: tick(parts, [job]), range(10)))
    assert sum(map(len, done)) == len(told(parts, "nightly")) == 1


def test_whoever_began_earlier_does_not_do_again_what_another_took_meanwhile(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        schedule_rows.ensure(tx, {"nightly": timedelta(0)})
    with parts.database.transaction() as early:
        early.now()
        with parts.database.transaction() as late:
            assert schedule_rows.take(late, "nightly", every=DAY)
        assert not schedule_rows.take(early, "nightly", every=DAY)


def test_a_missed_week_is_made_up_once_at_the_next_tick(parts: Parts) -> None:
    job = Job("nightly", DAY, telling("nightly"), first=DAY)
    assert tick(parts, [job]) == []
    let_time_pass(parts, 8 * DAY)
    assert tick(parts, [job]) == ["nightly"]
    assert tick(parts, [job]) == []


def test_what_cannot_be_done_now_is_tried_at_the_next_tick_and_stops_nothing_else(
    parts: Parts,
) -> None:
    busy = [True]

    def start(tx: Transaction, parts: Parts) -> None:
        telling("runs")(tx, parts)
        if busy[0]:
            raise LakeBusyError("Another run is at work.")

    jobs = [Job("runs", DAY, start), Job("nightly", DAY, telling("nightly"))]
    assert tick(parts, jobs) == ["nightly"]
    assert told(parts, "runs") == []
    busy[0] = False
    assert tick(parts, jobs) == ["runs"]


def test_a_shorter_interval_holds_at_once(parts: Parts) -> None:
    assert tick(parts, [Job("runs", DAY, telling("runs"))]) == ["runs"]
    assert tick(parts, [Job("runs", timedelta(minutes=1), telling("runs"))]) == ["runs"]
    assert tick(parts, [Job("runs", timedelta(minutes=1), telling("runs"))]) == []


def test_a_night_that_still_waits_is_not_put_twice(parts: Parts, rung: list[str]) -> None:
    job = Job("stitch", DAY, put_step(StepKind.STITCH))
    for _ in range(3):
        assert tick(parts, [job]) == ["stitch"]
        let_time_pass(parts, 2 * DAY)
    with parts.database.transaction() as tx:
        assert len(leases.claimable(tx, kinds=[StepKind.STITCH], limit=10)) == 1
    assert len(set(rung)) == 1


def put_case(tx: Transaction, dsar_id: str, *, days: float, state: str = "queued") -> None:
    due_at = func.now() + timedelta(days=days)
    made = dict.fromkeys(("regulation", "role", "requester_kind", "regime", "calendar"), "x")
    tx.run(
        insert(dsar).values(
            id=dsar_id,
            type="erasure",
            state=state,
            received_at=func.now(),
            due_at=due_at,
            requested_by="key_x",
            **made,
        )
    )


def test_open_cases_that_are_due_soon_or_overdue_get_an_entry_a_day(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        put_case(tx, "dsar_soon", days=4.5)
        put_case(tx, "dsar_late", days=-2.5, state="received")
        put_case(tx, "dsar_far", days=5.5)
        put_case(tx, "dsar_closed", days=-9, state="completed")
    job = Job("remind", DAY, remind)
    for _ in range(2):
        assert tick(parts, [job]) == ["remind"]
        assert tick(parts, [job]) == []
        let_time_pass(parts, DAY)
    assert told(parts, "dsar_soon") == [{"days_left": 4}] * 2
    assert told(parts, "dsar_late") == [{"days_left": -3}] * 2
    assert told(parts, "dsar_far") == told(parts, "dsar_closed") == []
