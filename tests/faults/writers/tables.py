"""Other writers at a table while an eraser works on it, as scenarios of any length.

Each asserts that the answer is right and gives its figures. Foreign writers are PyIceberg itself,
through a catalog of their own: no code of the engine.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.types import StringType

from app.domain.receipts import TableWork, WorkState
from app.lake.pyiceberg_engine import PyIcebergEngine
from app.lake.pyiceberg_engine.commits import OURS
from tests.lake.people_table import (
    ONE,
    RUN,
    SCHEMA,
    TABLE,
    anon,
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

Figures = dict[str, int]
_ERASED = (WorkState.COMMITTED, WorkState.CLEAN)
_GONE = (WorkState.PURGED, WorkState.CLEAN)
_REFUSED = (CommitFailedException, ValidationException)


def some_rows(count: int, *, seed: int, people: int = 8) -> pa.Table:
    """Rows as PyIceberg's own writer leaves them: it turns a null list of structs, or a null map,
    into an empty one.
    """
    listed = rows(count, seed=seed, people=people).to_pylist()
    full = [{**r, "items": r["items"] or [], "attributes": r["attributes"] or []} for r in listed]
    return pa.Table.from_pylist(full, schema=SCHEMA)


def unreferenced(place: Any) -> set[str]:
    """G11: files of ours under the table that nothing refers to: list - reachable. What another
    tool's lost commits leave is that tool's.
    """
    return {path for path in files_on_disk(place) - reached(place) if OURS in path}


def ended(place: Any, *works: TableWork, run_ids: Sequence[str] = (RUN, RUN)) -> None:
    """The purge takes the person's bytes, and whatever failed commits of ours left."""
    for work, run_id in zip(works, run_ids, strict=False):
        assert work.state in _ERASED, work.reason
        done = purge(place, work, grace=timedelta(0), run_id=run_id)
        assert done.state in _GONE, done.reason
    assert leftovers(place, ONE) == []
    left = unreferenced(place)
    assert left == set(), sorted(left)


@dataclass
class Foreign:
    """Another tool at the same table."""

    engine: PyIcebergEngine
    tries: int = 0

    def table(self) -> Any:
        """Loaded anew: what is committed now."""
        return self.engine._load(TABLE)  # PyIceberg's own table; the engine's code ends here

    def append(self, batch: pa.Table) -> None:
        """One commit of these rows."""
        self.retried(lambda table: table.append(batch))

    def retried(self, act: Callable[[Any], None]) -> None:
        """As every tool does: again on the fresh head until its swap wins."""
        for _ in range(50):
            self.tries += 1
            try:
                act(self.table())
            except _REFUSED:
                continue
            return
        raise AssertionError("the other writer never got through")


def _another_engine(place: Any) -> PyIcebergEngine:
    return PyIcebergEngine(place.catalog, io_properties=place.io_properties)


@contextmanager
def foreign(place: Any) -> Iterator[Foreign]:
    """A catalog of its own on the same table."""
    engine = _another_engine(place)
    try:
        yield Foreign(engine)
    finally:
        engine.close()


# --- streaming appends ------------------------------------------------------------------------


def append_rows(
    engine: tuple[Any, dict[str, str]], every: float, seed: int, *, stop: Any, done: Any
) -> None:
    """A process of its own that appends a few rows again and again, the person's among them."""
    writer = Foreign(PyIcebergEngine(engine[0], io_properties=engine[1]))
    rng = random.Random(seed)
    while not stop.wait(every):
        batch = some_rows(6, seed=rng.randrange(1 << 30), people=3)
        writer.append(batch)
        done.put(batch.to_pylist())
    done.put(None)
    writer.engine.close()


@contextmanager
def appending(place: Any, *, every: float, seed: int) -> Iterator[list[list[dict[str, Any]]]]:
    """Somebody appends until the context ends; then the batches that landed are in the list."""
    processes = multiprocessing.get_context("spawn")
    stop, done = processes.Event(), processes.Queue()
    arguments = ((place.catalog, place.io_properties), every, seed)
    process = processes.Process(
        target=append_rows, args=arguments, kwargs={"stop": stop, "done": done}
    )
    process.start()
    landed = [done.get(timeout=60)]
    try:
        yield landed
    finally:
        stop.set()
        landed.extend(iter(lambda: done.get(timeout=60), None))
        process.join(60)
    assert process.exitcode == 0


