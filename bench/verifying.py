"""V1: the second look, at pairs before the purge and at the whole lake after it.

Bronze in MB of it a CPU second; Silver against a dense rewrite of the same files. Replacements go
to a folder of their own. Not here: the erasers' speed (bronze, tables), requests.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from app.domain.datasets import DataMap, Dataset
from app.domain.findings import Finding, What
from app.domain.identifiers import Targets
from app.domain.receipts import FileWork, ObjectWork, TableWork, WorkState
from app.lake.bronze import erase_objects, listed_keys, planned
from app.lake.local import LocalPurger, LocalStore
from app.lake.purge_objects import purge_objects
from app.lake.pyiceberg_engine import PyIcebergEngine
from app.lake.table_files import FileEraser, HiddenRows
from app.lake.table_texts import Rule
from app.lake.tombstones import Tombstones
from app.lake.verify import Verified, check_files, check_objects, verify_dataset
from bench.bronze import FEW, many_of, strangers
from bench.lakes import BenchLake
from bench.rows import Row, measured

PAIRS, SHARE = 150.0, 0.6
_HARMLESS = (What.NOTE, What.WITHHELD)


def rows(lake: BenchLake) -> Iterator[Row]:
    """V1, four times."""
    with tempfile.TemporaryDirectory(prefix="clearlake-bench-", dir=lake.folder.parent) as folder:
        yield from _bronze(lake, Path(folder))
        yield from _silver(lake, Path(folder))


# --- Bronze --------------------------------------------------------------------------------------


def _bronze(lake: BenchLake, folder: Path) -> Iterator[Row]:
    """Pairs of every object that changed, then every object once they are all that is left."""
    scratch = _Bronze.of(lake, folder)
    targets = Targets.of(lake.people(FEW))
    works = scratch.erased(targets)
    pairs = [w for w in works if w.state is WorkState.WRITTEN]
    assert pairs
    _must_see_a_wrong_receipt(scratch, pairs[0], targets)
    (checking,) = measured(lambda: _nothing_in(scratch.checked(pairs, targets)))
    size = sum(w.bytes_before for w in pairs) / 1e6
    cpu = checking.cpu_seconds
    yield Row("V1 pairs", "Bronze pairs checked, MB of bases a CPU second", size / cpu, PAIRS,
              is_at_least=True, unit="MB/s", more=_more(cpu, pairs=len(pairs)))  # fmt: skip

    assert _residue(scratch.looked(works, targets)), "what is superseded still holds them"
    works = scratch.purged(works)
    (looking,) = measured(lambda: _nothing_in(scratch.looked(works, targets).findings))
    size, cpu = sum(w.bytes_after for w in works) / 1e6, looking.cpu_seconds
    yield Row("V1 bronze", "Bronze looked at again, MB a CPU second", size / cpu, PAIRS,
              is_at_least=True, unit="MB/s", more=_more(cpu, objects=len(works)))  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Bronze:
    """The lake's objects in a folder of their own: the same bytes, other names of them."""

    folder: Path
    data_map: DataMap
    store: LocalStore

    @classmethod
    def of(cls, lake: BenchLake, folder: Path) -> _Bronze:
        for file in lake.files:
            name = folder / file.relative_to(lake.folder)
            name.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, name)  # a replacement goes to a file of its own
        moved = replace(lake.bronze, location=f"file://{folder}/raw/")
        data_map = replace(lake.data_map, datasets=(moved,), catalog=None)
        return cls(folder, data_map, LocalStore([f"file://{folder}/"]))

    @property
    def dataset(self) -> Dataset:
        return self.data_map.datasets[0]

    def erased(self, targets: Targets) -> list[ObjectWork]:
        return erase_objects(
            [planned(versions) for versions in listed_keys(self.store, self.dataset)],
            dataset=self.dataset,
            targets=targets,
            tombstones=Tombstones(bytes(32)),
            store=self.store,
            run_id="bench",
            spool=self.folder / "spool",
            unparsable="park",
            record=_forget,
            stop=_never,
        )

    def checked(self, works: Sequence[ObjectWork], targets: Targets) -> list[Finding]:
        return check_objects(
            works, dataset=self.dataset, targets=targets, store=self.store, unparsable="park"
        )

    def purged(self, works: Sequence[ObjectWork]) -> list[ObjectWork]:
        return purge_objects(
            [w.to(WorkState.CHECKED) if w.state is WorkState.WRITTEN else w for w in works],
            store=self.store,
            purger=LocalPurger([f"file://{self.folder}/"]),
            record=_forget,
            stop=_never,
        )

    def looked(self, works: Sequence[ObjectWork], targets: Targets) -> Verified:
        return verify_dataset(
            self.dataset,
            data_map=self.data_map,
            targets=targets,
            store=self.store,
            metadata_location=str,
            objects=works,
            tables={},
            horizon=self.store.now(),
            also_listed=lambda _: (),
            progress=lambda *_: None,
        )


