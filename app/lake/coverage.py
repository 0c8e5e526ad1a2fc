"""What the data map does not declare: places beside the declared ones, tables, and columns in which
identifiers stood. Suggestions only; nothing is read or changed here.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from app.domain.datasets import DataMap, Dataset
from app.domain.identifiers import Kind

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


@dataclass(frozen=True, slots=True, order=True)
class Held:
    """A column of a dataset that has no role, and in which identifiers of a kind stood."""

    dataset: str
    path: str
    """As shown: a part that may be somebody's value is `*`."""
    kind: Kind
    count: int


def declared_paths(dataset: Dataset) -> frozenset[str]:
    """Every path with a role, those inside JSON columns and of an identity table among them."""
    inside = {f"{c}.{path}" for c, roles in dataset.json.items() for path in roles.declared}
    known = {c for columns in dataset.identity_columns.values() for c in columns}
    return dataset.roles.declared | inside | known


def suggested_column(held: Held, *, columns: Iterable[str]) -> str:
    """The role to add to a dataset, in YAML. `columns`: of its table, as a map writes them; none
    for objects. A comment where a person must look first.
    """
    if "*" in held.path:
        return f"# {held.path}: a key that may be somebody's value; look before you declare it"
    top = [c for c in columns if held.path.startswith(c + ".")]
    inner = held.path.removeprefix(max(top, key=len) + ".") if top else held.path
    named = {
        Kind.USER_ID: f"mentions: {{user_id: [{inner}]}}",
        Kind.ANON_ID: f"linked: {{anon_id: [{inner}]}}",
        Kind.DEVICE_FP: f"linked: {{device_fp: [{inner}]}}",
    }
    role = named.get(held.kind, f"derived: [{inner}]")
    return f"json: {{{max(top, key=len)}: {{{role}}}}}" if top else role


def suggested_table(data_map: DataMap, table: str, *, columns: Collection[str]) -> str:
    """The line of a dataset for a table, its roles by the names that the map gives roles to."""
    name = table.rpartition(".")[2]
    if table != shown_table(table) or name in {d.name for d in data_map.datasets}:
        name = "NAME"
    linked = [(kind, path) for d in data_map.tables for kind, path in _linked(d) if path in columns]
    owners = {path for d in data_map.tables for path in d.roles.owner if path in columns}
    roles = [f"owner: {{user_id: [{', '.join(sorted(owners))}]}}"] if owners else []
    if linked:
        pairs = (f"{kind.value}: [{path}]" for kind, path in sorted(set(linked)))
        roles.append(f"linked: {{{', '.join(pairs)}}}")
    line = ", ".join([f"name: {name}", "layer: gold", f"table: {shown_table(table)}", *roles])
    said = "" if roles else "  # no column is called like a declared one: add its roles"
    return f"- {{{line}}}{said}"


def suggested_place(place: str) -> str:
    """The line of a dataset for a folder that `undeclared_places` names."""
    prefix = place.partition(" ")[0]
    if "*" in prefix or not prefix.endswith("/"):
        return f"# {prefix}: move it into a folder with a plain name, or delete it"
    name = re.sub(r"[^A-Za-z0-9_]", "_", prefix.rstrip("/").rpartition("/")[2])
    line = f"name: {name}, layer: bronze, location: {prefix}, format: ndjson"
    return f"- {{{line}}}  # add its roles; or, if these are no events, move it elsewhere"


def _linked(dataset: Dataset) -> Iterator[tuple[Kind, str]]:
    for kind, paths in dataset.roles.linked:
        yield from ((kind, path) for path in paths)


def _bucket(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/"
