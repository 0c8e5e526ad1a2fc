"""An eraser with a fault is stopped by the check; nothing was destroyed, and every byte is back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.effort import one_in
from tests.faults.mutated import Plant, bench, works
from tests.faults.mutated_files import FILES
from tests.faults.mutated_lines import LINES
from tests.faults.mutated_objects import IN_BUCKETS, OBJECTS
from tests.places import Place

FOLDER: dict[str, Plant] = {
    f"{layer}: {name}": plant
    for layer, faults in (("line", LINES), ("object", OBJECTS), ("file", FILES))
    for name, plant in faults.items()
}
BUCKET = ("a splice ends a byte late", "the tail is forgotten")


def _is_stopped(place: Place, folder: Path, plant: Plant, patch: pytest.MonkeyPatch) -> None:
    made = bench(place, folder)
    digests = made.digests()
    said = made.is_stopped(plant, patch)
    assert said, "the check let it pass"
    assert "usr_" not in repr(said)
    assert digests <= made.digests(), "something was destroyed"
    with made.run.acts() as acts:
        acts.purge_group(made.run.raw, [w for w in works(acts) if w.state != "checked"])
    assert digests <= made.digests(), "something was destroyed that was not checked"
    made.undo()
    assert made.state() == made.before


def test_an_eraser_without_a_fault_is_not_stopped(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench(place, tmp_path)
    assert made.is_stopped(lambda _: None, monkeypatch) == []
    assert made.state() != made.before
    made.undo()
    assert made.state() == made.before


@pytest.mark.parametrize("fault", one_in(5, FOLDER))
def test_a_faulty_eraser_is_stopped_and_undone_in_a_folder(
    fault: str, place_file: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _is_stopped(place_file, tmp_path, FOLDER[fault], monkeypatch)


@pytest.mark.parametrize("fault", one_in(5, [*IN_BUCKETS, *BUCKET]))
def test_a_faulty_eraser_is_stopped_and_undone_in_a_bucket(
    fault: str, place_s3: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = IN_BUCKETS.get(fault) or LINES[fault]
    _is_stopped(place_s3, tmp_path, plant, monkeypatch)
