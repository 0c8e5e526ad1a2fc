"""The second look at a whole lake, numbered as in docs (Verify, E0 to E5). Reads only, by its own
credential and its own code; repairs nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime

from app.domain.datasets import DataMap, Dataset
from app.domain.errors import AccessDeniedError, LakeError, ObjectUnreadableError
from app.domain.findings import Finding, Seen, What
from app.domain.identifiers import Targets
from app.domain.receipts import ObjectWork, TableWork
from app.domain.shares import WHOLE, Share
from app.lake.coverage import Places, undeclared_places, undeclared_tables
from app.lake.ports import ObjectStore
from app.lake.verify import arithmetic
from app.lake.verify.arrivals import Arrivals, TableArrivals
from app.lake.verify.content import Digested, Opened
from app.lake.verify.excuses import Excuses, late
from app.lake.verify.looking import BESIDE, Looked, Looking, Outcome, data_first, sight_of
from app.lake.verify.needles import Needles
from app.lake.verify.parquet import bound_is_anothers
from app.lake.verify.places import Sight, full_uri
from app.lake.verify.records import AlsoListed, Records
from app.lake.verify.sources import Body, Bucket, Folder, Found, Source
from app.lake.verify.tables import (
    TableView,
    cannot_read,
    outside,
    read_table,
    table_location,
)

Progress = Callable[[str, int, int], None]
"""(dataset, objects looked at, objects listed)."""
_READERS = 4
"""Threads that wait for the store; searching and decompressing run beside them."""


@dataclass(frozen=True, slots=True)
class Verified:
    """All that the second look saw."""

    findings: tuple[Finding, ...]
    seen: Mapping[str, Seen]
    undeclared: tuple[str, ...]
    """Places beside the declared ones, with how many objects lie there, and undeclared tables."""


def verify_dataset(
    dataset: Dataset,
    *,
    data_map: DataMap,
    targets: Targets,
    store: ObjectStore,
    metadata_location: Callable[[str], str],
    objects: Sequence[ObjectWork],
    tables: Mapping[str, TableWork],
    horizon: datetime | None,
    also_listed: AlsoListed,
    progress: Progress,
    share: Share = WHOLE,
) -> Verified:
    """Verify one dataset of a run, or one share of its objects, whose records are `objects`.
    `horizon`: its H; of a table, whose H is in its record, when the erase stage ended. `tables`:
    the records of every table: a file of one may lie where another is declared. `also_listed` asks
    another credential than `store`'s, the read-only one, about objects that it does not list.
    """
    excuses = Excuses.of(objects, tables.values())
    look = _LakeLook(data_map, Needles.of(targets), store, metadata_location, excuses, progress)
    look.horizons = {} if horizon is None else {dataset.name: horizon}
    look.table_works = dict(tables)
    look.records = records = Records.of(objects, tables.values())
    look.works, look.also_listed, look.share = records.objects, also_listed, share
    look.dataset(dataset)
    if dataset.table is None:
        look.findings += arithmetic.of_objects(dataset, objects, look.rows)
    elif dataset.name in tables:
        look.findings += arithmetic.of_table(dataset, tables[dataset.name], look.rows)
    return look.verified()


def verify_beside(
    data_map: DataMap,
    *,
    targets: Targets,
    store: ObjectStore,
    metadata_location: Callable[[str], str],
    tables: Mapping[str, TableWork],
    catalog_tables: Sequence[str] | None,
    progress: Progress,
) -> Verified:
    """Verify what lies beside the datasets of a run, and open uploads wherever they are.

    `catalog_tables`: every table of the catalog, of which the undeclared are told; None: they
    cannot be listed.
    """
    excuses = Excuses.of((), tables.values())
    look = _LakeLook(data_map, Needles.of(targets), store, metadata_location, excuses, progress)
    look.records, look.works = Records.of((), tables.values()), {}
    look.beside()
    verified = look.verified()
    tables_too = (*verified.undeclared, *undeclared_tables(data_map, catalog_tables))
    return replace(verified, undeclared=tables_too)


def find_person(
    data_map: DataMap,
    *,
    targets: Targets,
    store: ObjectStore,
    metadata_location: Callable[[str], str],
    progress: Progress,
) -> Verified:
    """Where somebody stands in the lake now, with no run to compare with."""
    needles, excuses = Needles.of(targets), Excuses.of((), ())
    look = _LakeLook(data_map, needles, store, metadata_location, excuses, progress)
    for dataset in data_map.datasets:
        look.dataset(dataset)
    look.beside()
    return look.verified()


@dataclass(slots=True)
class _LakeLook:
    data_map: DataMap
    needles: Needles
    store: ObjectStore
    metadata_location: Callable[[str], str]
    excuses: Excuses
    progress: Progress
    horizons: dict[str, datetime] = field(default_factory=dict)
    table_works: dict[str, TableWork] = field(default_factory=dict)
    works: Mapping[str, ObjectWork] | None = None
    records: Records = field(default_factory=lambda: Records.of((), ()))
    also_listed: AlsoListed = field(default=lambda _uris: ())
    share: Share = WHOLE
    findings: list[Finding] = field(default_factory=list)
    rows: dict[tuple[str, str], int] = field(default_factory=dict)
    _seen: dict[str, Seen] = field(default_factory=dict)
    _opened: Counter[str] = field(default_factory=Counter)
    _known_places: Places | None = None
    _undeclared: tuple[str, ...] = ()

    def dataset(self, dataset: Dataset) -> None:
        """E0 to E3 and E5, for one declared place."""
        view = self._read_table(dataset) if dataset.table is not None else None
        found = self._listed(dataset, view)  # E1
        if not found and dataset.location is not None and self.share.is_whole:
            sight = Sight.of(dataset, dataset.location)
            sight.saw(What.NOTE, "prefix", detail="nothing lies there")
            self.findings += sight.findings
        self._seen.setdefault(dataset.name, Seen())
        self._objects(dataset, sorted(found, key=data_first), view)
        self._count_elsewhere(dataset, view)
        if dataset.table is None and dataset.name in self.horizons:  # E0
            self._compare_records(dataset, found)
        if view is not None:
            rows = {u: self.rows.get((u, v)) for u, v in self._latest(view)}
            self.findings += view.not_seen(dataset, rows)

    def beside(self) -> None:
        """E1 to E3 and E5, for what no dataset declares, and for open uploads."""
        places = self._places()
        beside = [f for f in self._under_roots(places) if places.dataset_of(f.uri) is None]
        self._objects(None, beside, None)
        self._uploads(places)
        self._undeclared = undeclared_places(places, (f.uri for f in beside))

    def verified(self) -> Verified:
        """The result, in a stable order."""
        findings = tuple(sorted(self.findings, key=_order))
        return Verified(findings, dict(self._seen), self._undeclared)

    def _compare_records(self, dataset: Dataset, found: list[Found]) -> None:
        mine = {
            uri: work
            for uri, work in self.records.objects.items()
            if (owner := self._places().dataset_of(uri)) is None or owner.name == dataset.name
        }
        self.findings += replace(self.records, objects=mine).faults(
            dataset, found, horizon=self.horizons[dataset.name], also=self.also_listed
        )

    def _source(self, uri: str) -> Source:
        return Folder() if uri.startswith("file://") else Bucket(self.store)

    def _read_table(self, dataset: Dataset) -> TableView | None:
        assert dataset.table is not None
        try:
            where = full_uri(self.metadata_location(dataset.table))
            return read_table(where, self._source(where))
        except LakeError as err:
            self.findings.append(cannot_read(dataset, dataset.table, err))
            return None

    def _places(self) -> Places:
        if self._known_places is None:
            declared = {d.location: d for d in self.data_map.bronze if d.location is not None}
            for dataset in self.data_map.tables:
                location = self._location(dataset)
                if location is not None:
                    declared[full_uri(location).rstrip("/") + "/"] = dataset
            warehouse = self.data_map.catalog.warehouse if self.data_map.catalog else None
            root = full_uri(warehouse) if warehouse else None
            self._known_places = Places.of(declared, warehouse=root)
        return self._known_places

    def _location(self, dataset: Dataset) -> str | None:
        """Where a table lies; None when it cannot be known, which its own look names."""
        assert dataset.table is not None
        try:
            where = full_uri(self.metadata_location(dataset.table))
            return table_location(where, self._source(where))
        except LakeError:
            return None

    def _listed(self, dataset: Dataset, view: TableView | None) -> list[Found]:
        """E1. Everything that lies under the dataset's place, and files of it under no root."""
        places = self._places()
        found: list[Found] = []
        for prefix, owner in places.declared.items():
            if owner.name == dataset.name:
                below = self._source(prefix).all_within(prefix, root=places.root_of(prefix))
                mine = (f for f in below if self.share.has(f.uri))
                found += (f for f in mine if places.dataset_of(f.uri) is owner)
        for uri in outside(view, places.roots) if view is not None else ():
            found += self._exactly(uri)
        return found

    def _exactly(self, uri: str) -> list[Found]:
        return [f for f in self._source(uri).all_under(uri) if f.uri == uri]

    def _count_elsewhere(self, dataset: Dataset, view: TableView | None) -> None:
        """Rows of what is this dataset's and lies where something else is declared, or nothing:
        that place's own look names what stands there.
        """
        places = self._places()
        for uri in sorted(self._needed(dataset, view)):
            other = places.dataset_of(uri)
            if uri.startswith(places.roots) and (other is None or other.name != dataset.name):
                looking = Looking(self.needles, other, self._is_anothers)
                for found in self._exactly(uri):
                    self._remember(self._one(found, looking, is_late=False))

    def _needed(self, dataset: Dataset, view: TableView | None) -> set[str]:
        if dataset.table is None:
            return {w.uri for w in (self.works or {}).values() if w.new_version is not None}
        work = self.table_works.get(dataset.name)
        committed = [f.new_path for f in work.files if f.new_path] if work is not None else []
        return {*(view.named if view is not None else ()), *map(full_uri, committed)}

    def _under_roots(self, places: Places) -> Iterator[Found]:
        for root in places.roots:
            try:
                yield from list(self._source(root).all_under(root))
            except AccessDeniedError:
                sight = Sight("", BESIDE, root)
                sight.saw(
                    What.UNREADABLE, "listing", detail="only the declared places can be listed"
                )
                self.findings += sight.findings

    def _objects(
        self, dataset: Dataset | None, listed: list[Found], view: TableView | None
    ) -> None:
        name = dataset.name if dataset is not None else BESIDE
        looking = Looking(self.needles, dataset, self._is_anothers)
        unnamed: list[Outcome] = []
        for number, outcome in enumerate(self._outcomes(looking, listed, view)):
            self.progress(name, number, len(listed))
            if view is not None and outcome.has_residue and outcome.found.uri not in view.named:
                unnamed.append(outcome)
            else:
                self._count(name, outcome)
        if dataset is not None and unnamed:
            # Commits may have been made since the metadata was read: it is read again.
            again = [outcome.found for outcome in unnamed]
            for outcome in self._outcomes(looking, again, self._read_table(dataset)):
                self._count(name, outcome)
        self.progress(name, len(listed), len(listed))

    def _outcomes(
        self, looking: Looking, listed: list[Found], view: TableView | None
    ) -> Iterator[Outcome]:
        in_table = looking.dataset is not None and looking.dataset.table is not None
        arrivals = self._arrivals(looking.dataset, view)
        looking.is_late, looking.names = arrivals.added, view.metadata.names if view else {}

        def one(found: Found) -> Outcome:
            is_late = arrivals.has(found) and self.records.may_be_late(found)
            return self._one(found, looking, is_late=is_late)

        # A table's files are looked at in order: rows before what is written about them.
        with ThreadPoolExecutor(1 if in_table else _READERS, "verify") as pool:
            yield from pool.map(one, listed)

    def _arrivals(self, dataset: Dataset | None, view: TableView | None) -> Arrivals:
        after = self.horizons.get(dataset.name) if dataset is not None else None
        if dataset is None or dataset.table is None:
            return Arrivals(after)
        work = self.table_works.get(dataset.name)
        horizon = work.horizon if work is not None else None
        return TableArrivals.of(view, horizon, ours=self.records.digests, after=after)

    def _count(self, name: str, outcome: Outcome) -> None:
        self.findings += outcome.findings
        if outcome.looked is not None:
            self._seen[name] = self._seen.get(name, Seen()) + outcome.looked.seen
        self._remember(outcome)

    def _remember(self, outcome: Outcome) -> None:
        """That it was opened, and its rows: what E0 and E4 compare with."""
        found, looked = outcome.found, outcome.looked
        if looked is not None:
            self._opened[found.uri] += 1
            if looked.rows is not None:
                self.rows[found.uri, found.version_id] = looked.rows

    def _one(self, found: Found, looking: Looking, *, is_late: bool) -> Outcome:
        """E2, E3, E5 for one version: decode, search, and name what was found."""
        sight = sight_of(looking.dataset, found)
        looking.key(found.uri, sight=sight)
        looked = None
        if not found.is_marker:
            try:
                with self._source(found.uri).open(found) as body:
                    looked = self._look(found, body, looking=looking, sight=sight)
            except ObjectUnreadableError as err:
                sight.saw(What.UNREADABLE, "object", detail=err.code)
            except LakeError as err:
                sight.saw(What.CANNOT_SEE, "object", detail=err.code)
        findings = sight.findings
        if findings and looked is not None and looked.info is not None:
            findings = self.excuses.applied(findings, info=looked.info, now=self.store.now)
        return Outcome(found, late(findings) if is_late else findings, looked)

    def _look(self, found: Found, body: Body, *, looking: Looking, sight: Sight) -> Looked:
        parked = self._may_hold_parked(found.uri)
        if self.records.digest_of(found) is None:
            return looking.look(found, body, sight=sight, parked_allowed=parked)
        digested = Digested(body.stream)
        body = replace(body, stream=digested)
        looked = looking.look(found, body, sight=sight, parked_allowed=parked)
        self.records.compare(found, digested.hexdigest(), sight=sight)
        return looked

    def _may_hold_parked(self, uri: str) -> bool:
        if self.data_map.unparsable != "park":
            return False
        work = self.works.get(uri) if self.works is not None else None
        return self.works is None or (work is not None and work.counts.parked > 0)

    def _is_anothers(self, path: str, field_id: int, bound: bytes) -> bool:
        uri = full_uri(path)
        source = self._source(uri)
        try:
            with source.open(source.latest(uri)) as body, closing(Opened(body.stream).whole()) as f:
                return bound_is_anothers(f, field_id=field_id, bound=bound, needles=self.needles)
        except LakeError:
            return False

    def _uploads(self, places: Places) -> None:
        for root in places.roots:
            for upload in self._source(root).uploads(root):
                dataset = places.dataset_of(upload.uri)
                aspect = "open upload"
                sight = Sight("", BESIDE, upload.uri, aspect=aspect)
                what = What.NOTE
                if dataset is not None:
                    sight = Sight.of(dataset, upload.uri, aspect=aspect)
                    what = What.UNREADABLE
                Looking(self.needles, dataset, self._is_anothers).key(upload.uri, sight=sight)
                sight.saw(what, "parts", detail="bytes that no reader can open")
                self.findings += sight.findings

    def _latest(self, view: TableView) -> Iterator[tuple[str, str]]:
        """(URI, version) of those files of a table that were opened."""
        versions: dict[str, str] = {}
        for uri, version in self.rows:
            versions.setdefault(uri, version)
        for uri in view.named:
            if self._opened[uri]:
                yield uri, versions.get(uri, "")


def _order(found: Finding) -> tuple[str, ...]:
    return found.what, found.layer, found.dataset, found.place, found.detail, str(found.subject)
