"""B1-B5: the erasure rule on Bronze text, against only reading it and against orjson line by line.

What is read lies in the page cache; what is written goes nowhere, but for B4. Not here: requests
(an object store's), the put.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson

from app.domain.identifiers import Identifier, Identity, Kind, Targets
from app.domain.receipts import ObjectWork
from app.lake.bronze_lines import Piece, Rule, Tally, rewritten
from app.lake.bronze_read import read_object
from app.lake.codecs import BLOCK, DEFAULT_LIMITS, blocks, decoded
from app.lake.local import LocalStore
from app.lake.tombstones import Tombstones
from bench.lakes import BenchLake, lake_of
from bench.rows import Row, measured

FEW, MANY = 100, 10_000
LARGE = {200_000: 512 << 20, 2_000_000: 5 << 30, 5_000_000: 5 << 30}
"""Events of the lake -> bytes of the one large object of B4."""
_TOKEN = re.compile(rb"[A-Za-z0-9_-]+")
_SHAPES = (("usr_", 26), ("a_", 22), ("fp_", 32))
_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZabcdefghjkmnpqrstvwxyz"


def rows(lake: BenchLake) -> Iterator[Row]:
    """B1 to B5."""
    few, many = rule_of(lake, lake.people(FEW)), rule_of(lake, lake.people(many_of(lake)))
    yield kept_lines(lake, few)
    reading, parsing, plain, digested, dense = measured(
        lambda: only_read(lake.files),
        lambda: every_line(lake.files),
        lambda: erase(lake.files, few),
        lambda: erase_and_digest(lake.files, few),
        lambda: erase(lake.files, many),
    )
    size = lake.bronze_bytes / 1e6

    def row(name: str, what: str, value: float, goal: float, *, least: bool, cpu: float) -> Row:
        more = {"cpu_seconds": round(cpu, 3), "mb_per_cpu_second": round(size / cpu)}
        return Row(name, what, value, goal, least, more=more)

    read, parse = reading.cpu_seconds, parsing.cpu_seconds
    hundred, hashed, thousands = plain.cpu_seconds, digested.cpu_seconds, dense.cpu_seconds
    yield row("B0", "reading, MB a CPU second", size / read, 0, least=True, cpu=read)
    yield row("B1", "100 people: times faster than orjson on every line", parse / hundred, 5.0,
              least=True, cpu=hundred)  # fmt: skip
    yield row("B2", "100 people: cost over only reading", hundred / read, 2.2,
              least=False, cpu=hundred)  # fmt: skip
    yield row("B2 digest", "the same with the SHA-256 of new bodies", hashed / read, 3.0,
              least=False, cpu=hashed)  # fmt: skip
    yield row("B2 dense", f"{len(many.targets.subjects):,} people: times faster than orjson",
              parse / thousands, 2.0, least=True, cpu=thousands)  # fmt: skip
    yield from by_number(lake)
    yield memory(lake)


def many_of(lake: BenchLake) -> int:
    return min(MANY, len(lake.users) // 5)


def rule_of(lake: BenchLake, people: Iterable[Identity]) -> Rule:
    return Rule.of(
        lake.bronze,
        targets=Targets.of(people),
        tombstones=Tombstones(bytes(32)),
        unparsable="park",
    )


# --- what is compared ----------------------------------------------------------------------------


def only_read(files: Sequence[Path]) -> None:
    """The limit: the bytes into fresh memory."""
    for path in files:
        for _ in chunks(path):
            pass


def chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(BLOCK):
            yield piece


def every_line(files: Sequence[Path]) -> int:
    """Every line decoded, nothing done with it."""
    count = 0
    for path in files:
        for block in blocks(chunks(path)):
            for line in block.data[block.start : block.end].splitlines():
                orjson.loads(line)
                count += 1
    return count


def pieces(path: Path, rule: Rule, tally: Tally) -> Iterator[list[Piece]]:
    """As a run reads it: its own reading is a part of the cost."""
    with path.open("rb", buffering=0) as file:
        _, texts = decoded(file.read)
        yield from rewritten(blocks(texts), rule=rule, tally=tally)


def erase(files: Sequence[Path], rule: Rule) -> Tally:
    """The rule over every object; pieces are thrown away."""
    total = Tally()
    for path in files:
        for _ in pieces(path, rule, total):
            pass
    assert total.deleted > 0 or not rule.targets.owners
    return total


def erase_and_digest(files: Sequence[Path], rule: Rule) -> None:
    """The same, and the digest of the body of each object that changes, from its first byte."""
    for path in files:
        tally, digest = Tally(), hashlib.sha256()
        held: list[Piece] = []
        for some in pieces(path, rule, tally):
            held += some
            if tally.changed:
                for piece in held:
                    digest.update(piece)
                held.clear()


# --- B3: by the number of identifiers ------------------------------------------------------------


def by_number(lake: BenchLake) -> Iterator[Row]:
    """7, 40,000 and 400,000 identifiers of which hardly one is there."""
    few = rule_of(lake, lake.people(1))
    more = [rule_of(lake, [strangers(n)]) for n in (40_000, 400_000)]
    costs = measured(*(lambda r=r: list(map(len, quietly(lake.files, r))) for r in (few, *more)))
    one, *others = (c.cpu_seconds for c in costs)
    for number, cpu, goal in zip(("40,000", "400,000"), others, (1.3, 1.5), strict=True):
        what = f"{number} identifiers: cost over those of one person"
        yield Row(f"B3 {number}", what, cpu / one, goal, is_at_least=False)


def quietly(files: Sequence[Path], rule: Rule) -> Iterator[list[Piece]]:
    tally = Tally()
    for path in files:
        yield from pieces(path, rule, tally)


def strangers(count: int) -> Identity:
    """Identifiers that look like those of the lake."""
    luck = random.Random(count)
    values = []
    for number in range(count):
        prefix, length = _SHAPES[number % len(_SHAPES)]
        values.append(prefix + "".join(luck.choices(_LETTERS, k=length)))
    found = frozenset(Identifier(Kind.ANON_ID, v) for v in values)
    return Identity("strangers", found, frozenset(), frozenset(), ())


# --- B4: memory ----------------------------------------------------------------------------------


def memory(lake: BenchLake) -> Row:
    """One large object through the whole reading path, in a process of its own."""
    line = [sys.executable, "-m", "bench.bronze", str(lake.events), str(LARGE[lake.events])]
    done = subprocess.run(line, stdout=subprocess.PIPE, check=True)
    seen: dict[str, int] = json.loads(done.stdout)
    what = (
        f"peak memory over an object of {seen['bytes'] / 1e9:.1f} GB, in blocks of {BLOCK >> 20} MB"
    )
    return Row("B4", what, seen["grown"] / BLOCK, 4.0, is_at_least=False, unit="blocks", more=seen)


def _large(events: int, size: int) -> None:
    """The child of B4: prints what its memory grew by."""
    lake = lake_of(events)
    rule = rule_of(lake, lake.people(FEW))
    with tempfile.TemporaryDirectory(prefix="clearlake-bench-", dir=lake.folder.parent) as folder:
        path = Path(folder) / "raw" / "large.ndjson"
        path.parent.mkdir()
        _write(path, lake.files, size)
        store = LocalStore([f"file://{path.parent}/"])
        uri = f"file://{path}"
        versions = list(store.versions(f"file://{path.parent}/"))
        list(map(len, quietly(lake.files[:1], rule)))  # what is loaded on first use is loaded
        before = _peak_from_now()
        prepared = read_object(
            ObjectWork(uri=uri),
            versions,
            rule=rule,
            store=store,
            spool=Path(folder),
            limits=DEFAULT_LIMITS,
        )
        grown = _peak() - before
        assert prepared.body is not None
        assert prepared.work.counts.deleted > 0
        print(json.dumps({"bytes": path.stat().st_size, "grown": grown, "before": before}))
        prepared.body.close()


def _write(path: Path, files: Sequence[Path], size: int) -> None:
    with path.open("wb") as sink:
        while sink.tell() < size:
            for file in files:
                for piece in chunks(file):
                    sink.write(piece)
                if sink.tell() >= size:
                    return


def _peak_from_now() -> int:
    """Bytes in memory now; `_peak` tells of what comes after it."""
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    return _peak()


def _peak() -> int:
    status = Path("/proc/self/status").read_text("ascii")
    [line] = (each for each in status.splitlines() if each.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


# --- B5: nobody else's byte ----------------------------------------------------------------------


def kept_lines(lake: BenchLake, rule: Rule) -> Row:
    """Lines that name nobody, by a reading of tokens that shares no code, are what is left."""
    values = {v.encode() for v in rule.targets.by_value}
    theirs, ours = hashlib.sha256(), hashlib.sha256()
    lines = 0
    for path in lake.files:
        for line in path.read_bytes().splitlines(keepends=True):
            if values.isdisjoint(_TOKEN.findall(_meant(line))):
                theirs.update(line)
                lines += 1
        text = b"".join(p for some in pieces(path, rule, Tally()) for p in some)
        for line in text.splitlines(keepends=True):
            if b"tomb_" not in line:
                ours.update(line)
    differs = int(theirs.digest() != ours.digest())
    more: dict[str, float | int | str] = {"lines": lines, "sha256": ours.hexdigest()}
    what = "digests of lines that name nobody that differ from a naive reading's"
    return Row("B5", what, differs, 0, is_at_least=False, unit="digests", more=more)


def _meant(line: bytes) -> bytes:
    """What a line says, JSON and percent escapes decoded, strings apart from one another."""
    if b"\\" in line:
        line = b"\0".join(s.encode() for s in _strings(json.loads(line)))
    return unquote_to_bytes(line) if b"%" in line else line


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inside in value.items():
            yield key
            yield from _strings(inside)
    elif isinstance(value, list):
        for inside in value:
            yield from _strings(inside)


if __name__ == "__main__":
    _large(int(sys.argv[1]), int(sys.argv[2]))
