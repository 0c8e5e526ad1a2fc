"""A dry pass over a small lake: it counts what an erasure would, and changes nothing."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from app.bench.figures import Measured
from app.bench.objects import measure_objects
from app.bench.tables import measure_table
from app.domain.errors import CheckFailedError
from app.domain.identifiers import Targets
from tests.faults.mutated_files import FILES
from tests.faults.mutated_lines import LINES
from tests.places import Place
from tests.stages.runs import PEOPLE
from tests.verify.material import event, raw_dataset, right_pair, user
from tests.verify.planted import EVENTS, TABLE, make_clean_lake, rows

TARGETS = Targets.of(PEOPLE)


@pytest.fixture
def lake(place: Place) -> Place:
    return _filled(place)


@pytest.fixture
def folder(place_file: Place) -> Place:
    return _filled(place_file)


def _filled(place: Place) -> Place:
    """Lines and rows of every kind, an object that is no NDJSON; two people among them."""
    make_clean_lake(place)
    raw = f"{place.root}raw/event_dt=2026-10-01/01/"
    place.loader.load(f"{raw}every-kind.ndjson.gz", gzip.compress(b"".join(right_pair().base)))
    place.loader.load(f"{raw}foreign.ndjson", b"PAR1" + event(1))
    told = {"payload": f'{{"by":"{user(2)}"}}'}
    place.engine.append(TABLE, rows({"user_id": user(1)}, told, {"user_id": None}))
    return place


def _objects(place: Place, scratch: Path) -> Measured:
    return measure_objects(
        raw_dataset(place.root),
        targets=TARGETS,
        unparsable="park",
        store=place.reader,
        scratch=scratch,
        rounds=2,
    )


def _table(place: Place, scratch: Path) -> Measured:
    return measure_table(EVENTS, targets=TARGETS, engine=place.engine, scratch=scratch, rounds=2)


def _state(place: Place) -> list[object]:
    """Every version of everything, and where the table's metadata is."""
    return [*place.reader.versions(place.root), place.engine.head(TABLE).metadata_location]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def test_objects_are_counted_as_an_erasure_counts_and_stay(lake: Place, scratch: Path) -> None:
    before, right = _state(lake), right_pair().counts
    found = _objects(lake, scratch)
    assert dict(found.counts) == {
        "objects": 5,
        "unreadable": 1,
        "hit": 1,
        "lines": 5 + right.before,
        "deleted": right.deleted,
        "tombstoned": right.tombstoned,
        "kept": 0,
        "parked": 0,
    }
    reading, erasing, checking = found.figures
    assert (reading.against, erasing.against) == (None, reading.what)
    assert reading.bytes == erasing.bytes > checking.bytes > 0
    assert _state(lake) == before
    assert list(scratch.iterdir()) == []


def test_a_table_is_counted_as_an_erasure_counts_and_stays(lake: Place, scratch: Path) -> None:
    before = _state(lake)
    found = _table(lake, scratch)
    assert dict(found.counts) == {
        "files": 3,
        "hit": 1,
        "rows": 6,
        "rows_hit_files": 3,
        "deleted": 1,
        "tombstoned": 1,
        "kept": 0,
    }
    declared, looking, coding, erasing, checking = found.figures
    assert declared.bytes == looking.bytes > coding.bytes == erasing.bytes == checking.bytes > 0
    assert _state(lake) == before
    assert list(scratch.iterdir()) == []


def test_an_eraser_that_errs_is_not_measured(
    folder: Place, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    LINES["the value stays"](monkeypatch)
    with pytest.raises(CheckFailedError, match="raw_events: the second look does not agree"):
        _objects(folder, scratch)
    monkeypatch.undo()
    FILES["rows of nobody go"](monkeypatch)
    with pytest.raises(CheckFailedError, match="events: the second look does not agree"):
        _table(folder, scratch)
    assert list(scratch.iterdir()) == []
