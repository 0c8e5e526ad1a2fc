"""One Parquet file of a table: looked at for the targets, and written anew without them.

Raw Parquet in, raw Parquet out: the file's own schema, field ids, codecs and row groups stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.domain.errors import UnsupportedTableError
from app.domain.receipts import Counts, FileWork, WorkState
from app.lake.table_columns import columns, flat_leaves, is_bytes, is_text
from app.lake.table_names import normalise
from app.lake.table_ports import DataFile, TableEngine, TableHead
from app.lake.table_rows import RowGroup, is_number
from app.lake.table_texts import Rule, text_holds
from app.lake.table_values import Mask

_ARROW_SCHEMA = b"ARROW:schema"


@dataclass(slots=True)
class HiddenRows:
    """Rows that position deletes hide, by data file. Delete files never change: read once."""

    engine: TableEngine
    known: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def of(self, file: DataFile) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Positions of the hidden rows, sorted."""
        hidden: set[int] = set()
        for delete in file.deletes:
            hidden.update(self.read(delete.path).get(file.path, ()))
        return np.array(sorted(hidden), np.int64)

    def read(self, path: str) -> dict[str, list[int]]:
        """What a position delete file hides, by data file."""
        known = self.known.get(path)
        if known is None:
            known = {}
            with closing(self.engine.open(path)) as source:
                table = pq.read_table(source, columns=["file_path", "pos"])
            for name, position in zip(
                table["file_path"].to_pylist(), table["pos"].to_pylist(), strict=True
            ):
                known.setdefault(normalise(name), []).append(position)
            self.known[path] = known
        return known


