"""What a run cannot finish with: whose case waits, whose does not, and how it goes on later."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.domain.dsars import State
from app.domain.errors import IllegalMoveError
from app.domain.runs import Stage
from app.domain.steps import StepState
from app.services import runs
from app.services.runs import Exit
from tests.e2e.storage import BucketStorage
from tests.services.dsar_cases import OFFICER, dumped
from tests.services.run_worlds import ON_FILE, ON_S3, RunWorld


def resume_due(world: RunWorld) -> list[str]:
    with world.parts.database.transaction() as tx:
        return runs.resume_due(OFFICER, tx, parts=world.parts)


def lock(world: RunWorld, uri: str, *, until: datetime) -> None:
    """Prolong the lock of the oldest version: a run takes as long as the machine lets it."""
    assert isinstance(world.storage, BucketStorage)
    client, bucket = world.storage.bucket.client, world.storage.bucket.name
    key = uri.removeprefix(f"s3://{bucket}/")
    found = client.list_object_versions(Bucket=bucket, Prefix=key)["Versions"]
    oldest = found[-1]["VersionId"]
    retention = {"Mode": "COMPLIANCE", "RetainUntilDate": until}
    client.put_object_retention(Bucket=bucket, Key=key, VersionId=oldest, Retention=retention)


@pytest.mark.long
@ON_S3
def test_a_locked_case_waits_for_its_date_while_the_others_are_done(
    run_world: RunWorld, owner_database_url: str
) -> None:
    locked, free = run_world.cast.active_buyer, run_world.cast.provider
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
    uris = [
        run_world.load_locked(name, locked, but_of=run_world.gone(free), until=until)
        for name in ("current", "overwritten")
    ]
    run_world.place.loader.load(uris[1], b"")
    before, gone = run_world.records(), run_world.gone(locked, free)
    cases = run_world.queued(locked, free)
    run_id = run_world.start()
    run_world.work_to(run_id, Stage.CHECKED)
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=20)
    for uri in uris:
        lock(run_world, uri, until=until)
    run_world.work()
    assert run_world.stage(run_id) is Stage.PENDING
    assert run_world.verdicts(run_id)[cases[0]] == ("DEFERRED", "pending_retention")
    assert run_world.verdicts(run_id)[cases[1]] == ("VERIFIED", "fulfilled")
    assert [run_world.state(c) for c in cases] == [State.PENDING_RETENTION, State.SETTLING]
    assert run_world.waiting_until(cases[0]) == until
    assert resume_due(run_world) == []
    other = run_world.queued(run_world.cast.tablet_user)
    busy = run_world.start()
    time.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds()) + 3)
    assert resume_due(run_world) == [], "the lake is busy"
    run_world.work()
    assert run_world.stage(busy) is Stage.CLOSED
    assert run_world.state(other[0]) is State.SETTLING
    assert resume_due(run_world) == [run_id]
    assert run_world.state(cases[0]) is State.RUNNING
    run_world.work()
    assert run_world.stage(run_id) is Stage.CLOSED
    assert [(r.dsar_id, r.addendum) for r in run_world.reports(run_id) if r.dsar_id] == [
        (cases[0], 0), (cases[1], 0), (cases[0], 1),
    ]  # fmt: skip
    assert run_world.verdicts(run_id)[cases[0]] == ("VERIFIED", "fulfilled")
    assert [run_world.state(c) for c in cases] == [State.SETTLING] * 2
    assert not run_world.storage.held(gone.values)
    assert before.count() > run_world.records().count()
    assert dumped(owner_database_url).found(gone.values) == []


@ON_FILE
def test_lines_that_cannot_be_parsed_wait_for_a_person_who_has_them_dropped(
    run_world: RunWorld,
) -> None:
    user, other = run_world.cast.active_buyer, run_world.cast.provider
    gone = run_world.gone(user)
    run_world.load(b'{"user": {"user_id": "' + user.encode() + b'"\n')
    cases = run_world.queued(user, other)
    run_id = run_world.start()
    run_world.work()
    assert run_world.stage(run_id) is Stage.PENDING
    assert [run_world.state(c) for c in cases] == [State.STUCK, State.SETTLING]
    [step] = [s for s in run_world.steps(run_id) if s.state is StepState.PARKED]
    assert (step.kind.value, step.error_code) == ("erase", None)
    parts = run_world.parts
    with parts.database.transaction() as tx, pytest.raises(IllegalMoveError):
        runs.resume(OFFICER, tx, parts=parts, run_id=run_id, exit_=Exit("step_unknown"))
    with parts.database.transaction() as tx:
        runs.resume(OFFICER, tx, parts=parts, run_id=run_id, exit_=Exit(step.id))
    run_world.work()
    assert run_world.stage(run_id) is Stage.CLOSED
    assert run_world.verdicts(run_id)[cases[0]] == ("VERIFIED", "fulfilled")
    assert run_world.state(cases[0]) is State.SETTLING
    assert not run_world.storage.held(gone.values)


@ON_FILE
def test_residue_gives_a_signed_report_that_says_failed_and_the_case_waits_for_a_person(
    run_world: RunWorld,
) -> None:
    user, other = run_world.cast.active_buyer, run_world.cast.provider
    before, gone = run_world.records(), run_world.gone(user, other)
    cases = run_world.queued(user, other)
    run_id = run_world.start()
    run_world.work_to(run_id, Stage.PURGED)
    # young, and reached by nothing: a purge leaves it alone, it may be a commit being made
    [location, *_] = run_world.storage.tables().values()
    orphan = Path(location.removeprefix("file://")).with_name("orphan.json")
    orphan.write_text(user)
    run_world.work()
    assert run_world.verdicts(run_id)[cases[0]] == ("FAILED", "stuck")
    assert run_world.verdicts(run_id)[cases[1]] == ("VERIFIED", "fulfilled")
    assert [run_world.state(c) for c in cases] == [State.STUCK, State.SETTLING]
    assert run_world.stage(run_id) is Stage.PENDING
    orphan.unlink()
    with run_world.parts.database.transaction() as tx:
        runs.resume(OFFICER, tx, parts=run_world.parts, run_id=run_id)
    run_world.work()
    assert run_world.verdicts(run_id)[cases[0]] == ("VERIFIED", "fulfilled")
    assert run_world.stage(run_id) is Stage.CLOSED
    run_world.clean_of(gone, before=before)
