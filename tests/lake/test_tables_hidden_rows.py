"""Position deletes, as Athena writes them: applied, and gone with the files they concern."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from app.domain.receipts import WorkState
from app.lake.undo_tables import undo_table
from tests.lake.people_table import (
    ONE,
    SCHEMA,
    TABLE,
    blotted,
    erase,
    expected,
    files_on_disk,
    leftovers,
    make,
    purge,
    reached,
    read_rows,
    rows,
    user,
)
from tests.lake.position_deletes import hide


def _files(place: Any) -> list[Any]:
    head = place.engine.head(TABLE)
    return list(place.engine.files(TABLE, snapshot_id=head.snapshot_id))


def _seen_by_pyiceberg(place: Any) -> int:
    return int(place.engine._load(TABLE).scan().to_arrow().num_rows)


def _quiet(count: int) -> pa.Table:
    """Rows that name nobody but user 7."""
    table = rows(count).set_column(3, "user_id", pa.array([user(7)] * count))
    for name in ("anon_id", "page", "items", "anon_ids", "attributes", "payload"):
        index = SCHEMA.get_field_index(name)
        table = table.set_column(index, name, pa.nulls(count, SCHEMA.field(name).type))
    return table


def test_position_deletes_are_applied_and_gone(place: Any) -> None:
    make(place, rows(40))
    first = _files(place)[0]
    hide(place, [(first, [0, 3, 4])])
    before = read_rows(place)
    assert _seen_by_pyiceberg(place) == len(before) == 37
    work = erase(place)
    assert [f.hidden for f in work.files] == [3, 0]
    assert all(not f.deletes for f in _files(place))
    assert blotted(read_rows(place), ONE) == expected(before, ONE)
    assert _seen_by_pyiceberg(place) == len(read_rows(place))
    assert work.counts.before == 37
    purge(place, work)
    assert leftovers(place, ONE) == []
    assert files_on_disk(place) == reached(place)


def test_a_hidden_row_of_the_person_is_still_on_disk_and_goes(place_file: Any) -> None:
    table = rows(4, people=1).set_column(3, "user_id", pa.array([user(0)] * 3 + [user(1)]))
    for name in ("anon_id", "page", "items", "anon_ids", "attributes", "payload"):
        index = SCHEMA.get_field_index(name)
        table = table.set_column(index, name, pa.nulls(4, SCHEMA.field(name).type))
    make(place_file, table, partition_by=None)
    hide(place_file, [(_files(place_file)[0], [3])])
    before = read_rows(place_file)
    work = erase(place_file)
    assert work.counts.deleted == 0
    assert work.state is WorkState.COMMITTED
    assert read_rows(place_file) == before
    purge(place_file, work)
    assert leftovers(place_file, ONE) == []


def test_a_shared_delete_file_pulls_all_its_files_along(place_file: Any) -> None:
    make(place_file, _quiet(20), rows(20), partition_by=None)
    hide(place_file, [(file, [1]) for file in _files(place_file)])
    before = read_rows(place_file)
    work = erase(place_file)
    assert len(work.files) == 2
    assert all(not f.deletes for f in _files(place_file))
    assert blotted(read_rows(place_file), ONE) == expected(before, ONE)


def test_a_delete_file_of_others_stays(place_file: Any) -> None:
    make(place_file, _quiet(20), partition_by=None)
    untouched = _files(place_file)[0]
    hide(place_file, [(untouched, [5])])
    place_file.engine.append(TABLE, rows(20))
    before = read_rows(place_file)
    purge(place_file, erase(place_file))
    still = next(f for f in _files(place_file) if f.path == untouched.path)
    assert len(still.deletes) == 1
    assert blotted(read_rows(place_file), ONE) == expected(before, ONE)


def test_a_row_hidden_between_rewrite_and_commit_does_not_come_back(place_file: Any) -> None:
    make(place_file, rows(40))
    first = _files(place_file)[0]
    done: list[Any] = []

    def delete(_: Any) -> list[Any]:
        if not done:
            hide(place_file, [(first, [0, 1])])
            done.extend(read_rows(place_file))
        return []

    work = erase(place_file, check=delete)
    assert work.rounds == 2
    assert blotted(read_rows(place_file), ONE) == expected(done, ONE)


def test_undo_restores_position_deletes_too(place_file: Any) -> None:
    make(place_file, rows(30))
    hide(place_file, [(_files(place_file)[0], [2])])
    before = read_rows(place_file)
    work = erase(place_file)
    undo_table(work, engine=place_file.engine, run_id="r", step_id="u", record=lambda _: None)
    assert read_rows(place_file) == before
    assert _seen_by_pyiceberg(place_file) == len(before)
