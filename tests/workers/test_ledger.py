"""Performing a step: what is recorded, and what becomes of errors."""

from __future__ import annotations

import json
import threading
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from app.domain import failpoints
from app.domain.actors import WORKER
from app.domain.errors import (
    AccessDeniedError,
    UnreachableError,
)
from app.domain.failpoints import FailpointError
from app.domain.steps import NewStep, Step, StepEnd, StepKind, StepState
from app.services import entries, ledger
from app.services.ledger import Lease, Performed, pause_after, perform
from app.services.parts import Parts, Transaction
from app.store import audit, steps
from app.store.tables import audit_entry, run
from app.store.tables import step as table
from tests.workers.hands import SECRET, done, lapse, put, raising, row, verbs, worker

# --- what is recorded -------------------------------------------------------------------------


def test_a_step_is_done_once_with_its_receipt_and_both_halves(parts: Parts) -> None:
    (step_id,) = put(parts)
    assert perform(step_id, worker=worker(parts, done)) is Performed.FINISHED
    assert perform(step_id, worker=worker(parts, done)) is Performed.NOTHING
    assert perform("step_unknown", worker=worker(parts, done)) is Performed.NOTHING
    found = row(parts, step_id)
    assert (found.state, found.receipt) == (StepState.DONE, {"rows": 3, "version": "v1"})
    assert verbs(parts, step_id) == ["step.started", "step.finished"]


@pytest.mark.parametrize("state", [StepState.DEFERRED, StepState.HELD, StepState.PARKED])
def test_an_act_may_end_in_another_way(parts: Parts, state: StepState) -> None:
    (step_id,) = put(parts)
    with parts.database.transaction() as tx:
        until = tx.now() + timedelta(days=3)

    def act(step: Step, lease: Lease, parts: Parts) -> StepEnd:
        return StepEnd(state, until=until, reason="a lock forbids it")

    assert perform(step_id, worker=worker(parts, act)) is Performed.FINISHED
    found = row(parts, step_id)
    assert (found.state, found.not_before, found.reason) == (state, until, "a lock forbids it")


def test_a_step_that_waits_is_ready_again_and_no_attempt_is_lost(parts: Parts) -> None:
    (step_id,) = put(parts)

    def act(step: Step, lease: Lease, parts: Parts) -> StepEnd:
        return StepEnd(StepState.READY)

    for _ in range(8):
        assert perform(step_id, worker=worker(parts, act)) is Performed.FINISHED
    assert row(parts, step_id).state is StepState.READY


