"""Where somebody stands in what Iceberg writes about a table: manifests (bounds, partition values,
DELETED entries), manifest lists, Puffin files. Reads only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import pyarrow as pa
import zstandard

from app.domain.errors import LakeError
from app.lake.verify.metadata import avro
from app.lake.verify.needles import Needles
from app.lake.verify.parquet import Aside
from app.lake.verify.text import utf8

IsAnothers = Callable[[str, int, bytes], bool]
"""(file path, field id, bound): whether a cut bound is somebody else's value in that file."""
IsLate = Callable[[str], bool]
"""Whether a data file came after the horizon."""
_PUFFIN = b"PFA1"
_STATUS = {0: "live entry", 1: "live entry", 2: "DELETED entry"}
_BOUNDS = ("lower_bounds", "upper_bounds")
_PARTITION_BOUNDS = ("lower_bound", "upper_bound")


@dataclass(frozen=True, slots=True)
class MetadataSearch:
    """Searches Avro and Puffin files."""

    needles: Needles
    is_anothers: IsAnothers
    is_late: IsLate

    def in_avro(self, file: BinaryIO) -> Iterator[Aside]:
        """A manifest, a manifest list, or any other Avro file."""
        header, records = avro(file)
        for text in header.values():
            yield from self._text("Avro header", text)
        for record in records:
            entry = record.get("data_file") if isinstance(record, dict) else None
            if isinstance(entry, dict):
                late = self.is_late(entry["file_path"])
                yield from (replace(a, late=late) for a in self._entry(record, entry))
            else:
                yield from self._any("manifest list or Avro record", record, bound=False)

    def _entry(self, record: dict[str, Any], file: dict[str, Any]) -> Iterator[Aside]:
        where = _STATUS.get(record.get("status", 1), "entry")
        for name, value in file.items():
            if name not in _BOUNDS:
                yield from self._any(f"manifest {name}, {where}", value, bound=False)
                continue
            for pair in value or ():
                raw = pair["value"]
                place = f"manifest bound, {where}"
                yield from self._text(place, raw)
                cut = self._cut(raw)
                if cut is not None and not self.is_anothers(file["file_path"], pair["key"], raw):
                    yield Aside(place, cut, cut=True)

    def _any(self, where: str, value: Any, *, bound: bool) -> Iterator[Aside]:
        if isinstance(value, str | bytes):
            yield from self._text(where, value)
            cut = self._cut(value) if bound else None
            if cut is not None:
                yield Aside(where, cut, cut=True)
        elif isinstance(value, dict):
            for name, inner in value.items():
                yield from self._any(where, inner, bound=name in _PARTITION_BOUNDS)
        elif isinstance(value, list | tuple):
            for inner in value:
                yield from self._any(where, inner, bound=bound)

    def _text(self, where: str, value: str | bytes) -> Iterator[Aside]:
        raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
        for hit in self.needles.hits(utf8(raw)):
            yield Aside(where, hit.value)

    def _cut(self, value: str | bytes) -> str | None:
        text = value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
        return self.needles.cut_from(text)

    def in_puffin(self, file: BinaryIO) -> Iterator[Aside]:
        """A statistics file: its footer, and every blob decompressed."""
        data = file.read()
        footer = _puffin_footer(data)
        yield from self._text("Puffin footer", footer)
        try:
            blobs = json.loads(footer)["blobs"]
            for blob in blobs:
                raw = data[blob["offset"] : blob["offset"] + blob["length"]]
                yield from self._text("Puffin blob", _opened(raw, blob.get("compression-codec")))
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            raise LakeError("A Puffin file that cannot be read.") from err


def _puffin_footer(data: bytes) -> bytes:
    """The footer's JSON. Layout: magic, payload, its size, flags, magic."""
    size = int.from_bytes(data[-12:-8], "little")
    start = len(data) - 12 - size
    if data[-4:] != _PUFFIN or start < 8 or data[start - 4 : start] != _PUFFIN:
        raise LakeError("A Puffin file without a footer.")
    payload = data[start : start + size]
    return _opened(payload, "lz4" if data[-8] & 1 else None)


def _opened(raw: bytes, codec: str | None) -> bytes:
    try:
        if codec == "zstd":
            return zstandard.ZstdDecompressor().decompressobj().decompress(raw)
        if codec == "lz4":
            with pa.CompressedInputStream(pa.BufferReader(raw), "lz4") as stream:
                return bytes(stream.read())
    except (zstandard.ZstdError, pa.ArrowException, OSError) as err:
        raise LakeError("A Puffin blob is damaged.") from err
    return raw
