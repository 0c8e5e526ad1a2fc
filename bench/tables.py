"""S1-S4 and C1: the erasure rule on Iceberg tables, against pyarrow reading and writing the same
files, and against PyIceberg's own delete.

The same events as the lake's, in 120 files of a table of its own. Files lie in the page cache. Not
here: the second look at pairs (verifying), requests.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.expressions import In

from app.domain.datasets import DataMap, Dataset
from app.domain.identifiers import Identity, Targets
from app.domain.receipts import FileWork, TableWork, WorkState
from app.lake.datamap import map_text, parse_map
from app.lake.make_tables import EVENTS, PARTITION_BY, SCHEMAS
from app.lake.pyiceberg_engine import PyIcebergEngine
from app.lake.table_files import FileEraser, HiddenRows
from app.lake.table_ports import DataFile, TableHead
from app.lake.table_settings import table_properties
from app.lake.table_texts import Rule
from app.lake.tables import erase_table
from app.lake.tombstones import Tombstones
from app.lake.verify import check_files
from bench.bronze import FEW, many_of
from bench.lakes import BenchLake, lake_of
from bench.rows import ROUNDS, Row, measured

FILES = 120
_PLAIN = ("event_id", "payload", "ts", "ingested_at")
"""Columns that the limit handles without a dictionary: nearly every value is another."""
_SECRET = Tombstones(bytes(32))


def rows(lake: BenchLake) -> Iterator[Row]:
    """S1 to S4, C1."""
    with tempfile.TemporaryDirectory(prefix="clearlake-bench-", dir=lake.folder.parent) as folder:
        with closing(_engine(Path(folder))) as engine:
            table = _Table.made(Path(folder), engine, lake)
            yield from rewriting(table, lake)
            yield from deleting(table, lake)
        yield workers(Path(folder), lake)


@dataclass(frozen=True)
class _Table:
    """The events of a lake in 120 files."""

    folder: Path
    engine: PyIcebergEngine
    dataset: Dataset
    head: TableHead
    files: Sequence[DataFile] = field(repr=False)
    numbers: Any = field(default_factory=count)

    @classmethod
    def made(cls, folder: Path, engine: PyIcebergEngine, lake: BenchLake) -> _Table:
        """Append the lake's events in slices."""
        schema = SCHEMAS[EVENTS]
        engine.create_table(
            EVENTS,
            schema,
            partition_by=PARTITION_BY[EVENTS],
            properties=table_properties(schema.names),
        )
        with closing(lake.engine()) as source:
            head = source.head(EVENTS)
            assert head.snapshot_id is not None
            files = source.files(EVENTS, snapshot_id=head.snapshot_id)
            total, before = sum(f.rows for f in files), 0
            for file in files:
                slices = round(FILES * (before + file.rows) / total) - round(FILES * before / total)
                before += file.rows
                with closing(source.open(file.path)) as stream:
                    events = pq.read_table(stream)
                size = -(-events.num_rows // max(slices, 1))
                for start in range(0, events.num_rows, size):
                    engine.append(EVENTS, events.slice(start, size))
        return cls.of(folder, engine)

    @classmethod
    def of(cls, folder: Path, engine: PyIcebergEngine) -> _Table:
        """The one that is there."""
        head = engine.head(EVENTS)
        assert head.snapshot_id is not None
        (dataset,) = (d for d in _map_of(folder).tables if d.table == EVENTS)
        files = engine.files(EVENTS, snapshot_id=head.snapshot_id)
        return cls(folder, engine, dataset, head, files)

    @property
    def bytes(self) -> int:
        return sum(file.size for file in self.files)

    def copy(self) -> str:
        """Another table of the catalog with the same files: what is done to it leaves them."""
        name = f"lake.copy{next(self.numbers)}"
        self.engine._catalog.register_table(name, self.head.metadata_location)
        return name

    def eraser(self, people: Sequence[Identity]) -> FileEraser:
        rule = Rule.of(self.dataset, targets=Targets.of(people), tombstones=_SECRET)
        return FileEraser(
            engine=self.engine, rule=rule, head=self.head, hidden=HiddenRows(self.engine)
        )


def _map_of(folder: Path) -> DataMap:
    return parse_map(
        map_text(root=f"file://{folder}/"),
        source="bench",
        environment={"CLEARLAKE_CATALOG_URI": f"sqlite:///{folder}/catalog.db"},
    )


def _engine(folder: Path) -> PyIcebergEngine:
    catalog = _map_of(folder).catalog
    assert catalog is not None
    return PyIcebergEngine(catalog, io_properties={})


# --- S1, S4: file by file ------------------------------------------------------------------------


def rewriting(table: _Table, lake: BenchLake) -> Iterator[Row]:
    """Every file that is hit looked at and written anew, against only reading and writing it."""
    table = replace(table, files=_hit_files(table, lake.people(FEW)))
    few, many = table.eraser(lake.people(FEW)), table.eraser(lake.people(many_of(lake)))
    grown = {}
    for name, eraser in (("few", few), ("many", many)):
        grown[name] = _right(table, erase_files(table, eraser), eraser=eraser)
    limit, sparse, dense = measured(
        lambda: read_and_write(table),
        lambda: erase_files(table, few),
        lambda: erase_files(table, many),
    )

    def row(name: str, people: FileEraser, cpu: float, goal: float) -> Row:
        number = len(people.rule.targets.subjects)
        what = f"{number:,} people, every file hit: cost over pyarrow's decode and encode"
        more = {
            "cpu_seconds": round(cpu, 3),
            "limit_cpu_seconds": round(limit.cpu_seconds, 3),
            "mb_per_cpu_second": round(table.bytes / 1e6 / cpu, 1),
        }
        return Row(name, what, cpu / limit.cpu_seconds, goal, is_at_least=False, more=more)

    yield row("S1", few, sparse.cpu_seconds, 1.2)
    yield row("S1 dense", many, dense.cpu_seconds, 1.4)
    what = "size of new files over that of the old ones' rows that stay"
    yield Row("S4", f"{FEW} people: {what}", grown["few"], 1.02, is_at_least=False)
    yield Row("S4 dense", f"the most people: {what}", grown["many"], 1.02, is_at_least=False)


def _hit_files(table: _Table, people: Sequence[Identity]) -> list[DataFile]:
    """Those with a row of these people: but for late events of an odd day, all."""
    owners = pa.array([p.subject for p in people])
    found = []
    for file in table.files:
        with closing(table.engine.open(file.path)) as source:
            users = pq.read_table(source, columns=["user_id"])["user_id"]
        if pc.any(pc.is_in(users, value_set=owners)).as_py():
            found.append(file)
    return found


def read_and_write(table: _Table) -> None:
    """The limit: each file decoded and encoded, dictionaries where a dictionary pays."""
    for number, file in enumerate(table.files):
        with closing(table.engine.open(file.path)) as source:
            footer = pq.read_metadata(source)
            paths = [
                footer.row_group(0).column(i).path_in_schema for i in range(footer.num_columns)
            ]
            packed = [path for path in paths if path not in _PLAIN]
            parquet = pq.ParquetFile(source, metadata=footer, read_dictionary=packed)
            with pq.ParquetWriter(
                table.folder / f"limit{number}.parquet",
                parquet.schema_arrow,
                compression="zstd",
                use_dictionary=packed,
                store_schema=False,
            ) as writer:
                for group in range(footer.num_row_groups):
                    writer.write_table(parquet.read_row_group(group, use_threads=False))


def erase_files(table: _Table, eraser: FileEraser) -> list[FileWork]:
    """The eraser's way: a look, then A'. Every file must be hit."""
    done = []
    for number, file in enumerate(table.files):
        assert eraser.holds(file)
        path = f"file://{table.folder}/new{number}.parquet"
        intent = FileWork(old_path=file.path, new_path=path, state=WorkState.READY)
        done.append(eraser.rewrite(intent, file=file))
    return done


def _right(table: _Table, done: Sequence[FileWork], *, eraser: FileEraser) -> float:
    """The second look agrees with every pair; how much larger than need be the new files are."""
    assert {f.state for f in done} == {WorkState.WRITTEN}
    findings = check_files(
        TableWork(table=EVENTS, uuid=table.head.uuid, base_snapshot=None, files=tuple(done)),
        dataset=table.dataset,
        targets=eraser.rule.targets,
        open_file=table.engine.open,
        metadata_location=table.head.metadata_location,
    )
    assert findings == []
    assert sum(f.counts.deleted for f in done) > 0
    old = sum(a.size * b.counts.after / a.rows for a, b in zip(table.files, done, strict=True))
    new = sum(Path(f.new_path.removeprefix("file://")).stat().st_size for f in done if f.new_path)
    return new / old


# --- S2, C1: the whole table ---------------------------------------------------------------------


def deleting(table: _Table, lake: BenchLake) -> Iterator[Row]:
    """A run over the table, against PyIceberg's delete of the same people's rows."""
    few, one = lake.people(FEW), lake.people(1)
    deleted: list[tuple[str, Sequence[Identity]]] = []
    erased: list[tuple[str, Sequence[Identity]]] = []
    shares: list[float] = []

    def delete(people: Sequence[Identity]) -> None:
        deleted.append((delete_by_pyiceberg(table, people), people))

    def erase(people: Sequence[Identity]) -> None:
        name, share = erase_all(table, people)
        erased.append((name, people))
        if people is few:
            shares.append(share)

    theirs, ours, their_one, our_one = measured(
        lambda: delete(few),
        lambda: erase(few),
        lambda: delete(one),
        lambda: erase(one),
    )
    for name, people in deleted[:2]:
        assert not _stand(table, name, [p.subject for p in people])
    for name, people in erased[:2]:
        assert not _stand(table, name, [i.value for p in people for i in p.identifiers])
    for name, goal, mine, other in (
        ("S2", 0.8, ours, theirs),
        ("S2 one", 0.45, our_one, their_one),
    ):
        number = FEW if mine is ours else 1
        what = f"the whole table, {number} people: cost over PyIceberg's delete, which only deletes"
        more = {
            "cpu_seconds": round(mine.cpu_seconds, 3),
            "pyiceberg_cpu_seconds": round(other.cpu_seconds, 3),
        }
        value = mine.cpu_seconds / other.cpu_seconds
        yield Row(name, what, value, goal, is_at_least=False, more=more)
    what = f"the commit of {len(table.files)} replacements, in hundredths of the run"
    yield Row("C1", what, 100 * statistics.median(shares), 2.0, is_at_least=False, unit="%")


def delete_by_pyiceberg(table: _Table, people: Sequence[Identity]) -> str:
    """Rows of these users; nothing else is looked for. The table that is left."""
    name, users = table.copy(), [identity.subject for identity in people]
    table.engine._catalog.load_table(name).delete(In("user_id", users))
    return name


def erase_all(table: _Table, people: Sequence[Identity]) -> tuple[str, float]:
    """D2-D6 without the second look: the table that is left, the commit's share of CPU time."""
    name, targets = table.copy(), Targets.of(people)
    times: list[tuple[WorkState, float]] = []

    def record(work: TableWork) -> None:
        state = work.files[0].state if work.files else work.state
        times.append((state, time.process_time()))

    begun = time.process_time()
    work = erase_table(
        TableWork(table=name, uuid=table.head.uuid, base_snapshot=table.head.snapshot_id),
        dataset=replace(table.dataset, table=name),
        targets=targets,
        tombstones=_SECRET,
        engine=table.engine,
        run_id=f"run_{name}",
        step_id="bench",
        record=record,
        stop=lambda: False,
        check=lambda _: (),
    )
    whole = time.process_time() - begun
    assert len(work.commits) == 2, "one snapshot, and the flush"
    checked = max(at for state, at in times if state is WorkState.CHECKED)
    committed = min(at for state, at in times if state is WorkState.COMMITTED)
    return name, (committed - checked) / whole


def _stand(table: _Table, name: str, values: Sequence[str]) -> bool:
    """Whether one of these is left in a column of identifiers."""
    wanted = pa.array(values, pa.large_string())
    columns = ["user_id", "anon_id", "device_fp"]
    return any(
        pc.any(pc.is_in(column.cast(pa.large_string()), value_set=wanted)).as_py()
        for batch in table.engine.batches(name, columns=columns)
        for column in batch.columns
    )


# --- S3: worker processes ------------------------------------------------------------------------


def workers(folder: Path, lake: BenchLake) -> Row:
    """Files shared out to processes, each one file at a time as a worker does it."""
    for path in folder.glob("*.parquet"):
        path.unlink()
    seen: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(ROUNDS):
        for number, seconds in seen.items():
            seconds.append(_together(folder, lake, number))
    one, two = (statistics.median(seconds) for seconds in seen.values())
    what = "times faster with 2 worker processes, by the clock"
    more = {"seconds": round(one, 2), "seconds_of_two": round(two, 2)}
    return Row("S3", what, one / two, 1.6, is_at_least=True, more=more)


def _together(folder: Path, lake: BenchLake, number: int) -> float:
    """Seconds from when all are ready until the last one is done."""
    lines = [
        [sys.executable, "-m", "bench.tables", str(lake.events), str(folder), str(n), str(number)]
        for n in range(number)
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    children: list[Any] = [subprocess.Popen(line, **pipes) for line in lines]  # type: ignore[call-overload]  # keywords by name
    for child in children:
        assert child.stdout.readline() == b"ready\n"
    begun = time.perf_counter()
    for child in children:
        child.stdin.write(b"go\n")
        child.stdin.flush()
    for child in children:
        assert child.stdout.readline() == b"done\n"
    seconds = time.perf_counter() - begun
    for child in children:
        child.communicate()
        assert child.returncode == 0
    return seconds


def _work(events: int, folder: Path, *, share: int, of: int) -> None:
    """A child of S3: every `of`-th file."""
    lake = lake_of(events)
    with closing(_engine(folder)) as engine:
        table = _Table.of(folder, engine)
        out = folder / f"worker{share}-{of}"
        out.mkdir(exist_ok=True)
        people = lake.people(FEW)
        mine = replace(table, folder=out, files=_hit_files(table, people)[share::of])
        eraser = mine.eraser(people)
        print("ready", flush=True)
        sys.stdin.readline()
        done = erase_files(mine, eraser)
        print("done", flush=True)
        assert all(f.counts.hit for f in done)
        shutil.rmtree(out)


if __name__ == "__main__":
    _work(int(sys.argv[1]), Path(sys.argv[2]), share=int(sys.argv[3]), of=int(sys.argv[4]))
