"""What happens in a made lake is what the envelope, the data map and the demo need."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.lake import envelope
from app.lake.make_days import MIN_EVENTS, NAMES, quotas
from app.lake.make_load import cut
from app.lake.make_people import MIN_USERS
from tests.lake.made_lake import Event, Made, made, moment


@pytest.fixture(scope="module")
def lake() -> Made:
    return made(events=9_000, users=60, days=3, seed=11)


# --- the envelope ------------------------------------------------------------------------------


def test_every_line_is_an_event_of_the_envelope(lake: Made) -> None:
    assert Counter(p for event in lake.events for p in envelope.problems(event)) == Counter()


def test_a_line_is_compact_json_in_the_order_of_the_envelope(lake: Made) -> None:
    for line, event in zip(lake.lines, lake.events, strict=True):
        again = json.loads(line, object_pairs_hook=lambda pairs: pairs)
        assert [key for key, _ in again] == list(event), "no key stands twice"
        assert b'": ' not in line
        assert list(event) == [
            "event_id", "ts", "name", "app", "user", "session_id",
            "device", "geo", "page", "campaign", "payload",
        ]  # fmt: skip


def test_every_name_of_the_envelope_occurs_and_no_other(lake: Made) -> None:
    assert {event["name"] for event in lake.events} == set(envelope.PAYLOADS) == set(NAMES)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda e: e.pop("session_id"), "session_id: missing"),
        (lambda e: e.update(ts="2026-10-01 10:00:00"), "ts: not of the form of ts"),
        (lambda e: e["user"].update(anon_id=None), "user.anon_id: null"),
        (lambda e: e["user"].update(email="x"), "user.email: not of the envelope"),
        (lambda e: e.update(payload=[]), "payload: must be an object"),
        (lambda e: e.update(name="search.query", payload={"q": ""}), "payload.sort: missing"),
        (lambda e: e["device"].update(fp="fp_1"), "device.fp: not of the form of device_fp"),
    ],
)
def test_what_departs_from_the_envelope_is_named_without_its_value(
    lake: Made, spoil: Any, problem: str
) -> None:
    event = json.loads(lake.lines[0])
    spoil(event)
    assert problem in envelope.problems(event)


def test_an_unknown_name_is_data(lake: Made) -> None:
    assert envelope.problems({**lake.events[0], "name": "something.new", "payload": {"x": 1}}) == []


# --- who and when ------------------------------------------------------------------------------


def test_event_ids_are_unique_and_in_the_order_of_time(lake: Made) -> None:
    ids = [event["event_id"] for event in lake.events]
    assert len(set(ids)) == len(ids)
    assert [i[:14] for i in ids] == sorted(i[:14] for i in ids)
    times = [event["ts"] for event in lake.events]
    assert times == sorted(times)


def test_sessions_end_by_thirty_minutes_of_silence_and_not_before(lake: Made) -> None:
    sessions: dict[str, list[Event]] = defaultdict(list)
    for event in lake.events:
        sessions[event["session_id"]].append(event)
    by_actor: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
    for events in sessions.values():
        times = [moment(e["ts"]) for e in events]
        assert max(b - a for a, b in pairwise(times)) <= timedelta(minutes=30)
        assert len({e["user"]["anon_id"] for e in events}) == 1
        who = events[-1]["user"]["user_id"] or events[0]["user"]["anon_id"]
        by_actor[who].append((times[0], times[-1]))
    for spans in by_actor.values():
        for (_, end), (start, _) in pairwise(sorted(spans)):
            if start.date() == end.date():
                assert start - end > timedelta(minutes=30)


def test_activity_is_uneven_as_people_are(lake: Made) -> None:
    count = Counter(e["user"]["user_id"] for e in lake.events if e["user"]["user_id"])
    top, *_, least = (n for _, n in count.most_common())
    assert top > 8 * least


def test_a_login_links_rows_that_were_nobodys(lake: Made) -> None:
    before: set[tuple[str, str]] = set()
    joined = 0
    for event in lake.events:
        anon_id, session_id = event["user"]["anon_id"], event["session_id"]
        if event["name"] == "identity.link":
            payload = event["payload"]
            assert payload["anon_id"] == anon_id
            assert payload["user_id"] in lake.people.users.to_pylist()
            joined += (session_id, anon_id) in before
        elif event["user"]["user_id"] is None:
            before.add((session_id, anon_id))
    assert joined > 50


def test_whoever_is_signed_in_has_been_linked_at_that_client(lake: Made) -> None:
    linked = {
        (e["payload"]["user_id"], e["payload"]["anon_id"])
        for e in lake.events
        if e["name"] == "identity.link"
    }
    shown = {
        (e["user"]["user_id"], e["user"]["anon_id"]) for e in lake.events if e["user"]["user_id"]
    }
    assert shown <= linked


def links_by(lake: Made, key: str) -> dict[str, set[str]]:
    users: dict[str, set[str]] = defaultdict(set)
    for event in lake.events:
        if event["name"] == "identity.link":
            users[event["payload"][key]].add(event["payload"]["user_id"])
    return users


def test_a_shared_tablet_has_three_users_and_at_most_five() -> None:
    lake = made(events=8_000, users=400, days=2, seed=3)
    for key in ("anon_id", "device_fp"):
        sizes = Counter(len(users) for users in links_by(lake, key).values())
        assert max(sizes) in {3, 4, 5}
        assert sizes[1] > 100


def test_some_visitors_are_never_linked_and_some_people_have_several_devices(lake: Made) -> None:
    linked = links_by(lake, "anon_id")
    seen = {event["user"]["anon_id"] for event in lake.events}
    assert len(seen - linked.keys()) >= 20
    devices: dict[str, set[str]] = defaultdict(set)
    for anon_id, users in linked.items():
        for user in users:
            devices[user].add(anon_id)
    assert max(map(len, devices.values())) >= 3


def test_a_tablets_link_row_sometimes_names_the_user_before() -> None:
    lake = made(events=12_000, users=30, days=4, seed=5)
    two = [
        e
        for e in lake.events
        if e["name"] == "identity.link"
        and e["user"]["user_id"] not in {None, e["payload"]["user_id"]}
    ]
    assert two
    users = links_by(lake, "anon_id")
    for event in two:
        assert event["user"]["user_id"] in users[event["payload"]["anon_id"]]


# --- ids where nobody expects them ---------------------------------------------------------------


def test_people_are_named_in_other_peoples_payloads_and_pages(lake: Made) -> None:
    named: Counter[str] = Counter()
    for event in lake.events:
        if event["name"] == "identity.link":
            continue
        own = {event["user"]["user_id"]}
        text = json.dumps([event["payload"], event["page"]]).replace("%5F", "_")
        for user in set(re.findall(r"usr_[0-9A-Z]{26}", text)) - own:
            for key in ("provider_id", "buyer_id", "user_id"):
                named[key] += event["payload"].get(key) == user
            named["path"] += user in event["page"]["path"].replace("%5F", "_")
            named["ref"] += user in (event["page"]["ref"] or "").replace("%5F", "_")
    assert min(named[key] for key in ("provider_id", "buyer_id", "user_id", "path", "ref")) >= 10


def test_some_ids_are_percent_encoded_and_some_stand_behind_an_encoded_slash(lake: Made) -> None:
    pages = [text for e in lake.events for text in (e["page"]["path"], e["page"]["ref"]) if text]
    assert sum("usr%5F" in page for page in pages) >= 10
    assert sum("%2Fusr_" in page for page in pages) >= 10


def test_rows_before_a_login_name_their_person_in_the_ref(lake: Made) -> None:
    assert any(
        e["user"]["user_id"] is None
        and "login?next=%2Faccount%2Fusr%5F" in (e["page"]["ref"] or "")
        for e in lake.events
    )


# --- orders --------------------------------------------------------------------------------------


def test_orders_are_what_the_events_say(lake: Made) -> None:
    expected: dict[str, dict[str, Any]] = {}
    for event in lake.events:
        payload, name = event["payload"], event["name"]
        if name == "checkout.start":
            expected[payload["order_id"]] = {
                "order_dt": moment(event["ts"]).date(),
                "user_id": event["user"]["user_id"],
                "anon_id": event["user"]["anon_id"],
                "context": payload["context"],
                "amount_cents": payload["subtotal_cents"],
                "method": None,
                "status": "abandoned",
            }
        elif name == "checkout.payment_succeeded":
            expected[payload["order_id"]] |= {"status": "paid", "method": payload["method"]}
        elif name == "refund.succeeded":
            expected[payload["order_id"]]["status"] = "refunded"
        elif name == "chargeback.open":
            expected[payload["order_id"]]["status"] = "disputed"
        elif name == "chargeback.closed":
            assert expected[payload["order_id"]]["status"] == "disputed"
            expected[payload["order_id"]]["status"] = "charged_back"
    assert {order.pop("order_id"): order for order in map(dict, lake.orders)} == expected
    assert {o["status"] for o in lake.orders} >= {"paid", "abandoned", "disputed", "refunded"}


# --- drawing -------------------------------------------------------------------------------------


def test_the_same_seed_makes_the_same_bytes_and_another_seed_others() -> None:
    one, two = (made(events=600, users=20, days=2, seed=5) for _ in range(2))
    assert one.lines == two.lines
    assert one.orders == two.orders
    assert not set(one.lines) & set(made(events=600, users=20, days=2, seed=6).lines)


@given(st.integers(MIN_EVENTS, 10_000), st.integers(1, 400))
def test_the_days_add_up_and_each_is_large_enough(events: int, days: int) -> None:
    shares = quotas(events=events, days=days)
    assert sum(shares) == events
    assert len(shares) <= days
    assert min(shares) >= MIN_EVENTS


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(MIN_USERS, 60), st.integers(MIN_EVENTS, 1_500))
def test_any_seed_and_size_gives_events_of_the_envelope(seed: int, users: int, events: int) -> None:
    lake = made(events=events, users=users, days=2, seed=seed)
    assert len(lake.events) == events
    assert not [p for event in lake.events for p in envelope.problems(event)]


def test_a_busy_hour_is_cut_into_several_objects_and_a_busy_day_into_several_appends() -> None:
    ms = np.sort(np.random.default_rng(1).integers(0, 4 * 3_600_000, 400_000))
    stretches = list(cut(ms))
    parts = [part for stretch in stretches for part in stretch]
    assert [(p.first, p.end) for p in parts] == [
        (first, end) for first, end in pairwise([0, *(p.end for p in parts)])
    ]
    assert parts[-1].end == len(ms)
    assert max(p.end - p.first for p in parts) <= 50_000
    assert max(stretch[-1].end - stretch[0].first for stretch in stretches) <= 110_000
    assert len(stretches) >= 4
    assert [p.number for p in parts[:3]] == [0, 1, 0]
