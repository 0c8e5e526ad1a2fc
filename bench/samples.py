"""Where the time of a row goes: what was at work at each tick of CPU time, by function.

`python -m bench.samples S1 "V1 files"`: on the small lake by default, its rows in twelve files.
Work of a library in C counts for the function that called it, or for the next one of ours that it
calls (encoding Parquet: `_Digest.write`). Not here: the API, which is a process of its own.
"""

from __future__ import annotations

import argparse
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from app.domain.identifiers import Targets
from app.lake.make_tables import EVENTS
from bench import bronze, tables, verifying
from bench.lakes import SIZES, BenchLake, lake_of

_TICK = 0.001
_SHOWN = 30
_OURS = str(Path(__file__).parents[1] / "app")
Act = Callable[[], object]


def acts(lake: BenchLake, folder: Path) -> Iterator[dict[str, Act]]:
    """What can be looked at, by row. The first call of each is not counted."""
    few, many = lake.people(bronze.FEW), lake.people(bronze.many_of(lake))
    (silver,) = (d for d in lake.data_map.tables if d.table == EVENTS)
    with closing(tables._engine(folder)) as engine, closing(lake.engine()) as theirs:
        whole = tables._Table.made(folder, engine, lake)
        hit = replace(whole, files=tables._hit_files(whole, few))
        look = verifying._Silver(theirs, lake.data_map, silver, folder)
        rewritten = look.rewritten(Targets.of(many))
        rules = {n: bronze.rule_of(lake, lake.people(n)) for n in (len(few), len(many))}
        yield {
            "B2": lambda: bronze.erase(lake.files, rules[len(few)]),
            "B2 dense": lambda: bronze.erase(lake.files, rules[len(many)]),
            "S1": lambda: tables.erase_files(hit, hit.eraser(few)),
            "S1 dense": lambda: tables.erase_files(hit, hit.eraser(many)),
            "S2": lambda: tables.erase_all(whole, few),
            "S2 one": lambda: tables.erase_all(whole, lake.people(1)),
            "V1 files": lambda: look.checked(rewritten, Targets.of(many)),
        }


@contextmanager
def sampling(found: Counter[str]) -> Iterator[None]:
    """Count every function of the project that is at work, at each tick of this process's CPU
    time; `*` counts the ticks.
    """

    def tick(_: int, frame: FrameType | None) -> None:
        names = {"*"}
        while frame is not None:
            code = frame.f_code
            if code.co_filename.startswith(_OURS):
                names.add(f"{Path(code.co_filename).name} {code.co_qualname}")
            frame = frame.f_back
        found.update(names)

    before = signal.signal(signal.SIGPROF, tick)
    signal.setitimer(signal.ITIMER_PROF, _TICK, _TICK)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def main() -> None:
    """Print the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="+")
    parser.add_argument("--events", type=int, default=SIZES["small"])
    parser.add_argument("--files", type=int, default=12)
    asked = parser.parse_args()
    tables.FILES = asked.files
    lake = lake_of(asked.events)
    with tempfile.TemporaryDirectory(prefix="clearlake-bench-", dir=lake.folder.parent) as folder:
        for known in acts(lake, Path(folder)):
            for name in asked.rows:
                _show(name, known[name])


def _show(name: str, act: Act) -> None:
    act()
    found: Counter[str] = Counter()
    begun = time.process_time()
    with sampling(found):
        act()
    print(f"{name}: {time.process_time() - begun:.2f} CPU s, {found['*']} samples")
    for function, count in found.most_common(_SHOWN + 1)[1:]:
        print(f"  {count / found['*']:6.1%}  {function}")


if __name__ == "__main__":
    main()