def streaming(place: Any, *, per_second: int, files: int, seed: int) -> Figures:
    """G10: rows stream in, the person's own among them, while the table is erased. At the horizon
    nobody is left; whoever came later is late data, which the next pass takes.
    """
    make(place, *(some_rows(60, seed=seed + n) for n in range(files)))
    first = read_rows(place)
    with appending(place, every=1 / per_second, seed=seed) as batches:
        work = erase(place)
    assert work.state is WorkState.COMMITTED, work.reason
    appended = [row for batch in batches for row in batch]
    found = read_rows(place, snapshot_id=work.horizon)
    there = {row["event_id"] for row in found}
    by_then = first + [row for row in appended if row["event_id"] in there]
    assert blotted(found, ONE) == expected(by_then, ONE)
    again = erase(place, step_id="step_02")
    assert blotted(read_rows(place), ONE) == expected(first + appended, ONE)
    ended(place, work, again)
    return {"rounds": work.rounds, "appends": len(batches), "appended_rows": len(appended)}


# --- between the rewrite and the commit -------------------------------------------------------


def once(act: Callable[[], None]) -> Callable[[TableWork], list[Any]]:
    """A check of pairs that finds nothing; during the first one somebody else acts."""
    done: list[bool] = []

    def check(_: TableWork) -> list[Any]:
        if not done:
            done.append(True)
            act()
        return []

    return check


def compacted(place: Any, *, seed: int) -> Figures:
    """Somebody rewrites the same files into one between our rewrite and our commit."""
    make(place, some_rows(40, seed=seed), some_rows(40, seed=seed + 1))
    before = read_rows(place)
    with foreign(place) as writer:
        work = erase(place, check=once(lambda: writer.retried(_compact)))
    assert blotted(read_rows(place), ONE) == expected(before, ONE)
    ended(place, work)
    return {"rounds": work.rounds}


def _compact(table: Any) -> None:
    table.overwrite(table.scan().to_arrow())


def rows_deleted(place: Any, *, seed: int) -> Figures:
    """Somebody deletes a stranger's row of the same file between our rewrite and our commit: it
    does not come back.
    """
    make(place, some_rows(60, seed=seed))
    before = read_rows(place)
    stranger = next(r for r in before if r["user_id"] and r["user_id"] not in ONE.owners)
    gone = stranger["event_id"]
    with foreign(place) as writer:
        work = erase(
            place,
            check=once(lambda: writer.retried(lambda t: t.delete(f"event_id = '{gone}'"))),
        )
    left = [row for row in before if row["event_id"] != gone]
    assert blotted(read_rows(place), ONE) == expected(left, ONE)
    ended(place, work)
    return {"rounds": work.rounds}


def schema_changed(place: Any, *, seed: int) -> Figures:
    """A column more and a column renamed between our rewrite and our commit."""

    def evolve() -> None:
        def act(table: Any) -> None:
            with table.update_schema() as update:
                update.add_column("campaign", StringType())
                update.rename_column("amount", "amount_total")

        writer.retried(act)
        extra = some_rows(10, seed=seed + 5).rename_columns(
            ["amount_total" if n == "amount" else n for n in rows(1).column_names]
        )
        writer.retried(
            lambda t: t.append(extra.append_column("campaign", pa.nulls(10, pa.string())))
        )
        arrived.extend(some_rows(10, seed=seed + 5).to_pylist())

    arrived: list[dict[str, Any]] = []
    make(place, some_rows(40, seed=seed))
    before = read_rows(place)
    with foreign(place) as writer:
        work = erase(place, check=once(evolve))
    found = [
        {("amount" if k == "amount_total" else k): v for k, v in row.items() if k != "campaign"}
        for row in read_rows(place)
    ]
    assert blotted(found, ONE) == expected(before + arrived, ONE)
    ended(place, work)
    return {"rounds": work.rounds}


