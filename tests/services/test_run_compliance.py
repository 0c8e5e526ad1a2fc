"""A run under COMPLIANCE, with the service's own jobs: pending until the date, then on by itself,
an addendum, and completed.
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
from app.domain.steps import StepState
from app.services.schedule import tick
from tests.e2e.storage import BucketStorage
from tests.services.dsar_cases import dumped, entries_of, get
from tests.services.erased import with_rules
from tests.services.run_worlds import ON_S3, RunWorld
from workers.pipeline import acts, jobs_of

SHORT = timedelta(seconds=18)


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
    assert addenda[0] == 0
    assert addenda == list(range(len(addenda)))
    assert world.verdicts(run_id)[case] == ("VERIFIED", "fulfilled")
    document = report(world, run_id, case, folder=tmp_path)
    assert (document["case"]["addendum"], document["exceptions"]) == (addenda[-1], [])
    world.clean_of(gone, before=before)
    verbs = [verb for verb, _ in entries_of(world.parts, case)]
    told = [v for v in verbs if v in ("dsar.deferred", "dsar.retaken", "dsar.completed")]
    assert (told[:2], told[-1]) == (["dsar.deferred", "dsar.retaken"], "dsar.completed")
    assert get(world.parts, case).shredded_at is not None
    assert dumped(owner_database_url).found(gone.values) == []


def soon(**delta: int) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(**delta)


def run_of(world: RunWorld) -> str:
    from app.store import runs

    with world.parts.database.transaction() as tx:
        return runs.page(tx, limit=1, after=None)[0].id


def report(world: RunWorld, run_id: str, case: str, *, folder: Path) -> Any:
    """The newest report on the case, checked as somebody outside would."""
    document, signature, key_id = world.report_bytes(run_id, case)
    path = folder / "report.json"
    path.write_bytes(document)
    path.with_name("report.json.sig").write_bytes(signature)
    pem = world.parts.keys.public_keys()[key_id]
    require_valid(verify_report(path, public_key_pem=pem, attachment=None))
    return json.loads(document)
