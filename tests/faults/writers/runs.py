"""Other writers while a whole `clearlake erase` works on a made lake."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tests.e2e.worlds import World
from tests.faults.writers.tables import Foreign

EVENTS = "lake.events"


def rows_of(world: World, user: str, *, count: int) -> pa.Table:
    """Rows of that user as the table has them."""
    table = world.engine._load(EVENTS)
    found = table.scan(row_filter=f"user_id = '{user}'").to_arrow()
    return found.slice(0, count)


@contextmanager
def streaming_into(world: World, batch: pa.Table, *, every: float) -> Iterator[list[int]]:
    """Somebody appends the batch again and again, each time as new events."""
    writer = Foreign(world.engine)
    stop, commits, failed = threading.Event(), [0], []

    def run() -> None:
        try:
            while not stop.wait(every):
                writer.append(_anew(batch, commits[0]))
                commits[0] += 1
        except BaseException as err:
            failed.append(err)
            raise

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield commits
    finally:
        stop.set()
        thread.join()
    assert failed == []


def _anew(batch: pa.Table, number: int) -> pa.Table:
    ids = pc.binary_join_element_wise(batch["event_id"], f"again{number}", "_")
    return batch.set_column(batch.schema.get_field_index("event_id"), "event_id", ids)


def whole_run_under_streaming(world: World, *, every: float) -> dict[str, Any]:
    """The person's rows keep coming into Silver during the whole run. The report says VERIFIED up
    to the horizon, what came later is named, and the next run takes that.
    """
    user = world.cast.active_buyer
    before, gone = world.records(), world.gone(users=(user,))
    batch = rows_of(world, user, count=5)
    with streaming_into(world, batch, every=every) as commits:
        done = world.erase("--user-id", user, "--yes", "--purge-now", "--json")
    assert done.code == 0, done.out + done.err
    assert done.document["verdict"] == "VERIFIED", done.out
    assert commits[0] > 0
    again = world.erase("--user-id", user, "--yes", "--purge-now", "--json")
    assert again.code == 0, again.out + again.err
    world.clean_of(gone, before=before)
    return {"appends": commits[0]}
