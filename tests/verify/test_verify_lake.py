"""A whole lake after a run: what records and locks excuse, what they do not, and the arithmetic."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import add
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from app.domain.datasets import Dataset
from app.domain.errors import AccessDeniedError
from app.domain.findings import Finding, What
from app.domain.identifiers import Targets
from app.domain.receipts import (
    Condemned,
    Counts,
    FileWork,
    ObjectWork,
    Share,
    Superseded,
    TableWork,
    WorkState,
)
from app.lake.coverage import Places, undeclared_places, undeclared_tables
from app.lake.ports import COMPLIANCE, ObjectInfo
from app.lake.verify import Verified, verify_beside, verify_dataset
from app.lake.verify.excuses import Excuses
from app.lake.verify.looking import BESIDE
from app.lake.verify.places import full_uri
from tests.places import Place
from tests.verify.material import (
    KEEP_DISPUTES,
    TARGETS,
    event,
    identity,
    load,
    right_pair,
    user,
    written,
)
from tests.verify.planted import EVENTS, SCHEMA, TABLE, data_map, make_clean_lake, puffin, rows

FAR = datetime(2100, 1, 1, tzinfo=UTC)
SOMEBODY = Targets.of([identity("s", users=[user(100)])])


def verified(
    place: Place,
    *works: ObjectWork,
    targets: Targets = SOMEBODY,
    table: TableWork | None = None,
    horizon: datetime = FAR,
    erased_at: datetime = FAR,
    metadata_location: Callable[[str], str] | None = None,
    **dataset: Any,
) -> Verified:
    lake = data_map(place, **dataset)
    known = {w.uri for w in works}
    listed = {v.uri for v in place.reader.versions(f"{place.root}raw/")} - known
    works += tuple(ObjectWork(uri, WorkState.CLEAN) for uri in sorted(listed))
    tables = {"events": table} if table is not None else {}
    how: dict[str, Any] = {
        "data_map": lake,
        "targets": targets,
        "store": place.verifier,
        "metadata_location": metadata_location
        or (lambda name: place.engine.head(name).metadata_location),
        "tables": tables,
        "progress": lambda _dataset, _done, _of: None,
    }
    objects, horizons = {"raw_events": works}, {"raw_events": horizon, "events": erased_at}
    parts = [
        verify_dataset(
            d,
            objects=objects.get(d.name, ()),
            horizon=horizons.get(d.name),
            also_listed=lambda uris: uris,
            **how,
        )
        for d in lake.datasets
    ]
    parts.append(verify_beside(catalog_tables=place.engine.tables(), **how))
    return Verified(
        findings=tuple(sorted((f for p in parts for f in p.findings), key=_order)),
        seen={name: seen for part in parts for name, seen in part.seen.items()},
        undeclared=parts[-1].undeclared,
    )


def _order(found: Finding) -> tuple[str, ...]:
    return found.what, found.dataset, found.place, found.detail, str(found.subject)


def kinds(seen: Verified) -> list[What]:
    return [f.what for f in seen.findings]


def test_a_finished_run_is_clean(place: Place) -> None:
    make_clean_lake(place)
    work = written(place, right_pair())
    assert What.RESIDUE in kinds(verified(place, work, targets=TARGETS)), "the base is still there"
    purger = place.purger()
    assert work.base_version is not None
    purger.allow([(work.uri, work.base_version)])
    purger.purge(work.uri, version_id=work.base_version)
    done = replace(work, state=WorkState.PURGED)
    assert kinds(verified(place, done, targets=TARGETS)) == []


def test_lines_that_are_lost_after_the_check_do_not_add_up(place: Place) -> None:
    make_clean_lake(place)
    uri, version = load(place, "evt-1.ndjson", event(7))
    counts = Counts(before=3, deleted=1, shares={0: Share(deleted=1)})
    work = ObjectWork(uri, WorkState.PURGED, new_version=version, counts=counts)
    assert [f.detail for f in verified(place, work).findings] == [
        "the receipt leaves 2, 1 were counted"
    ]
    shares = replace(work, counts=Counts(before=2, deleted=1))
    assert [f.detail for f in verified(place, shares).findings] == ["they do not add up"]
    gone = replace(work, uri=uri + ".gone")
    assert [f.detail for f in verified(place, gone).findings] == ["it is gone"]


def test_a_lock_excuses_only_what_the_record_defers(place_s3: Place) -> None:
    make_clean_lake(place_s3)
    until = place_s3.reader.now() + timedelta(days=1)
    uri = f"{place_s3.root}raw/locked.ndjson"
    old = place_s3.loader.load(uri, event(100), lock_mode=COMPLIANCE, retain_until=until)
    new = place_s3.loader.load(uri, event(7))
    deferred = ObjectWork(
        uri, WorkState.DEFERRED, new_version=new,
        superseded=(Superseded(old, WorkState.DEFERRED, until=until),), counts=Counts(before=1),
    )  # fmt: skip
    [found] = verified(place_s3, deferred).findings
    assert found.what is What.DEFERRED
    assert f"{until:%Y-%m-%d}" in found.detail
    assert kinds(verified(place_s3)) == [What.RESIDUE], "a lock without a record"
    other, version = load(place_s3, "free.ndjson", event(100))
    free = ObjectWork(
        other, WorkState.DEFERRED, superseded=(Superseded(version, WorkState.DEFERRED),)
    )
    assert kinds(verified(place_s3, deferred, free)) == [What.DEFERRED, What.RESIDUE], (
        "a record without a lock"
    )


def test_a_lock_that_ended_since_the_purge_still_dates_what_it_held() -> None:
    now = datetime.now(UTC)
    info = ObjectInfo("s3://b/k", "v", "e", 1, now, lock_mode=COMPLIANCE, retain_until=now)
    work = ObjectWork(
        "s3://b/k", WorkState.DEFERRED, superseded=(Superseded("v", WorkState.DEFERRED),)
    )
    residue = Finding(What.RESIDUE, "bronze", "raw", "p", uri="s3://b/k", version_id="v")
    for later, what in ((timedelta(hours=23), What.DEFERRED), (timedelta(hours=25), What.RESIDUE)):
        clock = partial(add, now, later)
        [found] = Excuses.of([work], ()).applied([residue], info=info, now=clock)
        assert found.what is what


def test_a_condemned_file_under_no_lock_is_residue(place: Place) -> None:
    make_clean_lake(place)
    uri = f"{place.root}raw/x.ndjson"
    version = place.loader.load(uri, event(100))
    gone = Condemned(uri, version, "data", state=WorkState.HELD)
    table = TableWork(TABLE, condemned=(gone,))
    assert kinds(verified(place, table=table)) == [What.RESIDUE]


def test_lines_kept_by_right_are_withheld_and_not_hidden(place: Place) -> None:
    make_clean_lake(place)
    load(place, "d.ndjson", event(100, name="chargeback.open", also=user(100)))
    seen = verified(place, keep_when=KEEP_DISPUTES)
    assert set(kinds(seen)) == {What.WITHHELD}
    assert {f.place.rpartition(", ")[2] for f in seen.findings} == {"user.user_id", "payload.also"}
    assert set(kinds(verified(place))) == {What.RESIDUE}


def test_undeclared_places_in_a_report_only_dataset_are_withheld(place: Place) -> None:
    make_clean_lake(place)
    load(place, "p.ndjson", event(7, path=f"/{user(100)}/"))
    assert kinds(verified(place, elsewhere="report")) == [What.WITHHELD]


def test_a_broken_line_is_parked_only_where_the_run_parked_one(place: Place) -> None:
    make_clean_lake(place)
    uri, version = load(place, "b.ndjson", event(7) + b"{oops " + user(100).encode() + b"\n")
    assert kinds(verified(place)) == [What.RESIDUE]
    parked = ObjectWork(
        uri, WorkState.PARKED, base_version=version, counts=Counts(before=2, parked=1)
    )
    assert kinds(verified(place, parked)) == [What.PARKED]


def test_what_arrives_after_the_horizon_is_a_note(place: Place) -> None:
    make_clean_lake(place)
    load(place, "late.ndjson", event(100))
    past = datetime(2020, 1, 1, tzinfo=UTC)
    [late] = verified(place, horizon=past).findings
    assert (late.what, late.detail) == (What.NOTE, "arrived after the horizon")


def test_rows_that_a_table_got_after_its_horizon_are_notes(place: Place) -> None:
    make_clean_lake(place)
    work = TableWork(TABLE, horizon=place.engine.head(TABLE).snapshot_id)
    place.engine.append(TABLE, rows({"user_id": user(100)}))
    seen = verified(place, table=work)
    places = {f.place.rpartition(", ")[2] for f in seen.findings}
    assert {"column user_id", "live entry"} <= places
    assert {(f.what, f.detail) for f in seen.findings} == {(What.NOTE, "arrived after the horizon")}
    assert set(kinds(verified(place, table=replace(work, horizon=1)))) == {What.RESIDUE}


def test_a_commit_that_comes_while_a_table_is_looked_at_is_a_note(place: Place) -> None:
    make_clean_lake(place)
    work = TableWork(TABLE, horizon=place.engine.head(TABLE).snapshot_id)
    coming = [rows({"user_id": user(100)}), rows({"user_id": user(7)})]

    def before_it(name: str) -> str:
        """Where the metadata lies, just before the next append."""
        location = place.engine.head(name).metadata_location
        if coming:
            place.engine.append(name, coming.pop())
        return location

    seen = verified(place, table=work, metadata_location=before_it)
    assert coming == []
    assert {(f.what, f.detail) for f in seen.findings} == {(What.NOTE, "arrived after the horizon")}


@pytest.mark.parametrize("suffix", [".parquet", ".stats"])
def test_a_young_file_that_no_metadata_names_may_be_of_a_coming_commit(
    place: Place, suffix: str
) -> None:
    """Rows are written before the commit; statistics are of a snapshot that is there already."""
    make_clean_lake(place)
    head = place.engine.head(TABLE)
    work = TableWork(TABLE, horizon=head.snapshot_id)
    body = io.BytesIO()
    pq.write_table(rows({"user_id": user(100)}), body)
    raw = body.getvalue() if suffix == ".parquet" else puffin(b"x", properties={"by": user(100)})
    place.loader.load(full_uri(f"{head.location}/data/in-flight{suffix}"), raw)
    past, future = datetime(2020, 1, 1, tzinfo=UTC), FAR
    late = What.NOTE if suffix == ".parquet" else What.RESIDUE
    assert set(kinds(verified(place, table=work, erased_at=past))) == {late}
    assert set(kinds(verified(place, table=work, erased_at=future))) == {What.RESIDUE}


def test_a_table_s_files_add_up(place: Place) -> None:
    make_clean_lake(place)
    head = place.engine.head(TABLE)
    [first, *_] = sorted(
        place.engine.files(TABLE, snapshot_id=head.snapshot_id or 0), key=lambda f: -f.rows
    )
    counts = Counts(before=3, deleted=1, shares={0: Share(deleted=1)})
    file = FileWork("/old.parquet", first.path, WorkState.COMMITTED, counts=counts)
    work = TableWork(TABLE, files=(file,), counts=counts)
    assert kinds(verified(place, table=work)) == []
    wrong = replace(file, counts=replace(counts, before=4))
    seen = verified(place, table=replace(work, files=(wrong,)))
    assert sorted(f.place.rpartition(", ")[2] for f in seen.findings) == [
        "rows after",
        "sum of before",
    ]


def test_a_table_s_files_that_lie_elsewhere_are_seen_and_named_where_they_lie(place: Place) -> None:
    properties = {"write.data.path": f"{place.root}apart/data"}
    place.engine.create_table(TABLE, SCHEMA, partition_by="event_dt", properties=properties)
    place.engine.append(TABLE, rows({"user_id": user(7)}, {"user_id": user(100)}))
    load(place, "x.ndjson", event(7))
    seen = verified(place)
    assert What.CANNOT_SEE not in kinds(seen)
    assert seen.undeclared == (f"{place.root}apart/ (1 object)",)
    in_rows = [f for f in seen.findings if "column user_id" in f.place]
    assert [(f.what, f.dataset) for f in in_rows] == [(What.RESIDUE, BESIDE)]
    [file] = place.engine.files(TABLE, snapshot_id=place.engine.head(TABLE).snapshot_id or 0)
    remove(place, file.path)
    assert What.CANNOT_SEE in kinds(verified(place))


def test_a_folder_that_was_never_made_is_empty_and_a_root_that_is_gone_is_refused(
    place_file: Place,
) -> None:
    place_file.engine.create_table(TABLE, SCHEMA, partition_by="event_dt", properties={})
    seen = verified(place_file)
    assert [f.detail for f in seen.findings] == ["nothing lies there"]
    root = Path(place_file.root.removeprefix("file://"))
    root.rename(root.with_name("unmounted"))
    with pytest.raises(AccessDeniedError):
        verified(place_file)


def remove(place: Place, uri: str) -> None:
    """Every version of a file."""
    purger = place.purger()
    versions = [v for v in place.reader.versions(uri) if v.uri == uri]
    purger.allow((uri, v.version_id) for v in versions)
    for version in versions:
        purger.purge(uri, version_id=version.version_id)


def test_places_are_told_apart_by_the_longest_prefix() -> None:
    raw = Dataset("raw", EVENTS.layer, location="s3://b/raw/")
    places = Places.of({"s3://b/raw/": raw, "s3://b/raw/deep/": EVENTS}, warehouse="s3://w/x")
    assert places.roots == ("s3://b/", "s3://w/")
    assert places.dataset_of("s3://b/raw/deep/a") is EVENTS
    assert places.dataset_of("s3://b/raw/a") is raw
    assert places.dataset_of("s3://b/raw2/a") is None
    folder = Places.of({"file:///srv/lake/raw/": raw}, warehouse="file:///srv/lake/tables")
    assert folder.roots == ("file:///srv/lake/",)
    apart = Places.of({"file:///a/raw/": raw, "file:///b/raw/": EVENTS}, warehouse=None)
    assert apart.roots == ("file:///a/raw/", "file:///b/raw/")


def test_what_nobody_declared_is_named_without_a_value() -> None:
    raw = Dataset("raw", EVENTS.layer, location="s3://b/raw/")
    places = Places.of({"s3://b/raw/": raw}, warehouse=None)
    uris = ["s3://b/tmp/a", "s3://b/tmp/b", f"s3://b/{user(1)}/a", "s3://b/readme.md"]
    assert undeclared_places(places, uris) == (
        "s3://b/*/ (1 object)",
        "s3://b/readme.md (1 object)",
        "s3://b/tmp/ (2 objects)",
    )


def test_tables_that_the_map_does_not_name_are_listed(place_file: Place) -> None:
    tables: Sequence[str] = ["lake.events", "lake.copy"]
    assert undeclared_tables(data_map(place_file), tables) == ("table lake.copy",)
