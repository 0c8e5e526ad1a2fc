"""What stands in a Parquet file beside its rows: footer, key-value metadata, statistics, page
headers, column indexes, and dictionary pages with what no row uses any more. Own footer reading.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from app.domain.errors import LakeError
from app.lake.verify.columns import python_values
from app.lake.verify.needles import Needles, counted_up
from app.lake.verify.text import utf8
from app.lake.verify.thrift import Struct, binaries, read_struct

_MAGIC = b"PAR1"
_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_DICTIONARY_PAGE = 2
_ROW_GROUPS, _KEY_VALUES = 4, 5
_BYTE_ARRAYS = (6, 7)
_LONGEST_HEADER = 1 << 20
_FIELD_ID = b"PARQUET:field_id"


@dataclass(frozen=True, slots=True)
class Aside:
    """A value found beside the rows. `cut`: its beginning only, in a bound. `late`: of a file that
    came after the horizon.
    """

    where: str
    value: str = field(repr=False)
    cut: bool = False
    late: bool = False


def opened(file: BinaryIO) -> pq.ParquetFile:
    """A Parquet file; LakeError when it cannot be read as one."""
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as err:
        raise LakeError("Not a readable Parquet file.") from err


def asides(file: BinaryIO, *, needles: Needles) -> Iterator[Aside]:
    """Everything of the run that stands beside the rows."""
    footer = read_footer(file)
    for number, part in footer.items():
        if number != _ROW_GROUPS:
            where = "key-value metadata" if number == _KEY_VALUES else "footer"
            for text in binaries(part):
                yield from _in(where, text, needles=needles)
    for group in footer.get(_ROW_GROUPS, []):
        for index, chunk in enumerate(group.get(1, [])):
            yield from _Chunk(file, chunk, index, needles=needles).asides()


def read_footer(file: BinaryIO) -> Struct:
    """FileMetaData. LakeError when there is none, or it is encrypted."""
    size = file.seek(0, 2)
    if size < 12:
        raise LakeError("Not a Parquet file: too short.")
    file.seek(size - 8)
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or length > size - 12:
        raise LakeError("Not a Parquet file: no footer.")
    file.seek(size - 8 - length)
    return read_struct(file.read(length))[0]


def _in(where: str, raw: bytes, *, needles: Needles) -> Iterator[Aside]:
    if len(needles.suspects(raw)):
        for hit in needles.hits(utf8(raw)):
            yield Aside(where, hit.value)


class _Chunk:
    """One column chunk."""

    def __init__(self, file: BinaryIO, chunk: Struct, index: int, *, needles: Needles) -> None:
        self._file = file
        self._chunk = chunk
        self._meta: Struct = chunk.get(3, {})
        self._index = index
        self._needles = needles

    def asides(self) -> Iterator[Aside]:
        """In its metadata, its index, its page headers, its dictionary."""
        for text in binaries({k: v for k, v in self._chunk.items() if k != 3}):
            yield from _in("footer", text, needles=self._needles)
        for number, part in self._meta.items():
            for text in binaries(part):
                yield from self._bound("statistics" if number == 12 else "footer", text)
        if 6 in self._chunk and 7 in self._chunk:
            self._file.seek(self._chunk[6])
            for text in binaries(read_struct(self._file.read(self._chunk[7]))[0]):
                yield from self._bound("column index", text)
        if self._meta.get(1) in _BYTE_ARRAYS:
            yield from self._pages()

    def _bound(self, where: str, raw: bytes) -> Iterator[Aside]:
        yield from _in(where, raw, needles=self._needles)
        value = self._needles.cut_from(raw.decode("utf-8", "surrogateescape"))
        if value is not None and not _others_begin_so(
            opened(self._file), self._index, bound=raw, needles=self._needles
        ):
            yield Aside(where, value, cut=True)

    def _pages(self) -> Iterator[Aside]:
        starts = [s for s in (self._meta.get(11), self._meta.get(9)) if s]
        at = min(starts)
        end = at + self._meta[7]
        while at < end:
            self._file.seek(at)
            raw = self._file.read(min(_LONGEST_HEADER, end - at))
            header, size = read_struct(raw)
            for text in binaries(header):
                yield from self._bound("page header", text)
            if header.get(1) == _DICTIONARY_PAGE:
                yield from self._dictionary(at + size, header)
            at += size + header[3]

    def _dictionary(self, at: int, header: Struct) -> Iterator[Aside]:
        self._file.seek(at)
        page = self._file.read(header[3])
        if self._meta.get(4):
            codec = _CODECS.get(self._meta[4])
            if codec is None:
                raise LakeError("A Parquet codec that is not known.")
            page = pa.decompress(page, decompressed_size=header[2], codec=codec, asbytes=True)
        if not len(self._needles.suspects(page)):
            return
        place = 0
        while place + 4 <= len(page) and self._meta[1] == 6:
            size = int.from_bytes(page[place : place + 4], "little")
            yield from _in("dictionary", page[place + 4 : place + 4 + size], needles=self._needles)
            place += 4 + size


def _others_begin_so(file: pq.ParquetFile, index: int, *, bound: bytes, needles: Needles) -> bool:
    """Whether a value of somebody else in this column accounts for a cut bound."""
    text = bound.decode("utf-8", "surrogateescape")
    column = file.schema.column(index).path
    for batch in file.iter_batches(columns=[column]):
        for value in _leaf_texts(batch.column(0)):
            begin = value[: len(text)]
            if value not in needles.values and text in (begin, begin and counted_up(begin)):
                return True
    return False


def _leaf_texts(array: pa.Array) -> Iterator[str]:
    for value in python_values(array):
        yield from _strings(value)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "surrogateescape")
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)


def bound_is_anothers(file: BinaryIO, *, field_id: int, bound: bytes, needles: Needles) -> bool:
    """Whether a cut bound of a manifest stands for somebody else's value in the file it names."""
    parquet = opened(file)
    ids = list(_leaf_ids(parquet.schema_arrow))
    if field_id not in ids:
        return False
    return _others_begin_so(parquet, ids.index(field_id), bound=bound, needles=needles)


def _leaf_ids(schema: pa.Schema) -> Iterator[int | None]:
    for column in schema:
        yield from _ids_below(column)


def _ids_below(column: pa.Field) -> Iterator[int | None]:
    if column.type.num_fields:
        for i in range(column.type.num_fields):
            yield from _ids_below(column.type.field(i))
    else:
        raw = (column.metadata or {}).get(_FIELD_ID)
        yield None if raw is None else int(raw)
