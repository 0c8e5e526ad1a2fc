"""Rows of events to stitch, and what becomes of links as plain people. Not a test."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from app.lake.make_tables import PARTITION_BY, SCHEMAS
from app.lake.stitch import SCHEMA, Link
from app.lake.stitch_facts import USES, sights
from app.lake.stitch_merge import Merge
from app.lake.stitch_rows import Facts, facts_of_links

NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
PARTS = 2
Row = dict[str, Any]


def at(minute: int) -> datetime:
    return NOON + timedelta(minutes=minute)


def row(minute: int, *, user: str | None, anon: str | None, **other: Any) -> Row:
    filled: Row = dict.fromkeys(SCHEMAS["lake.events"].names)
    return filled | {
        "event_dt": at(minute).date(),
        "event_id": f"evt_{minute}",
        "ts": at(minute),
        "name": "profile.view",
        "user_id": user,
        "anon_id": anon,
        "role": "buyer" if user else None,
        "geo": {"country": "DE", "region": "BE", "city": "Berlin"},
        "payload": "{}",
        **other,
    }


def login(
    minute: int, user: str, anon: str | None, fp: str | None, *, shown: str | None = None
) -> Row:
    payload = json.dumps({"user_id": user, "anon_id": anon, "device_fp": fp})
    return row(minute, user=shown, anon=anon, name="identity.link", device_fp=fp, payload=payload)


def load(engine: Any, rows: Iterable[Row]) -> None:
    schema = SCHEMAS["lake.events"]
    engine.create_table(
        "lake.events", schema, partition_by=PARTITION_BY["lake.events"], properties={}
    )
    table = pa.Table.from_pylist(list(rows), schema=schema)
    if table.num_rows:
        engine.append("lake.events", table)


def identities(engine: Any, table: str = "gold.dim_identity") -> list[Row]:
    return [r for b in engine.batches(table, columns=SCHEMA.names) for r in b.to_pylist()]


@dataclass(frozen=True, slots=True)
class Person:
    """A row of the identity table but for its dates."""

    identity_id: str
    user_id: str | None = field(repr=False)
    anon_ids: list[str] = field(repr=False)
    device_fps: list[str] = field(repr=False)
    current_anon_ids: list[str] = field(repr=False)


def seen(anons: Iterable[str]) -> Facts:
    """Each of these browsers on a row of nobody's."""
    who = pa.array(sorted(anons), pa.string())
    country = pa.array(["DE"] * len(who), pa.string())
    moment = np.full(len(who), round(NOON.timestamp() * 1_000_000))
    found = sights(who, moment, role=pa.nulls(len(who), pa.string()), country=country)
    return Facts(found.slice(0, 0), found, USES.empty_table(), 0)


def rows_of(merge: Merge) -> list[Row]:
    """What it gives, users before visitors, each by their value."""
    found = [r for piece in merge.rows(built_at=at(60)) for r in piece.to_pylist()]
    return sorted(found, key=lambda r: (r["user_id"] is None, r["user_id"] or r["anon_ids"][0]))


def people_of(
    anons: Iterable[str], links: Iterable[Link], *, known: Mapping[str, str]
) -> list[Person]:
    """The people in these links. `known`: user_id, or anon_id of a visitor, to identity_id."""
    ids = [
        {"identity_id": i, "user_id": v if v.startswith("usr_") else None, "anon_ids": [v]}
        for v, i in known.items()
    ]
    schema = pa.schema([SCHEMA.field(name) for name in Merge.KNOWN])
    with Merge(parts=PARTS, folder=None) as merge:
        merge.know(pa.Table.from_pylist(ids, schema=schema).to_batches())
        merge.add(seen(anons))
        merge.add(facts_of_links(links))
        names = ("identity_id", "user_id", "anon_ids", "device_fps", "current_anon_ids")
        return [Person(*(row[name] for name in names)) for row in rows_of(merge)]
