"""A whole run over one table in every kind of catalog: erased, checked, purged, verified."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import boto3
import pytest

from app.domain.datasets import Catalog
from app.domain.receipts import WorkState
from app.servers import Servers
from tests.glue_stand_in import serving_glue
from tests.lake.foreign import Foreign, without
from tests.lake.people_table import EVENTS, ONE, TABLE, blotted, make, reached, rows, user
from tests.places import Place


@pytest.fixture
def in_rest(place_s3: Place, servers: Servers) -> Iterator[Place]:
    """SeaweedFS's own REST catalog over a table bucket: it writes metadata.json, not we."""
    s3 = servers.s3
    key = s3.credentials["admin"]
    name = f"tables-{uuid4().hex[:12]}"
    client = boto3.Session(key.access_key, key.secret_key, region_name=s3.region).client(
        "s3tables", endpoint_url=s3.endpoint
    )
    client.create_table_bucket(name=name)
    client.close()
    catalog = Catalog(
        name="lake",
        type="rest",
        uri=s3.catalog,
        warehouse=f"s3://{name}",
        properties={
            "credential": f"{key.access_key}:{key.secret_key}",
            "oauth2-server-uri": f"{s3.catalog}/v1/oauth/tokens",
        },
    )
    place = replace(place_s3, root=f"s3://{name}/", catalog=catalog)
    yield place
    place.close()


@pytest.fixture
def in_glue(place_s3: Place) -> Iterator[Place]:
    """A stand-in for AWS Glue beside a bucket."""
    with serving_glue() as glue:
        properties = {
            "glue.endpoint": glue.endpoint,
            "glue.region": "us-east-1",
            "glue.access-key-id": "k",
            "glue.secret-access-key": "s",
        }
        catalog = Catalog(
            name="lake", type="glue", uri="", warehouse=place_s3.root, properties=properties
        )
        place = replace(place_s3, catalog=catalog)
        yield place
        place.close()


@pytest.fixture(params=["sql", "rest", "glue"])
def catalogued(request: pytest.FixtureRequest) -> Foreign:
    """An empty place with a catalog of each kind."""
    name = {"sql": "place_s3", "rest": "in_rest", "glue": "in_glue"}[request.param]
    return Foreign(request.getfixturevalue(name), TABLE)


def test_a_person_leaves_a_table_of_any_catalog(catalogued: Foreign) -> None:
    make(catalogued.place, rows(60), rows(40, seed=2))
    before = catalogued.rows()
    rules = replace(EVENTS, json={})
    assert catalogued.leftovers()
    work, findings = catalogued.gone(rules)
    assert (work.state, findings) == (WorkState.PURGED, [])
    assert blotted(catalogued.rows(), ONE) == without(before)
    assert catalogued.leftovers() == []
    again, findings = catalogued.gone(rules)
    assert (again.state, findings) == (WorkState.CLEAN, [])


def test_a_quicker_writer_loses_nothing_and_a_lost_swap_leaves_nothing(
    catalogued: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our look and our swap somebody adds rows, of the person among others."""
    engine = catalogued.place.engine
    make(catalogued.place, rows(20))
    late = rows(6, seed=5).set_column(3, "user_id", [[user(7), user(1)] * 3])
    before: list[dict[str, Any]] = []

    def passing(name: str) -> None:
        if name == "engine.before_swap" and not before:
            before.append({})
            engine.append(TABLE, late)
            before[:] = catalogued.rows()

    monkeypatch.setattr("app.lake.pyiceberg_engine.commits.failpoint", passing)
    work, findings = catalogued.gone(replace(EVENTS, json={}))
    assert (work.state, findings, len(before)) == (WorkState.PURGED, [], 26)
    assert blotted(catalogued.rows(), ONE) == without(before)
    assert catalogued.leftovers() == []
    assert catalogued.files() == reached(catalogued.place)
