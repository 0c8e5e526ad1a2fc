"""A made lake's three layers hold the same events, locked and set as the design says."""

from __future__ import annotations

import gzip
import io
import json
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pyarrow as pa
import pytest
import zstandard

from app.domain.errors import LakeError, UsageError
from app.lake.make import LakeMade, make_lake
from app.lake.make_days import MIN_EVENTS
from app.lake.make_people import MIN_USERS
from tests.lake.made_lake import START, Event, moment

RETAIN_UNTIL = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)


def make(place: Any, *, codec: str = "none", events: int = 2_000, **other: Any) -> LakeMade:
    return make_lake(
        events=events,
        users=40,
        days=2,
        seed=7,
        codec=codec,
        root=place.root,
        loader=place.loader,
        engine=place.engine,
        start=START,
        retain_until=RETAIN_UNTIL,
        **other,
    )


def bronze(place: Any) -> Iterator[tuple[str, bytes]]:
    for version in place.reader.versions(place.root + "raw/"):
        with place.reader.open(version.uri, version_id=version.version_id) as stream:
            yield version.uri, b"".join(iter(partial(stream.read, 1 << 20), b""))


def decoded(uri: str, body: bytes) -> bytes:
    if uri.endswith(".gz"):
        return gzip.decompress(body)
    if uri.endswith(".zst"):
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body)).read()
    return body


def rows(engine: Any, table: str, columns: list[str]) -> list[dict[str, Any]]:
    return [row for batch in engine.batches(table, columns=columns) for row in batch.to_pylist()]


@pytest.mark.parametrize("codec", ["none", "gz", "zst"])
def test_silver_holds_exactly_the_events_of_bronze(place: Any, codec: str) -> None:
    lake = make(place, codec=codec)
    expected, objects = {}, 0
    for uri, body in bronze(place):
        objects += 1
        hour = re.search(r"raw/event_dt=(\S{10})/(\d\d)/evt-\d{5}\.ndjson(\.gz|\.zst|)$", uri)
        assert hour
        assert hour[3] == ("" if codec == "none" else "." + codec)
        text = decoded(uri, body)
        assert text.endswith(b"}\n")
        for line in text.splitlines():
            event = json.loads(line)
            assert event["ts"].startswith(f"{hour[1]}T{hour[2]}:")
            expected[event["event_id"]] = event
    assert lake.objects == objects
    assert lake.bytes == sum(len(body) for _, body in bronze(place))
    assert lake.events == len(expected) == 2_000
    names = [
        "event_dt", "event_id", "ts", "name", "app", "user_id", "anon_id", "device_fp", "role",
        "session_id", "device", "geo", "page", "campaign", "payload", "ingested_at",
    ]  # fmt: skip
    silver = rows(place.engine, "lake.events", names)
    assert len(silver) == len(expected)
    for row in silver:
        assert_same(row, expected[row["event_id"]])


def assert_same(row: dict[str, Any], event: Event) -> None:
    at = moment(event["ts"])
    payload = event["payload"]
    fp = event["device"].pop("fp", None)
    event["campaign"].setdefault("click_token", None)
    assert row.pop("ingested_at") - at < timedelta(seconds=6)
    assert json.loads(row.pop("payload")) == payload
    assert row == {
        "event_dt": at.date(),
        "event_id": event["event_id"],
        "ts": at,
        "name": event["name"],
        "app": event["app"],
        **event["user"],
        "device_fp": fp or (payload["device_fp"] if event["name"] == "identity.link" else None),
        **{k: event[k] for k in ("session_id", "device", "geo", "page", "campaign")},
    }


def test_gold_follows_from_silver_and_the_cast_is_there(place: Any) -> None:
    lake = make(place)
    events = rows(
        place.engine,
        "lake.events",
        ["session_id", "ts", "name", "user_id", "anon_id", "device_fp", "geo.country", "payload"],
    )
    sessions: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in sorted(events, key=lambda e: (e["ts"], e["name"] == "app.end")):
        sessions[event["session_id"]].append(event)
    facts = rows(
        place.engine,
        "gold.fact_sessions",
        ["session_id", "session_dt", "user_id", "anon_id", "device_fp", "started_at", "ended_at",
         "events", "country"],
    )  # fmt: skip
    assert lake.sessions == len(facts) == len(sessions)
    for fact in facts:
        of = sessions[fact.pop("session_id")]
        assert fact == {
            "session_dt": of[0]["ts"].date(),
            "user_id": of[-1]["user_id"],
            "anon_id": of[0]["anon_id"],
            "device_fp": next((e["device_fp"] for e in of if e["device_fp"]), None),
            "started_at": of[0]["ts"],
            "ended_at": of[-1]["ts"],
            "events": len(of),
            "country": of[0]["geo.country"],
        }
    orders = rows(place.engine, "gold.fact_orders", ["order_id", "user_id", "status"])
    started = [
        json.loads(e["payload"])["order_id"] for e in events if e["name"] == "checkout.start"
    ]
    assert sorted(o["order_id"] for o in orders) == sorted(started)
    assert lake.orders == len(started)
    assert_cast(lake, events, orders)


