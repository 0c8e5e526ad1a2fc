"""How often a run asks S3, by kind: no more than the protocol needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest

from app.audit.keys import KeyStore
from app.domain.datasets import DataMap
from app.domain.identifiers import Targets
from app.domain.receipts import WorkState
from app.lake.datamap import map_text, parse_map
from app.lake.ports import GOVERNANCE, Doors
from app.lake.s3 import S3Purger, S3Store
from app.offline.journal import Journal
from app.servers import Servers
from app.stages.acts import Acts
from app.stages.search import seeing
from tests.faults.proxy import HttpProxy
from tests.faults.proxy.asked import LOOK, PROTOCOL, Requests
from tests.places import Place
from tests.verify.material import event, person

HOURS = range(4)
LATER, SOON = timedelta(days=30), timedelta(seconds=60)


@dataclass
class World:
    """A bucket with a few objects, and doors to it that are counted."""

    place: Place
    data_map: DataMap
    doors: Doors
    requests: Requests
    folder: Path
    ours: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def load(self, *, locked_for: timedelta) -> None:
        """Two objects an hour: one holds a person, one does not."""
        until = datetime.now(UTC) + locked_for
        for hour in HOURS:
            for name, number, uris in (("a", 1, self.ours), ("b", 9, self.others)):
                uri = f"{self.place.root}raw/event_dt=2026-10-01/{hour:02}/evt-{name}.ndjson"
                body = event(number) + event(8)
                self.place.loader.load(uri, body, lock_mode=GOVERNANCE, retain_until=until)
                uris.append(uri)

    def run(self) -> None:
        """The whole run of one person. It ends well, or nothing is counted."""
        keys = KeyStore.open(self.folder / "keys")
        keys.create("run")
        with closing(Journal(self.folder / "journal.sqlite")) as journal:
            journal.begin(keys.sealer("run"))
            acts = Acts(
                run_id="run",
                data_map=self.data_map,
                doors=self.doors,
                journal=journal,
                targets=Targets.of([person(1)]),
                secret=keys.secret("run", purpose="tombstones"),
                spool=self.folder / "spool",
                say=lambda *_: None,
                stop=lambda: False,
            )
            self.requests.of_run(acts)
            journal.put_facts(erased_at=self.doors.reader.now().isoformat())
            states = {w.uri: w.state for w in journal.works("raw_events")}
            assert seeing(journal, self.data_map).findings == ()
        assert {states[uri] for uri in self.ours} == {WorkState.PURGED}
        assert {states[uri] for uri in self.others} == {WorkState.CLEAN}

    def each(self, uris: list[str], *stages: str) -> dict[str, float]:
        asked = self.requests.about(uris, *stages)
        return {kind: number / len(uris) for kind, number in asked.items()}


@pytest.fixture
def world(place_s3: Place, servers: Servers, tmp_path: Path) -> Iterator[World]:
    s3 = servers.s3
    with ExitStack() as closed:
        proxy = closed.enter_context(HttpProxy(s3.endpoint))

        def store(role: str) -> S3Store:
            key = s3.credentials[role]
            made = S3Store(proxy.endpoint, s3.region, key.access_key, key.secret_key)
            return closed.enter_context(closing(made))

        key = s3.credentials["purger"]
        purger = S3Purger(
            proxy.endpoint, s3.region, key.access_key, key.secret_key, prefixes=[place_s3.root]
        )
        closed.enter_context(closing(purger))
        stores = store("reader"), store("eraser"), store("verifier")
        doors = Doors(*stores, purger, engine=None, verify_engine=None)
        yield World(place_s3, _map(place_s3), doors, Requests(proxy), tmp_path)


def _map(place: Place) -> DataMap:
    """The objects of the default map, and no table."""
    environment = {"CLEARLAKE_CATALOG_URI": "sqlite://", "CLEARLAKE_S3_ENDPOINT": "http://x"}
    whole = parse_map(map_text(root=place.root), source="test", environment=environment)
    assert whole.catalog is not None
    return replace(whole, datasets=whole.bronze, links=None)


def test_a_changed_object_costs_five_requests_and_an_unchanged_one_a_single_one(
    world: World,
) -> None:
    world.load(locked_for=LATER)
    world.run()
    assert world.each(world.ours, *PROTOCOL) == {"get": 3, "put": 1, "delete": 1}
    assert world.each(world.others, *PROTOCOL) == {"get": 1}
    assert world.each(world.ours + world.others, LOOK) == {"get": 1}


def test_a_lock_that_is_not_repeated_costs_no_request_more(world: World) -> None:
    world.load(locked_for=SOON)
    world.run()
    assert world.each(world.ours, *PROTOCOL) == {"get": 3, "put": 1, "delete": 1}


def test_a_stage_lists_its_objects_once(world: World) -> None:
    world.load(locked_for=LATER)
    world.run()
    raw = f"{world.place.root}raw/"
    stages = {stage: world.requests.listings(raw, stage) for stage in (*PROTOCOL, LOOK)}
    # What was written since is listed once more at the end of the erasure.
    assert stages == {"plan": 1, "erase": 2, "check": 1, "purge": 1, "verify": 1}


def test_tags_are_asked_for_only_where_there_are_some(world: World, servers: Servers) -> None:
    world.load(locked_for=LATER)
    tagged = [world.ours[0], world.others[0]]
    key = servers.s3.credentials["admin"]
    admin = boto3.client(
        "s3",
        endpoint_url=servers.s3.endpoint,
        region_name=servers.s3.region,
        aws_access_key_id=key.access_key,
        aws_secret_access_key=key.secret_key,
    )
    bucket = world.place.root.removeprefix("s3://").rstrip("/")
    for uri in tagged:
        admin.put_object_tagging(
            Bucket=bucket,
            Key=uri.removeprefix(world.place.root),
            Tagging={"TagSet": [{"Key": "team", "Value": "a"}]},
        )
    admin.close()
    world.run()
    assert world.each(tagged[:1], *PROTOCOL) == {"get": 3, "tags": 3, "put": 1, "delete": 1}
    assert world.each(tagged[1:], *PROTOCOL) == {"get": 1, "tags": 1}
    assert "tags" not in world.each(world.ours[1:] + world.others[1:], *PROTOCOL, LOOK)