class ParquetData:
    """A data file, open. Its columns as the map knows them."""

    def __init__(
        self, source: BinaryIO, *, file: DataFile, rule: Rule, head: TableHead, hidden: HiddenRows
    ) -> None:
        self._file, self._rule, self._head = file, rule, head
        footer = _footer(source)
        self._parquet = pq.ParquetFile(
            source, metadata=footer, read_dictionary=_repetitive_texts(footer)
        )
        self._schema = self._parquet.schema_arrow
        keys = head.keys.get(file.spec_id, ())
        self._columns = columns(self._schema, dataset=rule.dataset, head=head, keys=keys)
        self._refuse_bytes_called_text()
        self._hidden = np.zeros(self._parquet.metadata.num_rows, np.bool_)
        self._hidden[hidden.of(file)] = True

    def _refuse_bytes_called_text(self) -> None:
        text = {p for p, kind in self._head.columns.items() if kind == "string"}
        if any(is_bytes(c.type) and c.path in text for c in self._columns):
            raise UnsupportedTableError(
                "A data file holds a text column as bytes without saying that it is text. "
                "Use Spark: CALL system.rewrite_data_files, then run again."
            )

    def holds(self) -> bool:
        """Whether any row, hidden ones too, or the file's own metadata, may hold a target.

        Declared columns first: most hit files are told by them, and they are the small ones.
        """
        if self._metadata_holds():
            return True
        declared: list[str] = []
        others: list[str] = []
        for index, column in enumerate(self._columns):
            if column.is_text or is_bytes(column.type) or is_number(column):
                path = self._parquet.schema.column(index).path
                (declared if column.declared else others).append(path)
        groups = range(self._parquet.num_row_groups)
        return any(
            self._group(number, columns=names).holds()
            for names in (declared, others)
            for number in groups
            if names
        )

    def _group(self, number: int, *, columns: list[str] | None) -> RowGroup:
        table = self._parquet.read_row_group(number, columns=columns, use_threads=False)
        return RowGroup(table, rule=self._rule, columns=self._columns)

    def would_change(self) -> bool:
        """Whether the rule changes anything here: exact, where `holds` may say too much."""
        if self.renamed:
            return True
        try:
            return any(self._group_changes(n) for n in range(self._parquet.num_row_groups))
        except UnsupportedTableError:
            return True  # somebody stands where only a person could take them out

    def _group_changes(self, number: int) -> bool:
        group = self._group(number, columns=None)
        hits = group.hits()
        return bool(hits.any() and group.edit(hits, hidden=np.zeros_like(hits)).counts.hit)

    def _metadata_holds(self) -> bool:
        pairs = (self._schema.metadata or {}).items()
        return any(text_holds(part, editor=self._rule.editor) for pair in pairs for part in pair)

    @property
    def hidden(self) -> int:
        """Rows that position deletes hide."""
        return int(self._hidden.sum())

    @property
    def renamed(self) -> bool:
        """Whether the file's own metadata must change."""
        return bool((self._new_schema().metadata or {}) != (self._schema.metadata or {}))

    def rewrite(self, sink: _Digest) -> Counts:
        """Write the file without the targets; its counts. `sink` stays untouched when no row is
        left.
        """
        counts = Counts()
        first = 0
        writer = None
        for number in range(self._parquet.num_row_groups):
            group = self._group(number, columns=None)
            hits = group.hits()
            hidden: Mask = self._hidden[first : first + len(hits)]
            first += len(hits)
            edited = group.edit(hits, hidden=hidden)
            counts += edited.counts
            if edited.table.num_rows:
                if writer is None:
                    writer = self._writer(sink)
                rows = edited.table.replace_schema_metadata(self._new_schema().metadata)
                writer.write_table(rows, row_group_size=max(rows.num_rows, 1))
        if writer is not None:
            writer.close()
        return counts

    def _writer(self, sink: _Digest) -> pq.ParquetWriter:
        """A writer as the file's own was, as far as the file tells."""
        schema, options = self._new_schema(), self._options()
        writer = pq.ParquetWriter(sink, schema, **options)
        if schema.metadata and not options["store_schema"]:
            writer.add_key_value_metadata(schema.metadata)
        return writer

    def _new_schema(self) -> pa.Schema:
        """The file's schema; free text in its metadata without the targets."""
        clean = {}
        for key, value in (self._schema.metadata or {}).items():
            clean[_clean(key, self._rule)] = _clean(value, self._rule)
        return self._schema.with_metadata(clean or None)

    def _options(self) -> dict[str, Any]:
        """How the file was written, as far as it tells."""
        footer = self._parquet.metadata
        chunks = [footer.row_group(0).column(i) for i in range(footer.num_columns)]
        codecs = {c.path_in_schema: _CODECS.get(c.compression, c.compression) for c in chunks}
        dictionary = [c.path_in_schema for c in chunks if c.has_dictionary_page and _pays(c)]
        options: dict[str, Any] = {
            "compression": codecs,
            "use_dictionary": dictionary or False,
            "write_statistics": [c.path_in_schema for c in chunks if c.is_stats_set] or False,
            "version": footer.format_version if footer.format_version in _VERSIONS else "2.6",
            "store_schema": _ARROW_SCHEMA in (footer.metadata or {}),
            "write_page_index": any(c.has_column_index for c in chunks),
        }
        level = self._head.properties.get("write.parquet.compression-level")
        if level is not None and level.isdecimal():
            options["compression_level"] = {
                path: int(level) for path, codec in codecs.items() if codec in _LEVELLED
            }
        if any(c.physical_type == "INT96" for c in chunks):
            options["use_deprecated_int96_timestamps"] = True
        return options


def _footer(source: BinaryIO) -> pq.FileMetaData:
    """A file's footer. UnsupportedTableError when the file is encrypted or no Parquet.

    Arrow ends the whole process when it is asked about an encrypted column of a file whose footer
    is not: such a footer is longer, by its signature, than what was read of it.
    """
    source.seek(max(source.seek(0, 2) - 8, 0))
    tail = source.read(8)
    source.seek(0)
    if tail[4:] != b"PARE":
        try:
            footer = pq.read_metadata(source)
        except pa.ArrowInvalid as err:
            raise UnsupportedTableError(
                "A data file that the table calls Parquet cannot be read as such. Use Spark: "
                "CALL system.rewrite_data_files, or remove the file, then run again."
            ) from err
        if footer.serialized_size == int.from_bytes(tail[:4], "little"):
            return footer
    raise UnsupportedTableError(
        "A data file is encrypted Parquet and its keys are not known here. Use Spark: erase there "
        "with the keys configured, or CALL system.rewrite_data_files without encryption, then run "
        "again."
    )


def _pays(chunk: Any) -> bool:
    """Whether a dictionary held to the end of a chunk: a writer gives up on one that grows."""
    if chunk.num_values < _MANY:
        return True
    a_value = chunk.total_uncompressed_size / chunk.num_values
    return bool(a_value < _A_VALUE.get(chunk.physical_type, 12.0))


