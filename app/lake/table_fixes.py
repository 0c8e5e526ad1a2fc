"""`clearlake lake fix`: the settings of tables that are there, changed so that they can be erased
from, and changed back. No row, file or snapshot is touched.

What a key was before stands in the table itself, as the property `clearlake.fix.KEY`: in the same
commit as the change, so that neither is ever without the other, and with the table wherever it
goes. Its value is JSON, {"old": ..., "new": ...}; an old of null was not set.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.domain.datasets import DataMap, Dataset
from app.domain.errors import LakeError
from app.domain.failpoints import failpoint
from app.lake.mapcheck import leaf_types
from app.lake.table_ports import TableEngine
from app.lake.table_settings import wanted_changes

KEPT = "clearlake.fix."


@dataclass(frozen=True, slots=True)
class Change:
    """One setting of one table."""

    table: str
    key: str
    old: str | None
    """None: not set, so that engines use their own default."""
    new: str | None
    by_others: bool = False
    """Of an undo: somebody set it to something else since, and that stays."""


def differences(engine: TableEngine, data_map: DataMap) -> tuple[Change, ...]:
    """What has to change on each table of the map. Reads only."""
    return tuple(c for dataset in _each_table(data_map) for c in table_differences(engine, dataset))


def table_differences(engine: TableEngine, dataset: Dataset) -> tuple[Change, ...]:
    """The same for one table."""
    assert dataset.table is not None
    head = engine.head(dataset.table)
    wanted = wanted_changes(
        head.properties,
        columns={**head.columns, **leaf_types(head)},
        declared=dataset.roles.declared | set(dataset.json),
    )
    return tuple(
        Change(dataset.table, key, head.properties.get(key), new) for key, new in wanted.items()
    )


def recorded(engine: TableEngine, data_map: DataMap) -> tuple[Change, ...]:
    """What an undo would change: from what stands there now to what was there before."""
    found: list[Change] = []
    for dataset in _each_table(data_map):
        assert dataset.table is not None
        properties = engine.head(dataset.table).properties
        for name, text in sorted(properties.items()):
            if name.startswith(KEPT):
                key = name.removeprefix(KEPT)
                old, new = _kept(dataset.table, key, text)
                now = properties.get(key)
                found.append(Change(dataset.table, key, now, old, by_others=now != new))
    return tuple(found)


def apply(engine: TableEngine, changes: Iterable[Change]) -> None:
    """Make these changes, one commit a table, each old value kept with it."""
    for table, items in _by_table(changes):
        wanted: dict[str, str | None] = {}
        for item in items:
            wanted[item.key] = item.new
            wanted[KEPT + item.key] = json.dumps({"old": item.old, "new": item.new})
        failpoint("fix.before_apply")
        engine.set_properties(table, wanted)
        failpoint("fix.after_apply")


def undo(engine: TableEngine, changes: Iterable[Change]) -> None:
    """Put back what `recorded` found, one commit a table. What others set since stays theirs."""
    for table, items in _by_table(changes):
        back: dict[str, str | None] = {item.key: item.new for item in items if not item.by_others}
        failpoint("fix.before_undo")
        engine.set_properties(table, {**back, **{KEPT + item.key: None for item in items}})
        failpoint("fix.after_undo")


def _by_table(changes: Iterable[Change]) -> Iterator[tuple[str, list[Change]]]:
    tables: dict[str, list[Change]] = {}
    for item in changes:
        tables.setdefault(item.table, []).append(item)
    yield from tables.items()


def _each_table(data_map: DataMap) -> Iterator[Dataset]:
    """Each table once, whatever number of datasets it has."""
    yield from {dataset.table: dataset for dataset in data_map.tables}.values()


def _kept(table: str, key: str, text: str) -> tuple[str | None, str | None]:
    try:
        found = json.loads(text)
        return found["old"], found["new"]
    except (ValueError, KeyError, TypeError) as err:
        raise LakeError(
            f"table {table}: the property {KEPT}{key} is not what `lake fix` wrote. Take it away."
        ) from err
