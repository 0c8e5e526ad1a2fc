"""What a bucket's locks and holds make of a run, with the service's own jobs: it waits, goes on by
itself, says so in an addendum, and the case is completed.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from app.audit.report_verify import require_valid, verify_report
from app.domain.dsars import State
from app.domain.runs import Stage
from app.domain.steps import NewStep, StepKind, StepState
from app.services import runs
from app.services.schedule import tick
from app.store import runs as run_rows
from app.store import steps
from tests.e2e.storage import BucketStorage
from tests.services.dsar_cases import OFFICER, dumped, entries_of, get
from tests.services.erased import with_rules
from tests.services.run_worlds import ON_S3, RunWorld
from workers.pipeline import acts, jobs_of


def lock(world: RunWorld, uri: str, *, until: datetime) -> None:
    """Lock the oldest version, just before it is to be purged: a run takes as long as it takes."""
    assert isinstance(world.storage, BucketStorage)
    client: Any = world.storage.bucket.client
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    oldest = client.list_object_versions(Bucket=bucket, Prefix=key)["Versions"][-1]["VersionId"]
    retention = {"Mode": "COMPLIANCE", "RetainUntilDate": until}
    client.put_object_retention(Bucket=bucket, Key=key, VersionId=oldest, Retention=retention)


def beat(world: RunWorld) -> list[str]:
    """What beat and a worker do together: whatever is due, and the steps that it put."""
    done = tick(world.parts, jobs_of(world.parts.rules))
    world.work()
    return done


def old_file_of(world: RunWorld, table: str) -> str:
    """A data file that the run replaced in a table."""
    engine = world.place.engine
    first = engine.head(table).snapshots[0]
    now = {f.path for f in engine.files(table, snapshot_id=engine.head(table).snapshot_id or 0)}
    [path, *_] = [f.path for f in engine.files(table, snapshot_id=first) if f.path not in now]
    return path


@ON_S3
def test_a_run_under_compliance_goes_through_pending_to_completed_with_its_addendum(
    run_world: RunWorld, owner_database_url: str, tmp_path: Path
) -> None:
    world, user = run_world, run_world.cast.active_buyer
    world.acts = acts()
    world.parts = with_rules(
        world.parts,
        max_writer_lifetime=timedelta(microseconds=1),
        shred_after=timedelta(0),
        reconcile_every=timedelta(milliseconds=1),
    )
    uri = world.load_locked(
        "locked", user, but_of=world.gone(world.cast.provider), until=soon(seconds=2)
    )
    before, gone = world.records(), world.gone(user)
    (case,) = world.queued(user)
    tick(world.parts, jobs_of(world.parts.rules))
    run_id = run_of(world)
    world.work_to(run_id, Stage.CHECKED)
    first, last = soon(seconds=15), soon(seconds=18)
    lock(world, uri, until=first)
    lock(world, old_file_of(world, "lake.events"), until=last)

    beat(world)
    assert (world.stage(run_id), world.state(case)) == (Stage.PENDING, State.PENDING_RETENTION)
    assert world.waiting_until(case) == last
    assert world.verdicts(run_id)[case] == ("DEFERRED", "pending_retention")
    deferred = {s.target for s in world.steps(run_id) if s.state is StepState.DEFERRED}
    assert deferred == {"raw_events/0", "events"}
    dates = {e["until"] for e in report(world, run_id, case, folder=tmp_path)["exceptions"]}
    assert {datetime.fromisoformat(d) for d in dates if d} == {first, last}
    assert world.storage.held(gone.values), "what a lock protects is still there"
    differences = world.records().settled.differences(before.without(gone))
    assert differences == [], "and yet nobody reads it any more"
    beat(world)
    assert world.stage(run_id) is Stage.PENDING, "not before its date"

    deadline = time.monotonic() + 90
    while world.state(case) is not State.COMPLETED and time.monotonic() < deadline:
        time.sleep(0.5)
        beat(world)
    assert datetime.now(UTC) > last
    assert (world.stage(run_id), world.state(case)) == (Stage.CLOSED, State.COMPLETED)
    addenda = [r.addendum for r in world.reports(run_id) if r.dsar_id == case]
    assert addenda == [0, 1], "locks that end together are waited for together"
    assert world.verdicts(run_id)[case] == ("VERIFIED", "fulfilled")
    document = report(world, run_id, case, folder=tmp_path)
    assert (document["case"]["addendum"], document["exceptions"]) == (1, [])
    world.clean_of(gone, before=before)
    verbs = [verb for verb, _ in entries_of(world.parts, case)]
    told = [v for v in verbs if v in ("dsar.deferred", "dsar.retaken", "dsar.completed")]
    assert (told[:2], told[-1]) == (["dsar.deferred", "dsar.retaken"], "dsar.completed")
    assert get(world.parts, case).shredded_at is not None
    assert dumped(owner_database_url).found(gone.values) == []


@ON_S3
def test_a_run_goes_on_by_itself_once_the_hold_in_the_bucket_is_lifted(run_world: RunWorld) -> None:
    world, user = run_world, run_world.cast.active_buyer
    world.acts = acts()
    world.parts = with_rules(world.parts, max_writer_lifetime=timedelta(0))
    before, gone = world.records(), world.gone(user)
    [line, *_] = [
        line
        for body in world.storage.current("raw/").values()
        for line in body.splitlines()
        if json.loads(line)["user"]["user_id"] == user
    ]
    uris = [world.load(line, name=name) for name in ("current", "older")]
    (case,) = world.queued(user)
    run_id = world.start()
    hold(world, uris[0], "ON")
    world.work_to(run_id, Stage.CHECKED)
    hold(world, uris[1], "ON")
    world.work()
    assert (world.stage(run_id), world.state(case)) == (Stage.PENDING, State.ON_HOLD)
    assert looked(world, "first night") == {"held": 1, "lifted": 0}
    tick(world.parts, jobs_of(world.parts.rules))
    assert world.stage(run_id) is Stage.PENDING
    for number, uri in enumerate(uris):
        hold(world, uri, "OFF")
        assert looked(world, f"night {number}") == {"held": 1, "lifted": 1}
        with world.parts.database.transaction() as tx:
            assert runs.resume_due(OFFICER, tx, parts=world.parts) == [run_id]
        world.work()
    assert (world.stage(run_id), world.state(case)) == (Stage.CLOSED, State.COMPLETED)
    assert world.verdicts(run_id)[case] == ("VERIFIED", "fulfilled")
    assert world.storage.held(gone.values) == []
    differences = world.records().settled.differences(before.without(gone))
    assert [d for d in differences if "evt-current" not in d and "evt-older" not in d] == []


def hold(world: RunWorld, uri: str, status: str) -> None:
    """On the oldest version."""
    assert isinstance(world.storage, BucketStorage)
    client: Any = world.storage.bucket.client
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    oldest = client.list_object_versions(Bucket=bucket, Prefix=key)["Versions"][-1]["VersionId"]
    client.put_object_legal_hold(
        Bucket=bucket, Key=key, VersionId=oldest, LegalHold={"Status": status}
    )


def looked(world: RunWorld, night: str) -> Any:
    """What a look for lifted holds comes to."""
    with world.parts.database.transaction() as tx:
        (step_id,) = steps.put(tx, [NewStep(StepKind.LIFT, night)])
    world.work()
    with world.parts.database.transaction() as tx:
        found = steps.get(tx, step_id)
    assert found is not None
    return found.receipt


def soon(**delta: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(**delta)


def run_of(world: RunWorld) -> str:
    with world.parts.database.transaction() as tx:
        return run_rows.page(tx, limit=1, after=None)[0].id


def report(world: RunWorld, run_id: str, case: str, *, folder: Path) -> Any:
    """The newest report on the case, checked as somebody outside would."""
    document, signature, key_id = world.report_bytes(run_id, case)
    path = folder / "report.json"
    path.write_bytes(document)
    path.with_name("report.json.sig").write_bytes(signature)
    pem = world.parts.keys.public_keys()[key_id]
    require_valid(verify_report(path, public_key_pem=pem, attachment=None))
    return json.loads(document)
