"""PyIcebergEngine: app.lake.ports.TableEngine on one PyIceberg catalog."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, cast

import pyarrow as pa
from pyiceberg.catalog import MetastoreCatalog, load_catalog
from pyiceberg.exceptions import (
    NamespaceAlreadyExistsError,
    TableAlreadyExistsError,
    ValidationError,
)
from pyiceberg.io import load_file_io
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import Schema, assign_fresh_schema_ids
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation
from pyiceberg.transforms import IdentityTransform

from app.domain.datasets import Catalog
from app.domain.errors import CommitConflictError, LakeError, UnsupportedTableError
from app.lake.pyiceberg_engine import columns, commits, history, refusals, rows, settings
from app.lake.pyiceberg_engine.commits import RUN, STEP
from app.lake.pyiceberg_engine.durable import DurableFile
from app.lake.pyiceberg_engine.faults import lake_errors
from app.lake.pyiceberg_engine.listing import (
    DeleteIndex,
    Listing,
    data_files,
    list_snapshot,
    obsolete_deletes,
)
from app.lake.table_names import local_path, normalise, styled
from app.lake.table_ports import DataFile, Reach, TableHead

ATTEMPTS = 20
"""Lost swaps in a row before a commit gives up: at 5 appends a second some 4 are to be expected."""
KEPT = 5_000
"""Entries of manifests and lists that an engine keeps: at a few kilobytes each."""


class PyIcebergEngine:
    """Tables of one catalog. `io_properties`: s3.endpoint, s3.access-key-id, s3.secret-access-key,
    s3.region, as PyIceberg names them.
    """

    def __init__(self, catalog: Catalog, *, io_properties: Mapping[str, str]) -> None:
        self._name = catalog.name
        properties: dict[str, Any] = {
            "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
            **io_properties,
            **catalog.properties,
            "type": catalog.type,
            "uri": catalog.uri,
            "warehouse": catalog.warehouse.rstrip("/"),
        }
        with lake_errors(f"catalog {catalog.name}"):
            self._catalog: Any = load_catalog(catalog.name, **properties)
        self._io: Any = load_file_io(properties, catalog.warehouse)
        self._deletes = DeleteIndex(self._io)
        self._kept: dict[str, Any] = {}
        self._staged = commits.Staged()
        if isinstance(self._catalog, MetastoreCatalog):
            _note_metadata_files(self._catalog, self._staged)

    def close(self) -> None:
        """Let go of the catalog's connections."""
        self._catalog.close()

    # --- looking -------------------------------------------------------------------------

    def exists(self, table: str) -> bool:
        with lake_errors(f"table {table}"):
            return bool(self._catalog.table_exists(table))

    def tables(self) -> list[str]:
        with lake_errors(f"catalog {self._name}"):
            found = {
                ".".join(identifier)
                for namespace in self._namespaces(())
                for identifier in self._catalog.list_tables(namespace)
            }
        return sorted(found)

    def head(self, table: str) -> TableHead:
        loaded = self._load(table)
        metadata = loaded.metadata
        leaves = columns.leaves(metadata.schema())
        return TableHead(
            table=table,
            uuid=str(metadata.table_uuid),
            location=normalise(metadata.location),
            metadata_location=normalise(loaded.metadata_location),
            format_version=metadata.format_version,
            snapshot_id=metadata.current_snapshot_id,
            snapshots=tuple(s.snapshot_id for s in metadata.snapshots),
            refs={name: ref.snapshot_id for name, ref in metadata.refs.items()},
            properties=dict(metadata.properties),
            columns={leaf.path: leaf.type for leaf in leaves},
            field_ids={leaf.path: leaf.field_id for leaf in leaves},
            plain={leaf.path: leaf.plain for leaf in leaves},
            mapped=columns.name_mapping(metadata),
            spec_id=metadata.default_spec_id,
            keys=columns.partition_sources(metadata),
            parents={s.snapshot_id: s.parent_snapshot_id for s in metadata.snapshots},
            sort_keys=settings.sort_sources(metadata),
        )

    def refusals(self, table: str) -> tuple[str, ...]:
        loaded = self._load(table)
        with lake_errors(f"table {table}"), self._known() as known:
            return refusals.refusals(loaded, others=self._other_locations(loaded), known=known)

    def prepare(self, table: str, *, since: int | None) -> None:
        """Nothing: what this engine cannot erase from, it refuses."""

    def files(self, table: str, *, snapshot_id: int) -> list[DataFile]:
        loaded = self._load(table)
        with lake_errors(f"table {table}"), self._known() as known:
            if loaded.metadata.snapshot_by_id(snapshot_id) is None:
                raise LakeError(f"table {table}: snapshot {snapshot_id} is gone.")
            listing = list_snapshot(loaded, snapshot_id, known=known)
            return data_files(listing, deletes=self._deletes)

    def reach(self, table: str) -> Reach:
        loaded = self._load(table)
        with lake_errors(f"table {table}"), self._known() as known:
            return history.reach(loaded, known=known)

    def find_commit(self, table: str, *, run_id: str, step_id: str) -> int | None:
        for snapshot in self._load(table).metadata.snapshots:
            marks = snapshot.summary.additional_properties if snapshot.summary else {}
            if marks.get(RUN) == run_id and marks.get(STEP) == step_id:
                return int(snapshot.snapshot_id)
        return None

    # --- files ---------------------------------------------------------------------------

    def open(self, path: str) -> BinaryIO:
        with lake_errors("opening a table's file"):
            return cast("BinaryIO", self._io.new_input(path).open())

    def create(self, path: str) -> BinaryIO:
        local = local_path(normalise(path))
        with lake_errors("creating a table's file"):
            if local is not None:
                return cast("BinaryIO", DurableFile(local))
            return cast("BinaryIO", self._io.new_output(path).create(overwrite=True))

    def discard(self, paths: Iterable[str]) -> None:
        commits.remove_files(paths)

    def new_data_path(self, table: str, old: DataFile, *, name: str) -> str:
        return f"{old.path.rpartition('/')[0]}/{commits.OURS}{name}.parquet"

    # --- changing ------------------------------------------------------------------------

    def replace(
        self, table: str, pairs: Iterable[tuple[DataFile, str | None]], *, run_id: str, step_id: str
    ) -> int:
        wanted = list(pairs)
        loaded = self._load(table)
        with lake_errors(f"table {table}"):
            written = (
                (o.handle, styled(new, like=_raw(o))) for o, new in wanted if new is not None
            )
            added = tuple(rows.replacements(loaded, written, io=self._io))

        def decide(_: Table, listing: Listing) -> commits.Change:
            self._require_live(listing, [old for old, _ in wanted])
            leaving = {old.path for old, _ in wanted}
            removed = {_raw(old) for old, _ in wanted}
            removed |= obsolete_deletes(listing, leaving=leaving, deletes=self._deletes)
            return commits.Change(
                added=added,
                removed=frozenset(removed),
                operation=Operation.OVERWRITE if added else Operation.DELETE,
            )

        return self._commit(table, decide, marks={RUN: run_id, STEP: step_id})

    def restore(
        self,
        table: str,
        *,
        back: Mapping[str, str | None],
        deletes: Iterable[str],
        run_id: str,
        step_id: str,
    ) -> int:
        """Undo of `replace`: every old file (key) back for its new one (None: it had none), with
        these position delete files, in ONE snapshot. CommitConflictError when a new file is no
        longer live as it was written.
        """
        loaded = self._load(table)
        with lake_errors(f"table {table}"), self._known() as known:
            records = history.records(loaded, paths={*back, *deletes}, known=known)

        def decide(_: Table, listing: Listing) -> commits.Change:
            leaving = {new for new in back.values() if new is not None}
            live = {f.path: f for f in data_files(listing, deletes=self._deletes)}
            if any(new not in live or live[new].deletes for new in leaving):
                raise CommitConflictError("A replacement was changed by others since.")
            standing = {normalise(e.data_file.file_path) for m in listing.manifests for e in m.live}
            return commits.Change(
                added=tuple(records[p] for p in sorted(records) if p not in standing),
                removed=frozenset(_raw(live[new]) for new in leaving),
            )

        return self._commit(table, decide, marks={RUN: run_id, STEP: step_id})

    def flush(self, table: str, *, run_id: str, step_id: str) -> int:
        def decide(_: Table, listing: Listing) -> commits.Change:
            removed = obsolete_deletes(listing, leaving=(), deletes=self._deletes)
            operation = Operation.DELETE if removed else Operation.APPEND
            return commits.Change(removed=removed, operation=operation, sweep=True)

        return self._commit(table, decide, marks={RUN: run_id, STEP: step_id})

    def expire(
        self, table: str, snapshot_ids: Iterable[int], *, statistics: Iterable[str] = ()
    ) -> None:
        """Also takes metadata files that list these snapshots out of the metadata log."""
        leaving = history.Leaving(frozenset(snapshot_ids), frozenset(statistics))
        history.expire(self._swapper(table), lambda: self._load(table), leaving=leaving)

    def set_properties(self, table: str, changes: Mapping[str, str | None]) -> None:
        settings.change(
            self._swapper(table), lambda: self._load(table), changes=changes, staged=self._staged
        )

    # --- rows ----------------------------------------------------------------------------

    def batches(
        self, table: str, *, columns: Iterable[str], files: Collection[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        with lake_errors(f"table {table}"):
            yield from rows.batches(self._load(table), columns=tuple(columns), files=files)

    def create_table(
        self,
        table: str,
        schema: pa.Schema,
        *,
        partition_by: str | None,
        properties: Mapping[str, str],
    ) -> None:
        with lake_errors(f"table {table}"):
            with suppress(NamespaceAlreadyExistsError):
                self._catalog.create_namespace(table.rpartition(".")[0])
            converted: Schema = self._catalog._convert_schema_if_needed(schema)
            converted = assign_fresh_schema_ids(converted)
            spec = UNPARTITIONED_PARTITION_SPEC
            if partition_by is not None:
                source = converted.find_field(partition_by)
                spec = PartitionSpec(
                    PartitionField(source.field_id, 1000, IdentityTransform(), partition_by)
                )
            with suppress(TableAlreadyExistsError):
                self._catalog.create_table(
                    table, schema=converted, partition_spec=spec, properties=dict(properties)
                )

    def append(self, table: str, new_rows: pa.Table) -> int:
        loaded = self._load(table)
        with lake_errors(f"table {table}"):
            added = tuple(rows.write(loaded, new_rows))
        change = commits.Change(added=added, operation=Operation.APPEND)
        return self._commit(table, lambda _, __: change, marks={})

    def overwrite(
        self, table: str, new_rows: pa.Table | Iterable[pa.Table], *, base_snapshot: int | None
    ) -> int:
        loaded = self._load(table)
        added: list[Any] = []
        try:
            with lake_errors(f"table {table}"):
                for record in rows.write(loaded, new_rows):
                    added.append(record)  # noqa: PERF402  what was written before an error counts
        except BaseException:
            commits.remove_files([record.file_path for record in added])
            raise

        def decide(fresh: Table, listing: Listing) -> commits.Change:
            if fresh.metadata.current_snapshot_id != base_snapshot:
                raise CommitConflictError(f"table {table}: changed since it was read.")
            paths = (e.data_file.file_path for m in listing.manifests for e in m.live)
            return commits.Change(added=tuple(added), removed=frozenset(paths))

        try:
            return self._commit(table, decide, marks={})
        except CommitConflictError:
            commits.remove_files([record.file_path for record in added])
            raise

    # --- within --------------------------------------------------------------------------

    def _load(self, table: str) -> Table:
        try:
            with lake_errors(f"table {table}"):
                return self._catalog.load_table(table)
        except (ValidationError, ValueError):
            # Not chained: what PyIceberg says quotes the metadata, and so whoever stands in it.
            raise UnsupportedTableError(
                f"table {table}: its metadata is of a form that PyIceberg does not read (a version "
                "1 table without manifest lists, or a newer version). Use Spark: CALL "
                "system.rewrite_manifests and expire the older snapshots, then run again."
            ) from None

    def _commit(self, table: str, decide: Any, *, marks: Mapping[str, str]) -> int:
        with self._known() as known:
            return commits.commit(
                self._catalog,
                lambda: self._load(table),
                decide=decide,
                marks=marks,
                attempts=ATTEMPTS,
                staged=self._staged,
                known=known,
            )

    @contextmanager
    def _known(self) -> Iterator[dict[str, Any]]:
        """Manifests and their lists by path, as they were read: they never change. Those of small
        tables are kept from call to call.
        """
        known = dict(self._kept)
        yield known
        self._kept = known if sum(map(len, known.values())) <= KEPT else {}

    def _swapper(self, table: str) -> Any:
        """Who takes changes of the metadata alone: anything with PyIceberg's `commit_table`."""
        return self._catalog

    def _require_live(self, listing: Listing, wanted: Iterable[DataFile]) -> None:
        """D4: A still live and with the same delete files, or those pairs are planned again. No
        delete that is not read here may have come meanwhile: A' is newer, and would undo it.
        """
        for refusal in refusals.refused_files(listing):
            raise UnsupportedTableError(f"Since it was planned: {refusal.text}")
        live = {f.path: f for f in data_files(listing, deletes=self._deletes)}
        for old in wanted:
            found = live.get(old.path)
            if found is None or set(found.deletes) != set(old.deletes):
                raise CommitConflictError("A file was changed by others since it was rewritten.")

    def _namespaces(self, parent: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for found in self._catalog.list_namespaces(parent):
            # A server that knows no nesting may answer with its top level once more.
            if len(found) > len(parent):
                yield tuple(found)
                yield from self._namespaces(tuple(found))

    def _other_locations(self, loaded: Table) -> dict[str, str]:
        """Locations of every other table of the catalog, by name."""
        own = tuple(loaded.name())
        found = {}
        for namespace in self._catalog.list_namespaces():
            for identifier in self._catalog.list_tables(namespace):
                if tuple(identifier) != own:
                    other = self._catalog.load_table(identifier)
                    found[".".join(identifier)] = normalise(other.metadata.location)
        return found


def _raw(file: DataFile) -> str:
    return str(cast("Any", file.handle).file_path)


def _note_metadata_files(catalog: Any, staged: commits.Staged) -> None:
    """Let the catalog's client note every metadata.json it writes: it forgets those of lost swaps.

    Of the catalogs that write it themselves (sql, glue); a REST server writes and keeps its own.
    """
    write = catalog._write_metadata

    def noting(metadata: Any, io: Any, metadata_path: str) -> None:
        staged.paths.append(metadata_path)
        write(metadata, io, metadata_path)

    catalog._write_metadata = noting
