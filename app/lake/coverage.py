"""What the data map does not declare: places beside the declared ones, tables, and columns in which
identifiers stood. Suggestions only; nothing is read or changed here.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from app.domain.datasets import DataMap, Dataset

_PLAIN_NAME = re.compile(r"[A-Za-z_.][A-Za-z_.-]{0,31}[0-9]{0,2}")
_SHALLOWEST = 2
"""A folder nearer to the root of a machine than this is not one lake's."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the declared datasets lie, and the roots under which all is listed."""

    declared: Mapping[str, Dataset] = field(repr=False)
    """Prefix, with the last slash -> its dataset."""
    roots: tuple[str, ...]

    @classmethod
    def of(cls, declared: Mapping[str, Dataset], *, warehouse: str | None) -> Places:
        """The roots of some prefixes: their whole buckets; their nearest common folder."""
        known = [*declared, *([warehouse.rstrip("/") + "/"] if warehouse else [])]
        roots = {_bucket(p) for p in known if not p.startswith("file://")}
        folders = [p.removeprefix("file://").rstrip("/") for p in known if p.startswith("file://")]
        if folders:
            shared = os.path.commonpath(folders)
            deep = len([p for p in shared.split("/") if p]) >= _SHALLOWEST
            roots |= {f"file://{shared}/"} if deep else {f"file://{f}/" for f in folders}
        return cls(dict(declared), tuple(sorted(roots)))

    def dataset_of(self, uri: str) -> Dataset | None:
        """The dataset whose prefix a URI lies under; the longest prefix counts."""
        prefixes = [p for p in self.declared if uri.startswith(p)]
        return self.declared[max(prefixes, key=len)] if prefixes else None

    def root_of(self, prefix: str) -> str:
        """The root that a declared prefix lies under."""
        return max(r for r in self.roots if prefix.startswith(r))


def undeclared_places(places: Places, uris: Iterable[str]) -> tuple[str, ...]:
    """Where objects of no dataset lie: `s3://bucket/tmp/ (12 objects)`. A folder whose name may be
    somebody's value is shown as `*`.
    """
    found: Counter[str] = Counter()
    for uri in uris:
        root = max((r for r in places.roots if uri.startswith(r)), key=len, default="")
        first, slash, _ = uri.removeprefix(root).partition("/")
        name = first if _PLAIN_NAME.fullmatch(first) else "*"
        found[f"{root}{name}{slash}"] += 1
    return tuple(f"{place} ({n} object{'s'[: n != 1]})" for place, n in sorted(found.items()))


def undeclared_tables(data_map: DataMap, tables: Iterable[str] | None) -> tuple[str, ...]:
    """Tables of the catalog that no dataset names: `table lake.copy`. A part of a name that may be
    somebody's value is shown as `*`. `tables`: None where the catalog may not be listed.
    """
    if tables is None:
        return ("tables of the catalog (the right to list them is missing)",)
    found = set(tables) - {d.table for d in data_map.datasets if d.table}
    return tuple(sorted(f"table {shown_table(table)}" for table in found))


def shown_table(table: str) -> str:
    """A table's name, each part of it that may be somebody's value as `*`."""
    return ".".join(p if _PLAIN_NAME.fullmatch(p) else "*" for p in table.split("."))


def suggestions(dataset: Dataset, undeclared: Mapping[str, int]) -> tuple[str, ...]:
    """Columns in which identifiers stood and which have no role, most hits first.

    `undeclared`: app.domain.receipts.Counts.undeclared of a run.
    """
    columns = sorted(undeclared.items(), key=lambda item: (-item[1], item[0]))
    return tuple(
        f"{dataset.name}: {path} held identifiers {number} time{'s'[: number != 1]}; "
        "give it a role (linked, mentions or derived)"
        for path, number in columns
        if path not in dataset.roles.declared
    )


def _bucket(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/"
