"""Does the lake have what the map names? Asked before anything is changed; reads only.

Not here: the map's own form (app.lake.datamap) and what nobody declared (app.lake.coverage).
"""

from __future__ import annotations

from collections.abc import Iterator

from app.domain.datasets import DataMap, Dataset, Roles
from app.domain.errors import DataMapError, UnsupportedTableError
from app.lake.ports import ObjectStore
from app.lake.table_names import normalise
from app.lake.table_ports import TableEngine, TableHead


def check_map(data_map: DataMap, *, store: ObjectStore, engine: TableEngine | None) -> None:
    """Refuse a map that names a missing prefix, table or column, or one that is not of text.

    DataMapError names file, line and what was expected; UnsupportedTableError a table shape that
    cannot be erased with certainty, and the way out; NotVersionedError a bucket that forgets.
    """
    for dataset in data_map.bronze:
        assert dataset.location is not None
        store.require_versioned(dataset.location)
        if next(store.versions(dataset.location), None) is None:
            place = data_map.at(dataset.name, "location")
            raise DataMapError(f"{place}: expected objects under the location; there are none.")
    for dataset in data_map.tables:
        assert dataset.table is not None
        assert engine is not None
        if not engine.exists(dataset.table):
            place = data_map.at(dataset.name, "table")
            raise DataMapError(f"{place}: expected a table of the catalog; it has no such table.")
        head = engine.head(dataset.table)
        for problem in column_problems(data_map, dataset, head):
            raise DataMapError(problem)
        store.require_versioned(normalise(head.location))
        for reason in engine.refusals(dataset.table):
            raise UnsupportedTableError(f"{data_map.at(dataset.name, 'table')}: {reason}")


def leaf_types(head: TableHead) -> dict[str, str]:
    """Column paths as a map writes them (`items.user_id` for every element of a list) -> type. A
    map's keys and values share one: text, where either is.
    """
    types: dict[str, set[str]] = {}
    for path, kind in head.columns.items():
        types.setdefault(head.plain[path], set()).add(kind)
    return {p: "string" if "string" in kinds else min(kinds) for p, kinds in types.items()}


def column_problems(data_map: DataMap, dataset: Dataset, head: TableHead) -> Iterator[str]:
    """Each column that the map names and the table does not have as it must, with the line."""
    types = leaf_types(head)
    text_only = [("mentions", p) for p in dataset.roles.mentions]
    text_only += [("linked", p) for _, paths in dataset.roles.linked for p in paths]
    text_only += [("json", column) for column in dataset.json]
    for key, path in [*_named_columns(dataset.roles), *(("json", c) for c in dataset.json)]:
        if path not in types:
            place = data_map.at(dataset.name, "columns" if dataset.is_identity else key)
            yield f"{place}: expected a column of {dataset.table}; it has no column {path!r}."
    for key, path in text_only:
        if types.get(path, "string") != "string":
            place = data_map.at(dataset.name, key)
            yield f"{place}: expected a text column; {path!r} is {types[path]}."
    for key, path in _owners(dataset.roles):
        if types.get(path, "string") not in ("string", *_numbers(path, head)):
            place = data_map.at(dataset.name, key)
            yield (
                f"{place}: expected a text column, or an integer one that is not inside another; "
                f"{path!r} is {types[path]}."
            )
    if dataset.event_time is not None and dataset.event_time not in types:
        place = data_map.at(dataset.name, "event_time")
        yield f"{place}: expected a column of {dataset.table}; it has no {dataset.event_time!r}."


def _numbers(path: str, head: TableHead) -> tuple[str, ...]:
    """Integers are matched by their decimal text, at the table's top level only."""
    return ("int", "long") if path in head.columns and "." not in path else ()


def _owners(roles: Roles) -> Iterator[tuple[str, str]]:
    yield from (("owner", path) for path in roles.owner)
    yield from (("owner_when", path) for when in roles.owner_when for path in when.columns)


def _named_columns(roles: Roles) -> Iterator[tuple[str, str]]:
    yield from _owners(roles)
    yield from (("linked", path) for _, paths in roles.linked for path in paths)
    yield from (("mentions", path) for path in roles.mentions)
    yield from (("derived", path) for path in roles.derived)
