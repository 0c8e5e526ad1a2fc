"""Who is this person in the lake: from a given identifier to everything that points at them.

It expands outward from a given user_id only, and never pulls in another user. Reads only. Not here:
how rows are found (app.lake.link_rows), what is done with the values (the erasers).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from app.domain.datasets import DataMap, Dataset
from app.domain.identifiers import Identifier, Identity, Kind, Shared, Subject
from app.lake.link_rows import LinkRow, bronze_rows, table_rows
from app.lake.ports import ObjectStore
from app.lake.table_ports import TableEngine
from app.lake.tally import Tally

Rows = Callable[[Dataset, Set[str]], Iterator[LinkRow]]


@dataclass(slots=True)
class _Found:
    """What was found of one subject so far."""

    subject: Subject
    anchors: frozenset[str]
    by_source: dict[str, set[Identifier]] = field(default_factory=lambda: defaultdict(set))
    derived: set[str] = field(default_factory=set)
    unlinked: set[Identifier] = field(default_factory=set)
    """Values on the person's own rows that no link names: not erased elsewhere, but said."""

    @property
    def linked(self) -> frozenset[Identifier]:
        return frozenset().union(*self.by_source.values())


def resolve(
    subjects: Sequence[Subject],
    *,
    data_map: DataMap,
    store: ObjectStore,
    engine: TableEngine | None,
    shared_review: str | None = None,
    tally: Tally | None = None,
) -> list[Identity]:
    """The identity of each subject, in the given order. `tally` counts the rows on the way.

    1. Links and derived values from rows that name a given user_id: dim_identity, the whole
       identity.link history of the tables, and Bronze (also what is not loaded yet).
    2. Who else used those values: a linked value of several user_ids is *shared* (decided by the
       map, or by `shared_review` where it leaves them to a person); a derived value that stands on
       somebody else's own row is not harvested.
    """

    def rows(dataset: Dataset, values: Set[str]) -> Iterator[LinkRow]:
        where = data_map.links.where if data_map.links else None
        if dataset.location is not None:
            return bronze_rows(store, dataset, links=where, values=values)
        assert engine is not None
        return table_rows(engine, dataset, links=where, values=values)

    found = [_Found(s, _anchors(s)) for s in subjects]
    sources = [d for d in data_map.datasets if _tells_of_people(d, data_map)]
    tally = tally if tally is not None else Tally()
    _read_own_rows(found, sources, rows, tally=tally)
    users = _read_other_users(found, sources, rows, tally=tally)
    return [_identity(f, data_map, users=users, shared_review=shared_review) for f in found]


def _anchors(subject: Subject) -> frozenset[str]:
    return frozenset(i.value for i in subject.given if i.kind is Kind.USER_ID)


def _tells_of_people(dataset: Dataset, data_map: DataMap) -> bool:
    if dataset.replica_of is not None:
        return False
    is_history = data_map.links is not None and data_map.links.dataset == dataset.name
    roles = dataset.roles
    return (
        dataset.is_identity or is_history or bool(dataset.location or roles.derived or roles.owner)
    )


def _read_own_rows(
    found: Sequence[_Found], sources: Iterable[Dataset], rows: Rows, *, tally: Tally
) -> None:
    by_anchor = {anchor: f for f in found for anchor in f.anchors}
    if not by_anchor:
        return
    for dataset in sources:
        for row in rows(dataset, by_anchor.keys()):
            for person in {id(f): f for o in row.owners if (f := by_anchor.get(o))}.values():
                if row.is_link:
                    person.by_source[dataset.name] |= row.linked
                else:
                    person.unlinked |= row.linked
                if row.owners <= person.anchors:
                    person.derived |= row.derived
                others = len(row.owners - person.anchors)
                tally.owned(person.subject.name, dataset, row, others=others)


def _read_other_users(
    found: Sequence[_Found], sources: Iterable[Dataset], rows: Rows, *, tally: Tally
) -> Mapping[Identifier, Set[str]]:
    """Drops derived values that are other people's too; returns who used each linked value."""
    users: dict[Identifier, set[str]] = defaultdict(set)
    linked = {i for f in found for i in (*f.linked, *f.subject.given) if i.kind is not Kind.USER_ID}
    values = {i.value for i in linked}.union(*(f.derived for f in found))
    if not values:
        return users
    whose = _whose(found)
    for dataset in sources:
        for row in rows(dataset, values):
            if row.is_link:
                for identifier in row.linked & linked:
                    users[identifier] |= row.owners
            for person in found:
                if row.owners - person.anchors:
                    person.derived -= row.derived
            on_row = {*(i.value for i in row.linked), *row.derived}
            for person in {id(p): p for v in on_row for p in whose.get(v, ())}.values():
                if not row.owners & person.anchors:
                    tally.linked(person.subject.name, dataset, row)
    return users


def _whose(found: Sequence[_Found]) -> Mapping[str, list[_Found]]:
    """Linked or derived value -> the people who have it."""
    whose: dict[str, list[_Found]] = defaultdict(list)
    for person in found:
        known = {i.value for i in (*person.linked, *person.subject.given)} - person.anchors
        for value in known | person.derived:
            whose[value].append(person)
    return whose


def _identity(
    person: _Found,
    data_map: DataMap,
    *,
    users: Mapping[Identifier, Set[str]],
    shared_review: str | None = None,
) -> Identity:
    given = frozenset(person.subject.given)
    shared = tuple(
        Shared(i, len(users[i]), shared_review or policy if policy == "review" else policy)
        for i in sorted(given | person.linked)
        if len(users.get(i, ())) > 1
        and (policy := data_map.shared.decision(i.kind, users=len(users[i])))
    )
    return Identity(
        subject=person.subject.name,
        given=given,
        linked=person.linked - given,
        derived=frozenset(Identifier(Kind.DERIVED, v) for v in person.derived),
        shared=shared,
        sources=tuple(_notes(person)),
    )


def _notes(person: _Found) -> Iterator[str]:
    """Where links were read, and what differs between the places; counts only."""
    everything = person.linked
    for source, values in sorted(person.by_source.items()):
        missing = len(everything - values)
        note = f", {missing} known elsewhere only" if missing else ""
        yield f"{source}: {len(values)} linked values{note}"
    stray = len(person.unlinked - everything - set(person.subject.given))
    if stray:
        yield f"{stray} values on the person's own rows are named by no link"
