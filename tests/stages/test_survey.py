"""What a map leaves out is told, with lines to add to it, and nobody is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import yaml

from app.domain.datasets import DataMap, Dataset, Layer
from app.domain.identifiers import Kind
from app.lake.coverage import Held, suggested_column, suggested_place
from app.stages.survey import Survey, survey
from tests.places import Place
from tests.verify.material import anon, event, load, user
from tests.verify.planted import TABLE, data_map, make_clean_lake, rows

_IDENTITY = "gold.dim_identity"
_DIM = Dataset(
    "dim_identity", Layer.GOLD, table=_IDENTITY, is_identity=True,
    identity_columns={"user_id": ("user_id",), "anon_id": ("anon_ids",)},
)  # fmt: skip


def _map(place: Place) -> DataMap:
    known = data_map(place)
    return replace(known, datasets=(*known.datasets, _DIM))


def _identities(place: Place, *people: tuple[str | None, list[str]]) -> None:
    schema = pa.schema([("user_id", pa.string()), ("anon_ids", pa.list_(pa.string()))])
    place.engine.create_table(_IDENTITY, schema, partition_by=None, properties={})
    said = [{"user_id": u, "anon_ids": a} for u, a in people]
    place.engine.append(_IDENTITY, pa.Table.from_pylist(said, schema=schema))


def _surveyed(place: Place, *, people: int = 10) -> Survey:
    return survey(_map(place), doors=place.doors(), people=people, say=lambda *_: None)


def test_what_is_declared_is_not_told(place: Place) -> None:
    make_clean_lake(place)
    _identities(place, (user(7), ["a_xyz"]), (None, [anon(3)]))
    found = _surveyed(place)
    assert (found.people, found.columns, found.tables, found.places) == (2, (), (), ())
    assert found.is_clean
    assert found.suggestions == {}


def test_columns_tables_and_places_are_told_with_lines_for_the_map(place: Place) -> None:
    make_clean_lake(place)
    _identities(place, (user(7), [anon(3)]), ("null", ["tomb_a_" + "0" * 26]))
    load(place, "x.ndjson", event(8, seller=user(7), by={"visitor": anon(3), user(7): 1}))
    place.engine.append(TABLE, rows({"payload": '{"by": "' + user(7) + '"}', "items": []}))
    place.engine.append(TABLE, rows({"page": {"path": f"/{anon(3)}"}}))
    place.loader.load(f"{place.root}tmp/copy.csv", b"1;2\n")
    columns = pa.schema([("user_id", pa.string()), ("anon_id", pa.string()), ("n", pa.int64())])
    place.engine.create_table("lake.copy", columns, partition_by=None, properties={})
    found = _surveyed(place)
    assert set(found.columns) == {
        Held("raw_events", "payload.by.*", Kind.USER_ID, 1),
        Held("raw_events", "payload.by.visitor", Kind.ANON_ID, 1),
        Held("raw_events", "payload.seller", Kind.USER_ID, 1),
        Held("events", "payload.by", Kind.USER_ID, 1),
        Held("events", "page.path", Kind.ANON_ID, 1),
    }
    assert found.tables == ("lake.copy",)
    assert f"{place.root}tmp/ (1 object)" in found.places
    assert not found.is_clean
    assert user(7) not in repr(found)
    assert _read(found.suggestions["events"]) == [
        {"linked": {"anon_id": ["page.path"]}},
        {"json": {"payload": {"mentions": {"user_id": ["by"]}}}},
    ]
    assert _read(found.suggestions["raw_events"]) == [
        None,
        {"linked": {"anon_id": ["payload.by.visitor"]}},
        {"mentions": {"user_id": ["payload.seller"]}},
    ]
    [copy] = _read(found.suggestions["datasets"][:1])[0]
    assert copy == {
        "name": "copy", "layer": "gold", "table": "lake.copy",
        "owner": {"user_id": ["user_id"]}, "linked": {"anon_id": ["anon_id"]},
    }  # fmt: skip


def _read(lines: tuple[str, ...]) -> list[Any]:
    return [yaml.safe_load(line) for line in lines]


def test_only_so_many_people_are_looked_for(place_file: Place) -> None:
    make_clean_lake(place_file)
    _identities(place_file, (user(7), []), (user(8), []))
    load(place_file, "x.ndjson", event(9, seller=user(8)))
    assert _surveyed(place_file, people=1).people == 1


def test_a_name_that_may_be_somebodys_is_no_line() -> None:
    held = Held("raw", "payload.*", Kind.USER_ID, 1)
    assert suggested_column(held, columns=()).startswith("#")
    assert suggested_place("s3://b/*/ (1 object)").startswith("#")
    assert suggested_column(replace(held, path="a.b", kind=Kind.DERIVED), columns=()) == (
        "derived: [a.b]"
    )
