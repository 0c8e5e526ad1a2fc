"""Rows that say who used which value: read from NDJSON objects and from tables, in one form.

Only rows that hold one of the values asked for. Not here: what follows from them
(app.lake.identities).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import translate

import pyarrow as pa
import pyarrow.compute as pc

from app.domain.datasets import Dataset, Roles, Where
from app.domain.errors import ObjectUnreadableError
from app.domain.identifiers import Identifier, Kind
from app.domain.policies import matches
from app.lake.bronze_lines import BOM
from app.lake.codecs import ContentError, blocks, decoded
from app.lake.jsontext import JsonTextError, may_hold
from app.lake.jsonvalues import texts_by_path
from app.lake.ports import ObjectInfo, ObjectStore, Version
from app.lake.table_ports import TableEngine
from app.lake.tokens import TokenFilter, Words

ValuesAt = Callable[[str], Iterable[str]]


@dataclass(frozen=True, slots=True)
class LinkRow:
    """What one row says of people. Personal, and never kept longer than the resolving."""

    owners: frozenset[str] = field(repr=False)
    linked: frozenset[Identifier] = field(repr=False)
    derived: frozenset[str] = field(repr=False)
    is_link: bool
    """A row of the identity history or of dim_identity: its owners used its linked values."""
    kept: str | None = None
    """The ground on which a `keep_when` of the dataset keeps it."""
    place: ObjectInfo | None = field(default=None, repr=False)
    """The object that it stands in."""
    size: int = 0
    """Bytes of the line, in an object."""
    mentions: frozenset[str] = field(default=frozenset(), repr=False)
    """User_ids that the row names besides its owners."""

    @property
    def people(self) -> frozenset[Identifier]:
        """Everybody whom the row names in a declared column."""
        users = (Identifier(Kind.USER_ID, v) for v in self.owners | self.mentions if v)
        return self.linked.union(users)


def bronze_rows(
    store: ObjectStore, dataset: Dataset, *, links: Where | None, values: Set[str]
) -> Iterator[LinkRow]:
    """Rows of the current versions under the dataset's location that hold one of `values`."""
    assert dataset.location is not None
    token_filter, words = TokenFilter(values), Words(values)
    current = (v for v in store.versions(dataset.location) if v.is_latest and not v.is_marker)
    for line, info in (hit for v in current for hit in _hit_lines(store, v, token_filter)):
        if not may_hold(line, words):
            continue
        try:
            at = texts_by_path(line.removeprefix(BOM))
        except JsonTextError:
            continue  # the eraser parks such a line; it cannot say who used what
        values_at = _lookup(at)
        yield replace(
            _row(dataset.roles, values_at, links=links),
            kept=_kept(dataset, values_at),
            place=info,
            size=len(line),
        )


def _hit_lines(
    store: ObjectStore, version: Version, token_filter: TokenFilter
) -> Iterator[tuple[bytes, ObjectInfo]]:
    """Lines that may hold one of the filter's values. An object that nobody can read says nothing
    here: the eraser parks it by name, and the second look calls it unreadable.
    """
    opened = store.open(version.uri, version_id=version.version_id)
    with suppress(ContentError, ObjectUnreadableError), opened as stream:
        info = stream.info
        for data, start, end in blocks(decoded(stream.read)[1]):
            past = start
            for position in token_filter.candidates(memoryview(data)[start:end]).tolist():
                at = start + position
                if at >= past:
                    past = data.find(b"\n", at, end) + 1 or end
                    yield data[data.rfind(b"\n", start, at) + 1 or start : past], info


def _lookup(at: Mapping[str, Iterable[str]]) -> ValuesAt:
    return lambda path: at.get(path, ())


def _row(roles: Roles, values_at: ValuesAt, *, links: Where | None) -> LinkRow:
    return LinkRow(
        owners=frozenset(_owners(roles, values_at, row_at=values_at)),
        linked=frozenset(_linked(roles, values_at)),
        derived=frozenset(v for path in roles.derived for v in values_at(path) if v),
        is_link=links is not None and matches(links, values_at),
        mentions=_mentions(roles, values_at),
    )


def _mentions(roles: Roles, values_at: ValuesAt) -> frozenset[str]:
    return frozenset(v for path in roles.mentions for v in values_at(path) if v)


def _kept(dataset: Dataset, values_at: ValuesAt) -> str | None:
    grounds = (rule.ground for rule in dataset.keep_when if matches(rule.where, values_at))
    return next(grounds, None)


