"""Loads what was made: objects in a few threads, tables in one, the next hours made meanwhile.

Not here: what is loaded (app.lake.make). Memory is bounded by what may wait, not by the lake.
"""

from __future__ import annotations

import io
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa

from app.domain.failpoints import failpoint
from app.lake.codecs import Codec, Encoder
from app.lake.make_people import Ints
from app.lake.make_tables import EVENTS, PARTITION_BY, SCHEMAS
from app.lake.ports import GOVERNANCE, Loader
from app.lake.table_ports import TableEngine
from app.lake.table_settings import table_properties

Progress = Callable[[str, str, int, int], None]
"""`make`, layer, events done, events in all. Called from the calling thread only."""

HOUR_MS = 3_600_000
_OBJECT_EVENTS = 50_000
_STRETCH_EVENTS = 60_000
_UPLOADERS = 4
_OBJECTS_AHEAD = 8
_APPENDS_AHEAD = 1
_SUFFIX = {Codec.NONE: "", Codec.GZ: ".gz", Codec.ZST: ".zst"}


@dataclass(frozen=True, slots=True)
class Part:
    """The events of one object: from `first` to before `end` in the day."""

    hour: int
    number: int
    """Of the object, within the hour."""
    first: int
    end: int


def cut(ms: Ints) -> Iterator[list[Part]]:
    """The day's objects in stretches that are made, and added to the table, together."""
    stretch: list[Part] = []
    bounds = np.searchsorted(ms, np.arange(25) * HOUR_MS).tolist()
    for hour in range(24):
        for number, (first, end) in enumerate(_evenly(bounds[hour], bounds[hour + 1])):
            stretch.append(Part(hour, number, first, end))
            if end - stretch[0].first >= _STRETCH_EVENTS:
                yield stretch
                stretch = []
    if stretch:
        yield stretch


def _evenly(first: int, end: int) -> Iterator[tuple[int, int]]:
    pieces = -(-(end - first) // _OBJECT_EVENTS)
    bounds = [first + (end - first) * n // pieces for n in range(pieces)] if pieces else []
    return pairwise([*bounds, end])


class Loading:
    """A lake being loaded. Leaving the block waits for everything, and raises what went wrong."""

    def __init__(
        self,
        loader: Loader,
        engine: TableEngine,
        *,
        root: str,
        codec: Codec,
        retain_until: datetime,
        events: int,
        progress: Progress | None,
        clock: Callable[[], float],
    ) -> None:
        self._loader = loader
        self._engine = engine
        self._root = root
        self._codec = codec
        self._locks = root.startswith("s3://")
        self._retain_until = retain_until if self._locks else None
        self._lock_mode = GOVERNANCE if self._locks else None
        self._events = events
        self._progress = progress
        self._clock = clock
        self._began = clock()
        self._uploaders = ThreadPoolExecutor(_UPLOADERS, "upload")
        self._appender = ThreadPoolExecutor(1, "append")
        self._objects: deque[tuple[int, Future[tuple[int, float]]]] = deque()
        self._appends: deque[tuple[int, Future[float]]] = deque()
        self._waiting: dict[str, list[pa.Table]] = defaultdict(list)
        self._done: dict[str, int] = defaultdict(int)
        self._busy: dict[str, float] = defaultdict(float)
        self.objects = 0
        self.bytes = 0

    @property
    def seconds(self) -> dict[str, float]:
        """Busy seconds of the threads by layer."""
        return {part: round(seconds, 3) for part, seconds in self._busy.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            if err is None:
                self._finish()
        finally:
            self._uploaders.shutdown(cancel_futures=True)
            self._appender.shutdown(cancel_futures=True)

    def prepare(self) -> None:
        """The bucket or folder, and empty tables."""
        self._loader.ensure_bucket(self._root, object_lock=self._locks)
        for table, schema in SCHEMAS.items():
            self._engine.create_table(
                table,
                schema,
                partition_by=PARTITION_BY[table],
                properties=table_properties(schema.names),
            )

    def put(self, day: date, part: Part, lines: pa.Array) -> None:
        """Load one object; its body is the lines' own buffer, until an uploader takes a copy."""
        place = f"raw/event_dt={day.isoformat()}/{part.hour:02}/evt-{part.number:05}.ndjson"
        uri = f"{self._root}{place}{_SUFFIX[self._codec]}"
        self._objects.append((len(lines), self._uploaders.submit(self._load, uri, lines)))
        if len(self._objects) > _OBJECTS_AHEAD:
            self._await_object()

    def append(self, table: str, rows: pa.Table) -> None:
        """Add rows. Small days wait for one another: a commit costs more than its rows."""
        self._waiting[table].append(rows)
        if sum(waiting.num_rows for waiting in self._waiting[table]) >= _STRETCH_EVENTS:
            self._append_waiting(table)

    def _append_waiting(self, table: str) -> None:
        rows = pa.concat_tables(self._waiting.pop(table))
        events = rows.num_rows if table == EVENTS else 0
        self._appends.append((events, self._appender.submit(self._add, table, rows)))
        if len(self._appends) > _APPENDS_AHEAD:
            self._await_append()

    def _finish(self) -> None:
        for table in list(self._waiting):
            self._append_waiting(table)
        while self._objects:
            self._await_object()
        while self._appends:
            self._await_append()

    def _await_object(self) -> None:
        events, future = self._objects.popleft()
        size, seconds = future.result()
        self.objects += 1
        self.bytes += size
        self._finished("bronze", events, seconds)

    def _await_append(self) -> None:
        events, future = self._appends.popleft()
        self._finished("silver", events, future.result())

    def _finished(self, part: str, events: int, seconds: float) -> None:
        self._busy[part] += seconds
        self._done[part] += events
        if self._progress is not None and events:
            self._progress("make", part, self._done[part], self._events)

    def _load(self, uri: str, lines: pa.Array) -> tuple[int, float]:
        began = self._clock()
        body = io.BytesIO()
        encoder = Encoder(body, self._codec)
        encoder.write(_text(lines))
        encoder.finish()
        failpoint("make.before_load")
        stored = body.getvalue()
        self._loader.load(uri, stored, lock_mode=self._lock_mode, retain_until=self._retain_until)
        failpoint("make.after_load")
        return len(stored), self._clock() - began

    def _add(self, table: str, rows: pa.Table) -> float:
        began = self._clock()
        if rows.num_rows:
            failpoint("make.before_append")
            self._engine.append(table, rows)
            failpoint("make.after_append")
        return self._clock() - began


def _text(lines: pa.Array) -> memoryview:
    """The lines' bytes without a copy: a string array holds them side by side."""
    _, offsets, data = lines.buffers()
    ends = np.frombuffer(offsets, np.int32)[lines.offset : lines.offset + len(lines) + 1]
    return memoryview(data)[int(ends[0]) : int(ends[-1])]
