"""Iceberg tables, dry: every file is looked at, and those that are hit are written anew as a run
does it, into a scratch folder; the verifier compares them. Not here: manifests and commits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow.parquet as pq

from app.bench.costs import Cost, measured, timed, total
from app.bench.figures import Figure, Measured, compared
from app.domain.datasets import Dataset
from app.domain.errors import CheckFailedError
from app.domain.findings import What
from app.domain.identifiers import Targets
from app.domain.receipts import Counts, FileWork, TableWork, WorkState
from app.lake.table_columns import columns, is_text
from app.lake.table_files import FileEraser, HiddenRows
from app.lake.table_ports import DataFile, TableEngine, TableHead
from app.lake.table_texts import Rule
from app.lake.tombstones import Tombstones, new_secret
from app.lake.verify import check_files

_HARMLESS = frozenset({What.NOTE, What.WITHHELD})
_NEW = "new.parquet"


def measure_table(
    dataset: Dataset, *, targets: Targets, engine: TableEngine, scratch: Path, rounds: int
) -> Measured:
    """A table. Nothing is written but into `scratch`, and nothing stays there.

    1. One pass that is not measured: which files are hit; the verifier compares each replacement
       with its file (CheckFailedError).
    2. Rounds of reading the declared columns, of looking for the people, of decoding and encoding
       the files that are hit, and of erasing them, which must come to the same each time.
    """
    assert dataset.table is not None
    head = engine.head(dataset.table)
    files = (
        [] if head.snapshot_id is None else engine.files(head.table, snapshot_id=head.snapshot_id)
    )
    table = _Table(dataset, targets, engine, scratch, head)
    hit = table.hit(files)
    counts = table.erased(hit)
    checking = table.checked(hit)

    def look_again() -> None:
        assert table.hit(files) == hit, "files never change"

    def erase_again() -> None:
        assert table.erased(hit) == counts, "files never change"

    reading, looking, coding, erasing = measured(
        lambda: table.only_declared(files),
        look_again,
        lambda: table.coded(hit),
        erase_again,
        rounds=rounds,
    )
    size, hit_size = (sum(f.size for f in some) for some in (files, hit))
    columns_read = Figure("reading the declared columns", reading, size)
    decoded = Figure("pyarrow: decoding and encoding what is hit", coding, hit_size)
    return Measured(
        dataset.name,
        dataset.layer.value,
        counts={
            "files": len(files),
            "hit": len(hit),
            "rows": sum(f.rows for f in files),
            "rows_hit_files": sum(f.rows for f in hit),
            "deleted": counts.deleted,
            "tombstoned": counts.tombstoned,
            "kept": counts.kept,
        },
        figures=(
            columns_read,
            compared("looking for the people", looking, size, with_=columns_read),
            decoded,
            compared("erasing what is hit", erasing, hit_size, with_=decoded),
            compared("checking what was hit, once", checking, hit_size, with_=decoded),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Table:
    dataset: Dataset
    targets: Targets
    engine: TableEngine
    scratch: Path
    head: TableHead
    secret: bytes = field(default_factory=new_secret, repr=False)

    def hit(self, files: Sequence[DataFile]) -> list[DataFile]:
        """The files that may hold somebody."""
        eraser = self._eraser()
        return [f for f in files if eraser.holds(f)]

    def erased(self, files: Sequence[DataFile]) -> Counts:
        """Write each of these anew without the people, and throw it away."""
        eraser = self._eraser()
        counts = Counts()
        for file in files:
            with self._rewritten(eraser, file) as written:
                counts += written.counts
        return counts

    def checked(self, files: Sequence[DataFile]) -> Cost:
        """The same with the second look, and what that cost."""
        eraser = self._eraser()
        looks: list[Cost] = []
        wrong: set[str] = set()
        for file in files:
            with self._rewritten(eraser, file) as written:
                if written.state is WorkState.WRITTEN:
                    with timed(looks):
                        wrong |= self._wrong(written)
        if wrong:
            raise CheckFailedError(
                f"{self.dataset.name}: the second look does not agree with a replacement "
                f"({', '.join(sorted(wrong))}). Nothing was changed; find out why before you "
                "erase here."
            )
        return total(looks)

    def _wrong(self, written: FileWork) -> set[str]:
        findings = check_files(
            TableWork(table=self.head.table, files=(written,)),
            dataset=self.dataset,
            targets=self.targets,
            open_file=self._beside.open,
            metadata_location=self.head.metadata_location,
        )
        return {f.what.value for f in findings if f.what not in _HARMLESS}

    @contextmanager
    def _rewritten(self, eraser: FileEraser, file: DataFile) -> Iterator[FileWork]:
        work = FileWork(
            old_path=file.path,
            new_path=_NEW,
            state=WorkState.READY,
            delete_paths=tuple(d.path for d in file.deletes),
        )
        try:
            yield eraser.rewrite(work, file=file)
        finally:
            self._new.unlink(missing_ok=True)

    def only_declared(self, files: Sequence[DataFile]) -> None:
        """The columns that the map declares, of every file, and nothing done with them."""
        for file in files:
            with closing(self.engine.open(file.path)) as source:
                parquet = pq.ParquetFile(source)
                keys = self.head.keys.get(file.spec_id, ())
                found = columns(
                    parquet.schema_arrow, dataset=self.dataset, head=self.head, keys=keys
                )
                paths = [parquet.schema.column(n).path for n, c in enumerate(found) if c.declared]
                for number in range(parquet.num_row_groups):
                    parquet.read_row_group(number, columns=paths)

    def coded(self, files: Sequence[DataFile]) -> None:
        """What a rewrite costs at least: everything decoded, and encoded as the file was."""
        level = self.head.properties.get("write.parquet.compression-level")
        for file in files:
            with closing(self.engine.open(file.path)) as source:
                _coded(source, self._new, level=level)
            self._new.unlink(missing_ok=True)

    def _eraser(self) -> FileEraser:
        engine = cast("TableEngine", self._beside)
        rule = Rule.of(self.dataset, targets=self.targets, tombstones=Tombstones(self.secret))
        return FileEraser(engine=engine, rule=rule, head=self.head, hidden=HiddenRows(engine))

    @property
    def _beside(self) -> _Beside:
        return _Beside(self.engine, self._new)

    @property
    def _new(self) -> Path:
        return self.scratch / _NEW


def _coded(source: BinaryIO, path: Path, *, level: str | None) -> None:
    footer = pq.ParquetFile(source).metadata
    if footer.num_row_groups == 0:
        return
    chunks = [footer.row_group(0).column(n) for n in range(footer.num_columns)]
    dictionary = [c.path_in_schema for c in chunks if c.has_dictionary_page]
    texts = {f.name for f in footer.schema.to_arrow_schema() if is_text(f.type)}
    file = pq.ParquetFile(source, read_dictionary=[n for n in dictionary if n in texts])
    codecs = {c.path_in_schema: c.compression for c in chunks}
    options: dict[str, Any] = {
        "compression": {n: "NONE" if c == "UNCOMPRESSED" else c for n, c in codecs.items()},
        "use_dictionary": dictionary or False,
        "store_schema": False,
    }
    if level is not None and level.isdecimal():
        options["compression_level"] = {
            n: int(level) for n, c in codecs.items() if c in ("ZSTD", "GZIP", "BROTLI")
        }
    with pq.ParquetWriter(path, file.schema_arrow, **options) as writer:
        for number in range(file.num_row_groups):
            rows = file.read_row_group(number)
            writer.write_table(rows, row_group_size=max(rows.num_rows, 1))


@dataclass(frozen=True, slots=True)
class _Beside:
    """The table's files with one new file beside them, in the scratch folder: what the eraser and
    the verifier of a file ask for, and nothing that writes anywhere else.
    """

    engine: TableEngine
    new: Path

    def open(self, path: str) -> BinaryIO:
        return self.new.open("rb") if path == _NEW else self.engine.open(path)

    def create(self, path: str) -> BinaryIO:
        assert path == _NEW
        return self.new.open("wb")
