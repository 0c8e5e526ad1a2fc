"""Iceberg's own library in Spark's driver: snapshots and metadata that PyIceberg cannot write.

Its producers write manifests; the swap is ours, so that a commit is made upon the head that was
looked at or not at all. Not here: what is committed (engine).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.domain.errors import LakeError
from app.domain.failpoints import failpoint
from app.lake.pyiceberg_engine.commits import remove_files
from app.lake.pyiceberg_engine.faults import LOST_SWAP
from app.lake.spark_engine.faults import spark_errors
from app.lake.spark_engine.session import Spark

_MAIN = "main"


@dataclass(frozen=True, slots=True)
class Edit:
    """What a snapshot changes. Files as JSON (app.lake.pyiceberg_engine.file_json)."""

    added: tuple[str, ...] = field(default=(), repr=False)
    removed: tuple[str, ...] = field(default=(), repr=False)
    is_append: bool = False

    @property
    def is_nothing(self) -> bool:
        """Whether only manifests are to be written anew, without what has left."""
        return not self.added and not self.removed


class Driver:
    """The tables of one catalog, from within the driver."""

    def __init__(self, spark: Spark) -> None:
        self._spark = spark

    def commit(self, table: str, edit: Edit, *, base: int | None, marks: Mapping[str, str]) -> int:
        """One snapshot upon `base`; its id. LOST_SWAP: the head is another one by now, and
        nothing was changed.
        """
        with spark_errors(f"table {table}"):
            loaded = self._table(table)
            update = self._update(loaded, edit)
            for key, value in marks.items():
                update.set(key, value)
            snapshot = update.apply()
        try:
            self._swap(loaded, snapshot, table=table, base=base)
        except LOST_SWAP:
            self._take_away(loaded, snapshot, table=table)
            raise
        return int(snapshot.snapshotId())

    def _swap(self, loaded: Any, snapshot: Any, *, table: str, base: int | None) -> None:
        with spark_errors(f"table {table}"):
            operations = loaded.operations()
            current = operations.current()
            head = current.currentSnapshot()
            if (head and head.snapshotId()) != base or snapshot.parentId() != base:
                raise LOST_SWAP(f"table {table}: another writer was faster.")
            builder = self._iceberg.TableMetadata.buildFrom(current)
            after = builder.setBranchSnapshot(snapshot, _MAIN).build()
            failpoint("spark.before_swap")
            operations.commit(current, after)
            failpoint("spark.after_swap")

    def change(self, table: str, updates: Iterable[Any], *, uuid: str) -> None:
        """Change the metadata alone, by updates as PyIceberg has them. LOST_SWAP as in `commit`."""
        with spark_errors(f"table {table}"):
            operations = self._table(table).operations()
            current = operations.current()
            if str(current.uuid()) != uuid:
                raise LakeError(f"table {table}: dropped and made anew meanwhile.")
            builder = self._iceberg.TableMetadata.buildFrom(current)
            for update in updates:
                _UPDATES[update.action](self, builder, update, current)
            failpoint("spark.before_change")
            operations.commit(current, builder.build())
            failpoint("spark.after_change")

    # --- within ----------------------------------------------------------------------------

    @property
    def _jvm(self) -> Any:
        return self._spark.session()._jvm

    @property
    def _iceberg(self) -> Any:
        return self._jvm.org.apache.iceberg

    def _table(self, table: str) -> Any:
        session = self._spark.session()
        catalog = self._iceberg.spark.Spark3Util.loadIcebergCatalog(
            session._jsparkSession, self._spark.place.catalog
        )
        found = catalog.loadTable(self._iceberg.catalog.TableIdentifier.parse(table))
        found.refresh()  # Spark's catalog may keep what it knew
        return found

    def _update(self, loaded: Any, edit: Edit) -> Any:
        if edit.is_nothing:
            return loaded.rewriteManifests().clusterBy(self._all_alike())
        specs = loaded.specs()
        added = [self._file(text, specs) for text in edit.added]
        if edit.is_append:
            update = loaded.newAppend()
            for file in added:
                update.appendFile(file)
            return update
        update = loaded.newRowDelta()
        for file in added:
            (update.addRows if _is_data(file) else update.addDeletes)(file)
        for text in edit.removed:
            file = self._file(text, specs)
            (update.removeRows if _is_data(file) else update.removeDeletes)(file)
        return update

    def _file(self, text: str, specs: Any) -> Any:
        node = self._iceberg.util.JsonUtil.mapper().readTree(text)
        return self._iceberg.ContentFileParser.fromJson(node, specs)

    def _all_alike(self) -> Any:
        """A Java function that gives every file the same answer: one cluster of manifests."""
        lang, util = self._jvm.java.lang, self._jvm.java.util
        anything = lang.Class.forName("java.lang.Object")
        taken = util.ArrayList()
        taken.add(anything)
        handles = lang.invoke.MethodHandles
        handle = handles.dropArguments(handles.constant(anything, ""), 0, taken)
        function = lang.Class.forName("java.util.function.Function")
        return lang.invoke.MethodHandleProxies.asInterfaceInstance(function, handle)

    def _take_away(self, loaded: Any, snapshot: Any, *, table: str) -> None:
        """The manifests and the list of a snapshot that was never made."""
        with spark_errors(f"table {table}"):
            own = snapshot.snapshotId()
            paths = [
                str(manifest.path())
                for manifest in snapshot.allManifests(loaded.io())
                if manifest.snapshotId() == own
            ]
            paths.append(str(snapshot.manifestListLocation()))
        remove_files(paths)

    # --- updates of the metadata -------------------------------------------------------------

    def _set(self, builder: Any, update: Any, _: Any) -> None:
        values = self._jvm.java.util.HashMap()
        for key, value in update.updates.items():
            values.put(key, value)
        builder.setProperties(values)

    def _remove(self, builder: Any, update: Any, _: Any) -> None:
        keys = self._jvm.java.util.HashSet()
        for key in update.removals:
            keys.add(key)
        builder.removeProperties(keys)

    def _remove_snapshots(self, builder: Any, update: Any, current: Any) -> None:
        gone = self._jvm.java.util.ArrayList()
        for number in update.snapshot_ids:
            if (snapshot := current.snapshot(number)) is not None:
                gone.add(snapshot)
        builder.removeSnapshots(gone)

    def _remove_ref(self, builder: Any, update: Any, _: Any) -> None:
        builder.removeRef(update.ref_name)

    def _remove_statistics(self, builder: Any, update: Any, _: Any) -> None:
        builder.removeStatistics(update.snapshot_id)

    def _remove_partition_statistics(self, builder: Any, update: Any, _: Any) -> None:
        builder.removePartitionStatistics(update.snapshot_id)


def _is_data(file: Any) -> bool:
    return str(file.content().name()) == "DATA"


_UPDATES: Mapping[str, Callable[[Driver, Any, Any, Any], None]] = {
    "set-properties": Driver._set,
    "remove-properties": Driver._remove,
    "remove-snapshots": Driver._remove_snapshots,
    "remove-snapshot-ref": Driver._remove_ref,
    "remove-statistics": Driver._remove_statistics,
    "remove-partition-statistics": Driver._remove_partition_statistics,
}
