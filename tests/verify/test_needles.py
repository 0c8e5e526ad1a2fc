"""The teeth of the verifier: a needle in every place is found there, and a clean lake has none."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from app.domain.findings import Finding, What
from app.domain.identifiers import Targets
from app.lake.verify import search_bytes
from app.servers import Servers
from tests.lake.position_deletes import hide
from tests.places import Place
from tests.verify.material import event, identity, user
from tests.verify.planted import TABLE, Planting, found, make_clean_lake, rows

NOBODY_HERE = Targets.of([identity("s", users=[user(100)])])


@pytest.fixture
def admin(servers: Servers) -> Iterator[Any]:
    key = servers.s3.credentials["admin"]
    client = boto3.client(
        "s3",
        endpoint_url=servers.s3.endpoint,
        region_name=servers.s3.region,
        aws_access_key_id=key.access_key,
        aws_secret_access_key=key.secret_key,
    )
    yield client
    client.close()


def residue(findings: tuple[Finding, ...]) -> dict[int, list[str]]:
    places: dict[int, list[str]] = {}
    for finding in findings:
        if finding.what is What.RESIDUE:
            assert finding.subject is not None
            places.setdefault(finding.subject, []).append(finding.place)
    return places


def require_exactly(planting: Planting, findings: tuple[Finding, ...]) -> None:
    """Each person is found in one place, the right one; nothing that was seen stayed unread."""
    places = residue(findings)
    for number, (name, expected) in enumerate(zip(planting.names, planting.expected, strict=True)):
        said = places.pop(number, [])
        assert len(said) == 1, (name, said)
        assert expected in said[0], (name, said)
    assert places == {}
    blind = [f for f in findings if f.what in (What.CANNOT_SEE, What.ARITHMETIC)]
    assert blind == []
    assert "usr_" not in repr(findings)


def test_a_clean_lake_has_nobody(place: Place) -> None:
    make_clean_lake(place)
    seen = found(place, NOBODY_HERE)
    assert seen.findings == ()
    assert seen.undeclared == ()
    assert seen.seen["raw_events"].versions == 3
    assert seen.seen["raw_events"].rows == 5
    assert seen.seen["events"].rows == 3


def test_everybody_else_is_still_found(place: Place) -> None:
    make_clean_lake(place)
    seen = found(place, Targets.of([identity("s", users=[user(8)])]))
    assert {f.dataset for f in seen.findings} == {"raw_events", "events"}
    assert sum(f.count for f in seen.findings if f.dataset == "raw_events") == 2


def test_a_needle_in_every_place_is_found_there_and_nowhere_else(place: Place) -> None:
    make_clean_lake(place)
    planting = Planting(place)
    planting.in_lines()
    planting.in_parquet()
    planting.in_metadata()
    assert len(planting.names) >= 24
    seen = found(place, planting.targets)
    # A value in a column stands beside the rows too, and in bounds where it is committed.
    beside = ("statistics", "page header", "dictionary", "manifest bound, live entry")
    rows_of = {n for n, expected in enumerate(planting.expected) if "column" in expected}
    row = planting.names.index("row of the table")
    said = {place.split(", ", 1)[1] for place in residue(seen.findings)[row]}
    assert said == {"column user_id", *beside}
    once = [f for f in seen.findings if f.subject not in rows_of or not f.place.endswith(beside)]
    require_exactly(planting, tuple(once))
    assert [u.removeprefix(place.root) for u in seen.undeclared] == ["tmp/ (1 object)"]


def test_what_only_a_versioned_bucket_hides_is_found(place_s3: Place, admin: Any) -> None:
    make_clean_lake(place_s3)
    planting = Planting(place_s3)
    planting.in_versions(admin)
    require_exactly(planting, found(place_s3, planting.targets).findings)


def test_what_a_folder_hides_is_found(place_file: Place) -> None:
    make_clean_lake(place_file)
    planting = Planting(place_file)
    for name in (
        ".clearlake/superseded/evt-1.ndjson/1-2",
        ".hidden.ndjson",
        ".clearlake/incoming/x",
    ):
        number, _ = planting.new(name, "user.user_id")
        path = Path(planting.raw.removeprefix("file://")) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(event(number))
    require_exactly(planting, found(place_file, planting.targets).findings)


def test_a_row_that_a_position_delete_hides_is_found(place: Place) -> None:
    make_clean_lake(place)
    head = place.engine.head(TABLE)
    files = place.engine.files(TABLE, snapshot_id=head.snapshot_id or 0)
    hide(place, [(f, list(range(f.rows))) for f in files])
    places = residue(found(place, Targets.of([identity("s", users=[user(9)])])).findings)
    assert any("column user_id" in p for p in places[0])


def test_a_cut_bound_is_residue_unless_somebody_else_begins_so(place: Place) -> None:
    make_clean_lake(place)
    planting = Planting(place)
    gone = "usr_" + "Q" * 26
    for key, raw in (("lower_bounds", gone[:16]), ("upper_bounds", gone[:15] + "R")):
        planting.names.append(key)
        planting.avro(key, _bound(key, raw.encode(), status=2, path="/nowhere/gone.parquet"))
    targets = Targets.of([identity("s", users=[gone])])
    assert len(residue(found(place, targets).findings)[0]) == 2
    neighbour = gone[:-1] + "7"
    place.engine.append(TABLE, rows({"user_id": neighbour}))
    seen = found(place, targets)
    assert len(residue(seen.findings)[0]) == 2, "the neighbour's own bounds are nobody's residue"


def _bound(key: str, raw: bytes, *, status: int, path: str) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        record["status"] = status
        record["data_file"].update({key: [{"key": 2, "value": raw}], "file_path": path})

    return change


def test_a_tag_keeps_a_replaced_file_in_sight(place: Place) -> None:
    make_clean_lake(place)
    head = place.engine.head(TABLE)
    files = place.engine.files(TABLE, snapshot_id=head.snapshot_id or 0)
    place.engine.replace(TABLE, [(f, None) for f in files], run_id="r", step_id="s")
    places = residue(found(place, Targets.of([identity("s", users=[user(9)])])).findings)
    assert any("column user_id" in p for p in places[0])


def test_other_peoples_values_are_no_residue(place: Place) -> None:
    make_clean_lake(place)
    value = "usr_0aBcDeFgHjKm"
    others = [value + "1", "x" + value, value + "-2", value.upper(), "_" + value, value[:-1]]
    place.loader.load(
        f"{place.root}raw/o.ndjson", b"".join(event(7, q=f"a {o}, b") for o in others)
    )
    place.engine.append(TABLE, rows(*({"user_id": o, "page": {"path": f"/{o}/"}} for o in others)))
    seen = found(place, Targets.of([identity("s", users=[value])]))
    assert {f.what for f in seen.findings} == {What.NOTE}
    assert {f.dataset for f in seen.findings} == {"raw_events", "events"}


def test_another_case_and_plain_hashes_are_notes(place_file: Place) -> None:
    make_clean_lake(place_file)
    targets = Targets.of([identity("s", users=[user(50)])])
    hashes = [h(user(50).encode()).hexdigest() for h in (hashlib.md5, hashlib.sha1, hashlib.sha256)]
    lines = [event(7, q=text) for text in (user(50).upper(), *hashes, hashes[0].upper())]
    place_file.loader.load(f"{place_file.root}raw/n.ndjson", b"".join(lines))
    [note] = found(place_file, targets).findings
    assert (note.what, note.count) == (What.NOTE, 5)


def test_what_cannot_be_read_is_said(place: Place) -> None:
    make_clean_lake(place)
    raw = f"{place.root}raw/"
    place.loader.load(f"{raw}cut.ndjson.gz", gzip.compress(event(7))[:-9])
    place.loader.load(f"{raw}form.ndjson", b"PK\x03\x04" + bytes(100))
    seen = found(place, NOBODY_HERE)
    assert sorted(f.what for f in seen.findings) == [What.CANNOT_SEE, What.UNREADABLE]


def test_a_data_file_that_is_gone_cannot_be_seen(place_file: Place) -> None:
    make_clean_lake(place_file)
    head = place_file.engine.head(TABLE)
    [first, *_] = place_file.engine.files(TABLE, snapshot_id=head.snapshot_id or 0)
    Path(first.path.removeprefix("file://")).unlink()
    assert [f.what for f in found(place_file, NOBODY_HERE).findings] == [What.CANNOT_SEE]


def test_bytes_outside_the_lake_are_searched_by_the_same_rule() -> None:
    values = [user(1), "a_1234", "me@example.org"]
    dump = b"COPY t FROM stdin;\n1\t" + user(1).encode() + b"\t\\N\n"
    assert search_bytes(dump, values)
    assert search_bytes(b"*2\r\n$6\r\na_1234\r\n", values)
    assert search_bytes(b"\x00\x01page\x00" + user(1).encode() + b"\x00\x02", values)
    assert search_bytes(b"to=me%40example.org&x", values)
    for nobody in (
        b"",
        b"a_12345\n",
        user(1).encode() + b"X",
        b"xme@example.org",
        b"GET /a_1234-b",
    ):
        assert search_bytes(nobody, values) == []
    assert search_bytes(dump, []) == []
