"""A stitch that goes on from the last one gives what a rebuild gives, and brings nobody back."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.errors import CommitConflictError
from app.domain.failpoints import FailpointError
from app.domain.identifiers import Identifier, Kind
from app.lake.make_tables import SCHEMAS
from app.lake.stitch import Link, Stitched, stitch
from app.lake.stitch_facts import SIGHTS, fold
from app.lake.stitch_merge import SCHEMA, Merge
from app.lake.stitch_rows import facts_of_events, facts_of_links
from app.lake.stitch_spool import Spool, parts_of
from app.lake.tombstones import Tombstones
from tests.lake.stitching import (
    NOON,
    PARTS,
    Row,
    at,
    identities,
    load,
    login,
    row,
    rows_of,
    seen,
)
from tests.places import Place

USERS = st.sampled_from(["usr_1", "usr_2", "usr_3"])
ANONS = st.sampled_from(["a_1", "a_2", "a_3", "a_4", None])
FPS = st.sampled_from(["fp_1", "fp_2", None])
MINUTES = st.integers(0, 20)
LINKS = st.lists(
    st.builds(Link, at=MINUTES.map(at), user_id=USERS, anon_id=ANONS, device_fp=FPS), max_size=8
)
BROWSERS = st.sets(st.sampled_from(["a_1", "a_2", "a_5"]))
TOMB = Tombstones(b"s" * 32).of(Identifier(Kind.USER_ID, "usr_1"), owner="")


# --- pure -----------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.lists(st.tuples(LINKS, BROWSERS), min_size=2, max_size=4))
def test_the_rows_of_the_last_time_and_what_came_since_give_what_everything_gives(
    nights: list[tuple[list[Link], set[str]]],
) -> None:
    with Merge(parts=PARTS, folder=None) as everything:
        for links, anons in nights:
            everything.add(facts_of_links(links))
            everything.add(seen(anons))
        expected = rows_of(everything)
    rows: list[Row] = []
    for links, anons in nights:
        with Merge(parts=PARTS, folder=None) as merge:
            merge.take(pa.Table.from_pylist(rows, schema=SCHEMA).to_batches())
            merge.add(seen(anons))
            merge.add(facts_of_links(links))
            rows = rows_of(merge)
    assert rows == expected
    assert (merge.identities, merge.users, merge.shared) == (
        everything.identities, everything.users, everything.shared,
    )  # fmt: skip


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            MINUTES, USERS, st.sampled_from(["buyer", "provider", None]), st.sampled_from("AB")
        ),
        min_size=1,
    ),
    st.data(),
)
def test_sights_folded_in_pieces_are_sights_folded_at_once(
    said: list[tuple[int, str, str | None, str]], data: st.DataObject
) -> None:
    events = [row(m, user=u, anon=None, role=r, geo={"country": c}) for m, u, r, c in said]
    batches = pa.Table.from_pylist(
        [e | {"geo.country": e["geo"]["country"]} for e in events],
        schema=pa.schema(
            [("ts", pa.timestamp("us", tz="UTC"))]
            + [(n, pa.string()) for n in ("name", "user_id", "anon_id", "device_fp")]
            + [(n, pa.string()) for n in ("role", "geo.country", "payload")]
        ),
    )
    [whole] = facts_of_events(batches.to_batches())
    cut = data.draw(st.integers(0, len(said)))
    pieces = [f.users for part in (batches[:cut], batches[cut:])
              for f in facts_of_events(part.to_batches())]  # fmt: skip
    again = fold(pa.concat_tables(pieces))
    assert by_who(again) == by_who(whole.users)
    latest: dict[str, tuple[int, str]] = {}
    for minute, user, role, _ in said:
        if role is not None:
            latest[user] = max(latest.get(user, (minute, role)), (minute, role))
    assert {r["who"]: r["role"] for r in by_who(again) if r["role"]} == {
        user: role for user, (_, role) in latest.items()
    }


def by_who(sights: pa.Table) -> list[Row]:
    assert sights.schema.equals(SIGHTS)
    return sorted(sights.to_pylist(), key=lambda r: str(r["who"]))


@settings(max_examples=50)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=40), min_size=1))
def test_a_text_goes_to_the_same_part_whatever_stands_beside_it(texts: list[str]) -> None:
    whole = parts_of(pa.array(texts), 7).tolist()
    assert whole == [int(parts_of(pa.array([t]), 7)[0]) for t in texts]
    assert whole[1:] == parts_of(pa.array(texts).slice(1), 7).tolist()
    assert set(whole) <= set(range(7))


def test_random_ids_are_spread_evenly() -> None:
    texts = pa.array([f"usr_{n:026}" for n in range(70_000)])
    counts = pc.value_counts(pa.array(parts_of(texts, 7))).field("counts").to_pylist()
    assert len(counts) == 7
    assert min(counts) > 9_000


def test_a_spool_gives_back_what_it_was_given() -> None:
    schema = pa.schema([("who", pa.string()), ("n", pa.int64())])
    rows = [{"who": f"usr_{n % 5}", "n": n} for n in range(40)]
    with Spool(schema, about="who", parts=3, folder=None) as spool:
        for start in range(0, 40, 7):
            spool.add(pa.Table.from_pylist(rows[start : start + 7], schema=schema))
        found = [spool.part(n).to_pylist() for n in range(3)]
    assert sorted((r for part in found for r in part), key=lambda r: int(r["n"])) == rows
    homes = [{r["who"] for r in part} for part in found]
    assert sum(map(len, homes)) == 5


# --- on tables ------------------------------------------------------------------------------------


def plain(engine: Any, table: str = "gold.dim_identity") -> list[Row]:
    return sorted(identities(engine, table), key=lambda r: str((r["user_id"], r["anon_ids"])))


def rebuilt(engine: Any) -> list[Row]:
    """What is built where nothing was."""
    table = "gold.anew"
    head = engine.head(table).snapshot_id if engine.exists(table) else None
    if head is not None:
        engine.overwrite(table, SCHEMA.empty_table(), base_snapshot=head)
    assert stitch(engine, built_at=NOON, identity_table=table).rebuilt
    return plain(engine, table)


def again(engine: Any) -> Stitched:
    return stitch(engine, built_at=NOON)


def change_events(engine: Any, change: Any) -> None:
    """Other rows instead, as an erasure or a merge leaves them."""
    names = SCHEMAS["lake.events"].names
    old = [r for b in engine.batches("lake.events", columns=names) for r in b.to_pylist()]
    new = [r for r in map(change, old) if r is not None]
    head = engine.head("lake.events").snapshot_id
    table = pa.Table.from_pylist(new, schema=SCHEMAS["lake.events"])
    engine.overwrite("lake.events", table, base_snapshot=head)


def without_user_1(event: Row) -> Row | None:
    """The rule of an erasure: own rows go, values elsewhere become tombstones."""
    if event["user_id"] == "usr_1" or '"user_id": "usr_1"' in event["payload"]:
        return None
    return event | {"anon_id": TOMB if event["anon_id"] == "a_1" else event["anon_id"]}


STEPS = st.one_of(
    st.lists(
        st.tuples(MINUTES, USERS, st.sampled_from(["a_1", "a_2", "a_3"]), FPS), min_size=1,
        max_size=4,
    ),
    st.sampled_from(["erase", "stitch"]),
)  # fmt: skip


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, min_size=2, max_size=5))
def test_after_any_appends_erasures_and_stitches_the_table_is_what_a_rebuild_gives(
    place_file: Place, steps: list[Any]
) -> None:
    engine = place_file.engine
    load(engine, [])
    for step in [*steps, "stitch"]:
        if step == "stitch":
            again(engine)
        elif step == "erase":
            change_events(engine, without_user_1)
        else:
            load(engine, [login(*link, shown=link[1]) for link in step])
            load(engine, [row(m, user=None, anon=a) for m, _, a, _ in step[:1]])
    assert plain(engine) == rebuilt(engine)


def test_files_that_came_since_are_all_that_is_read(place: Place) -> None:
    load(place.engine, [login(1, "usr_1", "a_1", "fp_1"), row(2, user=None, anon="a_2")])
    assert again(place.engine).rebuilt
    load(place.engine, [login(3, "usr_2", "a_1", "fp_2"), row(4, user="usr_1", anon="a_1")])
    done = again(place.engine)
    assert (done.rebuilt, done.links, done.identities, done.shared) == (False, 1, 3, 1)
    assert plain(place.engine) == rebuilt(place.engine)
    assert not again(place.engine).rebuilt
    assert plain(place.engine) == rebuilt(place.engine)


def test_an_older_link_that_comes_late_takes_no_browser_away(place_file: Place) -> None:
    load(place_file.engine, [login(9, "usr_1", "a_1", "fp_1")])
    again(place_file.engine)
    load(place_file.engine, [login(5, "usr_2", "a_1", "fp_1"), row(3, user="usr_1", anon="a_9")])
    assert not again(place_file.engine).rebuilt
    by_user = {r["user_id"]: r for r in plain(place_file.engine)}
    assert by_user["usr_1"]["current_anon_ids"] == ["a_1"]
    assert by_user["usr_1"]["first_seen"] == at(3)
    assert by_user["usr_2"]["current_anon_ids"] == []
    assert plain(place_file.engine) == rebuilt(place_file.engine)


def test_who_was_erased_since_the_last_stitch_does_not_come_back(place_file: Place) -> None:
    engine = place_file.engine
    load(
        engine, [login(1, "usr_1", "a_1", "fp_1", shown="usr_1"), login(2, "usr_2", "a_2", "fp_2")]
    )
    load(engine, [row(3, user="usr_1", anon="a_3"), row(4, user="usr_2", anon="a_1")])
    again(engine)
    load(engine, [row(5, user="usr_2", anon="a_2")])
    change_events(engine, without_user_1)
    done = again(engine)
    assert done.rebuilt, "rows of hers are in what the last stitch wrote"
    assert {r["user_id"] for r in plain(engine)} == {"usr_2"}
    assert "a_3" not in repr(plain(engine)), "seen on a row of hers alone"
    assert not again(engine).rebuilt
    assert plain(engine) == rebuilt(engine)


def test_one_file_replaced_by_an_erasure_is_enough_for_a_rebuild(place_file: Place) -> None:
    engine = place_file.engine
    load(engine, [login(1, "usr_1", "a_1", "fp_1", shown="usr_1")])
    load(engine, [login(2, "usr_2", "a_2", "fp_2", shown="usr_2")])
    again(engine)
    head = engine.head("lake.events").snapshot_id
    assert head is not None
    hers = [f for f in engine.files("lake.events", snapshot_id=head) if f.rows == 1][:1]
    engine.replace("lake.events", [(hers[0], None)], run_id="run_1", step_id="step_1")
    load(engine, [login(3, "usr_3", "a_3", "fp_3")])
    assert again(engine).rebuilt
    assert len({r["user_id"] for r in plain(engine)}) == 2
    assert plain(engine) == rebuilt(engine)


def test_rows_of_the_identity_table_that_anybody_changed_are_not_gone_on_from(
    place_file: Place,
) -> None:
    engine = place_file.engine
    load(engine, [login(1, "usr_1", "a_1", "fp_1")])
    again(engine)
    kept = [r | {"identity_id": "idn_given", "anon_ids": ["a_wrong"]} for r in plain(engine)]
    head = engine.head("gold.dim_identity").snapshot_id
    table = pa.Table.from_pylist(kept, schema=SCHEMA)
    engine.overwrite("gold.dim_identity", table, base_snapshot=head)
    assert again(engine).rebuilt
    [only] = plain(engine)
    assert (only["identity_id"], only["anon_ids"]) == ("idn_given", ["a_1"])


def test_a_table_from_before_it_had_the_columns_is_rebuilt_each_time(place_file: Place) -> None:
    older = pa.schema([f for f in SCHEMA if f.name not in {"current_since", "role_at"}])
    place_file.engine.create_table("gold.dim_identity", older, partition_by=None, properties={})
    load(place_file.engine, [login(1, "usr_1", "a_1", "fp_1")])
    assert again(place_file.engine).rebuilt
    load(place_file.engine, [login(2, "usr_2", "a_1", "fp_1")])
    done = again(place_file.engine)
    assert (done.rebuilt, done.links, done.users) == (True, 2, 2)


@pytest.mark.parametrize("point", ["stitch.after_overwrite", "properties.before_swap"])
def test_a_stitch_that_ended_before_its_mark_is_followed_by_a_rebuild(
    place_file: Place, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    load(place_file.engine, [login(1, "usr_1", "a_1", "fp_1")])
    again(place_file.engine)
    load(place_file.engine, [login(2, "usr_2", "a_1", "fp_1")])
    with monkeypatch.context() as broken:
        broken.setenv("CLEARLAKE_FAILPOINTS", f"{point}=raise@*")
        with pytest.raises(FailpointError):
            again(place_file.engine)
    assert again(place_file.engine).rebuilt
    assert plain(place_file.engine) == rebuilt(place_file.engine)


def test_links_that_are_in_no_file_yet_are_not_taken_for_read(place_file: Place) -> None:
    load(place_file.engine, [row(0, user=None, anon="a_1")])
    link = Link(at(9), "usr_1", "a_1", "fp_1")
    stitch(place_file.engine, built_at=NOON, also_links=[link])
    assert again(place_file.engine).rebuilt
    assert plain(place_file.engine) == rebuilt(place_file.engine)


def test_a_file_that_is_replaced_while_it_is_read_stops_the_stitch(place_file: Place) -> None:
    load(place_file.engine, [login(1, "usr_1", "a_1", "fp_1")])
    head = place_file.engine.head("lake.events").snapshot_id
    assert head is not None
    [file] = place_file.engine.files("lake.events", snapshot_id=head)
    change_events(place_file.engine, without_user_1)
    with pytest.raises(CommitConflictError):
        list(place_file.engine.batches("lake.events", columns=["ts"], files=[file.path]))
