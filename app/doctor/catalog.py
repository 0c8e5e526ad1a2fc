"""Can each table of the map be erased from? Settings, shapes, columns; reads only.

Not here: changing the settings (`clearlake lake fix`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from app.doctor.results import (
    Area,
    Check,
    Outcome,
    Probed,
    Verdict,
    examine,
    failed,
    judged,
    passed,
    skipped,
)
from app.domain.datasets import DataMap, Dataset
from app.domain.loaders import loader_advice
from app.lake.mapcheck import column_problems
from app.lake.table_fixes import table_differences
from app.lake.table_ports import TableEngine, TableHead
from app.lake.table_settings import partition_columns

FIX = "Run `clearlake lake fix --map ...` and look, then with --apply."
ISOLATION = ("write.delete.isolation-level", "write.update.isolation-level")
METRICS = "write.metadata.metrics."
AFTER_COMMIT = "write.metadata.delete-after-commit.enabled"


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the map."""

    engine: TableEngine = field(repr=False)
    data_map: DataMap = field(repr=False)
    dataset: Dataset
    name: str

    def head(self) -> TableHead:
        """Fresh from the catalog."""
        return self.engine.head(self.name)


def examine_catalog(data_map: DataMap, *, engine_of: Callable[[], TableEngine]) -> Iterator[Probed]:
    """Every check on the catalog, and on each of its tables that the map names."""
    opened: list[TableEngine] = []

    def reachable(_: DataMap) -> Verdict:
        opened.append(engine_of())
        for dataset in data_map.tables:
            assert dataset.table is not None
            opened[0].exists(dataset.table)
        return passed("It answers.")

    assert data_map.catalog is not None
    first: Sequence[Check[DataMap]] = (("reachable", reachable),)
    seen = list(examine(Area.CATALOG, data_map.catalog.name, data_map, checks=first))
    yield from seen
    if seen[-1].outcome is Outcome.PASS:
        for dataset in data_map.tables:
            table = Table(opened[0], data_map, dataset, dataset.table or "")
            yield from examine(Area.CATALOG, table.name, table, checks=CHECKS)
    yield from examine_loaders(data_map)


def examine_loaders(data_map: DataMap) -> Iterator[Probed]:
    """What becomes of rewritten objects."""
    for dataset in data_map.bronze:
        yield from examine(Area.CATALOG, dataset.name, dataset, checks=(("loader", _loader),))


def _loader(dataset: Dataset) -> Verdict:
    advice = " ".join(loader_advice(dataset))
    if dataset.loader or dataset.replica_of:
        return passed(advice or "Nobody loads a rewritten object again.")
    return failed("It is not declared who loads it.", advice)


def _exists(table: Table) -> Verdict:
    if not table.engine.exists(table.name):
        return failed("The catalog has no such table.", "Mend the map, or the catalog's name.")
    return passed(f"It is there, in format version {table.head().format_version}.")


def _columns(table: Table) -> Verdict:
    problems = list(column_problems(table.data_map, table.dataset, table.head()))
    return judged(
        holds=not problems,
        saw=" ".join(problems) or "Every column that the map names is there.",
        advice="Mend the map where it says so.",
    )


def _shape(table: Table) -> Verdict:
    reasons = table.engine.refusals(table.name)
    return judged(
        holds=not reasons,
        saw="An erasure would be refused."
        if reasons
        else "Its format, files and location can be erased from.",
        advice=" ".join(reasons),
    )


def _layout(table: Table) -> Verdict:
    if table.engine.refusals(table.name):
        return skipped("Not looked at: mend its shape first.")
    head = table.head()
    declared = {*table.dataset.roles.declared, *table.dataset.json}
    keys = partition_columns(table.engine, head) | {head.plain.get(k, k) for k in head.sort_keys}
    named = sorted(keys & declared)
    return judged(
        holds=not named,
        saw=f"A partition or sort order is made of {', '.join(named)}."
        if named
        else "No partition or sort order is made of an identifier.",
        advice="Use Spark: replace the partition field or the sort order, then CALL "
        "system.rewrite_data_files: paths and manifests name people otherwise.",
    )


def _settings(table: Table, keys: Callable[[str], bool], good: str) -> Verdict:
    wrong = [c for c in table_differences(table.engine, table.dataset) if keys(c.key)]
    said = (f"{c.key} is {c.old or 'not set'}, expected {c.new}" for c in wrong)
    return judged(holds=not wrong, saw="; ".join(said) + "." if wrong else good, advice=FIX)


def _isolation(table: Table) -> Verdict:
    good = "Row changes commit beside running appends."
    return _settings(table, lambda key: key in ISOLATION, good)


def _metrics(table: Table) -> Verdict:
    good = "Manifests keep no bounds of identifiers."
    return _settings(table, lambda key: key.startswith(METRICS), good)


def _metadata(table: Table) -> Verdict:
    return _settings(table, lambda key: key == AFTER_COMMIT, "Old metadata goes with each commit.")


CHECKS: Sequence[Check[Table]] = (
    ("exists", _exists),
    ("columns", _columns),
    ("shape", _shape),
    ("layout", _layout),
    ("isolation", _isolation),
    ("metrics", _metrics),
    ("metadata", _metadata),
)