def _owners(roles: Roles, values_at: ValuesAt, *, row_at: ValuesAt) -> Iterator[str]:
    for path in roles.owner:
        yield from values_at(path)
    for when in roles.owner_when:
        if matches(when.where, row_at):
            for path in when.columns:
                yield from values_at(path)


def _linked(roles: Roles, values_at: ValuesAt) -> Iterator[Identifier]:
    for kind, paths in roles.linked:
        for path in paths:
            yield from (Identifier(kind, v) for v in values_at(path) if v)


def table_rows(
    engine: TableEngine, dataset: Dataset, *, links: Where | None, values: Set[str]
) -> Iterator[LinkRow]:
    """Current rows of the table that hold one of `values` in a declared column.

    Rows of the identity history are all looked into, because their JSON may name the person.
    """
    assert dataset.table is not None
    available = engine.head(dataset.table).columns
    declared = sorted(dataset.roles.declared)
    wheres = [] if links is None else [links]
    wheres += [when.where for roles in dataset.json.values() for when in roles.owner_when]
    wheres = [w for w in wheres if all(path in available for path, _ in w.all_of)]
    kept = [path for rule in dataset.keep_when for path, _ in rule.where.all_of]
    columns = [*declared, *dataset.json, *(path for w in wheres for path, _ in w.all_of)]
    columns += [path for path in kept if path in available]
    wanted = pa.array(sorted(values), pa.string())
    for batch in engine.batches(dataset.table, columns=dict.fromkeys(columns)):
        mask = _holds(batch, declared, wanted)
        for where in wheres if dataset.json else ():
            mask = pc.or_(mask, _where_mask(batch, where))
        for record in batch.filter(mask).to_pylist():
            row = table_row(record, dataset, links=links)
            if (
                row.owners & values
                or row.derived & values
                or any(i.value in values for i in row.linked)
            ):
                yield row


def _holds(batch: pa.RecordBatch, columns: Iterable[str], wanted: pa.Array) -> pa.Array:
    mask = pa.repeat(pa.scalar(value=False), batch.num_rows)
    for name in columns:
        column = batch.column(name)
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            inside = pc.is_in(column.flatten(), value_set=wanted.cast(column.type.value_type))
            rows = pc.list_parent_indices(column).filter(inside)
            hit = pc.is_in(pa.array(range(batch.num_rows), rows.type), value_set=rows)
        else:
            hit = pc.is_in(column.cast(pa.string()), value_set=wanted)
        mask = pc.or_(mask, hit)
    return mask


def _where_mask(batch: pa.RecordBatch, where: Where) -> pa.Array:
    mask = pa.repeat(pa.scalar(value=True), batch.num_rows)
    for path, patterns in where.all_of:
        pattern = "|".join(re.sub(r"\\Z$|\\z$", "$", translate(p)) for p in patterns)
        fits = pc.match_substring_regex(batch.column(path).cast(pa.string()), f"^(?:{pattern})")
        mask = pc.and_(mask, pc.fill_null(fits, fill_value=False))
    return mask


def table_row(record: Mapping[str, object], dataset: Dataset, *, links: Where | None) -> LinkRow:
    """What one row of a table says, by its flat columns."""

    def row_at(path: str) -> Iterable[str]:
        return texts_of(record.get(path))

    plain = _row(dataset.roles, row_at, links=links)
    owners, linked, derived = set(plain.owners), set(plain.linked), set(plain.derived)
    mentions = set(plain.mentions)
    for column, roles in dataset.json.items():
        for text in row_at(column):
            inside = _json_lookup(text)
            owners.update(_owners(roles, inside, row_at=row_at))
            linked.update(_linked(roles, inside))
            mentions |= _mentions(roles, inside)
            derived.update(v for path in roles.derived for v in inside(path) if v)
    return LinkRow(
        owners=frozenset(o for o in owners if o),
        linked=frozenset(linked),
        derived=frozenset(derived),
        is_link=plain.is_link or dataset.is_identity,
        kept=_kept(dataset, row_at),
        mentions=frozenset(mentions),
    )


def texts_of(value: object) -> Iterable[str]:
    """Every text of a column's value."""
    if value is None:
        return ()
    if isinstance(value, list):
        return [text for element in value for text in texts_of(element)]
    return (str(value),)


def _json_lookup(text: str) -> ValuesAt:
    try:
        at = texts_by_path(text.encode("utf-8", "surrogatepass"))
    except JsonTextError:
        return lambda _: ()
    return _lookup(at)
