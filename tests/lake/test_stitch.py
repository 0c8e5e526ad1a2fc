"""The stitch turns links into identities: everything ever linked, nobody merged, ids that stay."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.errors import CommitConflictError
from app.domain.identifiers import Identifier, Kind
from app.lake.make import make_lake
from app.lake.stitch import SCHEMA, Link, Stitched, stitch
from app.lake.tombstones import Tombstones
from tests.lake.stitching import NOON, Person, Row, at, identities, load, login, people_of, row

TOMB = Tombstones(b"s" * 32).of(Identifier(Kind.ANON_ID, "a_gone"), owner="")
TOMB_USER = Tombstones(b"s" * 32).of(Identifier(Kind.USER_ID, "usr_gone"), owner="")


def of(engine: Any, user: str | None) -> Row:
    [found] = [r for r in identities(engine) if r["user_id"] == user]
    return found


# --- pure: random histories -----------------------------------------------------------------------

USERS = st.sampled_from(["usr_1", "usr_2", "usr_3", TOMB_USER])
ANONS = st.sampled_from(["a_1", "a_2", "a_3", "a_4", TOMB, None])
FPS = st.sampled_from(["fp_1", "fp_2", TOMB, None])
LINKS = st.lists(
    st.builds(Link, at=st.integers(0, 20).map(at), user_id=USERS, anon_id=ANONS, device_fp=FPS)
)
SEEN = st.sets(st.sampled_from(["a_1", "a_2", "a_5", "a_6"]))


def without(values: Iterable[str | None]) -> set[str]:
    return {v for v in values if v is not None and not v.startswith("tomb_")}


@settings(max_examples=40)
@given(LINKS, SEEN)
def test_every_value_ever_linked_is_on_its_user_and_no_user_is_merged(
    links: list[Link], anons: set[str]
) -> None:
    people = people_of(anons, links, known={})
    by_user = {p.user_id: p for p in people if p.user_id}
    expected: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    for link in links:
        if without([link.user_id]) and without([link.anon_id, link.device_fp]):
            expected[link.user_id][0].update(without([link.anon_id]))
            expected[link.user_id][1].update(without([link.device_fp]))
    assert {u: (set(p.anon_ids), set(p.device_fps)) for u, p in by_user.items()} == expected
    assert len(by_user) == sum(p.user_id is not None for p in people)
    linked = {a for anon_ids, _ in expected.values() for a in anon_ids}
    assert [p.anon_ids for p in people if p.user_id is None] == [
        [a] for a in sorted(anons - linked)
    ]


@settings(max_examples=40)
@given(LINKS)
def test_the_latest_link_of_an_anon_id_says_whose_it_is_now(links: list[Link]) -> None:
    people = people_of([], links, known={})
    current = [(a, p.user_id) for p in people for a in p.current_anon_ids]
    assert len({a for a, _ in current}) == len(current), "an anon_id is one user's now"
    last: dict[str, tuple[datetime, str]] = {}
    for link in links:
        if without([link.anon_id]) and without([link.user_id]):
            assert link.anon_id is not None
            last[link.anon_id] = max(last.get(link.anon_id, (link.at, "")), (link.at, link.user_id))
    assert dict(current) == {a: user for a, (_, user) in last.items()}


@settings(max_examples=40)
@given(LINKS, SEEN, st.randoms())
def test_the_order_of_the_rows_is_nothing_and_no_tombstone_gets_through(
    links: list[Link], anons: set[str], random: Any
) -> None:
    people = people_of(anons, links, known={})
    shuffled = random.sample(links, len(links))
    assert people_of(anons, shuffled, known={}) == people
    assert "tomb_" not in repr([values(p) for p in people])


@settings(max_examples=40)
@given(LINKS, LINKS, SEEN)
def test_identity_ids_stay_from_night_to_night_and_are_never_two_peoples(
    one: list[Link], more: list[Link], anons: set[str]
) -> None:
    known = {value: f"idn_{value}" for value in ("usr_1", "a_5")}
    first = people_of(anons, one, known=known)
    ids = {key(p): p.identity_id for p in first}
    second = people_of(anons, one + more, known=ids)
    for person in second:
        if key(person) in ids:
            assert person.identity_id == ids[key(person)]
    assert len({p.identity_id for p in second}) == len(second)


def key(person: Person) -> str:
    return person.user_id or person.anon_ids[0]


def values(person: Person) -> tuple[Any, ...]:
    return (person.user_id, person.anon_ids, person.device_fps, person.current_anon_ids)


def test_an_identity_id_does_not_hold_the_id_it_stands_for() -> None:
    [person] = people_of(["a_1Zz0000000000000000000"], [], known={})
    assert person.identity_id.startswith("idn_")
    assert "1Zz" not in person.identity_id
    assert len(person.identity_id) == 30


# --- on tables ------------------------------------------------------------------------------------


def test_two_users_of_one_tablet_stay_two(place: Any) -> None:
    load(
        place.engine,
        [
            row(0, user=None, anon="a_tab"),
            login(1, "usr_1", "a_tab", "fp_tab", shown="usr_1"),
            login(5, "usr_2", "a_tab", "fp_tab", shown="usr_1"),
            login(7, "usr_2", "a_own", "fp_own"),
            row(9, user="usr_1", anon="a_tab", role="provider"),
            row(3, user=None, anon="a_visitor"),
        ],
    )
    done = stitch(place.engine, built_at=at(60))
    head = place.engine.head("gold.dim_identity")
    assert done == Stitched(
        identities=3, users=2, links=3, shared=2, snapshot_id=head.snapshot_id or 0
    )
    one, two, visitor = (of(place.engine, user) for user in ("usr_1", "usr_2", None))
    assert (one["anon_ids"], one["device_fps"]) == (["a_tab"], ["fp_tab"])
    assert one["current_anon_ids"] == []
    assert (one["first_seen"], one["last_seen"]) == (at(1), at(9))
    assert (one["role"], one["country"], one["built_at"]) == ("provider", "DE", at(60))
    assert (two["anon_ids"], two["device_fps"]) == (["a_own", "a_tab"], ["fp_own", "fp_tab"])
    assert two["current_anon_ids"] == ["a_own", "a_tab"]
    assert (two["first_seen"], two["last_seen"], two["role"]) == (at(5), at(7), None)
    assert (visitor["anon_ids"], visitor["device_fps"]) == (["a_visitor"], [])
    assert (visitor["current_anon_ids"], visitor["first_seen"]) == (["a_visitor"], at(3))


def test_a_tombstoned_user_or_value_is_nobody(place: Any) -> None:
    load(
        place.engine,
        [
            login(1, TOMB_USER, "a_1", "fp_1", shown="usr_1"),
            login(2, "usr_2", TOMB, "fp_2", shown=TOMB_USER),
            login(3, "usr_3", TOMB, TOMB),
            row(4, user=None, anon=TOMB),
        ],
    )
    stitch(place.engine, built_at=at(60))
    assert "tomb_" not in repr(identities(place.engine))
    assert of(place.engine, "usr_1")["anon_ids"] == []
    assert of(place.engine, "usr_2")["device_fps"] == ["fp_2"]
    assert {r["user_id"] for r in identities(place.engine)} == {"usr_1", "usr_2", None}


def test_a_link_whose_payload_says_nothing_is_read_from_its_columns(place: Any) -> None:
    damaged = login(1, "usr_1", "a_1", "fp_1", shown="usr_1") | {"payload": '{"user_id":'}
    silent = login(2, "usr_2", "a_2", "fp_2", shown="usr_2") | {"payload": None}
    number = login(3, "usr_3", "a_3", "fp_3") | {"payload": '{"user_id": 12345, "device_fp": {}}'}
    load(place.engine, [damaged, silent, number])
    stitch(place.engine, built_at=at(60))
    for user, anon, fp in (("usr_1", "a_1", "fp_1"), ("usr_2", "a_2", "fp_2")):
        assert of(place.engine, user)["anon_ids"] == [anon]
        assert of(place.engine, user)["device_fps"] == [fp]
    assert of(place.engine, "12345")["device_fps"] == ["fp_3"]


def test_links_of_bronze_that_is_not_loaded_yet_count_too(place: Any) -> None:
    load(place.engine, [row(0, user=None, anon="a_1")])
    new = Link(at(9), "usr_1", "a_1", "fp_1")
    erased = Link(at(9), TOMB_USER, "a_1", "fp_1")
    done = stitch(place.engine, built_at=at(60), also_links=[new, erased])
    assert (done.identities, done.links) == (1, 1)
    assert of(place.engine, "usr_1")["last_seen"] == at(9)


def test_an_empty_lake_has_no_identities(place: Any) -> None:
    load(place.engine, [])
    assert stitch(place.engine, built_at=at(60)).identities == 0
    assert identities(place.engine) == []


def test_twice_is_the_same_and_ids_given_by_another_stitch_are_kept(place: Any) -> None:
    load(place.engine, [login(1, "usr_1", "a_1", "fp_1"), row(2, user=None, anon="a_2")])
    stitch(place.engine, built_at=at(60))
    other = [r | {"identity_id": f"idn_other_{n}"} for n, r in enumerate(identities(place.engine))]
    head = place.engine.head("gold.dim_identity").snapshot_id
    given_ids = pa.Table.from_pylist(other, schema=SCHEMA)
    place.engine.overwrite("gold.dim_identity", given_ids, base_snapshot=head)
    load(place.engine, [login(3, "usr_2", "a_3", "fp_1")])
    stitch(place.engine, built_at=at(70))
    once = sorted(identities(place.engine), key=lambda r: str(r["user_id"]))
    stitch(place.engine, built_at=at(70))
    assert sorted(identities(place.engine), key=lambda r: str(r["user_id"])) == once
    ids = {r["user_id"]: r["identity_id"] for r in once}
    assert {r["user_id"]: r["identity_id"] for r in other}.items() <= ids.items()
    assert len(ids) == 3


def test_the_other_writer_wins(place: Any) -> None:
    load(place.engine, [login(1, "usr_1", "a_1", "fp_1")])
    stitch(place.engine, built_at=at(60))

    def meanwhile() -> Iterator[Link]:
        head = place.engine.head("gold.dim_identity").snapshot_id
        place.engine.overwrite("gold.dim_identity", SCHEMA.empty_table(), base_snapshot=head)
        yield from ()

    with pytest.raises(CommitConflictError):
        stitch(place.engine, built_at=at(61), also_links=meanwhile())
    assert identities(place.engine) == []


def test_the_identities_of_a_made_lake_are_what_its_links_say(place: Any) -> None:
    lake = make_lake(
        events=2_000,
        users=40,
        days=2,
        seed=7,
        codec="zst",
        root=place.root,
        loader=place.loader,
        engine=place.engine,
        start=NOON.date(),
        retain_until=datetime.now(UTC) + timedelta(days=1),
    )
    done = stitch(place.engine, built_at=at(60))
    expected: dict[str, set[str]] = defaultdict(set)
    anons: set[str] = set()
    for batch in place.engine.batches("lake.events", columns=["name", "anon_id", "payload"]):
        for event in batch.to_pylist():
            anons.add(event["anon_id"])
            if event["name"] == "identity.link":
                link = json.loads(event["payload"])
                expected[link["user_id"]].add(link["anon_id"])
    people = identities(place.engine)
    assert {r["user_id"]: set(r["anon_ids"]) for r in people if r["user_id"]} == expected
    visitors = anons.difference(*expected.values())
    assert {r["anon_ids"][0] for r in people if not r["user_id"]} == visitors
    assert lake.cast.visitor_anon_id in visitors
    assert done.identities == len(expected) + len(visitors)
    assert done.shared >= 2
    assert all(r["first_seen"] <= r["last_seen"] for r in people)
