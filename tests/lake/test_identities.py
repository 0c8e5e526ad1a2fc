"""A person is resolved outward from a given user_id, and never pulls in another user."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from app.domain.datasets import DataMap
from app.domain.identifiers import Identifier, Identity, Kind, Subject
from app.lake.datamap import parse_map
from app.lake.identities import resolve
from tests.places import Place

ANNA, BERT, CARL = ("usr_" + letter * 26 for letter in "ABC")
COOKIE, TABLET, LATE, OLD = ("a_" + letter * 22 for letter in "ktlo")
FP = "fp_" + "0" * 31 + "1"
MAP = """
version: 1
catalog: {{name: lake, type: sql, uri: x, warehouse: "{root}"}}
shared: {{anon_id: tombstone, device_fp: keep, review_above: 2}}
links: {{dataset: events, where: {{name: identity.link}}}}
datasets:
  - name: raw
    layer: bronze
    location: "{root}raw/"
    owner: {{user_id: [user.user_id]}}
    owner_when: [{{where: {{name: identity.link}}, user_id: [payload.user_id]}}]
    linked: {{anon_id: [user.anon_id, payload.anon_id], device_fp: [payload.device_fp]}}
    derived: [session_id]
  - name: events
    layer: silver
    table: lake.events
    owner: {{user_id: [user_id]}}
    linked: {{anon_id: [anon_id]}}
    derived: [session_id]
    json:
      payload:
        owner_when: [{{where: {{name: identity.link}}, user_id: [user_id]}}]
        linked: {{anon_id: [anon_id], device_fp: [device_fp]}}
  - {{name: dim_identity, layer: gold, table: gold.dim_identity, role: identity,
     columns: {{user_id: user_id, anon_id: anon_ids, device_fp: device_fps}}}}
