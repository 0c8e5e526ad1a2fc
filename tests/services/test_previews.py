"""The preview says before anyone approves what an erasure costs, loses and leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

from app.domain.breakers import BreakerKind, Limits
from app.domain.datasets import DataMap
from app.lake.datamap import parse_map
from app.services import ledger, previews
from app.services.parts import Parts
from app.services.previews import Preview
from tests.places import Place
from tests.services.dsar_cases import ASKED, get, submit
from tests.services.run_worlds import ON_S3
from tests.services.test_dsar_scopes import worker

ANNA, BERT = ("usr_" + letter * 26 for letter in "AB")
COOKIE = "a_" + "k" * 22
MAP = """
version: 1
catalog: {{name: lake, type: sql, uri: x, warehouse: "{root}"}}
links: {{dataset: raw, where: {{name: identity.link}}}}
snapshots: {{tags: drop, reader_grace: PT0S}}
datasets:
  - name: raw
    layer: bronze
    location: "{root}raw/"
    owner: {{user_id: [user_id, second]}}
    linked: {{anon_id: [anon_id]}}
    keep_when: [{{where: {{name: ["chargeback.*"]}}, ground: "GDPR 17(3)(e)", until: 2030-01-01}}]
  - {{name: orders, layer: gold, table: gold.orders, owner: {{user_id: [user_id]}},
     linked: {{anon_id: [anon_id]}}}}
  - {{name: other, layer: gold, table: gold.other, owner: {{user_id: [user_id]}}}}
"""
ORDERS = pa.schema([("user_id", pa.string()), ("anon_id", pa.string())])


def body(*rows: dict[str, str]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def made(place: Place, until: datetime) -> DataMap:
    """Three objects, one of them locked; two tables of three commits, one with Anna in it."""
    link = {"name": "identity.link", "user_id": ANNA, "anon_id": COOKIE}
    own = {"name": "app.start", "user_id": ANNA, "anon_id": COOKIE}
    kept = {"name": "chargeback.open", "user_id": ANNA}
    both = {"name": "thread.open", "user_id": ANNA, "second": BERT}
    visit = {"name": "app.start", "anon_id": COOKIE}
    place.loader.load(f"{place.root}raw/1.ndjson", body(link, own, own, kept))
    place.loader.load(
        f"{place.root}raw/2.ndjson", body(both, visit), lock_mode="COMPLIANCE", retain_until=until
    )
    place.loader.load(f"{place.root}raw/3.ndjson", body({"name": "app.start", "user_id": BERT}))
    for name, users in (("gold.orders", [ANNA, BERT, ANNA]), ("gold.other", [BERT] * 3)):
        place.engine.create_table(name, ORDERS, partition_by=None, properties={})
        for user in users:
            row = {"user_id": user, "anon_id": None}
            place.engine.append(name, pa.Table.from_pylist([row], schema=ORDERS))
    for name in ("quarter", f"about-{ANNA}"):
        tag(place, "gold.orders", name)
    tag(place, "gold.other", "clean")
    return parse_map(MAP.format(root=place.root), source="lake.yaml", environment={})


def tag(place: Place, table: str, name: str) -> None:
    catalog = SqlCatalog("lake", uri=place.catalog.uri, **place.io_properties)
    try:
        opened = catalog.load_table(table)
        head = opened.metadata.current_snapshot_id
        assert head is not None
        opened.manage_snapshots().create_tag(head, name).commit()
    finally:
        catalog.close()


def previewed(parts: Parts, rung: list[str]) -> Preview:
    case = submit(parts, replace(ASKED, user_id=ANNA, anon_ids=(), device_fps=())).dsar
    ledger.perform(rung[-1], worker=worker(parts))
    with parts.database.transaction() as tx:
        return previews.preview(tx, parts=parts, dsar_id=case.id)


@ON_S3
def test_rows_locks_snapshots_and_what_is_withheld_are_known_before_anyone_approves(
    place: Place, lake_parts: Callable[[DataMap], Parts], rung: list[str]
) -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    here = lake_parts(made(place, until))
    here = replace(here, rules=replace(here.rules, breakers=Limits(rows=4)))
    seen = previewed(here, rung)
    expected = {e.dataset: e for e in seen.expected}
    raw, orders, other = expected["raw"], expected["orders"], expected["other"]
    assert (raw.rows, raw.co_owned, raw.changed) == (4, 1, 1)
    assert (orders.rows, orders.of_rows, other.touched) == (2, 3, 0)
    assert raw.kept == seen.withheld_rows == {"GDPR 17(3)(e)": 1}
    assert [(w.dataset, w.only_some) for w in seen.withheld] == [("raw", True)]
    assert seen.co_owned_rows == 1
    # an object without her, and a table without her, are neither rewritten nor lost
    assert raw.objects == 2
    assert 0 < raw.bytes < next(d.bytes for d in seen.datasets if d.name == "raw")
    table = next(d for d in seen.datasets if d.name == "orders")
    assert seen.bytes_rewritten == raw.bytes + table.bytes
    assert seen.snapshots_lost == table.snapshots == 3
    # a tag that is called after her is shown without its name
    broken = {(r.dataset, r.name, r.policy) for r in seen.refs_broken}
    assert broken == {("orders", "quarter", "drop"), ("orders", "*", "drop")}
    assert (seen.locked_objects, seen.locked_until, seen.held_objects) == (1, until, 0)
    assert seen.estimate_requests > 2 * sum(d.versions for d in seen.datasets)
    assert "estimate" in seen.estimate_basis
    # the share of rows in objects is told by the length of those that were met
    assert raw.of_rows is not None
    assert 6 <= raw.of_rows <= 8
    assert [(b.kind, b.dataset, b.found) for b in seen.breakers] == [
        (BreakerKind.TOO_MANY_ROWS, "raw", 6)
    ]
    assert get(here, seen.dsar_id).breakers == seen.breakers
