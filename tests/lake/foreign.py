"""Tables that somebody else made, and a whole run over one: erased, checked by the other code,
purged, verified. Reads what is left by PyIceberg and by hand, never by the erasers' own code.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from app.domain.datasets import DataMap, Dataset, DownstreamNone, Layer, Roles, SharedPolicy
from app.domain.findings import Finding, What
from app.domain.identifiers import Kind, Targets
from app.domain.receipts import TableWork
from app.lake.verify import verify_dataset
from app.lake.verify.file_pairs import check_files
from tests.lake.people_table import ONE, blotted, erase, leftovers, purge
from tests.places import Place

VECTORS = Path(__file__).parents[1] / "vectors" / "spark"
BUCKET = "s3://made-by-spark/"


def dataset(table: str, *, owner: str = "user_id", anon: str | None = "anon_id") -> Dataset:
    """A table of people; whatever else stands in it is nobody's declaration."""
    linked = ((Kind.ANON_ID, (anon,)),) if anon is not None else ()
    return Dataset(
        name="foreign",
        layer=Layer.SILVER,
        table=table,
        roles=Roles(owner=(owner,), linked=linked),
    )


@dataclass(frozen=True)
class Foreign:
    """One such table. `place.root` is where it lies."""

    place: Any
    table: str

    def rows(self) -> list[dict[str, Any]]:
        """The current rows as PyIceberg reads them, under the names the table has now."""
        found: list[dict[str, Any]] = self.loaded().scan().to_arrow().to_pylist()
        return found

    def loaded(self) -> Any:
        """The table as PyIceberg knows it."""
        return self.place.engine._load(self.table)

    def files(self) -> set[str]:
        """Everything under its location, of any version."""
        return {v.uri for v in self.place.reader.versions(self.place.root) if not v.is_marker}

    def erased(self, rules: Dataset, *, targets: Targets = ONE) -> TableWork:
        """D1-D6, each pair checked by the verifier's code."""

        def check(work: TableWork) -> list[Finding]:
            return check_files(
                work,
                dataset=rules,
                targets=targets,
                open_file=self.place.engine.open,
                metadata_location=self.place.engine.head(self.table).metadata_location,
            )

        return erase(self.place, targets, dataset=rules, check=check)

    def gone(
        self, rules: Dataset, *, targets: Targets = ONE, tags: str = "fail"
    ) -> tuple[TableWork, list[Finding]]:
        """The whole run; what the verifier still sees."""
        erased = self.erased(rules, targets=targets)
        work = purge(self.place, erased, targets, dataset=rules, tags=tags)
        return work, self.seen(rules, work, targets=targets)

    def seen(self, rules: Dataset, work: TableWork, *, targets: Targets = ONE) -> list[Finding]:
        """The second look at the whole table, by the read-only credential."""
        found = verify_dataset(
            rules,
            data_map=map_of(self.place, rules),
            targets=targets,
            store=self.place.verifier,
            metadata_location=lambda name: self.place.engine.head(name).metadata_location,
            objects=(),
            tables={rules.name: work},
            horizon=None,
            also_listed=lambda uris: uris,
            progress=lambda _dataset, _done, _of: None,
        )
        return [f for f in found.findings if f.what is not What.NOTE]

    def leftovers(self, targets: Targets = ONE) -> list[str]:
        """Names of files that hold a target, by no code of ours."""
        return leftovers(self.place, targets)


def without(
    rows: list[dict[str, Any]], *, owner: str = "user_id", targets: Targets = ONE
) -> list[str]:
    """What must be left of these rows, blotted and sorted."""
    return blotted((r for r in rows if r[owner] not in targets.owners), targets)


def by_spark(place: Place, name: str) -> Foreign:
    """A table of tests/vectors/spark as Spark wrote it, every byte, registered in the catalog."""
    place.loader.ensure_bucket(BUCKET, object_lock=True)
    root = f"{BUCKET}lake/p/{name}/"
    _emptied(place, root)
    newest = (0, "")
    with tarfile.open(VECTORS / f"{name}.tar.xz") as archive:
        for member in archive.getmembers():
            body = archive.extractfile(member)
            assert body is not None
            uri = f"{BUCKET}lake/p/{member.name}"
            place.loader.load(uri, body.read())
            if uri.endswith(".metadata.json"):
                newest = max(newest, (int(uri.rpartition("/v")[2].partition(".")[0]), uri))
    return registered(place, f"lake.{name}", newest[1], root=root)


def registered(place: Place, table: str, metadata: str, *, root: str) -> Foreign:
    """A table that the catalog is told of."""
    catalog = place.engine._catalog
    catalog.create_namespace_if_not_exists(table.rpartition(".")[0])
    catalog.register_table(table, metadata)
    there = replace(place, root=root)
    vars(there)["engine"] = place.engine  # one connection to the catalog, closed with the place
    return Foreign(there, table)


def _emptied(place: Place, root: str) -> None:
    """Nothing of an earlier test of this session lies there."""
    versions = [(v.uri, v.version_id) for v in place.reader.versions(root)]
    purger = place.purger(root)
    purger.allow(versions)
    for uri, version in versions:
        purger.purge(uri, version_id=version)


def map_of(place: Any, rules: Dataset) -> DataMap:
    """A map of this one table."""
    return DataMap(
        catalog=place.catalog,
        endpoint=None,
        shared=SharedPolicy(),
        links=None,
        unparsable="park",
        datasets=(rules,),
        tags="fail",
        reader_grace=timedelta(0),
        undo_window=timedelta(0),
        downstream=DownstreamNone("nobody", "2026-01-01"),
        digest="",
    )
