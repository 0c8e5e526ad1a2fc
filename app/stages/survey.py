"""What the map does not declare: tables, places, and columns in which known people stand. Reads
only, with the verifier's credential and eyes, and shows no value.

Not here: what a suggestion says (app.lake.coverage).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from app.domain.datasets import DataMap, Dataset
from app.domain.errors import IdentifierMalformedError
from app.domain.findings import Finding, What
from app.domain.identifiers import Identifier, Kind, Target, Targets, checked_identifier
from app.domain.progress import Say
from app.lake.coverage import (
    Held,
    declared_paths,
    shown_table,
    suggested_column,
    suggested_place,
    suggested_table,
)
from app.lake.mapcheck import leaf_types
from app.lake.ports import Doors
from app.lake.table_ports import TableEngine
from app.lake.verify import find_person
from app.stages.search import catalog_tables

_KINDS = (Kind.USER_ID, Kind.ANON_ID, Kind.DEVICE_FP)
_NO_COLUMNS = frozenset(
    {"object key", "metadata", "tag", "header", "text", "line that cannot be parsed"}
)
"""Places in an object that are no column."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found that nobody declared, and lines for the map."""

    people: int
    """Whose identifiers were looked for."""
    tables: tuple[str, ...]
    places: tuple[str, ...]
    columns: tuple[Held, ...]
    suggestions: Mapping[str, tuple[str, ...]]
    """Dataset (or `datasets`, for new ones) -> lines of YAML."""

    @property
    def is_clean(self) -> bool:
        """Whether everything is declared."""
        return not (self.tables or self.places or self.columns)


def survey(data_map: DataMap, *, doors: Doors, people: int, say: Say) -> Survey:
    """Look for what the map leaves out.

    1. Take the identifiers of so many people of the identity table, if the map has one.
    2. Read every declared place and what lies beside them, as for one person; here all the values
       of a kind are one person, so that a finding tells the kind and nobody.
    3. A column without a role in which one stood is undeclared; so is a table of the catalog or a
       place beside the declared ones that no dataset names, whatever stands in it.
    """
    known, number = _identifiers(data_map, doors, people=people)
    targets = _by_kind(known)
    found = find_person(
        data_map,
        targets=targets,
        store=doors.verifier,
        metadata_location=lambda table: _engine(doors).head(table).metadata_location,
        progress=lambda dataset, done, of: say("scan", dataset, done, of),
    )
    declared = {d.table for d in data_map.tables}
    tables = [t for t in catalog_tables(doors) or () if t not in declared]
    columns = tuple(_columns(data_map, found.findings))
    return Survey(
        people=number,
        tables=tuple(sorted(map(shown_table, tables))),
        places=found.undeclared,
        columns=columns,
        suggestions=_lines(data_map, doors, tables=tables, places=found.undeclared, held=columns),
    )


def _identifiers(
    data_map: DataMap, doors: Doors, *, people: int
) -> tuple[frozenset[Identifier], int]:
    identity = next((d for d in data_map.tables if d.is_identity), None)
    if identity is None or identity.table is None:
        return frozenset(), 0
    names = {k: identity.identity_columns.get(k.value, ())[:1] for k in _KINDS}
    columns = [column for found in names.values() for column in found]
    rows = (
        row
        for batch in _engine(doors).batches(identity.table, columns=columns)
        for row in batch.to_pylist()
    )
    chosen = list(islice(rows, people))
    known: set[Identifier] = set()
    for row in chosen:
        for kind, found in names.items():
            known.update(_plain(kind, (row[column] for column in found)))
    return frozenset(known), len(chosen)


def _plain(kind: Kind, values: Iterable[object]) -> Iterator[Identifier]:
    """What an erasure would take for an identifier too: no tombstones, no placeholders."""
    for value in values:
        for text in value if isinstance(value, list) else [value]:
            try:
                if isinstance(text, str):
                    yield checked_identifier(kind, text, place="the identity table")
            except IdentifierMalformedError:
                continue


def _by_kind(known: Iterable[Identifier]) -> Targets:
    """One subject a kind: nobody is told from anybody else."""
    order = {kind: index for index, kind in enumerate(_KINDS)}
    by_value = {i.value: Target(i, order[i.kind]) for i in sorted(known)}
    owners = {i.value: 0 for i in known if i.kind is Kind.USER_ID}
    return Targets(tuple(k.value for k in _KINDS), by_value, owners)


def _columns(data_map: DataMap, findings: Iterable[Finding]) -> Iterator[Held]:
    declared = {d.name: (d, declared_paths(d)) for d in data_map.datasets}
    counts: Counter[tuple[str, str, Kind]] = Counter()
    for finding in findings:
        if finding.dataset not in declared or finding.subject is None:
            continue
        dataset, paths = declared[finding.dataset]
        path = _column(dataset, finding)
        if path is not None and path not in paths:
            counts[dataset.name, path, _KINDS[finding.subject]] += finding.count
    for (name, path, kind), count in sorted(counts.items()):
        yield Held(name, path, kind, count)


def _column(dataset: Dataset, finding: Finding) -> str | None:
    """The column a finding speaks of; None: it speaks of something else."""
    if finding.what not in (What.RESIDUE, What.WITHHELD):
        return None
    where = finding.place.rpartition(", ")[2]
    if dataset.table is None:
        return None if where in _NO_COLUMNS else where
    return where.removeprefix("column ") if where.startswith("column ") else None


def _lines(
    data_map: DataMap,
    doors: Doors,
    *,
    tables: Iterable[str],
    places: Iterable[str],
    held: Iterable[Held],
) -> dict[str, tuple[str, ...]]:
    new = [
        suggested_table(data_map, t, columns=leaf_types(_engine(doors).head(t)).keys())
        for t in sorted(tables)
    ]
    found: dict[str, list[str]] = {"datasets": [*new, *map(suggested_place, places)]}
    for each in held:
        table = data_map.dataset(each.dataset).table
        columns = leaf_types(_engine(doors).head(table)) if table is not None else {}
        path = each.path
        texts = [c for c, kind in columns.items() if kind == "string" and path not in columns]
        found.setdefault(each.dataset, []).append(suggested_column(each, columns=texts))
    return {name: tuple(dict.fromkeys(lines)) for name, lines in found.items() if lines}


def _engine(doors: Doors) -> TableEngine:
    assert doors.verify_engine is not None
    return doors.verify_engine
