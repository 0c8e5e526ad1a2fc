"""SparkEngine: app.lake.table_ports.TableEngine where PyIceberg alone must refuse.

PyIceberg reads and decides as ever. Spark prepares shapes nobody erases from, and commits to tables
that PyIceberg cannot write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.datasets import Catalog
from app.domain.errors import CheckFailedError, CommitConflictError
from app.domain.failpoints import failpoint
from app.lake.pyiceberg_engine import PyIcebergEngine, refusals
from app.lake.pyiceberg_engine.commits import STEP, Change
from app.lake.pyiceberg_engine.engine import ATTEMPTS
from app.lake.pyiceberg_engine.faults import LOST_SWAP, lake_errors
from app.lake.pyiceberg_engine.file_json import file_json
from app.lake.pyiceberg_engine.listing import Listing, list_snapshot, spent_deletes
from app.lake.pyiceberg_engine.refusals import Shape
from app.lake.spark_engine.driver import Driver, Edit
from app.lake.spark_engine.preparing import rewrite_all, rewrite_deleted, rows_digest
from app.lake.spark_engine.session import Spark

_VERSION_OF_PYICEBERG = 2
"""The last format version that PyIceberg writes."""
_PREPARED = frozenset({Shape.EQUALITY_DELETES, Shape.DELETION_VECTORS, Shape.FORMAT})
_PREPARING = {STEP: "prepare"}
_FORMAT = "write.format.default"
_UNHASHED = ("variant", "unknown", "geometry", "geography")
"""Types that Spark takes no digest of."""


class SparkEngine(PyIcebergEngine):
    """`engines`: table -> pyiceberg | spark | auto, as the map says; `auto` where it is silent."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        io_properties: Mapping[str, str],
        spark: Spark,
        engines: Mapping[str, str],
    ) -> None:
        super().__init__(catalog, io_properties=io_properties)
        self._spark = spark
        self._engines = engines
        self._driver = Driver(spark)
        self._proven: set[int] = set()

    def close(self) -> None:
        """Let go of the catalog's connections and of Spark."""
        super().close()
        self._spark.close()

    # --- which engine --------------------------------------------------------------------

    def refusals(self, table: str) -> tuple[str, ...]:
        loaded = self._load(table)
        with lake_errors(f"table {table}"), self._known() as known:
            return refusals.refusals(
                loaded,
                others=self._other_locations(loaded),
                known=known,
                lifted=self._lifted(table, loaded),
            )

    def _lifted(self, table: str, loaded: Any) -> frozenset[Shape]:
        """What is no reason to refuse: it is prepared, or committed by the driver."""
        if self._engine_of(table) == "pyiceberg":
            return frozenset()
        lifted = {Shape.EQUALITY_DELETES, Shape.DELETION_VECTORS}
        if loaded.properties.get(_FORMAT, "parquet") == "parquet":
            lifted.add(Shape.FORMAT)  # else Spark would write the same format again
        if self._spark.has_driver:
            lifted.add(Shape.VERSION)
        return frozenset(lifted)

    def _engine_of(self, table: str) -> str:
        return self._engines.get(table, "auto")

    def _is_drivers(self, table: str, loaded: Any) -> bool:
        """Whether Iceberg's library commits: always, or only where PyIceberg cannot."""
        wanted = self._engine_of(table)
        if not self._spark.has_driver or wanted == "pyiceberg":
            return False
        return wanted == "spark" or loaded.metadata.format_version > _VERSION_OF_PYICEBERG

    # --- preparing -----------------------------------------------------------------------

    def prepare(self, table: str, *, since: int | None) -> None:
        if self._engine_of(table) == "pyiceberg":
            return
        shapes = {r.shape for r in refusals.refused_files(self._listed(table))} & _PREPARED
        if shapes:
            failpoint("spark.before_rewrite")
            rewrite = rewrite_all if Shape.FORMAT in shapes else rewrite_deleted
            rewrite(self._spark, table)
            failpoint("spark.rewritten")
            self._drop_spent(table)
            failpoint("spark.dropped")
        self._prove(table, since=since)

    def _drop_spent(self, table: str) -> None:
        """Delete files that hide nothing any more, where Spark left them: in a table without
        partitions Iceberg lets the latest ones stand until another commit.
        """

        def decide(_: Any, listing: Listing) -> Change:
            return Change(removed=spent_deletes(listing))

        if spent_deletes(self._listed(table)):
            self._commit(table, decide, marks=_PREPARING)

    def _listed(self, table: str) -> Listing:
        loaded = self._load(table)
        with lake_errors(f"table {table}"), self._known() as known:
            return list_snapshot(loaded, loaded.metadata.current_snapshot_id, known=known)

    def _prove(self, table: str, *, since: int | None) -> None:
        """The same rows before and after each snapshot that wrote refused files anew: also after
        a crash that came between the writing and this.
        """
        loaded = self._load(table)
        with lake_errors(f"table {table}"):
            prepared = list(_rewritten(loaded, since=since))
        for before, after in prepared:
            if after.snapshot_id in self._proven:
                continue
            then, now = (
                rows_digest(self._spark, table, snapshot=s.snapshot_id, columns=columns)
                for s, columns in zip((before, after), _shared(loaded, before, after), strict=True)
            )
            if then != now:
                raise CheckFailedError(
                    f"{table}: snapshot {after.snapshot_id}, in which Spark wrote its files anew, "
                    f"has other rows than snapshot {before.snapshot_id}. Nothing was erased; go "
                    "back to the older one and look."
                )
            self._proven.add(after.snapshot_id)

    # --- committing ----------------------------------------------------------------------

    def _commit(self, table: str, decide: Any, *, marks: Mapping[str, str]) -> int:
        if not self._is_drivers(table, self._load(table)):
            return super()._commit(table, decide, marks=marks)
        for _ in range(ATTEMPTS):
            loaded = self._load(table)
            base = loaded.metadata.current_snapshot_id
            with lake_errors(f"table {table}"):
                listing = list_snapshot(loaded, base, known={})
                edit = _edit(loaded, listing, change=decide(loaded, listing))
            try:
                return self._driver.commit(table, edit, base=base, marks=marks)
            except LOST_SWAP:
                continue
        raise CommitConflictError("The table was changed by others at every attempt. Try again.")

    def _swapper(self, table: str) -> Any:
        if self._is_drivers(table, self._load(table)):
            return _Swapper(self._driver, table)
        return super()._swapper(table)


