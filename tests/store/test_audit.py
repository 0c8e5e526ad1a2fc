"""Audit entries: in order, without a gap, found by their object."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from app.domain.actors import WORKER
from app.services import entries
from app.services.parts import Parts
from app.store import audit


def test_fifty_writers_leave_no_gap(parts: Parts) -> None:
    def write(number: int) -> None:
        with parts.database.transaction() as tx:
            entries.record(WORKER, tx, verb="test.wrote", about="run_x", number=number)

    with ThreadPoolExecutor(10) as pool:
        list(pool.map(write, range(50)))
    with parts.database.transaction() as tx:
        found = audit.of_objects(tx, ["run_x"])
    assert [e.seq for e in found] == list(range(1, 51))
    assert found[0].facts.startswith('{"number":')


def test_entries_of_other_objects_are_left_out(parts: Parts) -> None:
    with parts.database.transaction() as tx:
        entries.record(WORKER, tx, verb="test.wrote", about="run_x")
        entries.record(WORKER, tx, verb="test.wrote", about="run_y")
    with parts.database.transaction() as tx:
        assert [e.object for e in audit.of_objects(tx, ["run_y"])] == ["run_y"]
