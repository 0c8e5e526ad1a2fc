"""Rows put aside on disk by the text they are about, and had again one part at a time.

The file has no name, so that nobody finds it and no crash leaves it. Not here: what the rows say.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Numbers = npt.NDArray[np.int64]
_WORDS = 4
"""How many times 8 bytes of a text's end say where it goes."""
_MIX = np.uint64(0x9E3779B97F4A7C15)


class Spool:
    """Rows in so many parts; those about the same text are in the same part."""

    def __init__(self, schema: pa.Schema, *, about: str, parts: int, folder: Path | None) -> None:
        """`about`: the column that decides. `folder`: where disk space is; None: the system's."""
        self._schema = schema
        self._about = about
        self._parts = parts
        self._places: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  closed by __exit__

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, rows: pa.Table) -> None:
        """Put rows aside."""
        if not rows.num_rows:
            return
        rows = rows.combine_chunks()
        encoded = rows[self._about].combine_chunks().dictionary_encode()
        part = parts_of(encoded.dictionary, self._parts)[encoded.indices.to_numpy()]
        order = np.argsort(part, kind="stable")
        ends = np.flatnonzero(np.diff(part[order], append=-1)) + 1
        sorted_rows = rows.take(pa.array(order))
        start = 0
        for end in ends.tolist():
            self._write(int(part[order[start]]), sorted_rows.slice(start, end - start))
            start = end

    def _write(self, part: int, rows: pa.Table) -> None:
        for batch in rows.to_batches():
            written = batch.serialize()
            self._places[part].append((self._file.tell(), written.size))
            self._file.write(written)

    def part(self, number: int) -> pa.Table:
        """Everything that was put aside in one part."""
        batches = [self._read(*place) for place in self._places.pop(number, ())]
        self._file.seek(0, 2)
        return pa.Table.from_batches(batches, schema=self._schema)

    def _read(self, start: int, size: int) -> pa.RecordBatch:
        self._file.seek(start)
        return pa.ipc.read_record_batch(pa.py_buffer(self._file.read(size)), self._schema)


def parts_of(texts: pa.Array, parts: int) -> Numbers:
    """Which part each text belongs to: the same for the same text, always. No nulls."""
    texts = texts.cast(pa.string())
    _, ends, data = texts.buffers()
    if not len(texts):
        return np.zeros(0, np.int64)
    bounds = np.frombuffer(ends, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    starts, stops = bounds[:-1].astype(np.int64), bounds[1:].astype(np.int64)
    held = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    padded = np.concatenate([held, np.zeros(8, np.uint8)])
    words = np.ndarray((len(padded) - 7,), "<u8", buffer=padded.data, strides=(1,))
    # a text shorter than a word: only its own bytes count
    short = np.minimum(stops - starts, 8).astype(np.uint64)
    own = np.where(
        short == 8, ~np.uint64(0), (np.uint64(1) << (short * np.uint64(8))) - np.uint64(1)
    )
    mixed = (stops - starts).astype(np.uint64)
    for word in range(1, _WORDS + 1):
        at = np.maximum(starts, stops - 8 * word)
        mixed = (mixed ^ (words[at] & own)) * _MIX
        mixed ^= mixed >> np.uint64(29)
    return ((mixed >> np.uint64(20)) % np.uint64(parts)).astype(np.int64)