def _must_see_a_wrong_receipt(scratch: _Bronze, work: ObjectWork, targets: Targets) -> None:
    counts = replace(work.counts, values=work.counts.values + 1)
    assert _blocking(scratch.checked([replace(work, counts=counts)], targets))


# --- Silver --------------------------------------------------------------------------------------


def _silver(lake: BenchLake, folder: Path) -> Iterator[Row]:
    """Every file of lake.events: its dense replacement, the check of it, and the second look."""
    (dataset,) = (d for d in lake.data_map.tables if d.table == "lake.events")
    many = Targets.of(lake.people(many_of(lake)))
    nobody = Targets.of([strangers(1_000)])
    with closing(lake.engine()) as engine:
        silver = _Silver(engine, lake.data_map, dataset, folder)
        work = silver.rewritten(many)
        assert work.counts.deleted > 0
        assert _blocking(silver.checked(silver.with_wrong_receipt(work), many))
        assert _residue(silver.looked(many))
        rewriting, checking, looking = measured(
            lambda: silver.rewritten(many),
            lambda: _nothing_in(silver.checked(work, many)),
            lambda: _nothing_in(silver.looked(nobody).findings),
        )
    dense = rewriting.cpu_seconds
    for name, what, cost in (
        ("V1 files", f"Silver pairs of {len(many.subjects):,} people checked", checking),
        ("V1 silver", "Silver looked at again, rows and metadata", looking),
    ):
        more = _more(cost.cpu_seconds, dense_rewrite=round(dense, 3), files=len(work.files))
        what += ": share of a dense rewrite"
        share = cost.cpu_seconds / dense
        yield Row(name, what, share, SHARE, is_at_least=False, more=more)


@dataclass(frozen=True, slots=True)
class _Silver:
    """One table of the lake, which is not changed."""

    engine: PyIcebergEngine
    data_map: DataMap
    dataset: Dataset
    folder: Path

    def rewritten(self, targets: Targets) -> TableWork:
        """Every file, without these people, in the folder."""
        assert self.dataset.table is not None
        head = self.engine.head(self.dataset.table)
        assert head.snapshot_id is not None
        rule = Rule.of(self.dataset, targets=targets, tombstones=Tombstones(bytes(32)))
        eraser = FileEraser(
            engine=self.engine, rule=rule, head=head, hidden=HiddenRows(self.engine)
        )
        files = []
        for number, file in enumerate(self.engine.files(head.table, snapshot_id=head.snapshot_id)):
            new = f"file://{self.folder}/{number}.parquet"
            intent = FileWork(file.path, new, WorkState.READY)
            files.append(eraser.rewrite(intent, file=file))
        work = TableWork(head.table, WorkState.WRITTEN, head.uuid, files=tuple(files))
        return replace(work, counts=files[0].counts)

    def with_wrong_receipt(self, work: TableWork) -> TableWork:
        first, *others = work.files
        counts = replace(first.counts, values=first.counts.values + 1)
        return replace(work, files=(replace(first, counts=counts), *others))

    def checked(self, work: TableWork, targets: Targets) -> list[Finding]:
        return check_files(
            work,
            dataset=self.dataset,
            targets=targets,
            open_file=self.engine.open,
            metadata_location=self._metadata_location(work.table),
        )

    def looked(self, targets: Targets) -> Verified:
        return verify_dataset(
            self.dataset,
            data_map=self.data_map,
            targets=targets,
            store=LocalStore([f"file://{self.folder}/"]),
            metadata_location=self._metadata_location,
            objects=(),
            tables={},
            horizon=None,
            also_listed=lambda _: (),
            progress=lambda *_: None,
        )

    def _metadata_location(self, table: str) -> str:
        return self.engine.head(table).metadata_location


# --- right before it counts ----------------------------------------------------------------------


def _blocking(findings: Sequence[Finding]) -> list[Finding]:
    return [f for f in findings if f.what not in _HARMLESS]


def _nothing_in(findings: Sequence[Finding]) -> None:
    assert not _blocking(findings), _blocking(findings)[:3]


def _residue(verified: Verified) -> list[Finding]:
    return [f for f in verified.findings if f.what is What.RESIDUE]


def _more(cpu: float, **others: float) -> dict[str, float | int | str]:
    return {"cpu_seconds": round(cpu, 3), **others}


def _forget(_works: Sequence[ObjectWork]) -> None:
    """No journal."""


def _never() -> bool:
    return False