def assert_cast(lake: LakeMade, events: list[dict[str, Any]], orders: list[dict[str, Any]]) -> None:
    cast = lake.cast
    own = Counter(e["user_id"] for e in events)
    assert own[cast.active_buyer] >= 10
    links = [json.loads(e["payload"]) for e in events if e["name"] == "identity.link"]
    for key, value in (("anon_id", cast.tablet_anon_id), ("device_fp", cast.tablet_device_fp)):
        users = {link["user_id"] for link in links if link[key] == value}
        assert cast.tablet_user in users
        assert len(users) == 3
    visits = [e for e in events if e["anon_id"] == cast.visitor_anon_id]
    assert visits
    assert {e["user_id"] for e in visits} == {None}
    assert cast.visitor_anon_id not in {link["anon_id"] for link in links}
    naming = {e["anon_id"] for e in events if cast.provider in e["payload"]}
    assert len(naming) >= 10
    assert own[cast.provider] >= 5
    disputed = {o["user_id"] for o in orders if o["status"] == "disputed"}
    assert cast.disputed_buyer in disputed


def test_objects_are_locked_by_their_own_retention_where_there_are_locks(place: Any) -> None:
    make(place, events=200)
    for version in place.reader.versions(place.root + "raw/"):
        info = place.reader.info(version.uri, version_id=version.version_id)
        locked = place.root.startswith("s3://")
        assert info.lock_mode == ("GOVERNANCE" if locked else None)
        assert info.retain_until == (RETAIN_UNTIL if locked else None)


def test_tables_are_set_so_that_an_erasure_can_commit_and_no_id_stays_in_a_bound(
    place: Any,
) -> None:
    make(place, events=200)
    for table in ("lake.events", "gold.fact_sessions", "gold.fact_orders"):
        head = place.engine.head(table)
        assert head.format_version == 2
        assert head.properties["write.delete.isolation-level"] == "snapshot"
        assert head.properties["write.metadata.metrics.default"] == "counts"
        assert place.engine.refusals(table) == ()
    files = place.engine.files(
        "lake.events", snapshot_id=place.engine.head("lake.events").snapshot_id
    )
    assert all("event_dt=2026-10-0" in file.path for file in files)


def test_progress_reaches_all_events_in_both_layers(place: Any) -> None:
    seen: dict[str, list[tuple[int, int]]] = defaultdict(list)
    make(
        place,
        events=300,
        progress=lambda stage, layer, done, total: seen[f"{stage} {layer}"].append((done, total)),
    )
    assert set(seen) == {"make bronze", "make silver"}
    for steps in seen.values():
        assert steps[-1] == (300, 300)
        assert steps == sorted(steps)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"events": MIN_EVENTS - 1}, "events: a lake needs at least 120"),
        ({"users": MIN_USERS - 1}, "users: a lake needs at least 8"),
        ({"days": 0}, "days: "),
        ({"seed": -1}, "seed: "),
        ({"codec": "bz2"}, "codec: expected one of none, gz, zst"),
        ({"root": "s3://bucket"}, "root: expected"),
    ],
)
def test_numbers_that_make_no_lake_are_refused_before_anything_is_made(
    place: Any, wrong: dict[str, Any], message: str
) -> None:
    known = {"events": 200, "users": 20, "days": 1, "seed": 1, "codec": "none", "root": place.root}
    with pytest.raises(UsageError, match=message):
        make_lake(
            **{**known, **wrong},
            loader=place.loader,
            engine=place.engine,
            start=START,
            retain_until=RETAIN_UNTIL,
        )
    assert not place.engine.exists("lake.events")


def test_a_second_lake_in_the_same_place_is_refused(place: Any) -> None:
    make(place, events=200)
    with pytest.raises(UsageError, match="has rows already"):
        make(place, events=200)


def test_what_goes_wrong_while_loading_is_raised_and_no_thread_is_left(place: Any) -> None:
    other = pa.schema([("something", pa.string())])
    place.engine.create_table("lake.events", other, partition_by=None, properties={})
    with pytest.raises((LakeError, KeyError)):
        make(place, events=200)
    assert not [t for t in threading.enumerate() if t.name.startswith(("upload", "append"))]
