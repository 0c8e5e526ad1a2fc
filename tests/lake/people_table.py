"""A small table of people with everything nested that Iceberg allows, and a naive reading of the
erasure rule to compare with. Shares no code with the erasers.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

from app.domain.datasets import Dataset, Layer, OwnerWhen, Roles, Where
from app.domain.findings import Finding
from app.domain.identifiers import Identifier, Identity, Kind, Targets
from app.domain.receipts import TableWork
from app.lake.purge_tables import plan_purge, purge_table
from app.lake.table_content import holder
from app.lake.tables import erase_table, plan_table
from app.lake.tombstones import Tombstones

RUN, STEP = "run_01test", "step_01"
TABLE = "lake.events"
SECRET = Tombstones(b"s" * 32)

SCHEMA = pa.schema(
    [
        ("event_dt", pa.date32()),
        ("event_id", pa.string()),
        ("name", pa.string()),
        ("user_id", pa.string()),
        ("anon_id", pa.string()),
        ("page", pa.struct([("path", pa.string()), ("ref", pa.string())])),
        ("items", pa.list_(pa.struct([("sku", pa.string()), ("by", pa.string())]))),
        ("anon_ids", pa.list_(pa.string())),
        ("attributes", pa.map_(pa.string(), pa.struct([("v", pa.string())]))),
        ("payload", pa.string()),
        ("amount", pa.decimal128(10, 2)),
        ("ts", pa.timestamp("us", "UTC")),
    ]
)

EVENTS = Dataset(
    name="events",
    layer=Layer.SILVER,
    table=TABLE,
    roles=Roles(owner=("user_id",), linked=((Kind.ANON_ID, ("anon_id",)),)),
    json={
        "payload": Roles(
            owner_when=(OwnerWhen(Where((("name", ("identity.link",)),)), ("user_id",)),),
            linked=((Kind.ANON_ID, ("anon_id",)),),
            mentions=("user_id", "provider_id"),
        )
    },
)


def user(number: int) -> str:
    return f"usr_{number:06d}{'KX' * 10}"


def anon(number: int) -> str:
    return f"a_{number:06d}{'qZ' * 8}"


def person(number: int, *, anons: Iterable[int] = (), name: str = "s1") -> Identity:
    return Identity(
        subject=name,
        given=frozenset({Identifier(Kind.USER_ID, user(number))}),
        linked=frozenset(Identifier(Kind.ANON_ID, anon(a)) for a in anons),
        derived=frozenset(),
        shared=(),
    )


ONE = Targets.of([person(1, anons=(1,))])
TWO = Targets.of([person(1, anons=(1, 11)), person(2, anons=(2,), name="s2")])


def rows(count: int, *, seed: int = 1, people: int = 8, day: int = 1, days: int = 2) -> pa.Table:
    """Rows of `people` users, every nesting and every kind of null among them."""
    rng = random.Random(seed)
    return pa.Table.from_pylist(
        [_row(rng, n, people=people, day=day, days=days) for n in range(count)], schema=SCHEMA
    )


def _row(rng: random.Random, number: int, *, people: int, day: int, days: int) -> dict[str, Any]:
    who, other = rng.randrange(people), rng.randrange(people)

    def some(value: Any) -> Any:
        return value if rng.random() < 0.6 else None

    return {
        "event_dt": date(2026, 1, day + number % days),
        "event_id": f"evt_{rng.getrandbits(64):020d}",
        "name": "identity.link" if rng.random() < 0.1 else "page.view",
        "user_id": some(user(who)),
        "anon_id": some(anon(who)),
        "page": some({"path": f"/u/{user(other)}/x" if number % 3 else "/", "ref": some("/r")}),
        "items": some([some({"sku": "s", "by": some(user(other))}) for _ in range(number % 3)]),
        "anon_ids": some([some(anon(other)) for _ in range(number % 3)]),
        "attributes": some([(f"k{k}", some({"v": some(anon(other))})) for k in range(number % 3)]),
        "payload": some(
            json.dumps({"user_id": user(who), "t": f"é\n{anon(other)} %7E", "n": number})
            if number % 2
            else f"note about {user(other)}"
        ),
        "amount": None,
        "ts": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number),
    }


def make(place: Any, *tables: pa.Table, partition_by: str | None = "event_dt") -> None:
    place.engine.create_table(TABLE, SCHEMA, partition_by=partition_by, properties={})
    for table in tables:
        place.engine.append(TABLE, table)


def no_findings(_: TableWork) -> list[Finding]:
    return []


class Journal:
    """What a run wrote down last."""

    def __init__(self) -> None:
        self.last: TableWork | None = None
        self.entries = 0

    def __call__(self, work: TableWork) -> None:
        self.last = work
        self.entries += 1


def erase(
    place: Any,
    targets: Targets = ONE,
    *,
    dataset: Dataset = EVENTS,
    work: TableWork | None = None,
    journal: Journal | None = None,
    **changed: Any,
) -> TableWork:
    arguments: dict[str, Any] = {
        "dataset": dataset,
        "targets": targets,
        "tombstones": SECRET,
        "engine": place.engine,
        "run_id": RUN,
        "step_id": STEP,
        "record": journal or Journal(),
        "stop": lambda: False,
        "check": no_findings,
        **changed,
    }
    return erase_table(work or plan_table(place.engine, dataset), **arguments)


def purge(
    place: Any,
    work: TableWork,
    targets: Targets = ONE,
    *,
    dataset: Dataset = EVENTS,
    tags: str = "fail",
    journal: Journal | None = None,
    grace: timedelta = timedelta(hours=24),
    run_id: str = RUN,
) -> TableWork:
    journal = journal or Journal()
    if not work.expired:
        work = plan_purge(work, dataset=dataset, targets=targets, engine=place.engine, tags=tags)
        journal(work)
    return purge_table(
        work,
        run_id=run_id,
        engine=place.engine,
        store=place.reader,
        purger=place.purger(place.root),
        record=journal,
        stop=lambda: False,
        orphan_grace=grace,
        holds=holder(targets),
    )


def read_rows(place: Any, *, snapshot_id: int | None = None) -> list[dict[str, Any]]:
    """Every visible row of a snapshot, files in the order of their paths."""
    head = place.engine.head(TABLE)
    found = []
    for file in place.engine.files(TABLE, snapshot_id=snapshot_id or head.snapshot_id):
        hidden = set()
        for delete in file.deletes:
            with place.engine.open(delete.path) as source:
                for row in pq.read_table(source).to_pylist():
                    if row["file_path"] == file.handle.file_path:
                        hidden.add(row["pos"])
        with place.engine.open(file.path) as source:
            table = pq.read_table(source)
        found += [r for n, r in enumerate(table.to_pylist()) if n not in hidden]
    return found


_TOMBSTONE = re.compile(r"tomb_[uadx]_[0-9a-hjkmnp-tv-z]{26}")


def expected(before: Iterable[Mapping[str, Any]], targets: Targets) -> list[str]:
    """Rows that must be left, targets blotted out, sorted."""
    left = []
    for row in before:
        owners = {row["user_id"]} - {None}
        payload = row["payload"]
        if row["name"] == "identity.link" and payload is not None and payload.startswith("{"):
            owners.add(json.loads(payload)["user_id"])
        if owners and all(o in targets.owners for o in owners):
            continue
        left.append(row)
    return blotted(left, targets)


def blotted(found: Iterable[Mapping[str, Any]], targets: Targets) -> list[str]:
    """Rows as text, targets and tombstones alike as `*`; sorted."""
    names = re.compile("|".join(map(re.escape, targets.by_value)))
    return sorted(names.sub("*", _TOMBSTONE.sub("*", repr(dict(row)))) for row in found)


def leftovers(place: Any, targets: Targets) -> list[str]:
    """Names of files, of any version, that hold a target or the front of one; no code of ours."""
    words = [v.encode() for v in targets.by_value]
    # Ids of this lake differ in characters 5 to 10: the first 12 tell people apart.
    fronts = [w[:12] for w in words]
    found = []
    for version in place.reader.versions(place.root):
        if version.is_marker:
            continue
        with place.reader.open(version.uri, version_id=version.version_id) as stream:
            raw = stream.read()
        text = _everything(raw)
        if any(w in text for w in words) or any(f in text for f in fronts):
            found.append(version.uri.rpartition("/")[2])
    return found


def _everything(raw: bytes) -> bytes:
    """Raw bytes and whatever they decode to."""
    if raw[:4] == b"PAR1":
        file = pq.ParquetFile(BytesIO(raw))
        footer = [
            repr(file.metadata.row_group(g).column(c).to_dict()).encode()
            for g in range(file.metadata.num_row_groups)
            for c in range(file.metadata.num_columns)
        ]
        return raw + repr(file.read().to_pylist()).encode() + b"".join(footer)
    if raw[:4] == b"Obj\x01":
        reader = fastavro.reader(BytesIO(raw))
        return raw + repr(list(reader)).encode() + repr(reader.metadata).encode()
    return raw


def files_on_disk(place: Any) -> set[str]:
    return {v.uri for v in place.reader.versions(place.root) if not v.is_marker}


def reached(place: Any) -> set[str]:
    reach = place.engine.reach(TABLE)
    return set(reach.metadata).union(*reach.by_snapshot.values())
