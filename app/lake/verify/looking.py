"""One look at one object, whatever it is: its name, what stands beside its bytes, and the bytes by
their content. What is found goes to a Sight; what could not be read does too.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from app.domain.datasets import Dataset, Layer
from app.domain.errors import LakeError
from app.domain.findings import Finding, Seen, What
from app.lake.ports import ObjectInfo
from app.lake.verify.columns import Names
from app.lake.verify.content import Form, Opened
from app.lake.verify.excuses import LATE
from app.lake.verify.line_rows import LineReader
from app.lake.verify.lines import LineSearch, saw_value
from app.lake.verify.manifests import IsAnothers, IsLate, MetadataSearch
from app.lake.verify.needles import Needles
from app.lake.verify.parquet import Aside, asides, opened
from app.lake.verify.places import Sight, column_name, key_text
from app.lake.verify.rule import Fate
from app.lake.verify.sources import Body, Found
from app.lake.verify.table_rows import Held, RowReader, rows_of

BESIDE = "beside the declared places"
_METADATA_LAST = (".avro", ".json", ".puffin", ".stats")
_BATCH = 1 << 16
_LEGAL = "kept on a legal ground"
_BESIDE = Dataset("beside", Layer.BRONZE)
"""Rows of no dataset: no column has a role."""


@dataclass(frozen=True, slots=True)
class Looked:
    """How much one look saw."""

    seen: Seen
    rows: int | None
    """Rows or lines that are not blank; None for anything that has none."""
    info: ObjectInfo | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found in one version."""

    found: Found
    findings: list[Finding]
    looked: Looked | None
    """None for a marker, and for what could not be opened."""

    @property
    def has_residue(self) -> bool:
        return any(f.what is What.RESIDUE for f in self.findings)