_MANY = 10_000
_A_VALUE = {"INT32": 3.0, "FLOAT": 3.0, "INT64": 6.0, "DOUBLE": 6.0}


def _repetitive_texts(footer: pq.FileMetaData) -> list[str] | None:
    """Text columns to be read, searched and written by their dictionaries: those outside lists."""
    if footer.num_row_groups == 0 or _ARROW_SCHEMA in (footer.metadata or {}):
        return None  # a schema of Arrow's own says which columns are dictionaries
    leaves = flat_leaves(footer.schema.to_arrow_schema())
    chunks = (footer.row_group(0).column(i) for i in range(footer.num_columns))
    return [
        chunk.path_in_schema
        for chunk, kind in zip(chunks, leaves, strict=True)
        if kind is not None and is_text(kind) and chunk.has_dictionary_page and _pays(chunk)
    ] or None


_CODECS = {"UNCOMPRESSED": "NONE"}
_LEVELLED = frozenset({"ZSTD", "GZIP", "BROTLI"})
_VERSIONS = frozenset({"1.0", "2.4", "2.6"})


def _clean(text: bytes, rule: Rule) -> bytes:
    decoded = text.decode("utf-8", "surrogateescape")
    edited = rule.editor.edit_text(decoded, owner="")
    return edited.text.encode("utf-8", "surrogateescape") if edited.values else text


class _Digest:
    """A new file that counts and digests what goes into it; made with the first byte."""

    def __init__(self, engine: TableEngine, path: str) -> None:
        self._engine, self._path = engine, path
        self._file: BinaryIO | None = None
        self._hash = hashlib.sha256()
        self._size = 0
        self.closed = False

    def write(self, data: Any) -> int:
        if self._file is None:
            self._file = self._engine.create(self._path)
        view = memoryview(data).cast("B")
        self._hash.update(view)
        self._file.write(view)
        self._size += len(view)
        return len(view)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Durable on close only."""

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True

    def finish(self) -> str | None:
        """Make it durable; the digest, None when nothing was written."""
        if self._file is None:
            return None
        self._file.close()
        return self._hash.hexdigest()


@dataclass(frozen=True, slots=True)
class FileEraser:
    """Everything that one table's files are erased with."""

    engine: TableEngine
    rule: Rule
    head: TableHead
    hidden: HiddenRows

    def holds(self, file: DataFile) -> bool:
        """Whether the file may hold a target, in a hidden row too."""
        with closing(self.engine.open(file.path)) as source:
            return self._data(source, file).holds()

    def would_change(self, file: DataFile) -> bool:
        """Whether the rule changes anything in the file, hidden rows among the others."""
        with closing(self.engine.open(file.path)) as source:
            return self._data(source, file).would_change()

    def rewrite(self, work: FileWork, *, file: DataFile) -> FileWork:
        """Write A' at `work.new_path`: WRITTEN, with new_path None when no row is left; CLEAN when
        nothing of it had to change after all.
        """
        assert work.new_path is not None
        sink = _Digest(self.engine, work.new_path)
        with closing(self.engine.open(file.path)) as source:
            data = self._data(source, file)
            counts = data.rewrite(sink)
            changed = counts.hit or data.renamed or bool(file.deletes)
        digest = sink.finish()
        return replace(
            work,
            state=WorkState.WRITTEN if changed else WorkState.CLEAN,
            new_path=work.new_path if digest is not None else None,
            sha256=digest,
            counts=counts,
            hidden=data.hidden,
        )

    def _data(self, source: BinaryIO, file: DataFile) -> ParquetData:
        return ParquetData(source, file=file, rule=self.rule, head=self.head, hidden=self.hidden)


def shared_deletes(files: Mapping[str, DataFile], hit: set[str], *, hidden: HiddenRows) -> set[str]:
    """`hit` and every file that a position delete file of one of them also concerns: the delete
    file can only go when all of them are rewritten.
    """
    todo, found = list(hit), set(hit)
    while todo:
        for delete in files[todo.pop()].deletes:
            for path in hidden.read(delete.path):
                if path in files and path not in found:
                    found.add(path)
                    todo.append(path)
    return found
