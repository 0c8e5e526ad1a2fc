"""Tables when things go wrong: killed anywhere, overtaken by other writers, undone, pinned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.domain import failpoints
from app.domain.errors import NotUndoableError, UnreachableError
from app.domain.failpoints import FailpointError
from app.domain.receipts import TableWork, WorkState
from app.lake.purge_tables import plan_purge
from app.lake.tables import MAX_ROUNDS, plan_table
from app.lake.undo_tables import undo_table
from tests.lake.people_table import (
    EVENTS,
    ONE,
    RUN,
    STEP,
    TABLE,
    Journal,
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


def _whole(place: Any, journal: Journal) -> TableWork:
    """A run over the table from wherever the journal stands."""
    work: TableWork = erase(place, work=journal.last, journal=journal)
    done: TableWork = purge(place, work, journal=journal)
    return done


@pytest.fixture
def break_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def arm(rule: str) -> None:
        failpoints._passed.clear()
        monkeypatch.setenv("CLEARLAKE_FAILPOINTS", rule)

    return arm


def _places(place: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The failpoints that a whole run passes."""
    record = folder / "passed"
    make(place, rows(30))
    monkeypatch.setenv("CLEARLAKE_FAILPOINTS_RECORD", str(record))
    _whole(place, Journal())
    monkeypatch.delenv("CLEARLAKE_FAILPOINTS_RECORD")
    return sorted(set(record.read_text().split()))


PLACES = (
    "engine.after_expire",
    "engine.after_swap@1",
    "engine.after_swap@2",
    "engine.before_expire",
    "engine.before_swap@1",
    "engine.before_swap@2",
    "engine.log_shortened",
    "local.after_purge",
    "local.before_purge@2",
    "purge_tables.before_expire",
    "purge_tables.before_purge@2",
    "purge_tables.condemned",
    "purge_tables.expired",
    "purge_tables.purged",
    "tables.before_commit",
    "tables.before_flush",
    "tables.before_rewrite@2",
    "tables.checked",
    "tables.committed",
    "tables.flushed",
    "tables.journalled",
    "tables.planned",
    "tables.written",
)