@dataclass(frozen=True, slots=True)
class _Swapper:
    """`commit_table` of a PyIceberg catalog, carried out by the driver."""

    driver: Driver
    table: str

    def commit_table(self, loaded: Any, requirements: Any, updates: Any) -> None:
        """Every requirement asked for so is that the table is still the same one."""
        self.driver.change(self.table, updates, uuid=str(loaded.metadata.table_uuid))


def _edit(loaded: Any, listing: Listing, *, change: Any) -> Edit:
    leaving = [
        e.data_file
        for m in listing.manifests
        for e in m.live
        if e.data_file.file_path in change.removed
    ]
    return Edit(
        added=tuple(file_json(loaded, record) for record in change.added),
        removed=tuple(file_json(loaded, record) for record in leaving),
        is_append=change.operation.value == "append",
    )


def _rewritten(loaded: Any, *, since: int | None) -> Iterator[tuple[Any, Any]]:
    """Snapshots that wrote files anew after `since`, or dropped spent deletes, each with the one it
    was made upon, where that one had files nobody reads here.
    """
    metadata = loaded.metadata
    base = metadata.snapshot_by_id(since) if since is not None else None
    first = (base.sequence_number or 0) if base is not None else 0
    known: dict[str, Any] = {}
    for after in metadata.snapshots:
        before = metadata.snapshot_by_id(after.parent_snapshot_id or 0)
        if before is None or (after.sequence_number or 0) <= first or not _keeps_rows(after):
            continue
        if list_snapshot(loaded, before.snapshot_id, known=known).unread:
            yield before, after


def _keeps_rows(snapshot: Any) -> bool:
    """Whether it says of itself that no row is another."""
    if snapshot.summary is None:
        return False
    is_ours = snapshot.summary.additional_properties.get(STEP) == _PREPARING[STEP]
    return is_ours or bool(snapshot.summary.operation.value == "replace")


def _shared(loaded: Any, before: Any, after: Any) -> tuple[list[str], list[str]]:
    """The columns that two snapshots share, by the names that each calls them: the table's columns
    may have changed between the two.
    """
    schemas = {s.schema_id: s for s in loaded.metadata.schemas}
    old = {f.field_id: f for f in schemas[before.schema_id].fields}
    both = [
        (old[new.field_id].name, new.name)
        for new in schemas[after.schema_id].fields
        if new.field_id in old
        and old[new.field_id].field_type == new.field_type
        and not any(kind in str(new.field_type) for kind in _UNHASHED)
    ]
    return [name for name, _ in both], [name for _, name in both]
