"""Late data is found by what a row says and when its object or file came, on both kinds of lake."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.datasets import Dataset, KeepWhen, Treatment, Where
from app.domain.errors import StoppedError
from app.domain.identifiers import Identifier, Kind
from app.lake.jsontext import leaves
from app.lake.late import LateRow, Tally, late_rows
from app.lake.late_lines import JsonLook, identifiers_at, moment, paths_of
from tests.lake import people_table
from tests.lake.bronze_world import (
    ANON,
    DATASET,
    DEVICE,
    OTHER,
    OTHER_ANON,
    ROLES,
    USER,
    Lake,
    event,
    text,
)
from tests.lake.people_table import EVENTS, anon, make, rows, user

HOUR = timedelta(hours=1)
ERASED = {
    Identifier(Kind.USER_ID, USER),
    Identifier(Kind.ANON_ID, ANON),
    Identifier(Kind.DEVICE_FP, DEVICE),
}


@dataclass
class Look:
    """What one look at a dataset gave."""

    rows: list[LateRow] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    @property
    def found(self) -> set[Identifier]:
        return {r.identifier for r in self.rows}


def look(
    place: Any,
    rules: Dataset,
    *,
    mark: str | None = None,
    wanted: Iterable[Identifier] = ERASED,
    overlap: timedelta = timedelta(0),
    runs: Iterable[str] = ("run_1", people_table.RUN),
) -> Look:
    known, names, done = frozenset(wanted), frozenset(runs), Look()
    done.rows += late_rows(
        rules,
        doors=place.doors(),
        mark=mark,
        overlap=overlap,
        ours=names.__contains__,
        wanted=known.__contains__,
        tally=done.tally,
        stop=lambda: False,
    )
    return done


@pytest.fixture
def lake(place: Any, tmp_path: Path) -> Lake:
    return Lake(place, tmp_path / "spool")


def behind(place: Any) -> str:
    """A mark after everything that is there, whatever fractions of a second the store keeps."""
    now: datetime = place.reader.now()
    return (now + timedelta(seconds=2)).isoformat()


def test_every_role_that_names_a_person_is_found_with_the_time_of_its_row(lake: Lake) -> None:
    lake.load("a.ndjson", text([event(USER), event(None, ANON, ts="2026-11-02T10:00:00.500Z")]))
    linked = {"user_id": USER, "device_fp": DEVICE}
    lake.load("b.ndjson", text([event(OTHER, payload=linked, ts=None), event(OTHER)]))
    seen = look(lake.place, lake.dataset)
    assert {(r.identifier, r.at) for r in seen.rows} == {
        (Identifier(Kind.USER_ID, USER), datetime(2026, 11, 1, tzinfo=UTC)),
        (Identifier(Kind.ANON_ID, ANON), datetime(2026, 11, 2, 10, 0, 0, 500_000, tzinfo=UTC)),
        (Identifier(Kind.USER_ID, USER), None),
        (Identifier(Kind.DEVICE_FP, DEVICE), None),
    }
    assert seen.tally.places == 2
    assert all(ANON not in repr(row) and USER not in repr(row) for row in seen.rows)


def test_what_was_there_at_the_mark_is_not_read_again(lake: Lake) -> None:
    lake.load("a.ndjson", text([event(USER)]))
    again = look(lake.place, lake.dataset, mark=behind(lake.place))
    assert (again.rows, again.tally.places) == ([], 0)


def test_what_came_after_the_mark_is_read_and_the_mark_moves_on(lake: Lake) -> None:
    first = look(lake.place, lake.dataset)
    lake.load("a.ndjson", text([event(USER)]))
    second = look(lake.place, lake.dataset, mark=first.tally.seen_to)
    assert second.found == {Identifier(Kind.USER_ID, USER)}
    marks = (first.tally.seen_to, second.tally.seen_to)
    assert None not in marks
    assert datetime.fromisoformat(marks[0] or "") <= datetime.fromisoformat(marks[1] or "")


def test_a_writer_that_began_before_the_mark_is_found_within_the_overlap(lake: Lake) -> None:
    lake.load("a.ndjson", text([event(USER)]))
    mark = behind(lake.place)
    assert look(lake.place, lake.dataset, mark=mark, overlap=HOUR).found


def test_a_superseded_version_is_late_data_too(lake: Lake) -> None:
    lake.load("a.ndjson", text([event(USER)]))
    lake.load_over("a.ndjson", text([event(OTHER)]))
    assert look(lake.place, lake.dataset).found == {Identifier(Kind.USER_ID, USER)}


def test_after_an_erasure_its_rewritten_objects_hold_nobody(lake: Lake) -> None:
    lake.load("a.ndjson", text([event(USER), event(OTHER, ANON)]))
    done = lake.erase()
    lake.purge(done)
    seen = look(lake.place, lake.dataset, overlap=HOUR)
    assert (seen.rows, seen.tally.places) == ([], 1)


def test_late_data_in_the_base_of_a_rewrite_is_found_before_and_after_the_purge(
    lake: Lake,
) -> None:
    """Another run rewrote the object before anybody looked: the late person is still in it."""
    late = Identifier(Kind.USER_ID, OTHER)
    mark = look(lake.place, lake.dataset).tally.seen_to
    lake.load("a.ndjson", text([event(USER), event(OTHER)]))
    done = lake.erase()
    assert look(lake.place, lake.dataset, mark=mark, wanted={late}).found == {late}
    lake.purge(done)
    assert look(lake.place, lake.dataset, mark=mark, wanted={late}).found == {late}


def test_our_own_version_is_passed_over_while_its_base_is_listed(
    place_s3: Any, tmp_path: Path
) -> None:
    lake = Lake(place_s3, tmp_path / "spool")
    lake.load("a.ndjson", text([event(USER), event(OTHER)]))
    lake.erase()
    assert look(place_s3, lake.dataset).tally.places == 1
    assert look(place_s3, lake.dataset, runs=()).tally.places == 2


def test_a_copy_of_ours_under_another_name_is_read(place_s3: Any, tmp_path: Path) -> None:
    """Its metadata came along; what it was copied from says nothing of what lies there."""
    lake = Lake(place_s3, tmp_path / "spool")
    lake.load("a.ndjson", text([event(USER), event(OTHER)]))
    lake.load("b.ndjson", text([event(ANON)]))
    lake.erase()
    (latest, *_) = lake.versions("b.ndjson")
    ours = place_s3.reader.info(
        lake.uri("a.ndjson"), version_id=lake.versions("a.ndjson")[0].version_id
    )
    place_s3.eraser.put(
        lake.uri("b.ndjson"),
        io.BytesIO(text([event(OTHER)])),
        if_match=latest.etag,
        like=replace(ours, uri=lake.uri("b.ndjson")),
        marks={},
        retain=False,
    )
    late = Identifier(Kind.USER_ID, OTHER)
    seen = look(place_s3, lake.dataset, wanted={late})
    assert {r.uri.rpartition("/")[2] for r in seen.rows} == {"a.ndjson", "b.ndjson"}


def test_a_row_kept_on_a_legal_ground_is_no_late_data(lake: Lake) -> None:
    lake.load("a.ndjson", text([event(USER, name="chargeback.open"), event(None, ANON)]))
    kept = KeepWhen(Where((("name", ("chargeback.*",)),)), "17(3)(e)", date(2030, 1, 1))
    assert look(lake.place, replace(lake.dataset, keep_when=(kept,))).found == {
        Identifier(Kind.ANON_ID, ANON)
    }
    withheld = replace(lake.dataset, treatment=Treatment("keep"))
    assert look(lake.place, withheld).tally == Tally()


def test_a_line_that_is_no_json_counts_for_everybody_whose_word_is_in_it(lake: Lake) -> None:
    lake.load("a.ndjson", event(USER)[:-3] + b"\n" + event(OTHER)[:-3] + b"\n")
    seen = look(lake.place, lake.dataset)
    assert [(r.identifier, r.at) for r in seen.rows] == [(Identifier(Kind.USER_ID, USER), None)]


def test_what_cannot_be_read_is_counted_and_hides_nothing_else(lake: Lake) -> None:
    lake.load("a.ndjson", b"PAR1 no lines at all")
    lake.load("b.ndjson", text([event(USER)]))
    seen = look(lake.place, lake.dataset)
    assert seen.found == {Identifier(Kind.USER_ID, USER)}
    assert seen.tally.unreadable == 1


def test_told_to_stop_it_says_so_and_gives_no_mark_away_as_done(lake: Lake) -> None:
    lake.load("a.ndjson", text([event(USER)]))
    rows_ = late_rows(
        lake.dataset,
        doors=lake.place.doors(),
        mark=None,
        overlap=HOUR,
        ours=lambda _: False,
        wanted=ERASED.__contains__,
        tally=Tally(),
        stop=lambda: True,
    )
    with pytest.raises(StoppedError):
        next(rows_)


# --- tables --------------------------------------------------------------------------------------

TIMED = replace(EVENTS, event_time="ts")
FIRST = {Identifier(Kind.USER_ID, user(1)), Identifier(Kind.ANON_ID, anon(1))}


def expected(table: Any) -> set[tuple[Identifier, datetime]]:
    """Naively: columns by equality, and the payload where it is JSON."""
    found = set()
    for row in table.to_pylist():
        named = {(Kind.USER_ID, row["user_id"]), (Kind.ANON_ID, row["anon_id"])}
        if row["payload"] is not None and row["payload"].startswith("{"):
            named.add((Kind.USER_ID, json.loads(row["payload"])["user_id"]))
        found |= {(i, row["ts"]) for k, v in named if v and (i := Identifier(k, v)) in FIRST}
    return found


def test_rows_of_new_files_are_found_in_columns_and_in_json(place: Any) -> None:
    make(place, rows(60, seed=1))
    first = look(place, TIMED, wanted=FIRST)
    late = rows(60, seed=2)
    place.engine.append(people_table.TABLE, late)
    second = look(place, TIMED, mark=first.tally.seen_to, wanted=FIRST)
    assert {(r.identifier, r.at) for r in second.rows} == expected(late) != set()
    third = look(place, TIMED, mark=second.tally.seen_to, wanted=FIRST)
    assert (third.rows, third.tally.places) == ([], 0)
    assert third.tally.seen_to == second.tally.seen_to


def test_rewritten_files_hold_nobody_and_whoever_came_late_into_one_is_found(
    place_file: Any,
) -> None:
    make(place_file, rows(60, seed=1))
    mark = look(place_file, TIMED, wanted=FIRST).tally.seen_to
    place_file.engine.append(people_table.TABLE, rows(60, seed=2))
    people_table.erase(place_file)
    assert look(place_file, TIMED, mark=mark, wanted=FIRST).found == set()
    other = Identifier(Kind.USER_ID, user(2))
    assert look(place_file, TIMED, mark=mark, wanted={other}).found == {other}


def test_where_the_snapshot_of_the_mark_is_gone_everything_is_read(place_file: Any) -> None:
    make(place_file, rows(30, seed=1), rows(30, seed=2))
    seen = look(place_file, TIMED, mark="123456789", wanted=FIRST)
    assert seen.tally.places == 4
    assert seen.found == FIRST


def test_a_table_without_rows_has_no_late_data_and_no_mark(place_file: Any) -> None:
    make(place_file)
    assert look(place_file, TIMED, wanted=FIRST) == Look()


# --- times and the fast look ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("2026-11-05", datetime(2026, 11, 5, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("20261105", datetime(2026, 11, 5, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("2026-11-05T10:00:00.5Z", datetime(2026, 11, 5, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-05 10:00:00", datetime(2026, 11, 5, 10, tzinfo=UTC)),
        ("2026-11-05T10:00:00+02:00", datetime(2026, 11, 5, 8, tzinfo=UTC)),
        ("1793872800", datetime(2026, 11, 5, 10, tzinfo=UTC)),
        ("1793872800000", datetime(2026, 11, 5, 10, tzinfo=UTC)),
        ("1793872800000000", datetime(2026, 11, 5, 10, tzinfo=UTC)),
        ("yesterday", None),
        ("", None),
        ("999999999999999999", None),
        ("0001-01-01T00:00:00+14:00", None),
    ],
)
def test_a_time_is_the_latest_instant_it_may_mean(said: str, means: datetime | None) -> None:
    assert moment(said) == means


NAMES = ("user_id", "anon_id", "fp", "payload", "user", "device", "name", "x.user_id")
SCALARS = st.sampled_from((USER, ANON, DEVICE, OTHER, OTHER_ANON, "page\\u", 7, None, True))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner),
    max_leaves=12,
)


def members(value: Any, *, escape: int, gap: str) -> str:
    """JSON with some of its characters escaped, and white space where it may stand."""
    if isinstance(value, dict):
        inside = (
            f"{word(k, escape)}{gap}:{gap}{members(v, escape=escape, gap=gap)}"
            for k, v in value.items()
        )
        return "{" + ",".join(inside) + "}"
    if isinstance(value, list):
        return "[" + ",".join(members(v, escape=escape, gap=gap) for v in value) + "]"
    return word(value, escape) if isinstance(value, str) else json.dumps(value)


def word(text_: str, escape: int) -> str:
    if not escape:
        return json.dumps(text_)
    return (
        '"'
        + "".join(
            f"\\u{ord(c):04x}" if n % escape == 1 else json.dumps(c)[1:-1]
            for n, c in enumerate(text_)
        )
        + '"'
    )


def truly(line: bytes) -> set[Identifier]:
    """What the leaves say, asked for one by one."""
    paths = paths_of(ROLES)
    every = (
        (Identifier(k, f.text), f)
        for f in leaves(line)
        if f.text and not f.is_key
        for k in paths.get(f.path, ())
    )
    return {i for i, _ in every if i in ERASED}


@given(
    document=st.fixed_dictionaries(
        {}, optional={"user": VALUES, "payload": VALUES, "device": VALUES, "user.user_id": SCALARS}
    ),
    escape=st.sampled_from((0, 0, 2, 5)),
    gap=st.sampled_from(("", " ", "\t ")),
)
def test_the_fast_look_never_passes_over_what_the_leaves_hold(
    document: dict[str, Any], escape: int, gap: str
) -> None:
    line = members(document, escape=escape, gap=gap).encode()
    scan = JsonLook(DATASET.roles, wanted=ERASED.__contains__)
    suspects = list(scan.suspects(b"[]\n" + line + b"\n{}\n", 0, len(line) + 7))
    wanted = truly(line)
    if wanted:
        assert suspects == [line + b"\n"]
    values_at = scan.values(line)
    assert values_at is not None
    assert identifiers_at(scan.paths, values_at, wanted=ERASED.__contains__) == wanted
