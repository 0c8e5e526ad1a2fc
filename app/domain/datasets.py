"""The data map as values: which datasets there are, what their columns mean, how each is treated.

Not here: reading lake.yaml (app.lake.datamap).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum

from app.domain.identifiers import Kind


class Layer(StrEnum):
    """Bronze: raw objects. Silver: the supertable. Gold: facts and dim_identity."""

    BRONZE = "bronze"
    SILVER = "silver"
    GOLD = "gold"


@dataclass(frozen=True, slots=True)
class Where:
    """Conditions on a row: every path must hold one of its patterns (`*` matches any run of
    characters).
    """

    all_of: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class OwnerWhen:
    """Columns that own the row only where the condition holds."""

    where: Where
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Roles:
    """What the columns of a dataset (or the paths inside a JSON column) mean. Paths are dotted."""

    owner: tuple[str, ...] = ()
    """user_id columns: the row belongs to this person."""
    owner_when: tuple[OwnerWhen, ...] = ()
    linked: tuple[tuple[Kind, tuple[str, ...]], ...] = ()
    mentions: tuple[str, ...] = ()
    """user_id columns on somebody else's row that name the subject."""
    derived: tuple[str, ...] = ()

    @property
    def declared(self) -> frozenset[str]:
        """Every path that has a role."""
        paths = {*self.owner, *self.mentions, *self.derived}
        for when in self.owner_when:
            paths.update(when.columns)
        for _, columns in self.linked:
            paths.update(columns)
        return frozenset(paths)


@dataclass(frozen=True, slots=True)
class Treatment:
    """What happens to rows that belong to the subject: delete, tombstone (sever) or keep."""

    kind: str = "delete"
    purpose: str | None = None
    legal_basis: str | None = None
    ground: str | None = None
    until: date | None = None
    approved_by: str | None = None


@dataclass(frozen=True, slots=True)
class KeepWhen:
    """Rows that stay as they are on a legal ground, until a date."""

    where: Where
    ground: str
    until: date


@dataclass(frozen=True, slots=True)
class Dataset:
    """One prefix of objects (`location`) or one Iceberg table (`table`): exactly one of the two is
    set.
    """

    name: str
    layer: Layer
    location: str | None = None
    """s3://bucket/prefix/ or file:///folder/, always with the last slash."""
    table: str | None = None
    partition: str | None = None
    event_time: str | None = None
    roles: Roles = Roles()
    json: Mapping[str, Roles] = field(default_factory=dict)
    """Roles of paths inside string columns that hold JSON. `where` paths there name columns of the
    row.
    """
    elsewhere: str = "replace"
    worm: str = "auto"
    loader: Mapping[str, str] = field(default_factory=dict)
    treatment: Treatment = Treatment()
    keep_when: tuple[KeepWhen, ...] = ()
    built_from: tuple[str, ...] = ()
    is_identity: bool = False
    """dim_identity: erased last. A row whose every identifier is erased goes with them."""
    identity_columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """identity_id, user_id, anon_id, device_fp, built_at -> column names (first one is the main
    one).
    """
    engine: str = "auto"
    """Of a table: pyiceberg | spark | auto, which is Spark only where PyIceberg must refuse."""
    replica_of: str | None = None
    """The declared dataset that this one is a copy of: erased like it, but nobody is resolved
    from it.
    """


@dataclass(frozen=True, slots=True)
class SharedPolicy:
    """What happens to values linked to more than one user_id. `tombstone` | `keep` | `review`."""

    anon_id: str = "tombstone"
    device_fp: str = "tombstone"
    review_above: int = 5

    def decision(self, kind: Kind, *, users: int) -> str:
        """The decision for a value of this kind that `users` different user_ids have used."""
        if users > self.review_above:
            return "review"
        return self.anon_id if kind is Kind.ANON_ID else self.device_fp


@dataclass(frozen=True, slots=True)
class Catalog:
    """Where the Iceberg catalog is. `uri` may hold a password: never printed."""

    name: str
    type: str
    uri: str = field(repr=False)
    warehouse: str
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Links:
    """Where the identity history is read: a dataset and the rows that are links."""

    dataset: str
    where: Where


@dataclass(frozen=True, slots=True)
class Downstream:
    """A copy or recipient outside the lake, or the attested statement that there is none."""

    name: str
    kind: str
    action: str


@dataclass(frozen=True, slots=True)
class DownstreamNone:
    """Somebody's word that there are no downstream copies."""

    attested_by: str
    at: str


@dataclass(frozen=True, slots=True)
class DataMap:
    """lake.yaml, validated."""

    catalog: Catalog | None
    endpoint: str | None
    shared: SharedPolicy
    links: Links | None
    unparsable: str
    datasets: tuple[Dataset, ...]
    tags: str
    """fail | drop: a tag or branch that still holds the person."""
    reader_grace: timedelta
    undo_window: timedelta
    downstream: tuple[Downstream, ...] | DownstreamNone
    digest: str
    """SHA-256 of the file's bytes before variables are filled in."""
    source: str = "lake.yaml"
    lines: Mapping[str, int] = field(default_factory=dict, repr=False)
    """`dataset.key` (and `dataset.column path`) -> line in the source, for refusals found later."""

    def at(self, *keys: str) -> str:
        """`file:line` of the nearest thing the map says about these keys."""
        for length in range(len(keys), 0, -1):
            line = self.lines.get("/".join(keys[:length]))
            if line is not None:
                return f"{self.source}:{line}"
        return self.source

    def dataset(self, name: str) -> Dataset:
        """The dataset of that name. KeyError if the map has none."""
        return {d.name: d for d in self.datasets}[name]

    @property
    def bronze(self) -> tuple[Dataset, ...]:
        """Datasets that are prefixes of objects."""
        return tuple(d for d in self.datasets if d.location is not None)

    @property
    def tables(self) -> tuple[Dataset, ...]:
        """Datasets that are tables, dim_identity last."""
        return tuple(
            sorted((d for d in self.datasets if d.table is not None), key=lambda d: d.is_identity)
        )
