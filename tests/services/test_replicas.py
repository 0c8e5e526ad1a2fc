"""Copies of a prefix elsewhere are erased, checked, purged and verified like what they copy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

from app.domain.dsars import State
from app.domain.findings import What
from app.domain.identifiers import Identifier, Kind, Subject
from app.domain.runs import Stage
from app.domain.steps import NewStep, StepKind
from app.lake.identities import resolve
from app.services import late
from app.stages.search import search_lake
from app.store import steps
from tests.places import Place, S3Doors
from tests.services.erased import with_rules
from tests.services.run_worlds import EVERY_ACT, ON_FILE, ON_S3, START, RunWorld

FORMAT = "    format: ndjson\n"


def bodies(world: RunWorld, root: str, *, every: bool = False) -> dict[str, list[bytes]]:
    """Key below the root -> the bytes of its current version, or of every version."""
    found: dict[str, list[bytes]] = {}
    for version in world.place.reader.versions(root):
        if version.is_marker or not (every or version.is_latest):
            continue
        with world.place.reader.open(version.uri, version_id=version.version_id) as stream:
            found.setdefault(version.uri.removeprefix(root), []).append(stream.read())
    return found


def replicated(world: RunWorld, *roots: str) -> None:
    """Copies of everything under raw/, and a map that declares them."""
    for name, (body,) in bodies(world, f"{world.place.root}raw/").items():
        for root in roots:
            world.place.loader.load(root + name, body)
    listed = "".join(f'      - "{root}"\n' for root in roots)
    world.with_map(FORMAT, f"{FORMAT}    replicas:\n{listed}")


def read(found: Mapping[str, list[bytes]]) -> bytes:
    return b"".join(body for name in found for body in found[name])


@ON_S3
def test_a_replica_bucket_is_erased_to_the_same_bytes_and_reported_on_its_own(
    run_world: RunWorld, s3_doors: S3Doors
) -> None:
    world, user = run_world, run_world.cast.active_buyer
    other = s3_doors.buckets.take()
    raw, copy = f"{world.place.root}raw/", f"{other}copy/"
    purger_of = world.place.purger_of
    world.place.purger_of = lambda _: purger_of((world.place.root, copy))
    replicated(world, copy)
    before, gone = world.records(), world.gone(user)
    assert any(value.encode() in read(bodies(world, copy)) for value in gone.values)
    (case,) = world.queued(user)
    run_id = world.start()
    world.work()
    assert world.stage(run_id) is Stage.CLOSED
    assert world.verdicts(run_id)[case] == ("VERIFIED", "fulfilled")
    world.clean_of(gone, before=before)
    assert bodies(world, copy, every=True) == bodies(world, raw)
    document = json.loads(world.report_bytes(run_id, case)[0])
    first, second = document["datasets"][:2]
    assert (first["name"], second["name"]) == ("raw_events", "raw_events@1")
    assert second["subject"] == first["subject"] != {}
    assert second["run_totals"] == first["run_totals"]
    assert second["versions_purged"] == first["versions_purged"] > 0
    assert second["warnings"] == ["A replica: its lines are those of raw_events once more."]
    assert document["verdict"]["places"] == 6


@ON_FILE
def test_late_data_in_a_replica_alone_is_found_and_erased(run_world: RunWorld) -> None:
    world, user = run_world, run_world.cast.active_buyer
    replicated(world, f"{world.place.root}copy/", f"{world.place.root}more/")
    world.acts = MappingProxyType({**EVERY_ACT, StepKind.SWEEP: late.sweep})
    world.parts = with_rules(world.parts, max_writer_lifetime=timedelta(microseconds=1))
    [line, *_] = [
        line
        for line in read(bodies(world, f"{world.place.root}raw/")).splitlines()
        if json.loads(line)["user"]["user_id"] == user
    ]
    gone = world.gone(user)
    (case,) = world.queued(user)
    first = world.start()
    world.work()
    assert (world.stage(first), world.storage.held(gone.values)) == (Stage.CLOSED, [])
    world.place.loader.load(f"{world.place.root}more/event_dt={START}/23/evt-late.ndjson", line)
    with world.parts.database.transaction() as tx:
        steps.put(tx, [NewStep(StepKind.SWEEP, "a night")])
    world.work()
    assert world.storage.held(gone.values) == []
    assert world.state(case) is State.COMPLETED


@ON_FILE
def test_nobody_is_resolved_from_a_replica_and_the_search_names_it(run_world: RunWorld) -> None:
    world, user = run_world, run_world.cast.active_buyer
    copy = f"{world.place.root}copy/"
    replicated(world, copy)
    alone = resolved(world, user)
    [link, *_] = [
        json.loads(line)
        for line in read(bodies(world, copy)).splitlines()
        if b'"identity.link"' in line and json.loads(line)["user"]["user_id"] == user
    ]
    link["user"]["anon_id"] = link["payload"]["anon_id"] = "a_0000000000000000replica"
    uri = f"{copy}event_dt={START}/23/evt-link.ndjson"
    world.place.loader.load(uri, json.dumps(link).encode() + b"\n")
    assert resolved(world, user) == alone
    found = search_lake(
        [subject(user)], data_map=world.data_map, doors=world.place.doors(), say=lambda *_: None
    )
    residue = {f.dataset for f in found.findings if f.what is What.RESIDUE}
    assert {"raw_events", "raw_events@1"} <= residue


def subject(user: str) -> Subject:
    return Subject("s", (Identifier(Kind.USER_ID, user),))


def resolved(world: RunWorld, user: str) -> object:
    place: Place = world.place
    return resolve(
        [subject(user)], data_map=world.data_map, store=place.reader, engine=place.engine
    )
