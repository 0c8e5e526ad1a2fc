"""Forms that no writer here makes, made by hand: each erased right, or refused by name before
anything changes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest
from pyiceberg.manifest import DataFile
from pyiceberg.table.snapshots import Operation

from app.domain.datasets import Dataset
from app.domain.errors import DataMapError, UnsupportedTableError
from app.domain.receipts import WorkState
from app.lake.mapcheck import check_map
from app.lake.pyiceberg_engine.commits import Change
from app.lake.tables import plan_table
from tests.lake.foreign import Foreign, dataset, map_of, without
from tests.lake.people_table import EVENTS, ONE, SCHEMA, TABLE, blotted, make, rows, user
from tests.lake.position_deletes import hide

RULES = dataset(TABLE)


class _Keys(pe.KmsClient):  # type: ignore[misc]  # PyArrow is untyped here
    """Wraps nothing: what matters is that nobody here is told the keys."""

    def wrap_key(self, key_bytes: bytes, _: str) -> bytes:
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key: bytes, _: str) -> bytes:
        return base64.b64decode(wrapped_key)


def _encrypted(table: pa.Table, sink: Any, *, plaintext_footer: bool) -> None:
    settings = pe.EncryptionConfiguration(
        footer_key="f", column_keys={"c": ["user_id"]}, plaintext_footer=plaintext_footer
    )
    properties = pe.CryptoFactory(lambda _: _Keys()).file_encryption_properties(
        pe.KmsConnectionConfig(), settings
    )
    pq.write_table(table, sink, encryption_properties=properties)


def _with_form(place: Any, write: Any) -> Foreign:
    """A table whose only file was written anew by `write(table, sink)`."""
    make(place, rows(6), partition_by=None)
    (old,) = place.engine.files(TABLE, snapshot_id=place.engine.head(TABLE).snapshot_id)
    with place.engine.open(old.path) as source:
        table = pq.read_table(source)
    path = old.path.replace(".parquet", "-other.parquet")
    with place.engine.create(path) as sink:
        write(table, sink)
    _listed(place, path, instead_of=old.handle)
    return Foreign(place, TABLE)


def _listed(place: Any, path: str, *, instead_of: Any) -> None:
    """Put the file into the table without reading it: only its writer can."""
    record = instead_of
    with place.engine.open(path) as source:
        size = source.seek(0, 2)
    new = DataFile.from_args(
        content=record.content,
        file_path=path,
        file_format=record.file_format,
        partition=record.partition,
        record_count=record.record_count,
        file_size_in_bytes=size,
    )
    new.spec_id = record.spec_id
    change = Change(
        added=(new,), removed=frozenset({record.file_path}), operation=Operation.OVERWRITE
    )
    place.engine._commit(TABLE, lambda _, __: change, marks={})


@pytest.mark.parametrize("plaintext_footer", [False, True])
def test_encrypted_parquet_parks_the_table_before_anything_changes(
    plaintext_footer: bool, place_file: Any
) -> None:
    """Arrow ends the process when asked about a column of the second kind: it is never asked."""
    table = _with_form(
        place_file, lambda t, sink: _encrypted(t, sink, plaintext_footer=plaintext_footer)
    )
    _parked(table, "encrypted Parquet")


def test_a_file_that_is_no_parquet_parks_the_table(place_file: Any) -> None:
    table = _with_form(place_file, lambda _, sink: sink.write(b"not a table at all" * 10))
    _parked(table, "cannot be read as such")


def test_a_file_without_field_ids_needs_a_name_mapping(place_file: Any) -> None:
    table = _with_form(place_file, _without_ids)
    _parked(table, "no field ids")


def _without_ids(table: pa.Table, sink: Any) -> None:
    pq.write_table(table.cast(SCHEMA), sink, store_schema=False)


def _parked(table: Foreign, word: str) -> None:
    before = table.files(), table.place.engine.head(TABLE)
    work = table.erased(RULES)
    assert work.state is WorkState.PARKED
    assert word in (work.reason or "")
    assert "Use Spark" in (work.reason or "")
    assert (table.files(), table.place.engine.head(TABLE)) == before


def test_a_binary_column_that_holds_the_person_parks_the_table(place_file: Any) -> None:
    schema = pa.schema([("user_id", pa.string()), ("blob", pa.list_(pa.binary()))])
    place_file.engine.create_table(TABLE, schema, partition_by=None, properties={})
    blobs = [[b"\x00\xff", b"of " + user(1).encode()], None, []]
    table = pa.table({"user_id": [user(5), user(5), None], "blob": blobs}, schema)
    place_file.engine.append(TABLE, table)
    _parked_as(Foreign(place_file, TABLE), dataset(TABLE, anon=None), "binary column")


def _parked_as(table: Foreign, rules: Dataset, word: str) -> None:
    work = table.erased(rules)
    assert (work.state, word in (work.reason or "")) == (WorkState.PARKED, True)


def test_values_of_every_type_stay_what_they_were(place_file: Any) -> None:
    schema = pa.schema(
        [
            ("user_id", pa.string()),
            ("uuid", pa.uuid()),
            ("fixed", pa.binary(4)),
            ("bytes", pa.binary()),
            ("clock", pa.time64("us")),
            ("local", pa.timestamp("us")),
            ("exact", pa.decimal128(38, 9)),
            ("near", pa.float64()),
            ("yes", pa.bool_()),
            ("ids", pa.list_(pa.int64())),
        ]
    )
    row = {
        "uuid": UUID(int=7).bytes, "fixed": b"\x00\x01\xff\x7f", "bytes": b"\xff", "clock": time(1),
        "local": None, "exact": Decimal("-1.000000001"), "near": float("-inf"), "yes": False,
        "ids": [1, None],
    }  # fmt: skip
    place_file.engine.create_table(TABLE, schema, partition_by=None, properties={})
    people = [{**row, "user_id": user(n)} for n in (1, 2, 3)] + [dict.fromkeys(schema.names)]
    place_file.engine.append(TABLE, pa.Table.from_pylist(people, schema=schema))
    table = Foreign(place_file, TABLE)
    before = table.rows()
    types = _parquet_types(place_file)
    work, findings = table.gone(dataset(TABLE, anon=None))
    assert (work.state, findings, work.counts.deleted) == (WorkState.PURGED, [], 1)
    assert blotted(table.rows(), ONE) == without(before)
    assert _parquet_types(place_file) == types


def _parquet_types(place: Any) -> list[str]:
    (file,) = place.engine.files(TABLE, snapshot_id=place.engine.head(TABLE).snapshot_id)
    with place.engine.open(file.path) as source:
        schema = pq.read_metadata(source).schema
    return [str(schema.column(n)) for n in range(len(schema))]


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (pa.uuid(), "user_id"),
        (pa.binary(), "user_id"),
        (pa.float64(), "user_id"),
        (pa.struct([("id", pa.int64())]), "user_id.id"),
        (pa.list_(pa.int64()), "user_id"),
    ],
)
def test_an_owner_that_cannot_be_matched_is_refused_with_the_map(
    kind: pa.DataType, path: str, place_file: Any
) -> None:
    schema = pa.schema([("user_id", kind)])
    place_file.engine.create_table(TABLE, schema, partition_by=None, properties={})
    rules = dataset(TABLE, owner=path, anon=None)
    with pytest.raises(DataMapError, match="expected a text column, or an integer one"):
        check_map(map_of(place_file, rules), store=place_file.reader, engine=place_file.engine)


# --- metadata -------------------------------------------------------------------------------------


@pytest.fixture
def edited(place_file: Any) -> Callable[[Any], Foreign]:
    """Edits the current metadata.json by hand."""

    def edit(change: Any) -> Foreign:
        head = place_file.engine.head(TABLE)
        with place_file.engine.open(head.metadata_location) as source:
            document = json.loads(source.read())
        change(document)
        with place_file.engine.create(head.metadata_location) as sink:
            sink.write(json.dumps(document).encode())
        return Foreign(place_file, TABLE)

    return edit


def test_a_version_1_table_without_manifest_lists_is_refused(place_file: Any, edited: Any) -> None:
    make(place_file, rows(6))

    def inline(document: dict[str, Any]) -> None:
        for snapshot in document["snapshots"]:
            snapshot["manifests"] = [snapshot.pop("manifest-list")]

    table = edited(inline)
    with pytest.raises(UnsupportedTableError, match="Use Spark"):
        plan_table(table.place.engine, RULES)


def test_statistics_that_hold_the_person_go_though_no_row_does(
    place_file: Any, edited: Any
) -> None:
    """Of the current snapshot, which stays as it is; and of one that expired long ago."""
    _people(place_file, user(7), user(8))
    at = place_file.engine.head(TABLE).location.removeprefix("file://") + "/metadata/"
    holding, stale, others = (f"{at}{n}.stats" for n in ("holding", "stale", "others"))

    def with_statistics(document: dict[str, Any]) -> None:
        snapshot = document["current-snapshot-id"]
        document["statistics"] = [
            _statistics(place_file, holding, snapshot, text=user(1)),
            _statistics(place_file, stale, snapshot - 1, text="nobody"),
        ]
        document["partition-statistics"] = [
            {
                "snapshot-id": snapshot,
                "statistics-path": _written(place_file, others, _puffin("nobody")),
                "file-size-in-bytes": 1,
            }
        ]

    table = edited(with_statistics)
    head = place_file.engine.head(TABLE).snapshot_id
    work, findings = table.gone(dataset(TABLE, anon=None))
    assert (work.state, findings) == (WorkState.PURGED, [])
    assert place_file.engine.head(TABLE).snapshot_id == head
    named = {p.removeprefix("file://") for p in place_file.engine.reach(TABLE).statistics}
    assert named == {others}
    left = {u.removeprefix("file://") for u in table.files()}
    assert others in left
    assert holding not in left
    assert stale not in left


def _statistics(place: Any, path: str, snapshot: int, *, text: str) -> dict[str, Any]:
    raw = _puffin(text)
    return {
        "snapshot-id": snapshot,
        "statistics-path": _written(place, path, raw),
        "file-size-in-bytes": len(raw),
        "file-footer-size-in-bytes": 10,
        "blob-metadata": [],
    }


def _written(place: Any, path: str, raw: bytes) -> str:
    with place.engine.create(path) as sink:
        sink.write(raw)
    return path


def _puffin(text: str) -> bytes:
    footer = json.dumps({"blobs": [], "properties": {"of": text}}).encode()
    return b"PFA1PFA1" + footer + len(footer).to_bytes(4, "little") + bytes(4) + b"PFA1"


def _people(place: Any, *users: str) -> int:
    """A table, or all of it anew, that names these."""
    schema = pa.schema([("user_id", pa.string())])
    place.engine.create_table(TABLE, schema, partition_by=None, properties={})
    head = place.engine.head(TABLE).snapshot_id
    new = pa.table({"user_id": list(users)}, schema)
    return int(place.engine.overwrite(TABLE, new, base_snapshot=head))


def test_five_hundred_snapshots_are_expired_and_purged(place_file: Any, edited: Any) -> None:
    """Of twenty the person stands in two; each is there 25 times. The others stay."""
    engine = place_file.engine
    made = [_people(place_file, user(1 if n % 10 == 5 else 7), user(8)) for n in range(20)]
    copies = {s: [s * 100 + n if n else s for n in range(25)] for s in made[:-1]}

    def many(document: dict[str, Any]) -> None:
        for one in list(document["snapshots"][:-1]):
            said = [{**one, "snapshot-id": s} for s in copies[one["snapshot-id"]][1:]]
            document["snapshots"] += said

    table = edited(many)
    holding = [s for n in (5, 15) for s in copies[made[n]]]
    before = table.rows()
    snapshots = set(engine.head(TABLE).snapshots)
    work, findings = table.gone(dataset(TABLE, anon=None))
    left = set(engine.head(TABLE).snapshots)
    assert findings == []
    assert not left & set(holding)
    assert len(snapshots) > 450
    assert len(snapshots - left) <= 2 * len(holding)
    assert table.rows() == before
    assert table.leftovers() == []
    reach = engine.reach(TABLE)
    assert set().union(*reach.by_snapshot.values()) <= table.files()
    assert work.state is WorkState.PURGED


def test_hidden_rows_of_a_table_that_gained_a_spec_are_found(place_file: Any) -> None:
    """Position deletes of an older spec, and files of a newer one."""
    make(place_file, rows(20))
    engine = place_file.engine
    (first, *_) = engine.files(TABLE, snapshot_id=engine.head(TABLE).snapshot_id)
    hide(place_file, [(first, [0, 1])])
    with engine._load(TABLE).update_spec() as spec:
        spec.remove_field("event_dt")
    engine.append(TABLE, rows(20, seed=2))
    table = Foreign(place_file, TABLE)
    before = table.rows()
    work, findings = table.gone(replace(EVENTS, json={}))
    assert (work.state, findings) == (WorkState.PURGED, [])
    assert blotted(table.rows(), ONE) == without(before)
    assert table.leftovers() == []