@dataclass(slots=True)
class Looking:
    """Looks at the objects of one dataset, or (None) at those beside the datasets."""

    needles: Needles
    dataset: Dataset | None
    is_anothers: IsAnothers
    names: Names = field(default_factory=dict)
    is_late: IsLate = field(default=lambda _path: False)
    stays: set[str] = field(default_factory=set)
    """Values seen on rows that keep them by right: their bounds and statistics stay with them."""

    def look(self, found: Found, body: Body, *, sight: Sight, parked_allowed: bool) -> Looked:
        """Everything about one version."""
        if body.info is not None:
            self._info(body.info, sight)
        stream = Opened(body.stream)
        seen = Seen(objects=1 if found.is_latest else 0, versions=1, bytes=found.size)
        rows: int | None = None
        try:
            rows = self._content(stream, sight=sight, parked_allowed=parked_allowed)
        except LakeError as err:
            self._unseen(sight, f"{err.code}: {err}")
        except (pa.ArrowException, OSError, zlib.error):
            self._unseen(sight, "cannot be decoded")
        return Looked(seen + Seen(rows=rows or 0), rows, body.info)

    def _unseen(self, sight: Sight, detail: str) -> None:
        # Beside the declared places nothing has to be readable; within them everything has.
        what = What.UNREADABLE if self.dataset is None else What.CANNOT_SEE
        sight.saw(what, "content", detail=detail)

    def key(self, uri: str, *, sight: Sight) -> None:
        """A key that names somebody: all there is of a delete marker or an open upload."""
        for value in self.needles.in_text(key_text(uri)):
            sight.saw(What.RESIDUE, "object key", subject=self.needles.subject_of(value))

    def _info(self, info: ObjectInfo, sight: Sight) -> None:
        for where, texts in (
            ("metadata", info.metadata), ("tag", info.tags), ("header", info.headers),
        ):  # fmt: skip
            for pair in texts.items():
                for value in self.needles.in_text("\n".join(pair)):
                    sight.saw(What.RESIDUE, where, subject=self.needles.subject_of(value))

    def _content(self, stream: Opened, *, sight: Sight, parked_allowed: bool) -> int | None:
        if stream.form in (Form.TEXT, Form.GZIP, Form.ZSTD, Form.BINARY, Form.UNKNOWN):
            if stream.form is Form.UNKNOWN:
                what = What.NOTE if self.dataset is None else What.UNREADABLE
                sight.saw(what, "content", detail="a form that is not known")
            bronze = self.dataset is not None and self.dataset.location is not None
            reader = LineReader(self.dataset, self.needles) if bronze and self.dataset else None
            search = LineSearch(self.needles, reader, parked_allowed=parked_allowed)
            lines = search.search(stream.text(), sight=sight)[1]
            return lines if bronze else None
        with closing(stream.whole()) as file:
            if stream.form is Form.PARQUET:
                return self._parquet(file, sight)
            search_in = MetadataSearch(self.needles, self.is_anothers, self.is_late)
            inside = search_in.in_avro if stream.form is Form.AVRO else search_in.in_puffin
            for aside in inside(file):
                self._aside(aside, sight)
        return None

    def _aside(self, aside: Aside, sight: Sight) -> None:
        if aside.late:
            subject = self.needles.subject_of(aside.value)
            sight.saw(What.NOTE, aside.where, detail=LATE, subject=subject)
        elif aside.value in self.stays:
            subject = self.needles.subject_of(aside.value)
            sight.saw(What.WITHHELD, aside.where, detail=_LEGAL, subject=subject)
        elif aside.cut:
            subject = self.needles.subject_of(aside.value)
            detail = "the beginning of a value"
            sight.saw(What.RESIDUE, aside.where, detail=detail, subject=subject)
        else:
            saw_value(sight, aside.where, value=aside.value, needles=self.needles)

    def _parquet(self, file: BinaryIO, sight: Sight) -> int:
        parquet = opened(file)
        reader = RowReader(
            parquet.schema_arrow,
            dataset=self.dataset or _BESIDE,
            needles=self.needles,
            names=self.names,
        )
        rows = self._rows(parquet, reader, sight=sight)
        for aside in asides(file, needles=self.needles):
            self._aside(aside, sight)
        if rows != parquet.metadata.num_rows:
            sight.saw(What.CANNOT_SEE, "content", detail="fewer rows than the footer says")
        return rows

    def _rows(self, parquet: pq.ParquetFile, reader: RowReader, *, sight: Sight) -> int:
        if not reader.columns:
            return int(parquet.metadata.num_rows)
        rows = 0
        for batch in parquet.iter_batches(batch_size=_BATCH, columns=reader.columns):
            rows += batch.num_rows
            suspects = reader.suspects(batch)
            asked = rows_of(suspects, batch.num_rows).nonzero()[0]
            some = batch.take(pa.array(asked))
            taken = reader.rows(some, suspects=suspects)
            for number, row in zip(asked.tolist(), taken, strict=True):
                columns = [name for name, mask in suspects.items() if mask[number]]
                self._row(reader, row, columns=columns, sight=sight)
        return rows

    def _row(
        self, reader: RowReader, row: Mapping[str, Any], *, columns: list[str], sight: Sight
    ) -> None:
        held = reader.read(row, columns=columns)
        if held is not None:
            self._held(held, sight=sight)
        elif number := reader.notes(row, columns=columns):
            detail = "another case or a plain hash"
            sight.saw(What.NOTE, "row", detail=detail, count=number)

    def _held(self, held: Held, *, sight: Sight) -> None:
        dataset = self.dataset or _BESIDE
        required = set(held.required(dataset.elsewhere))
        for spot in held.spots:
            what, detail = What.RESIDUE, ""
            if held.judgement.fate is Fate.STAYS:
                what, detail = What.WITHHELD, _LEGAL
            elif held.judgement.fate is Fate.SEVERED and spot not in required:
                what, detail = What.WITHHELD, "elsewhere: report"
            if what is What.WITHHELD:
                self.stays.add(spot.value)
            where = f"column {column_name(spot.path, dataset.roles.declared)}"
            subject = self.needles.subject_of(spot.value)
            sight.saw(what, where, detail=detail, subject=subject)


def sight_of(dataset: Dataset | None, found: Found) -> Sight:
    """The look at one version, of a dataset or beside all."""
    aspect = "" if found.is_latest else "old version"
    if found.is_marker:
        aspect = "delete marker"
    if dataset is None:
        return Sight("", BESIDE, found.uri, found.version_id, aspect)
    return Sight.of(dataset, found.uri, version_id=found.version_id, aspect=aspect)


def data_first(found: Found) -> tuple[bool, str, str]:
    """Rows kept by right are known before the bounds that speak of them are judged."""
    return found.uri.endswith(_METADATA_LAST), found.uri, found.version_id