def partition_changed(place: Any, *, seed: int) -> Figures:
    """Another partition spec between our rewrite and our commit, and rows under it."""
    extra = some_rows(20, seed=seed + 3)

    def evolve() -> None:
        def act(table: Any) -> None:
            with table.update_spec() as update:
                update.add_field("name", "identity", "name_part")

        writer.retried(act)
        writer.retried(lambda table: table.append(extra))

    make(place, some_rows(40, seed=seed))
    before = read_rows(place)
    with foreign(place) as writer:
        work = erase(place, check=once(evolve))
    assert blotted(read_rows(place), ONE) == expected(before + extra.to_pylist(), ONE)
    ended(place, work)
    return {"rounds": work.rounds}


def linked_anew(place: Any, *, seed: int) -> Figures:
    """The person logs in at another client between our rewrite and our commit. The link goes, for
    it names them; what that client did as nobody stays: its value was in nobody's scope.
    """
    new = anon(99)
    plain: dict[str, Any] = {
        "page": None,
        "attributes": [],
        "items": [],
        "anon_ids": None,
        "payload": None,
    }
    link, visit = (
        {**row, **plain, "anon_id": new} for row in some_rows(2, seed=seed + 1).to_pylist()
    )
    said = json.dumps({"user_id": user(1), "anon_id": new})
    link |= {"name": "identity.link", "user_id": user(1), "payload": said}
    visit |= {"name": "page.view", "user_id": None}
    batch = pa.Table.from_pylist([link, visit], schema=SCHEMA)
    make(place, some_rows(40, seed=seed))
    before = read_rows(place)
    with foreign(place) as writer:
        work = erase(place, check=once(lambda: writer.append(batch)))
    now = read_rows(place)
    assert blotted(now, ONE) == expected(before + batch.to_pylist(), ONE)
    assert [row["event_id"] for row in now if row["anon_id"] == new] == [visit["event_id"]]
    ended(place, work)
    return {"rounds": work.rounds}


# --- around the commit ------------------------------------------------------------------------


def compactor_that_read_before(place: Any, *, seed: int) -> Figures:
    """A compactor decided on what it read before our commit and writes after it: the catalog
    refuses its swap. One that writes its old rows anyway, on the fresh head, brings the person
    back: the next pass finds and takes them.
    """
    make(place, some_rows(40, seed=seed))
    before = read_rows(place)
    with foreign(place) as writer:
        stale = writer.table()
        old_rows = stale.scan().to_arrow()
        work = erase(place)
        refused = 0
        try:
            stale.overwrite(old_rows)
        except _REFUSED:
            refused = 1
        assert refused == 1
        assert blotted(read_rows(place), ONE) == expected(before, ONE)
        writer.retried(lambda table: table.overwrite(old_rows))
        assert leftovers(place, ONE) != []
        again = erase(place, step_id="step_02")
        assert blotted(read_rows(place), ONE) == expected(before, ONE)
    ended(place, work, again)
    return {"refused": refused, "rounds": work.rounds + again.rounds}


def two_erasers(place: Any, *, seed: int) -> Figures:
    """Two tools of ours that know nothing of each other erase the same person at once."""
    make(place, *(some_rows(50, seed=seed + n) for n in range(3)))
    before = read_rows(place)
    works: dict[str, TableWork] = {}

    def run(name: str) -> None:
        engine = _another_engine(place)
        try:
            works[name] = erase(place, engine=engine, run_id=f"run_{name}", step_id=f"step_{name}")
        finally:
            engine.close()

    threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {w.state for w in works.values()} <= {WorkState.COMMITTED, WorkState.CLEAN}
    assert len(works) == 2
    assert blotted(read_rows(place), ONE) == expected(before, ONE)
    ended(place, *works.values(), run_ids=[f"run_{name}" for name in works])
    return {"rounds": sum(w.rounds for w in works.values())}
