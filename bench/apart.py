"""A module of rows in a process of its own: its memory is its own, and if it is killed the others'
rows are not lost. Not here: which modules there are.
"""

from __future__ import annotations

import importlib
import multiprocessing
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

from app.bench.costs import cpu_seconds, peak_memory
from bench.lakes import lake_of
from bench.rows import Row


@dataclass(frozen=True, slots=True)
class Usage:
    """What a module took as a whole, its checks and warm-up among it."""

    wall_seconds: float
    cpu_seconds: float
    """Of it and the processes that it waited for."""
    peak_memory: int
    """Bytes of its own process."""


def run_apart(name: str, events: int, *, taken: Callable[[Row], None]) -> Usage | None:
    """Every row of `bench.NAME`, given to `taken` as it comes. None: it failed, and said why."""
    spawn = multiprocessing.get_context("spawn")
    mine, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_child, args=(name, events, theirs), name=f"bench.{name}")
    process.start()
    theirs.close()
    usage = None
    try:
        while True:
            said = mine.recv()
            if isinstance(said, Row):
                taken(said)
            else:
                usage = said
    except EOFError:
        process.join()
    finally:
        process.kill()
        process.join()
        mine.close()
    if usage is None:
        print(f"bench.{name} ended with {process.exitcode} before its last row.", flush=True)
    return usage


def _child(name: str, events: int, pipe: Connection) -> None:
    begun = time.perf_counter()
    try:
        for row in importlib.import_module(f"bench.{name}").rows(lake_of(events)):
            pipe.send(row)
    except Exception:
        traceback.print_exc()
        raise SystemExit(1) from None
    pipe.send(Usage(time.perf_counter() - begun, cpu_seconds(), peak_memory()))
