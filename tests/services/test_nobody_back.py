"""G9: for thirty days everything tries to bring an erased person back; each morning nobody is."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from app.domain.runs import Stage
from app.domain.steps import NewStep, StepKind
from app.lake.bronze_lines import Tally
from app.lake.codecs import blocks
from app.lake.gate import Gate
from app.lake.tombstones import Tombstones
from app.services import gate, generations, late, replay
from app.services.actors import OPERATOR
from app.store import runs as run_rows
from app.store import steps
from tests.e2e.records import Gone, Records
from tests.services.backups import backup_of
from tests.services.erased import with_rules
from tests.services.run_worlds import EVERY_ACT, ON_FILE, RunWorld

DAYS = 30
TABLE = "lake.events"
DAY = timedelta(days=1)


@dataclass
class Month:
    """A lake after an erasure, and what others do to it."""

    world: RunWorld
    user: str
    gone: Gone
    before: Records
    since: datetime
    put_back: Callable[[], None]
    own_lines: list[bytes]
    own_rows: pa.Table
    others: list[bytes]
    landed: dict[str, bytes] = field(default_factory=dict)
    """Objects of strangers' lines that have landed, and what is to be left of each."""
    day: int = 0

    # --- what brings people back -------------------------------------------------------------

    def late_events(self) -> None:
        """A client that was offline sends what it had, between lines of others."""
        mine, stranger = self._lines()
        self._land(stranger + mine + stranger, left=stranger * 2)

    def gated_events(self) -> None:
        """The same through a loader that asks the gate."""
        mine, stranger = self._lines()
        out = self._through_gate(stranger + mine + stranger)
        assert out == stranger * 2
        self._land(out, left=out)

    def compactor(self) -> None:
        """It read before the erasure, and writes now: an object, and a file of a table."""
        self._land(b"".join(self.own_lines), left=b"")
        self.world.place.engine.append(TABLE, self.own_rows)

    def backup(self) -> None:
        """The whole lake as it was before the erasure, with the times it had."""
        self.put_back()
        self.landed.clear()
        with self.world.parts.database.transaction() as tx:
            asked = replay.request(OPERATOR, tx, since=self.since)
        assert asked.lost == ()

    def new_digest_key(self) -> None:
        with self.world.parts.database.transaction() as tx:
            generations.rotate(OPERATOR, tx, parts=self.world.parts)

    def nothing(self) -> None:
        """A quiet day."""

    # --- nights and mornings -----------------------------------------------------------------

    def night(self) -> None:
        self.day += 1
        with self.world.parts.database.transaction() as tx:
            steps.put(tx, [NewStep(StepKind.SWEEP, f"night {self.day}")])
        self.world.work()

    def nobody_is_back(self) -> None:
        assert self.world.storage.held(self.gone.values) == []

    def nobody_else_is_missing(self) -> None:
        now = self.world.storage.current("raw/")
        assert {n: b for n, b in now.items() if n in self.landed} == self.landed
        differences = self.world.records().settled.differences(self.before.without(self.gone))
        assert [d for d in differences if "evt-day" not in d] == []

    def runs(self) -> int:
        with self.world.parts.database.transaction() as tx:
            every = run_rows.page(tx, limit=200, after=None)
        assert {r.stage for r in every} == {Stage.CLOSED}
        return len(every)

    def _lines(self) -> tuple[bytes, bytes]:
        at = (self.since - DAY * self.day).isoformat()
        n = self.day
        mine, stranger = self.own_lines[n % len(self.own_lines)], self.others[n % len(self.others)]
        return _at(mine, at), _at(stranger, at)

    def _land(self, body: bytes, *, left: bytes) -> None:
        uri = self.world.load(body, name=f"day{self.day}")
        self.landed[uri.removeprefix(self.world.place.root)] = left

    def _through_gate(self, body: bytes) -> bytes:
        parts = self.world.parts
        assert parts.lake is not None
        with parts.database.transaction() as tx:
            who = gate.suppressed(tx, parts)
        opened = Gate(
            parts.lake.data_map.dataset("raw_events"),
            suppressed=who,
            tombstones=Tombstones(bytes(32)),
            unparsable="park",
        )
        pieces = opened.lines(blocks(iter([body])), tally=Tally())
        return b"".join(bytes(p) for some in pieces for p in some)


def _at(line: bytes, at: str) -> bytes:
    return json.dumps({**json.loads(line), "ts": at}).encode() + b"\n"


def _own_rows(world: RunWorld, user: str) -> pa.Table:
    """As a compactor has read them."""
    engine = world.place.engine
    head = engine.head(TABLE)
    assert head.snapshot_id is not None
    tables = []
    for file in engine.files(TABLE, snapshot_id=head.snapshot_id):
        with closing(engine.open(file.path)) as source:
            tables.append(pq.read_table(io.BytesIO(source.read())))
    rows = pa.concat_tables(tables)
    return rows.filter(pc.equal(rows["user_id"], user))


@pytest.fixture
def month(run_world: RunWorld, tmp_path: Path) -> Month:
    """Day 0: somebody is erased, and no key of the case is left."""
    world, user = run_world, run_world.cast.active_buyer
    world.acts = MappingProxyType(
        {**EVERY_ACT, StepKind.SWEEP: late.sweep, StepKind.REPLAY: late.replay}
    )
    world.parts = with_rules(
        world.parts, max_writer_lifetime=timedelta(microseconds=1), shred_after=timedelta(0)
    )
    aside = tmp_path / "backup"
    aside.mkdir()
    lines = [
        line + b"\n" for b in world.storage.current("raw/").values() for line in b.splitlines()
    ]
    gone = world.gone(user)
    found = Month(
        world=world,
        user=user,
        gone=gone,
        before=world.records(),
        since=datetime.now(UTC),
        put_back=backup_of(world.place, world.storage, aside),
        own_lines=[x for x in lines if json.loads(x)["user"]["user_id"] == user],
        own_rows=_own_rows(world, user),
        others=[x for x in lines if not any(v.encode() in x for v in gone.values)],
    )
    world.queued(user)
    world.start()
    world.work()
    found.nobody_is_back()
    found.nobody_else_is_missing()
    return found


@ON_FILE
def test_g9_nobody_comes_back_in_thirty_days(month: Month) -> None:
    """The seed decides the order; what begins a run stands once or twice in it."""
    days = [
        *[month.late_events, month.compactor, month.backup, month.new_digest_key],
        *[month.gated_events] * 8,
    ]
    days += [month.nothing] * (DAYS - len(days))
    random.Random(9).shuffle(days)
    for happens in days:
        happens()
        month.night()
        month.nobody_is_back()
        if happens not in (month.nothing, month.gated_events):
            month.nobody_else_is_missing()
    month.nobody_else_is_missing()
    assert month.day == DAYS
    assert month.runs() == 1 + 3, "one for each that got into the lake"
