"""Whole runs, step by step in one process, on a real database and a small lake."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from app.audit.report_verify import require_valid, verify_report
from app.domain.dsars import State
from app.domain.errors import DataMapError, KeyMissingError, LakeBusyError
from app.domain.identifiers import Identifier, Kind
from app.domain.runs import Stage
from app.domain.steps import StepKind, StepState
from app.services import object_groups, runs
from app.services.ledger import perform
from app.services.parts import Parts
from app.services.run_stages import course_of
from app.stages.grouping import Limits
from app.store import audit, run_reports
from app.store import runs as run_rows
from tests.services.dsar_cases import MAP, OFFICER, dumped
from tests.services.run_worlds import ON_FILE, RunWorld

NOBODY = "usr_0NOBODYKNOWSME000000000000"


def test_people_leave_in_one_run_and_everybody_else_stays(
    run_world: RunWorld, owner_database_url: str, tmp_path: Path
) -> None:
    users = run_world.cast.active_buyer, run_world.cast.tablet_user
    before, gone = run_world.records(), run_world.gone(*users)
    cases = run_world.queued(*users, NOBODY)
    run_id = run_world.start()
    run_world.work()
    assert run_world.parked(run_id) == []
    assert run_world.stage(run_id) is Stage.CLOSED
    assert [run_world.state(c) for c in cases] == [State.SETTLING] * 3
    run_world.clean_of(gone, before=before)
    assert dumped(owner_database_url).found(gone.values) == []
    with pytest.raises(KeyMissingError):
        run_world.parts.keys.sealer(run_id)
    _reports_are_valid(run_world, run_id, cases, folder=tmp_path)
    _entries_tell_it(run_world, run_id)


def _reports_are_valid(world: RunWorld, run_id: str, cases: Sequence[str], *, folder: Path) -> None:
    """As somebody outside checks them: file, signature, public key, object list."""
    keys = world.parts.keys.public_keys()
    with world.parts.database.transaction() as tx:
        objects = run_reports.run_report(tx, run_id, kind="objects", addendum=None)
    assert objects is not None
    (folder / "objects").write_bytes(objects.document)
    for case, outcome in (*zip(cases, _OUTCOMES, strict=True), (None, "fulfilled")):
        document, signature, key_id = world.report_bytes(run_id, case)
        path = folder / "report.json"
        path.write_bytes(document)
        path.with_name("report.json.sig").write_bytes(signature)
        pem = keys[key_id]
        require_valid(verify_report(path, public_key_pem=pem, attachment=folder / "objects"))
        said = json.loads(document)
        assert world.verdicts(run_id)[case] == ("VERIFIED", outcome)
        assert said["case"]["id"] == case
        assert said["case"]["approved_by"] == (case and OFFICER.id)


_OUTCOMES = ("fulfilled", "fulfilled", "not_found")


def _entries_tell_it(world: RunWorld, run_id: str) -> None:
    with world.parts.database.transaction() as tx:
        entries = audit.of_objects(tx, [run_id])
    verbs = [e.verb for e in entries]
    stages = [json.loads(e.facts)["stage"] for e in entries if e.verb == "run.stage_reached"]
    assert verbs[0] == "run.started"
    assert " ".join(stages) == "resolved planned erased checked purging purged verified"
    purged = [e for e in entries if e.verb == "step.finished" and '"kind":"purge"' in e.facts]
    no_return = entries[verbs.index("run.point_of_no_return")]
    assert no_return.seq < min(e.seq for e in purged)
    assert verbs.index("run.closed") < verbs.index("run.shredded")


@ON_FILE
def test_two_workers_at_groups_of_one_dataset_do_what_one_does(
    run_world: RunWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a group is 48 MiB: this lake would be a single one
    monkeypatch.setattr(object_groups, "limits_for", lambda **_: Limits(objects=4))
    run_world.apart()
    users = run_world.cast.active_buyer, run_world.cast.tablet_user
    before, gone = run_world.records(), run_world.gone(*users)
    run_world.queued(*users)
    run_id = run_world.start()
    with ThreadPoolExecutor(2) as pool:
        while ready := run_world.ready():
            # each step is handed to both, as a message that came twice
            list(pool.map(lambda s: perform(s, worker=run_world.worker()), [*ready, *ready]))
    assert run_world.stage(run_id) is Stage.CLOSED
    erased = [s for s in run_world.steps(run_id) if s.kind is StepKind.ERASE and "/" in s.target]
    assert len(erased) > 3
    assert {s.state for s in erased} == {StepState.DONE}
    assert set(run_world.verdicts(run_id).values()) == {("VERIFIED", "fulfilled")}
    run_world.clean_of(gone, before=before)


# --- who is in a run -----------------------------------------------------------------------------


@ON_FILE
def test_a_case_whose_scope_has_changed_leaves_the_run_and_the_others_go_on(
    run_world: RunWorld,
) -> None:
    world, parts = run_world, run_world.parts
    with parts.database.transaction() as tx:
        assert runs.start(OFFICER, tx, parts=parts) is None, "nothing waits"
    stays, leaves, late = (
        world.cast.active_buyer,
        world.cast.provider,
        world.cast.tablet_user,
    )
    cases = world.queued(stays, leaves)
    world.load_link(leaves, anon="a_0newly0linked0cookie01")
    before, gone = world.records(), world.gone(stays)
    run_id = world.start()
    [waiting] = world.queued(late)
    with parts.database.transaction() as tx, pytest.raises(LakeBusyError, match=run_id):
        runs.start(OFFICER, tx, parts=parts)
    world.work()
    states = [world.state(c) for c in (*cases, waiting)]
    assert states == [State.SETTLING, State.AWAITING_APPROVAL, State.QUEUED]
    assert set(world.verdicts(run_id)) == {None, cases[0]}
    world.clean_of(gone, before=before)


@ON_FILE
def test_a_run_that_every_case_has_left_closes_empty(run_world: RunWorld) -> None:
    cases = run_world.queued(run_world.cast.provider)
    run_world.load_link(run_world.cast.provider, anon="a_0newly0linked0cookie03")
    versions = run_world.storage.versions()
    run_id = run_world.start()
    run_world.work()
    assert run_world.stage(run_id) is Stage.CLOSED
    assert run_world.state(cases[0]) is State.AWAITING_APPROVAL
    assert run_world.reports(run_id) == []
    assert run_world.storage.versions() == versions


@ON_FILE
def test_late_values_are_erased_by_a_follow_up_run_and_its_report_is_an_addendum(
    run_world: RunWorld,
) -> None:
    user, late = run_world.cast.active_buyer, "a_0late0value0of0hers001"
    cases = run_world.queued(user)
    first = run_world.start()
    run_world.work()
    run_world.load_link(run_world.cast.provider, anon=late)
    before, gone = run_world.records().settled, run_world.gone(anons=(late,))
    with run_world.parts.database.transaction() as tx:
        found = {cases[0]: [Identifier(Kind.ANON_ID, late)]}
        run_id = runs.follow_up(OFFICER, tx, parts=run_world.parts, found=found)
    assert run_id is not None
    assert run_world.run(run_id).follow_up_of == first
    run_world.work()
    assert run_world.stage(run_id) is Stage.CLOSED
    [mine] = [r for r in run_world.reports(run_id) if r.dsar_id == cases[0]]
    assert (mine.verdict, mine.outcome, mine.addendum) == ("VERIFIED", "fulfilled", 1)
    run_world.clean_of(gone, before=before)


@ON_FILE
def test_a_map_that_changes_while_a_run_is_at_work_stops_it(run_world: RunWorld) -> None:
    run_world.queued(run_world.cast.active_buyer)
    run_id = run_world.start()
    run_world.work_to(run_id, Stage.PLANNED)
    right = run_world.parts
    run_world.with_map("reader_grace: PT0S", "reader_grace: PT1S")
    run_world.work()
    assert run_world.stage(run_id) is Stage.STUCK
    assert {code for _, _, code in run_world.parked(run_id)} == {"data_map"}
    run_world.parts = right
    with right.database.transaction() as tx:
        runs.resume(OFFICER, tx, parts=right, run_id=run_id)
    run_world.work_to(run_id, Stage.CHECKED)


def test_a_name_that_no_step_can_have_is_refused() -> None:
    first, *others = MAP.datasets
    for name in ("raw/events", "*"):
        wrong = replace(MAP, datasets=(replace(first, name=name), *others))
        with pytest.raises(DataMapError):
            course_of(wrong)


def test_that_one_run_is_at_work_is_held_by_the_database_itself(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        run_rows.insert_run(tx, "run_0", started_by="x", addendum=0, follow_up_of=None)
        assert run_rows.at_work(tx) == "run_0"
    with pytest.raises(IntegrityError), parts.database.transaction() as tx:
        run_rows.insert_run(tx, "run_1", started_by="x", addendum=0, follow_up_of=None)
