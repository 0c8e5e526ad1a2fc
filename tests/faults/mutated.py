"""A small lake, an eraser with a planted fault, and how far it gets: erase, check, undo.

Not here: the faults (mutated_lines, mutated_objects, mutated_files).
"""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.domain.errors import CheckFailedError
from app.domain.receipts import ObjectWork
from app.lake.ports import GOVERNANCE
from app.offline.stages import check, erase, plan, undo
from app.stages.acts import Acts
from tests.lake.position_deletes import hide
from tests.places import Place
from tests.stages.runs import Run
from tests.verify.material import anon, event, user
from tests.verify.planted import SCHEMA, TABLE, rows

Plant = Callable[[pytest.MonkeyPatch], None]
PERSON, STRANGER = user(1), user(7)
NEIGHBOUR = PERSON + "X"
"""Another person, whose id begins as the person's does."""
LINK = {"user_id": PERSON, "anon_id": anon(1)}


@dataclass
class Bench:
    """A lake in which every fault has something to break."""

    run: Run
    before: dict[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        return self.run.place

    @cached_property
    def raw(self) -> str:
        return f"{self.place.root}raw/event_dt=2026-10-01/00/"

    def planned(self) -> None:
        """Lines and rows of every kind; noted as they are."""
        lines, packed = self.raw + "lines.ndjson", self.raw + "packed.ndjson.gz"
        self.place.loader.load(lines, event(7) + event(1) + event(2))  # an older version
        self.place.loader.load(lines, event(7))  # an older one that stays
        locked: dict[str, Any] = {}
        if self.place.kind == "s3":
            until = self.place.reader.now().replace(microsecond=0) + timedelta(hours=1)
            locked = {"lock_mode": GOVERNANCE, "retain_until": until}
        self.place.loader.load(lines, _lines(), **locked)
        version = self.place.loader.load(packed, gzip.compress(event(7)))
        self._dress(packed, version, gzip.compress(event(1) + event(7)))
        self.place.loader.load(self.raw + "other.ndjson", event(8) + event(1))
        self._table()
        with self.run.acts() as acts:
            plan(acts)
        self.before = self.state()

    def _dress(self, uri: str, version: str, body: bytes) -> None:
        """With everything that may stand beside bytes, where the place has such things."""
        info = self.place.reader.info(uri, version_id=version)
        like = replace(
            info, metadata={"a": "1"}, tags={"b": "2"}, headers={"ContentType": "text/plain"}
        )
        self.place.eraser.put(
            uri, io.BytesIO(body), if_match=info.etag, like=like, marks={}, retain=False
        )

    def _table(self) -> None:
        engine = self.place.engine
        engine.create_table(TABLE, SCHEMA, partition_by="event_dt", properties={})
        engine.append(TABLE, _rows())
        [file] = engine.files(TABLE, snapshot_id=engine.head(TABLE).snapshot_id or 0)
        hide(self.place, [(file, [1])])
        # a file of two row groups, of another day
        engine.append(TABLE, rows(*_PLAIN))
        [file] = [f for f in self._files() if f.rows == len(_PLAIN)]
        with engine.open(file.path) as source:
            table = pq.read_table(source)
        with engine.create(file.path) as sink:
            pq.write_table(table, sink, row_group_size=2, store_schema=False)

    def _files(self) -> list[Any]:
        head = self.place.engine.head(TABLE)
        return self.place.engine.files(TABLE, snapshot_id=head.snapshot_id or 0)

    def state(self) -> dict[str, Any]:
        """What a reader sees: the objects' bytes, and the table's files with their deletes."""
        found: dict[str, Any] = {
            v.uri: self.run.body(v.uri)
            for v in self.place.reader.versions(f"{self.place.root}raw/")
            if v.is_latest
        }
        for file in self._files():
            with self.place.engine.open(file.path) as source:
                found[file.path] = (source.read(), sorted(d.path for d in file.deletes))
        return found

    def digests(self) -> set[str]:
        """Of every version there is."""
        found = set()
        for version in self.place.reader.versions(self.place.root):
            with self.place.reader.open(version.uri, version_id=version.version_id) as stream:
                body = b"".join(iter(lambda: stream.read(1 << 20), b""))
            found.add(hashlib.sha256(body).hexdigest())
        return found

    def is_stopped(self, plant: Plant, patch: pytest.MonkeyPatch) -> list[str]:
        """Erase with the fault and check; what the check said, or [] when it let all pass."""
        with patch.context() as faulty, self.run.acts() as acts:
            plant(faulty)
            try:
                erase(acts)
            except CheckFailedError as err:
                return [str(err)]
        with self.run.acts() as acts:
            check(acts)
            return [f"{f.place}: {f.detail}" for f in acts.check_findings()]

    def undo(self) -> None:
        """Everything back, by an eraser without the fault."""
        with self.run.acts() as acts:
            assert undo(acts) == 0


def works(acts: Acts) -> list[ObjectWork]:
    """The objects of a run, as they are journalled."""
    return acts.journal.works("raw_events")


def bench(place: Place, folder: Path) -> Bench:
    """A bench at a place, planned."""
    made = Bench(Run(place, folder))
    made.planned()
    return made


def _lines() -> bytes:
    accents = event(8, note="caf\u00e9", provider_id=PERSON)
    numbers = event(8, provider_id=PERSON, also=PERSON, n=12, f=1.5)
    numbers = numbers.replace(b'"f":1.5', b'"f":1.50')
    windows = event(9, provider_id=PERSON).replace(b"\n", b"\r\n")
    return b"".join(
        [
            event(7), event(1), numbers,
            event(9, provider_id=PERSON), event(7, q=NEIGHBOUR, provider_id=PERSON), b"\n",
            event(9), windows, accents, event(7, name="identity.link", **LINK),
            event(None, anon_id=anon(1)), event(None), event(8, path=f"/p/{PERSON}?a"),
            event(8, provider_id=user(2)), event(9)[:-1],
        ]
    )  # fmt: skip


def _rows() -> pa.Table:
    by = [{"by": PERSON}, None]
    return rows(
        {"user_id": PERSON},
        {"user_id": PERSON, "page": {"path": "/hidden"}},
        {"user_id": STRANGER, "page": {"path": f"/p/{PERSON}"}},
        {"user_id": None, "anon_id": anon(1)},
        {"user_id": user(8), "items": by, "tags": [("a", PERSON)]},
        {"user_id": user(9), "items": [], "tags": None},
        {"user_id": None, "anon_id": "a_y"},
        {"user_id": STRANGER, "payload": '{"by": "' + PERSON + '",  "n": 1.50}'},
        {"user_id": NEIGHBOUR, "anon_id": anon(1), "page": None},
    )


_PLAIN = [
    {"event_dt": "2026-10-02", "user_id": PERSON},
    {"event_dt": "2026-10-02", "user_id": user(8), "anon_id": "a_1st"},
    {"event_dt": "2026-10-02", "user_id": PERSON, "anon_id": anon(1)},
    {"event_dt": "2026-10-02", "user_id": user(9), "anon_id": "a_2nd"},
]