def test_every_failpoint_of_a_run_is_broken_at_below(
    place_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {p.partition("@")[0] for p in PLACES}
    assert set(_places(place_file, tmp_path, monkeypatch)) == known


@pytest.mark.parametrize("where", PLACES)
def test_broken_anywhere_the_same_run_again_finishes(
    where: str, place_file: Any, break_at: Callable[[str], None]
) -> None:
    _break_and_finish(where, place_file, break_at)


@pytest.mark.parametrize("where", ["engine.after_swap@1", "tables.written", "purge_tables.expired"])
def test_on_s3_too(where: str, place_s3: Any, break_at: Callable[[str], None]) -> None:
    _break_and_finish(where, place_s3, break_at)


def _break_and_finish(where: str, place: Any, break_at: Callable[[str], None]) -> None:
    make(place, rows(40))
    before = read_rows(place)
    journal = Journal()
    journal.last = plan_table(place.engine, EVENTS)
    name, _, turn = where.partition("@")
    break_at(f"{name}=raise@{turn or 1}")
    with pytest.raises(FailpointError):
        _whole(place, journal)
    break_at("")
    work = _whole(place, journal)
    assert work.state is WorkState.PURGED
    after = read_rows(place)
    assert blotted(after, ONE) == expected(before, ONE)
    assert work.counts.before == len(before)
    assert work.counts.after == len(after)
    assert leftovers(place, ONE) == []
    assert files_on_disk(place) == reached(place)


def test_rows_that_arrive_between_rewrite_and_commit_are_erased_too(place: Any) -> None:
    make(place, rows(40))
    late = rows(30, seed=9)
    before = read_rows(place) + late.to_pylist()

    def append(_: TableWork) -> list[Any]:
        if len(place.engine.head(TABLE).snapshots) < 3:
            place.engine.append(TABLE, late)
        return []

    work = erase(place, check=append)
    assert work.rounds > 1
    assert work.state is WorkState.COMMITTED
    assert blotted(read_rows(place), ONE) == expected(before, ONE)


def test_a_file_that_others_dropped_meanwhile_does_not_come_back(place: Any) -> None:
    make(place, rows(40))
    files = place.engine.files(TABLE, snapshot_id=place.engine.head(TABLE).snapshot_id)

    def drop(work: TableWork) -> list[Any]:
        if place.engine.find_commit(TABLE, run_id="other", step_id="other") is None:
            place.engine.replace(TABLE, [(files[0], None)], run_id="other", step_id="other")
        return []

    with place.engine.open(files[1].path) as source:
        kept = pq.read_table(source).to_pylist()
    work = erase(place, check=drop)
    assert work.state is WorkState.COMMITTED
    assert {f.old_path for f in work.files} == {files[1].path}
    assert blotted(read_rows(place), ONE) == expected(kept, ONE)
    assert purge(place, work).state is WorkState.PURGED
    assert leftovers(place, ONE) == []


def test_rows_that_never_stop_coming_park_the_table(place_file: Any) -> None:
    make(place_file, rows(10))

    def append(_: TableWork) -> list[Any]:
        place_file.engine.append(TABLE, rows(10, people=2))
        return []

    work = erase(place_file, check=append)
    assert work.state is WorkState.PARKED
    assert work.rounds == MAX_ROUNDS
    assert work.horizon is None
    assert purge(place_file, work) == work


class _LosesAnswers:
    """An engine whose first commit lands without its answer."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.lost = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def replace(self, *arguments: Any, **named: Any) -> int:
        snapshot = int(self._engine.replace(*arguments, **named))
        if not self.lost:
            self.lost += 1
            raise UnreachableError("the answer was lost")
        return snapshot


def test_a_commit_whose_answer_was_lost_is_adopted(place_file: Any) -> None:
    make(place_file, rows(40))
    before = read_rows(place_file)
    engine = _LosesAnswers(place_file.engine)
    work = erase(place_file, engine=engine)
    assert engine.lost == 1
    assert len(place_file.engine.head(TABLE).snapshots) == 3  # append, replace, flush
    assert blotted(read_rows(place_file), ONE) == expected(before, ONE)
    assert work.counts.before == len(before)


def test_undo_puts_every_row_back(place: Any) -> None:
    make(place, rows(60))
    before = read_rows(place)
    journal = Journal()
    work = erase(place, journal=journal)
    undone = _undo(place, work)
    assert undone.state is WorkState.UNDONE
    assert read_rows(place) == before
    assert _undo(place, undone) == undone


def _undo(place: Any, work: TableWork) -> TableWork:
    return undo_table(
        work, engine=place.engine, run_id=RUN, step_id=f"{STEP}/undo", record=Journal()
    )


@pytest.mark.parametrize("where", ["undo_tables.before_commit", "undo_tables.committed"])
def test_a_broken_undo_goes_on(
    where: str, place_file: Any, break_at: Callable[[str], None]
) -> None:
    make(place_file, rows(30))
    before = read_rows(place_file)
    work = erase(place_file)
    break_at(f"{where}=raise")
    with pytest.raises(FailpointError):
        _undo(place_file, work)
    break_at("")
    assert _undo(place_file, work).state is WorkState.UNDONE
    assert read_rows(place_file) == before


def test_undo_leaves_a_table_whose_replacement_others_changed(place_file: Any) -> None:
    make(place_file, rows(30))
    work = erase(place_file)
    head = place_file.engine.head(TABLE).snapshot_id
    first = place_file.engine.files(TABLE, snapshot_id=head)[0]
    place_file.engine.replace(TABLE, [(first, None)], run_id="other", step_id="other")
    after = read_rows(place_file)
    assert _undo(place_file, work).state is WorkState.PARKED
    assert read_rows(place_file) == after


def test_undo_is_refused_once_snapshots_have_expired(place_file: Any) -> None:
    make(place_file, rows(30))
    work = purge(place_file, erase(place_file))
    with pytest.raises(NotUndoableError):
        _undo(place_file, work)


def test_a_tag_that_holds_the_person_is_named_and_can_be_dropped(place_file: Any) -> None:
    make(place_file, rows(30))
    _tag(place_file, "audit-2025")
    work = erase(place_file)
    parked = purge(place_file, work)
    assert parked.state is WorkState.PARKED
    assert "audit-2025" in (parked.reason or "")
    assert leftovers(place_file, ONE)
    assert purge(place_file, parked, tags="drop").state is WorkState.PURGED
    assert place_file.engine.head(TABLE).refs.keys() == {"main"}
    assert leftovers(place_file, ONE) == []


def test_a_tag_without_the_person_stays_and_so_does_what_it_reaches(place_file: Any) -> None:
    quiet = rows(10).set_column(3, "user_id", pa.array([user(7)] * 10))
    for name in ("anon_id", "page", "items", "anon_ids", "attributes", "payload"):
        index = quiet.schema.get_field_index(name)
        quiet = quiet.set_column(index, name, pa.nulls(10, quiet.schema.field(name).type))
    make(place_file, quiet)
    _tag(place_file, "clean")
    tagged = place_file.engine.head(TABLE).snapshot_id
    before = read_rows(place_file)
    place_file.engine.append(TABLE, rows(30))
    assert purge(place_file, erase(place_file)).state is WorkState.PURGED
    assert read_rows(place_file, snapshot_id=tagged) == before
    assert leftovers(place_file, ONE) == []


def _tag(place: Any, name: str) -> None:
    table = place.engine._load(TABLE)
    table.manage_snapshots().create_tag(table.metadata.current_snapshot_id, name).commit()


def test_old_snapshots_that_hold_the_person_go_and_the_others_stay(place_file: Any) -> None:
    """Rows that were removed by others long ago still stand in the old snapshots' files."""
    nobody = rows(10, people=1)
    make(place_file, nobody)
    first = place_file.engine.head(TABLE).snapshot_id
    second = place_file.engine.overwrite(TABLE, rows(30), base_snapshot=first)
    place_file.engine.overwrite(TABLE, nobody, base_snapshot=second)
    work = erase(place_file)
    assert work.files == ()
    assert purge(place_file, work).state is WorkState.PURGED
    left = place_file.engine.head(TABLE).snapshots
    assert first in left
    assert second not in left
    assert leftovers(place_file, ONE) == []


def test_an_orphan_that_holds_the_person_goes_when_it_is_old_enough(place_file: Any) -> None:
    make(place_file, rows(10))
    location = place_file.engine.head(TABLE).location
    for name, text in (("x.parquet", user(1)), ("y.parquet", user(5))):
        with place_file.engine.create(f"{location}/data/{name}") as file:
            file.write(b"left by a crashed job: " + text.encode())
    work = purge(place_file, erase(place_file))
    assert leftovers(place_file, ONE) == ["x.parquet"]
    again = replace(work, state=WorkState.COMMITTED)
    purge(place_file, again, grace=timedelta(0))
    names = {uri.rpartition("/")[2] for uri in files_on_disk(place_file)}
    assert "x.parquet" not in names
    assert "y.parquet" in names


def test_a_purge_is_planned_before_anything_expires(place_file: Any) -> None:
    make(place_file, rows(30))
    work = erase(place_file)
    snapshots = place_file.engine.head(TABLE).snapshots
    planned = plan_purge(work, dataset=EVENTS, targets=ONE, engine=place_file.engine, tags="fail")
    assert place_file.engine.head(TABLE).snapshots == snapshots
    assert {f.old_path for f in work.files} <= set(planned.candidates)
    assert not {f.new_path for f in work.files} & set(planned.candidates)


def test_an_old_file_under_a_compliance_lock_is_deferred_to_its_date(place_s3: Any) -> None:
    make(place_s3, rows(20))
    (old, *_) = place_s3.engine.files(TABLE, snapshot_id=place_s3.engine.head(TABLE).snapshot_id)
    with place_s3.engine.open(old.path) as source:
        body = source.read()
    until = place_s3.reader.now().replace(microsecond=0) + timedelta(days=1)
    place_s3.loader.load(old.path, body, lock_mode="COMPLIANCE", retain_until=until)
    work = purge(place_s3, erase(place_s3))
    assert work.state is WorkState.DEFERRED
    (kept,) = [c for c in work.condemned if c.state is WorkState.DEFERRED]
    assert (kept.uri, kept.until) == (old.path, until)
    assert leftovers(place_s3, ONE) == [old.path.rpartition("/")[2]]
    again = purge(place_s3, work)
    assert again.state is WorkState.DEFERRED
    assert again.condemned == work.condemned


def test_old_files_under_governance_go(place_s3: Any) -> None:
    make(place_s3, rows(20))
    (old, *_) = place_s3.engine.files(TABLE, snapshot_id=place_s3.engine.head(TABLE).snapshot_id)
    with place_s3.engine.open(old.path) as source:
        body = source.read()
    until = place_s3.reader.now() + timedelta(days=1)
    place_s3.loader.load(old.path, body, lock_mode="GOVERNANCE", retain_until=until)
    assert purge(place_s3, erase(place_s3)).state is WorkState.PURGED
    assert leftovers(place_s3, ONE) == []