def test_what_becomes_ready_is_put_and_rung_in_the_finishing_transaction(
    parts: Parts, rung: list[str]
) -> None:
    with parts.database.transaction() as tx:
        tx.run(insert(run).values(id="run_a", stage="erased", started_by="worker"))
    ids = put(parts, *(NewStep(StepKind.ERASE, f"raw/{n}", "run_a") for n in range(12)))

    def advance(tx: Transaction, parts: Parts, run_id: str) -> list[NewStep]:
        left = [s for s in steps.of_run(tx, run_id) if s.state is not StepState.DONE]
        return [] if left else [NewStep(StepKind.CHECK, "raw", run_id)]

    def one(step_id: str) -> None:
        assert perform(step_id, worker=worker(parts, done, advance=advance)) is Performed.FINISHED

    threads = [threading.Thread(target=one, args=(i,)) for i in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with parts.database.transaction() as tx:
        checks = [s for s in steps.of_run(tx, "run_a") if s.kind is StepKind.CHECK]
        rung_at = select(table.c.last_enqueued_at).where(table.c.id == checks[0].id)
        assert tx.run(rung_at).scalar_one() is not None
    assert rung.count(checks[0].id) == 1
    assert {*rung} <= {*ids, checks[0].id}, "the others nobody was woken for"
    assert verbs(parts, "run_a").count("step.finished") == 12


# --- errors -----------------------------------------------------------------------------------


def test_what_may_be_tried_again_is_and_parks_at_the_last_attempt(quick: Parts) -> None:
    (step_id,) = put(quick)
    act = worker(quick, raising(UnreachableError("It is away.")))
    for _ in range(4):
        assert perform(step_id, worker=act) is Performed.RETRIED
    assert perform(step_id, worker=act) is Performed.PARKED
    found = row(quick, step_id)
    assert (found.state, found.error_code, found.attempt) == (StepState.PARKED, "unreachable", 5)
    assert verbs(quick, step_id) == ["step.started", "step.failed"] * 4 + [
        "step.started",
        "step.parked",
    ]


def test_what_cannot_be_tried_again_parks_at_once_with_its_code(parts: Parts) -> None:
    (step_id,) = put(parts)
    act = worker(parts, raising(AccessDeniedError("A right is missing.")))
    assert perform(step_id, worker=act) is Performed.PARKED
    assert row(parts, step_id).error_code == "access_denied"


def test_of_an_unknown_error_only_the_class_is_kept(
    quick: Parts, capsys: pytest.CaptureFixture[str]
) -> None:
    (step_id,) = put(quick)
    act = worker(quick, raising(KeyError(SECRET)))
    for _ in range(4):
        assert perform(step_id, worker=act) is Performed.RETRIED
    assert perform(step_id, worker=act) is Performed.PARKED
    assert row(quick, step_id).error_code == "KeyError"
    with quick.database.transaction() as tx:
        told = [list(r) for t in (table, audit_entry) for r in tx.run(select(t))]
    assert SECRET not in repr(told) + "".join(capsys.readouterr())


def test_pauses_double_and_have_an_end() -> None:
    first = timedelta(seconds=5)
    assert [pause_after(n, first=first).seconds for n in (1, 2, 3)] == [5, 10, 20]
    assert pause_after(500, first=first) == timedelta(minutes=10)


def test_a_park_lets_the_run_decide_how_it_goes_on(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        tx.run(insert(run).values(id="run_b", stage="erased", started_by="worker"))
    (step_id,) = put(parts, NewStep(StepKind.ERASE, "raw/1", "run_b"))
    asked: list[list[StepState]] = []

    def advance(tx: Transaction, parts: Parts, run_id: str) -> list[NewStep]:
        asked.append([s.state for s in steps.of_run(tx, run_id)])
        return []

    act = worker(parts, raising(AccessDeniedError("A right is missing.")), advance=advance)
    assert perform(step_id, worker=act) is Performed.PARKED
    assert asked == [[StepState.PARKED]]


def test_a_poison_step_parks_when_every_holder_died(quick: Parts) -> None:
    (step_id,) = put(quick)
    for _ in range(5):
        act = worker(quick, raising(FailpointError("the process dies here")))
        with pytest.raises(FailpointError):
            perform(step_id, worker=act)
        lapse(quick, step_id)
    assert perform(step_id, worker=worker(quick, done)) is Performed.PARKED
    assert row(quick, step_id).error_code == ledger.POISON
    assert verbs(quick, step_id).count("step.timed_out") == 5


def test_killed_at_every_place_a_step_is_done_once_and_its_run_goes_on(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with parts.database.transaction() as tx:
        tx.run(insert(run).values(id="run_f", stage="erased", started_by="worker"))

    def advance(tx: Transaction, _: Parts, run_id: str) -> list[NewStep]:
        new = NewStep(StepKind.CHECK, "next", run_id)
        entries.record(WORKER, tx, verb="run.went_on", about=run_id)
        return [new]

    def once(target: str, **environment: str) -> str:
        (step_id,) = put(parts, NewStep(StepKind.ERASE, target, "run_f"))
        with monkeypatch.context() as broken:
            broken.setattr(failpoints, "_passed", Counter())
            for name, value in environment.items():
                broken.setenv(name, value)
            with suppress(FailpointError):
                perform(step_id, worker=worker(parts, done, advance=advance))
        return step_id

    once("recorded", CLEARLAKE_FAILPOINTS_RECORD=str(tmp_path / "passed"))
    names = (tmp_path / "passed").read_text().split()
    assert {"steps.claimed", "ledger.after_act", "steps.left", "store.before_commit"} <= {*names}
    for n, name in enumerate(names):
        turn = names[:n].count(name) + 1
        step_id = once(f"{n}", CLEARLAKE_FAILPOINTS=f"{name}=raise@{turn}")
        lapse(parts, step_id)
        perform(step_id, worker=worker(parts, done, advance=advance))
        assert row(parts, step_id).state is StepState.DONE, name
    told = verbs(parts, "run_f")
    assert told.count("step.finished") == told.count("run.went_on") == len(names) + 1
    assert told.count("step.started") > len(names) + 1


def test_entries_name_the_dataset_and_counts_but_no_group_and_no_text(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        tx.run(insert(run).values(id="run_e", stage="erased", started_by="worker"))
    (step_id,) = put(parts, NewStep(StepKind.ERASE, "raw/17", "run_e"))
    perform(step_id, worker=worker(parts, done, advance=lambda *_: []))
    with parts.database.transaction() as tx:
        facts = [json.loads(e.facts) for e in audit.of_objects(tx, ["run_e"])]
    named = {"step": step_id, "kind": "erase", "target": "raw"}
    assert facts == [
        {**named, "attempt": 1},
        {**named, "state": "done", "counts": {"rows": 3}},
    ]
