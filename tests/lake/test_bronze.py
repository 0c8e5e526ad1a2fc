"""Erasing from objects on both stores: people go, everyone else's bytes stay, nothing is destroyed
before the purge, and any crash or other writer is survived.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard

from app.domain import failpoints
from app.domain.errors import PreconditionFailedError, UnreachableError
from app.domain.failpoints import FailpointError
from app.domain.receipts import Counts, ObjectWork, Place, WorkState
from app.lake import bronze_read, codecs
from app.lake.bronze import unfinished
from app.lake.purge_objects import newer_versions, purge_objects
from tests.lake.bronze_world import (
    ANON,
    OTHER,
    SECOND,
    USER,
    Journal,
    Lake,
    erased,
    event,
    plan_objects,
    text,
    tomb,
)

MINE = text([event(OTHER), event(USER, ANON), event(None, ANON, n=1), event(OTHER, n=2)])
AFTER = erased(MINE)[0]
HIS = text([event(OTHER), event(None, n=3)])


@pytest.fixture
def lake(place: Any, tmp_path: Path) -> Lake:
    return Lake(place, tmp_path / "spool")


def states(works: Sequence[ObjectWork]) -> list[str]:
    return [w.state.value for w in works]


def unpacked(body: bytes) -> bytes:
    if body.startswith(b"\x1f\x8b"):
        return gzip.decompress(body)
    if body.startswith(b"\x28\xb5\x2f\xfd"):
        with zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True) as stream:
            return stream.read()
    return body


def test_people_go_and_everyone_elses_lines_stay_byte_for_byte(lake: Lake) -> None:
    zst = zstandard.ZstdCompressor().compress
    lake.load("a/evt-1.ndjson", MINE)
    lake.load("a/evt-1.ndjson.gz", gzip.compress(HIS) + gzip.compress(MINE))
    lake.load("a/evt-1.ndjson.zst", zst(HIS) + zst(b"") + zst(MINE))
    lake.load("a/evt 2 ü%20.ndjson", MINE)
    lake.load("b/evt-3.ndjson", gzip.compress(MINE))
    lake.load("b/evt-4.ndjson.gz", gzip.compress(HIS))
    lake.load("b/evt-5.ndjson", b"")
    lake.load("b/evt-6.ndjson", text([event(USER), event(SECOND)]))
    works = lake.erase()
    by_name = {w.uri.rpartition("raw/")[2]: w for w in works}
    assert unpacked(lake.body("a/evt-1.ndjson")) == AFTER
    assert unpacked(lake.body("a/evt-1.ndjson.gz")) == HIS + AFTER
    assert unpacked(lake.body("a/evt-1.ndjson.zst")) == HIS + AFTER
    assert lake.body("a/evt 2 ü%20.ndjson") == AFTER
    assert unpacked(lake.body("b/evt-3.ndjson")) == AFTER
    assert lake.body("b/evt-6.ndjson") == b""
    for name in ("b/evt-4.ndjson.gz", "b/evt-5.ndjson"):
        assert by_name[name].state is WorkState.CLEAN
        assert len(lake.versions(name)) == 1
    assert by_name["b/evt-3.ndjson"].warnings == (
        "The name promises codec none, the content is gz.",
    )
    written = [w for w in works if w.state is WorkState.WRITTEN]
    assert len(written) == 6
    for work in written:
        body = lake.body(work.uri.rpartition("raw/")[2])
        assert work.sha256 == hashlib.sha256(body).hexdigest()
        assert work.bytes_after == len(body)
        assert work.base_version in {s.version_id for s in work.superseded}
        assert work.counts.after == unpacked(body).count(b"\n")
    total = sum((w.counts for w in works), Counts())
    assert (total.deleted, total.tombstoned, total.parked) == (7, 5, 0)


def test_only_exact_versions_are_purged_and_nothing_of_the_person_is_left(lake: Lake) -> None:
    lake.load("evt-1.ndjson", MINE)
    lake.load("evt-1.ndjson.2", HIS)
    clean = lake.load_over("evt-1.ndjson", HIS + HIS)
    lake.load_over("evt-1.ndjson", text([event(SECOND), event(OTHER)]))
    works = lake.erase()
    assert lake.body("evt-1.ndjson") == text([event(OTHER)])
    assert len(lake.versions("evt-1.ndjson")) == 4
    works = lake.purge(works)
    assert states(works) == ["purged", "clean"]
    assert [s.state for s in works[0].superseded] == [WorkState.PURGED] * 2
    left = [v.version_id for v in lake.versions("evt-1.ndjson")]
    assert left == [works[0].new_version, clean]
    assert lake.body("evt-1.ndjson.2") == HIS
    assert lake.purge(works) == works
    assert states(lake.erase()) == ["clean", "clean"]


def test_twice_is_the_same(lake: Lake) -> None:
    lake.load("evt-1.ndjson", MINE)
    first = lake.erase()
    assert lake.erase(first) == first
    again = lake.erase()
    assert states(again) == ["written"]
    assert again[0].counts == Counts(before=3)
    assert [s.version_id for s in again[0].superseded] == [first[0].base_version]
    assert len(lake.versions("evt-1.ndjson")) == 2


def test_the_intent_is_recorded_before_the_put_and_the_result_after(lake: Lake) -> None:
    lake.load("evt-1.ndjson", MINE)
    lake.load("evt-2.ndjson", MINE)
    seen: list[int] = []

    def record(works: Sequence[ObjectWork]) -> None:
        lake.journal(works)
        seen.append(len(lake.versions("evt-1.ndjson")) + len(lake.versions("evt-2.ndjson")))

    lake.erase(record=record)
    assert [states(call) for call in lake.journal.calls] == [["ready"] * 2, ["written"] * 2]
    assert seen == [2, 4]


@pytest.mark.parametrize("stage", ["erase", "purge", "undo"])
def test_killed_anywhere_and_resumed_it_ends_the_same(
    lake: Lake, stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go(works: Sequence[ObjectWork]) -> list[ObjectWork]:
        return {"erase": lake.erase, "purge": lake.purge, "undo": lake.undo}[stage](works)

    def fresh(turn: int) -> list[ObjectWork]:
        lake.dataset = replace(lake.dataset, location=f"{lake.place.root}raw/{turn}/")
        lake.journal = Journal()
        lake.load(f"{turn}/a.ndjson", MINE)
        lake.load(f"{turn}/b.ndjson.gz", gzip.compress(MINE, mtime=0))
        lake.load(f"{turn}/c.ndjson", HIS)
        works = plan_objects(lake.place.eraser, lake.dataset)
        return works if stage == "erase" else lake.erase(works)

    def outcome(turn: int, works: Sequence[ObjectWork]) -> list[Any]:
        names = [f"{turn}/{name}" for name in ("a.ndjson", "b.ndjson.gz", "c.ndjson")]
        bodies = [(unpacked(lake.body(n)), len(lake.versions(n))) for n in names]
        return [states(works), bodies, [w.counts for w in works]]

    recorded = tmp_path / "recorded"
    monkeypatch.setenv("CLEARLAKE_FAILPOINTS_RECORD", str(recorded))
    works = fresh(0)
    recorded.write_text("")
    expected = outcome(0, go(works))
    monkeypatch.delenv("CLEARLAKE_FAILPOINTS_RECORD")
    points = list(dict.fromkeys(recorded.read_text().split()))
    assert len(points) >= 4
    for turn, point in enumerate(points, 1):
        works = fresh(turn)
        failpoints._passed.clear()
        monkeypatch.setenv("CLEARLAKE_FAILPOINTS", f"{point}=raise")
        with pytest.raises(FailpointError):
            go(works)
        monkeypatch.delenv("CLEARLAKE_FAILPOINTS")
        # Whatever happens after the crash starts from what was recorded.
        resumed = go([lake.journal.works.get(w.uri, w) for w in works])
        assert outcome(turn, resumed) == expected, point


def test_another_writer_wins_and_is_erased_from_too(lake: Lake) -> None:
    lake.load("evt-1.ndjson", MINE)
    theirs = MINE + text([event(SECOND), event(OTHER, late=1)])

    def record(works: Sequence[ObjectWork]) -> None:
        if not lake.journal.calls:
            lake.load_over("evt-1.ndjson", theirs)
        lake.journal(works)

    (work,) = lake.erase(record=record)
    assert (work.state, work.rounds) == (WorkState.WRITTEN, 1)
    assert lake.body("evt-1.ndjson") == erased(theirs)[0]
    assert len(work.superseded) == 2
    (work,) = lake.purge([work])
    assert len(lake.versions("evt-1.ndjson")) == 1


def test_an_object_that_never_rests_is_parked(lake: Lake) -> None:
    lake.load("evt-1.ndjson", MINE)
    turns: list[int] = []

    def record(works: Sequence[ObjectWork]) -> None:
        if works[0].state is WorkState.READY:
            turns.append(1)
            lake.load("evt-1.ndjson", MINE + text([event(OTHER, n=len(turns))]))

    (work,) = lake.erase(record=record)
    assert work.state is WorkState.PARKED
    assert len(turns) == 5
    assert lake.body("evt-1.ndjson") == MINE + text([event(OTHER, n=5)])


class Faulty:
    """A store whose put fails in a given way; all else is the store itself."""

    def __init__(self, store: Any, *, before: list[Exception], after: list[Exception]) -> None:
        self._store, self._before, self._after = store, before, after
        self.puts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, *args: Any, **kwargs: Any) -> str:
        if self._before:
            raise self._before.pop(0)
        self.puts += 1
        version: str = self._store.put(*args, **kwargs)
        if self._after:
            raise self._after.pop(0)
        return version


@pytest.mark.parametrize("error", [UnreachableError, PreconditionFailedError])
def test_a_write_whose_answer_was_lost_is_adopted(lake: Lake, error: type[Exception]) -> None:
    lake.load("evt-1.ndjson", MINE)
    store = Faulty(lake.place.eraser, before=[], after=[error("lost")])
    (work,) = lake.erase(store=store)
    assert work.state is WorkState.WRITTEN
    assert store.puts == 1
    assert [v.version_id for v in lake.versions("evt-1.ndjson")] == [
        work.new_version,
        work.base_version,
    ]


def test_a_silent_server_is_asked_again_and_then_the_object_is_parked(lake: Lake) -> None:
    lake.load("evt-1.ndjson", MINE)
    waits: list[float] = []
    store = Faulty(lake.place.eraser, before=[UnreachableError("x")] * 2, after=[])
    (work,) = lake.erase(store=store, sleep=waits.append)
    assert work.state is WorkState.WRITTEN
    assert waits == [0.2, 0.4]
    lake.load("evt-1.ndjson", MINE)
    store = Faulty(lake.place.eraser, before=[UnreachableError("x")] * 9, after=[])
    (work,) = lake.erase(store=store)
    assert work.state is WorkState.PARKED
    assert lake.body("evt-1.ndjson") == MINE


def test_lines_that_cannot_be_parsed_are_parked_while_the_rest_is_erased(lake: Lake) -> None:
    broken = f'{{"u":"{USER}"\n'.encode()
    lake.load("evt-1.ndjson", MINE + broken)
    lake.load("evt-2.ndjson", HIS + broken)
    first, second = lake.erase()
    assert lake.body("evt-1.ndjson") == AFTER + broken
    assert first.state is WorkState.WRITTEN
    assert first.parked == (Place(5, len(MINE)),)
    assert second.state is WorkState.PARKED
    assert second.counts == Counts(before=3, parked=1)
    lake.erase([first.to(WorkState.PLANNED), second.to(WorkState.PLANNED)], unparsable="drop")
    assert lake.body("evt-1.ndjson") == AFTER
    assert lake.body("evt-2.ndjson") == HIS


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (MINE.decode().encode("utf-16"), "unknown_codec"),
        (b"PAR1" + MINE, "unknown_codec"),
        (gzip.compress(MINE)[:-4], "damaged_content"),
    ],
)
def test_what_cannot_be_read_is_parked_by_name_and_left(
    lake: Lake, body: bytes, reason: str
) -> None:
    lake.load("evt-1.ndjson", body)
    (work,) = lake.erase()
    assert work.state is WorkState.PARKED
    assert (work.reason or "").startswith(reason)
    assert lake.body("evt-1.ndjson") == body


def test_an_older_version_that_cannot_be_read_is_named_and_not_destroyed(lake: Lake) -> None:
    unreadable = lake.load("evt-1.ndjson", b"PAR1" + MINE)
    lake.load_over("evt-1.ndjson", MINE)
    (work,) = lake.purge(lake.erase())
    assert lake.body("evt-1.ndjson") == AFTER
    assert work.state is WorkState.PARKED
    assert [s.state for s in work.superseded] == [WorkState.PURGED, WorkState.PARKED]
    assert [v.version_id for v in lake.versions("evt-1.ndjson")] == [work.new_version, unreadable]


def test_a_change_late_in_a_long_object_is_made_in_bounded_memory(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bronze_read, "BLOCK", 8000)
    monkeypatch.setattr(bronze_read, "_IN_MEMORY", 4000)
    monkeypatch.setattr(codecs, "BLOCK", 4000)
    monkeypatch.setattr(codecs, "PIECE", 4000)
    body = HIS * 60 + MINE + HIS
    lake.load("evt-1.ndjson", body)
    lake.load("evt-2.ndjson.gz", gzip.compress(body))
    lake.load("evt-3.ndjson", HIS * 60)
    works = lake.erase()
    assert states(works) == ["written", "written", "clean"]
    for name in ("evt-1.ndjson", "evt-2.ndjson.gz"):
        assert unpacked(lake.body(name)) == HIS * 60 + AFTER + HIS
    assert {w.counts.before for w in works[:2]} == {126}
    assert list(lake.spool.iterdir()) == []


def test_stop_ends_between_objects_and_the_rest_is_told(lake: Lake) -> None:
    for n in range(4):
        lake.load(f"evt-{n}.ndjson", MINE)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    works = lake.erase(stop=stop)
    assert states(works) == ["written", "written", "planned", "planned"]
    assert len(unfinished(works)) == 2
    assert states(lake.erase(works)) == ["written"] * 4


def test_undo_puts_the_bytes_back_and_destroys_nothing(lake: Lake) -> None:
    lake.load("evt-1.ndjson", MINE)
    lake.load("evt-2.ndjson", HIS)
    lake.load("evt-3.ndjson", MINE)
    works = lake.erase()
    lake.load_over("evt-3.ndjson", HIS)
    undone = lake.undo(works)
    assert states(undone) == ["undone", "clean", "parked"]
    assert lake.body("evt-1.ndjson") == MINE
    assert lake.body("evt-3.ndjson") == HIS
    assert len(lake.versions("evt-1.ndjson")) == 3
    assert undone[0].superseded == ()
    assert states(lake.purge(undone)) == ["undone", "clean", "parked"]
    assert lake.undo(undone) == undone
    assert lake.body("evt-3.ndjson", works[2].new_version) == AFTER


def test_after_the_purge_newer_versions_are_told(lake: Lake) -> None:
    lake.load("evt-1.ndjson", MINE)
    works = lake.erase()
    assert newer_versions(works, store=lake.place.reader) == {}
    lake.load("evt-1.ndjson", MINE)
    (work,) = lake.purge(works)
    assert work.state is WorkState.PURGED
    assert newer_versions([work], store=lake.place.reader) == {work.uri: 1}
    assert work.warnings != ()
    assert lake.body("evt-1.ndjson") == MINE


def test_only_checked_works_are_purged(lake: Lake) -> None:
    lake.load("evt-1.ndjson", MINE)
    works = lake.erase()
    unchecked = [w.to(state) for w in works for state in WorkState if state.value != "checked"]
    for work in unchecked:
        left = purge_objects(
            [work],
            store=lake.place.eraser,
            purger=lake.place.purger(),
            record=lake.journal,
            stop=lambda: False,
        )
        assert left == [work]
    assert len(lake.versions("evt-1.ndjson")) == 2


def test_a_replacement_names_the_run_and_tombstones_join_across_objects(lake: Lake) -> None:
    lake.load("evt-1.ndjson", text([event(OTHER, page={"ref": USER})]))
    lake.load("evt-2.ndjson", text([event(OTHER, x=[USER])]))
    lake.erase()
    new = tomb(USER, OTHER).encode()
    assert new in lake.body("evt-1.ndjson")
    assert new in lake.body("evt-2.ndjson")
