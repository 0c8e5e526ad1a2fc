"""The second look at table files: a right pair says nothing, every wrong one is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.domain.datasets import Dataset, Layer, OwnerWhen, Roles, Where
from app.domain.findings import Finding, What
from app.domain.identifiers import Kind
from app.domain.receipts import Counts, FileWork, Share, TableWork, WorkState
from app.lake.verify import check_files
from tests.verify.material import KEEP_DISPUTES, TARGETS, anon, device, tombstone, user

Row = dict[str, Any]
Rows = list[Row]


def field(number: int, name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, metadata={"PARQUET:field_id": str(number)})


SCHEMA = pa.schema(
    [
        field(1, "event_dt", pa.date32()),
        field(2, "name", pa.string()),
        field(3, "user_id", pa.string()),
        field(4, "anon_id", pa.string()),
        field(5, "page", pa.struct([field(6, "path", pa.string()), field(7, "n", pa.int32())])),
        field(8, "items", pa.list_(field(9, "element", pa.struct([field(10, "by", pa.string())])))),
        field(11, "tags", pa.map_(field(12, "key", pa.string()).with_nullable(False),
                                  field(13, "value", pa.string()))),
        field(14, "payload", pa.string()),
        field(15, "score", pa.float64()),
    ]
)  # fmt: skip

EVENTS = Dataset(
    "events",
    Layer.SILVER,
    table="lake.events",
    roles=Roles(owner=("user_id",), linked=((Kind.ANON_ID, ("anon_id",)),)),
    json={
        "payload": Roles(
            owner_when=(OwnerWhen(Where((("name", ("identity.link",)),)), ("user_id",)),),
            mentions=("user_id", "provider_id"),
        )
    },
)


def row(number: int | None, **changes: Any) -> Row:
    plain: Row = {
        "event_dt": 20_000, "name": "search.query",
        "user_id": None if number is None else user(number),
        "anon_id": anon(number or 0), "page": {"path": "/", "n": 1}, "items": None, "tags": [],
        "payload": "{}", "score": float("nan"),
    }  # fmt: skip
    return {**plain, **changes}


def link(number: int) -> str:
    return json.dumps({"user_id": user(number)})


def t(value: str, owner: int | None) -> str:
    return tombstone(value, "" if owner is None else user(owner))


BASE: Rows = [
    row(3),
    row(1),
    row(8, payload=json.dumps({"provider_id": user(2), "note": f"by {user(2)}"})),
    row(4, page=None, items=[], tags=[("k", None)]),
    row(2, items=[{"by": "x"}, None]),
    row(7, name="identity.link", payload=link(1)),
    row(None, anon_id=anon(2), items=[{"by": user(1)}, None, {"by": None}]),
    row(9, page={"path": f"/p/{user(1)}", "n": None}, tags=[(user(2), "v"), ("w", user(2))]),
    row(5, page={"path": "/p/" + user(1).replace("_", "%5F"), "n": 2}),
    row(6, page={"path": f"/p/{user(1)}X", "n": 2}, payload=None, tags=None),
    row(None, name="identity.link", payload=link(1)),
    row(3, score=-0.0),
]
BOTH = "\x1f".join(sorted([user(7), user(1)]))
PAYLOAD = json.dumps({"provider_id": t(user(2), 8), "note": f"by {t(user(2), 8)}"})
NEW: Rows = [
    BASE[0],
    {**BASE[2], "payload": PAYLOAD},
    BASE[3],
    {**BASE[5], "payload": link(1).replace(user(1), tombstone(user(1), BOTH))},
    {**BASE[6], "anon_id": t(anon(2), None),
     "items": [{"by": t(user(1), None)}, None, {"by": None}]},
    {**BASE[7], "page": {"path": f"/p/{t(user(1), 9)}", "n": None},
     "tags": [(t(user(2), 9), "v"), ("w", t(user(2), 9))]},
    {**BASE[8], "page": {"path": f"/p/{t(user(1), 5)}", "n": 2}},
    BASE[9],
    BASE[11],
]  # fmt: skip
COUNTS = Counts(
    before=12, deleted=3, tombstoned=5, co_owned=1, values=9,
    shares={0: Share(deleted=2, tombstoned=4, co_owned=1), 1: Share(deleted=1, tombstoned=1)},
)  # fmt: skip


def write(path: Path, rows: Rows, *, schema: pa.Schema = SCHEMA, **options: Any) -> str:
    columns = [pa.array([r[f.name] for r in rows], f.type) for f in schema]
    pq.write_table(pa.table(columns, schema=schema), path, store_schema=False, **options)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def work(folder: Path, new: Rows | None, *, base: Rows = BASE, **changes: Any) -> FileWork:
    write(folder / "a.parquet", base, row_group_size=5)
    digest = None if new is None else write(folder / "b.parquet", new, row_group_size=7)
    pair = FileWork(
        str(folder / "a.parquet"), None if new is None else str(folder / "b.parquet"),
        WorkState.WRITTEN, sha256=digest, counts=COUNTS,
    )  # fmt: skip
    return replace(pair, **changes)


def checked(pair: FileWork, dataset: Dataset = EVENTS) -> list[Finding]:
    return check_files(
        TableWork("lake.events", files=(pair,)),
        dataset=dataset,
        targets=TARGETS,
        open_file=lambda path: Path(path.removeprefix("file://")).open("rb"),
    )


def test_a_right_pair_says_nothing(tmp_path: Path) -> None:
    assert checked(work(tmp_path, NEW)) == []


def stranger_dropped(new: Rows) -> Rows:
    return new[1:]


def subjects_row_left(new: Rows) -> Rows:
    return [new[0], BASE[1], *new[1:]]


def co_owned_row_deleted(new: Rows) -> Rows:
    return new[:3] + new[4:]


def rows_reordered(new: Rows) -> Rows:
    return [new[1], new[0], *new[2:]]


def rows_swapped_far_apart(new: Rows) -> Rows:
    return [new[-1], *new[1:-1], new[0]]


def row_doubled(new: Rows) -> Rows:
    return [*new, new[-1]]


def null_list_made_empty(new: Rows) -> Rows:
    return [{**r, "items": r["items"] or []} for r in new]


def empty_list_made_null(new: Rows) -> Rows:
    return [{**r, "items": r["items"] or None} for r in new]


def null_struct_in_a_list_filled(new: Rows) -> Rows:
    return [*new[:4], {**new[4], "items": [i or {"by": None} for i in new[4]["items"]]}, *new[5:]]


def null_struct_filled(new: Rows) -> Rows:
    return [{**r, "page": r["page"] or {"path": None, "n": None}} for r in new]


def null_map_made_empty(new: Rows) -> Rows:
    return [{**r, "tags": r["tags"] or []} for r in new]


def number_beside_changed(new: Rows) -> Rows:
    return [*new[:5], {**new[5], "page": {**new[5]["page"], "n": 0}}, *new[6:]]


def date_of_a_stranger_changed(new: Rows) -> Rows:
    return [{**new[0], "event_dt": 20_001}, *new[1:]]


def nan_made_null(new: Rows) -> Rows:
    return [{**r, "score": None} for r in new]


def identifier_left_in_a_list(new: Rows) -> Rows:
    return [*new[:4], {**new[4], "items": BASE[6]["items"]}, *new[5:]]


def identifier_left_as_a_map_key(new: Rows) -> Rows:
    return [*new[:5], {**new[5], "tags": [(user(2), "v"), ("w", t(user(2), 9))]}, *new[6:]]


def identifier_left_in_json(new: Rows) -> Rows:
    return [new[0], BASE[2], *new[2:]]


def percent_encoded_identifier_left(new: Rows) -> Rows:
    return [*new[:6], BASE[8], *new[7:]]


def wrong_kind_letter(new: Rows) -> Rows:
    return [*new[:4], {**new[4], "anon_id": "tomb_u_" + t(anon(2), None)[7:]}, *new[5:]]


def value_nulled_instead_of_severed(new: Rows) -> Rows:
    return [*new[:4], {**new[4], "anon_id": None}, *new[5:]]


def one_tombstone_for_two_values(new: Rows) -> Rows:
    path = {"path": f"/p/{t(user(2), 9)}", "n": None}
    return [*new[:5], {**new[5], "page": path}, *new[6:]]


def two_tombstones_for_one_value(new: Rows) -> Rows:
    return [*new[:5], {**new[5], "tags": [(t(user(2), 9), "v"), ("w", t(user(2), 8))]}, *new[6:]]


def json_written_anew(new: Rows) -> Rows:
    compact = json.dumps(json.loads(new[1]["payload"]), separators=(",", ":"))
    return [new[0], {**new[1], "payload": compact}, *new[2:]]


def strangers_longer_value_cut(new: Rows) -> Rows:
    path = {"path": f"/p/{t(user(1), 6)}X", "n": 2}
    return [*new[:7], {**new[7], "page": path}, *new[8:]]


MUTANTS = [
    stranger_dropped, subjects_row_left, co_owned_row_deleted, rows_reordered,
    rows_swapped_far_apart, row_doubled, null_list_made_empty, empty_list_made_null,
    null_struct_in_a_list_filled, null_struct_filled, null_map_made_empty, number_beside_changed,
    date_of_a_stranger_changed, nan_made_null, identifier_left_in_a_list,
    identifier_left_as_a_map_key, identifier_left_in_json, percent_encoded_identifier_left,
    wrong_kind_letter, value_nulled_instead_of_severed, one_tombstone_for_two_values,
    two_tombstones_for_one_value, json_written_anew, strangers_longer_value_cut,
]  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.__name__)
def test_a_mutated_eraser_is_found(tmp_path: Path, mutant: Callable[[Rows], Rows]) -> None:
    changed = mutant(list(NEW))
    found = checked(work(tmp_path, changed))
    assert {f.what for f in found} <= {What.RESIDUE, What.ARITHMETIC}
    assert any("count" not in f.place for f in found), found


def test_a_file_of_which_nothing_is_left_may_only_have_held_the_run(tmp_path: Path) -> None:
    counts = Counts(before=2, deleted=2, shares={0: Share(deleted=1), 1: Share(deleted=1)})
    assert checked(work(tmp_path, None, base=[row(1), row(2)], counts=counts)) == []
    stranger = work(tmp_path, None, base=[row(1), row(3)], counts=replace(counts, before=2))
    assert {f.what for f in checked(stranger)} == {What.ARITHMETIC}


def test_position_deletes_are_applied(tmp_path: Path) -> None:
    columns = {"file_path": [str(tmp_path / "a.parquet"), "/else.parquet"], "pos": [0, 1]}
    pq.write_table(pa.table(columns), tmp_path / "d.parquet")
    hidden: dict[str, Any] = {
        "delete_paths": (str(tmp_path / "d.parquet"),), "hidden": 1,
        "counts": replace(COUNTS, before=11),
    }  # fmt: skip
    assert checked(work(tmp_path, NEW[1:], **hidden)) == []
    resurrected = checked(work(tmp_path, NEW, **hidden))
    assert {f.what for f in resurrected} == {What.ARITHMETIC}
    assert checked(work(tmp_path, NEW[1:], **{**hidden, "hidden": 2}))


def test_an_unused_dictionary_value_of_the_person_is_residue(tmp_path: Path) -> None:
    pair = work(tmp_path, NEW)
    table = pa.table([pa.array([r[f.name] for r in NEW], f.type) for f in SCHEMA], schema=SCHEMA)
    known = pa.array([*[r["anon_id"] for r in NEW], anon(1)])
    codes = pa.array(range(len(NEW)), pa.int32())
    hoard = pa.DictionaryArray.from_arrays(codes, known)
    table = table.set_column(3, SCHEMA.field(3).with_type(hoard.type), hoard)
    pq.write_table(table, tmp_path / "b.parquet", store_schema=False)
    digest = hashlib.sha256((tmp_path / "b.parquet").read_bytes()).hexdigest()
    found = checked(replace(pair, sha256=digest))
    assert [(f.what, f.subject) for f in found] == [(What.RESIDUE, 0)]
    assert found[0].place.endswith("dictionary")


def test_another_digest_schema_or_order_of_columns_is_found(tmp_path: Path) -> None:
    pair = work(tmp_path, NEW)
    assert [f.detail for f in checked(replace(pair, sha256="0" * 64))] == ["the digest is another"]
    for schema in (SCHEMA.remove(8), pa.schema(list(SCHEMA)[::-1])):
        digest = write(tmp_path / "b.parquet", NEW, schema=schema)
        assert checked(replace(pair, sha256=digest))


def test_a_mess_cannot_be_seen(tmp_path: Path) -> None:
    pair = work(tmp_path, NEW)
    body = (tmp_path / "b.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(body[: len(body) // 2])
    assert What.CANNOT_SEE in {f.what for f in checked(pair)}


def test_rows_kept_on_a_legal_ground_stay_as_they_are(tmp_path: Path) -> None:
    dispute = row(1, name="chargeback.open")
    counts = Counts(before=2, deleted=1, kept=1, shares={0: Share(deleted=1, kept=1)})
    dataset = replace(EVENTS, keep_when=KEEP_DISPUTES)
    pair = work(tmp_path, [dispute], base=[dispute, row(1)], counts=counts)
    assert {f.what for f in checked(pair, dataset)} <= {What.WITHHELD}
    lost = replace(counts, deleted=2, kept=0, shares={0: Share(deleted=2)})
    assert checked(work(tmp_path, None, base=[dispute, row(1)], counts=lost), dataset)


def test_a_lost_identity_goes_and_one_with_another_value_stays(tmp_path: Path) -> None:
    schema = pa.schema(
        [
            field(1, "user_id", pa.string()),
            field(2, "anon_ids", pa.list_(field(3, "element", pa.string()))),
            field(4, "device_fps", pa.list_(field(5, "element", pa.string()))),
        ]
    )
    linked = ((Kind.ANON_ID, ("anon_ids",)), (Kind.DEVICE_FP, ("device_fps",)))
    dataset = Dataset(
        "dim_identity", Layer.GOLD, table="gold.dim_identity", is_identity=True,
        roles=Roles(owner=("user_id",), linked=linked),
        identity_columns={"anon_id": ("anon_ids",), "device_fp": ("device_fps",)},
    )  # fmt: skip
    mine = {"user_id": None, "anon_ids": [anon(1)], "device_fps": [device(2)]}
    shared = {"user_id": None, "anon_ids": [anon(1), anon(9)], "device_fps": None}
    severed = {**shared, "anon_ids": [t(anon(1), None), anon(9)]}
    write(tmp_path / "a.parquet", [mine, shared], schema=schema)
    digest = write(tmp_path / "b.parquet", [severed], schema=schema)
    counts = Counts(
        before=2, deleted=1, tombstoned=1, values=1, shares={0: Share(deleted=1, tombstoned=1)}
    )
    pair = FileWork(
        str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet"), WorkState.WRITTEN,
        sha256=digest, counts=counts,
    )  # fmt: skip
    assert checked(pair, dataset) == []
    digest = write(tmp_path / "b.parquet", [mine, severed], schema=schema)
    assert checked(replace(pair, sha256=digest), dataset)