"""
EVENTS = pa.schema(
    [(name, pa.string()) for name in ("name", "user_id", "anon_id", "session_id", "payload")]
)
IDENTITIES = pa.schema(
    [
        ("user_id", pa.string()),
        ("anon_ids", pa.list_(pa.string())),
        ("device_fps", pa.list_(pa.string())),
    ]
)
Row = tuple[str, str | None, str | None, str, dict[str, Any]]


def link(user: str, anon: str, device: str | None = None, envelope: str | None = None) -> Row:
    payload = {"user_id": user, "anon_id": anon, "device_fp": device}
    return ("identity.link", envelope, anon, f"s_{user[4]}", payload)


def lake(
    place: Place,
    *,
    bronze: Sequence[Row],
    silver: Sequence[Row],
    dims: Sequence[Any],
    mark: str = "",
) -> DataMap:
    lines = [
        json.dumps({"name": n, "user": {"user_id": u, "anon_id": a}, "session_id": s, "payload": p})
        for n, u, a, s, p in bronze
    ]
    place.loader.load(f"{place.root}raw/1.ndjson", (mark + "\n".join(lines)).encode())
    rows = [(n, u, a, s, json.dumps(p)) for n, u, a, s, p in silver]
    for name, schema, found in (
        ("lake.events", EVENTS, rows),
        ("gold.dim_identity", IDENTITIES, dims),
    ):
        place.engine.create_table(name, schema, partition_by=None, properties={})
        columns = [list(c) for c in zip(*found, strict=True)] or [[] for _ in schema]
        place.engine.append(name, pa.table(columns, schema=schema))
    return parse_map(MAP.format(root=place.root), source="lake.yaml", environment={})


def resolved(
    place: Place, data_map: DataMap, *given: Identifier, shared_review: str | None = None
) -> Identity:
    (found,) = resolve(
        [Subject("s1", given)],
        data_map=data_map,
        store=place.reader,
        engine=place.engine,
        shared_review=shared_review,
    )
    return found


def user(value: str) -> Identifier:
    return Identifier(Kind.USER_ID, value)


def anon(value: str) -> Identifier:
    return Identifier(Kind.ANON_ID, value)


@pytest.fixture
def place(place_file: Place) -> Place:
    return place_file


def test_every_source_of_links_counts_and_a_difference_is_said(place: Place) -> None:
    data_map = lake(
        place,
        bronze=[link(ANNA, LATE)],
        silver=[link(ANNA, COOKIE, FP, envelope=ANNA)],
        dims=[(ANNA, [OLD], [])],
    )
    found = resolved(place, data_map, user(ANNA))
    assert found.values(Kind.ANON_ID) == {COOKIE, LATE, OLD}
    assert found.values(Kind.DEVICE_FP) == {FP}
    assert "dim_identity: 1 linked values, 3 known elsewhere only" in found.sources


def test_a_link_with_an_empty_envelope_belongs_to_the_user_of_its_payload(place: Place) -> None:
    data_map = lake(place, bronze=[link(BERT, TABLET)], silver=[link(ANNA, COOKIE)], dims=[])
    assert resolved(place, data_map, user(ANNA)).values(Kind.ANON_ID) == {COOKIE}
    assert resolved(place, data_map, user(BERT)).values(Kind.ANON_ID) == {TABLET}


def test_a_byte_order_mark_hides_no_link(place: Place) -> None:
    links = [link(ANNA, LATE), link(ANNA, OLD)]
    data_map = lake(place, bronze=links, silver=[], dims=[], mark="\ufeff")
    assert resolved(place, data_map, user(ANNA)).values(Kind.ANON_ID) == {LATE, OLD}


def test_a_shared_tablet_never_pulls_in_its_other_users(place: Place) -> None:
    links = [link(ANNA, TABLET), link(BERT, TABLET), link(BERT, COOKIE)]
    data_map = lake(place, bronze=[], silver=links, dims=[(ANNA, [TABLET], [])])
    found = resolved(place, data_map, user(ANNA))
    assert {i.value for i in found.identifiers} == {ANNA, TABLET, "s_A"}
    (shared,) = found.shared
    assert (shared.identifier.value, shared.users, shared.decision) == (TABLET, 2, "tombstone")


def test_a_given_cookie_is_erased_as_itself_and_leads_to_no_account(place: Place) -> None:
    data_map = lake(place, bronze=[link(ANNA, COOKIE)], silver=[link(ANNA, COOKIE)], dims=[])
    found = resolved(place, data_map, anon(COOKIE))
    assert {i.value for i in found.identifiers} == {COOKIE}


def test_the_map_may_keep_a_shared_kind_or_leave_it_to_a_person(place: Place) -> None:
    links = [link(u, TABLET, FP) for u in (ANNA, BERT, CARL)]
    data_map = lake(place, bronze=[], silver=links, dims=[])
    found = resolved(place, data_map, user(ANNA))
    assert {s.decision for s in found.shared} == {"review"}
    decided = resolved(place, data_map, user(ANNA), shared_review="keep")
    assert {s.decision for s in decided.shared} == {"keep"}
    assert decided.values(Kind.ANON_ID) == frozenset()


def test_a_derived_value_is_harvested_unless_it_is_somebody_elses_too(place: Place) -> None:
    def view(owner: str | None, session: str) -> Row:
        return ("page.view", owner, None, session, {})

    data_map = lake(
        place,
        bronze=[view(ANNA, "s_only_anna"), view(None, "s_only_anna"), view(ANNA, "s_both")],
        silver=[view(ANNA, "s_silver"), view(BERT, "s_both")],
        dims=[],
    )
    found = resolved(place, data_map, user(ANNA))
    assert found.values(Kind.DERIVED) == {"s_only_anna", "s_silver"}


def test_an_unknown_person_has_nothing_but_what_was_given(place: Place) -> None:
    data_map = lake(place, bronze=[link(ANNA, COOKIE)], silver=[link(ANNA, COOKIE)], dims=[])
    found = resolved(place, data_map, user(CARL))
    assert found.identifiers == {user(CARL)}
    assert found.sources == ()
