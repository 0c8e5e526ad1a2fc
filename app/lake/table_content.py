"""Whether bytes found beside a table hold a target, judged by what they are and not by their name.

For orphans and for the metadata of old snapshots. Not the verifier: it shares no code with this.
"""

from __future__ import annotations

import gzip
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

from app.domain.identifiers import Targets
from app.lake.jsontext import Editor
from app.lake.table_columns import is_text
from app.lake.table_values import text_bytes, whole
from app.lake.tombstones import Tombstones

_SHORTEST_PREFIX = 8
"""A bound that quotes fewer characters of an identifier tells nobody from anybody."""
_CUT = 16
"""Characters that Iceberg writers keep of a text's bound, unless told otherwise."""
_DELETED = 2
_NO_SECRET = Tombstones(b"")


def holder(targets: Targets) -> Callable[[str, bytes], bool]:
    """(uri, content) -> whether the name or the content holds a target."""
    content = Content(targets)
    return lambda uri, raw: content.holds(raw) or content.holds_text(uri.encode("utf-8"))


class Content:
    """The targets of a run, looked for in whole files."""

    def __init__(self, targets: Targets) -> None:
        self._editor = Editor(targets, _NO_SECRET)
        self._sorted = sorted(v.encode("utf-8", "surrogatepass") for v in targets.by_value)

    def holds(self, raw: bytes) -> bool:
        """Parquet, Avro, gzip by their magic numbers; anything else as text."""
        if raw[:4] == b"PAR1" and raw[-4:] == b"PAR1":
            return self._parquet(raw)
        if raw[:4] == b"Obj\x01":
            return self._avro(raw)
        if raw[:2] == b"\x1f\x8b":
            try:
                return self.holds_text(gzip.decompress(raw))
            except (OSError, EOFError, zlib.error):
                return self.holds_text(raw)
        return self.holds_text(raw)

    def holds_text(self, raw: bytes) -> bool:
        """As it stands, JSON escapes or percent escapes decoded."""
        return self._editor.holder(raw) is not None

    def names_the_dead(self, raw: bytes) -> bool:
        """Whether a manifest's DELETED entries quote a target in a bound, cut short or whole."""
        for record in fastavro.reader(BytesIO(raw)):
            if isinstance(record, Mapping) and record.get("status") == _DELETED:
                file = record.get("data_file") or {}
                for name in ("lower_bounds", "upper_bounds"):
                    if any(self._quotes(b) for b in _byte_strings(file.get(name))):
                        return True
        return False

    def _quotes(self, bound: bytes) -> bool:
        """Whether a bound is the beginning of a target, or that counted up in its last place."""
        if len(bound) < _SHORTEST_PREFIX:
            return False
        return self._begins(bound) or self._begins(bound[:-1] + bytes((max(bound[-1], 1) - 1,)))

    def _begins(self, prefix: bytes) -> bool:
        at = bisect_left(self._sorted, prefix)
        return at < len(self._sorted) and self._sorted[at].startswith(prefix)

    def _parquet(self, raw: bytes) -> bool:
        try:
            file = pq.ParquetFile(BytesIO(raw))
            if any(
                self.holds_text(part)
                for pair in (file.metadata.metadata or {}).items()
                for part in pair
            ):
                return True
            return any(
                self._array(whole(column))
                for group in range(file.num_row_groups)
                for column in file.read_row_group(group).columns
            )
        except (pa.ArrowInvalid, OSError):
            return self.holds_text(raw)

    def _array(self, array: pa.Array) -> bool:
        kind = array.type
        if isinstance(kind, pa.BaseExtensionType):
            return self._array(array.storage)
        if isinstance(kind, pa.DictionaryType):
            return self._array(array.dictionary)
        if is_text(kind):
            return any(v is not None and self.holds_text(v) for v in text_bytes(array).to_pylist())
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return any(v is not None and self.holds_text(v) for v in array.to_pylist())
        if pa.types.is_struct(kind):
            return any(self._array(array.field(i)) for i in range(kind.num_fields))
        if pa.types.is_map(kind):
            return self._array(array.keys) or self._array(array.items)
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            return self._array(array.values)
        return False

    def _avro(self, raw: bytes) -> bool:
        try:
            reader = fastavro.reader(BytesIO(raw))
            texts = [*_byte_strings(dict(reader.metadata)), *_byte_strings(list(reader))]
        except (ValueError, EOFError, OSError, StopIteration):
            return self.holds_text(raw)
        return any(self.holds_text(text) or self._is_cut(text) for text in texts)

    def _is_cut(self, text: bytes) -> bool:
        return len(text) == _CUT and self._quotes(text)


def _byte_strings(value: Any) -> Iterator[bytes]:
    """Every text and byte string inside Avro data."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, str):
        yield value.encode("utf-8", "surrogatepass")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _byte_strings(key)
            yield from _byte_strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _byte_strings(inner)
