"""A small run, somebody who tampers with it at a moment of their choice, and what its report says.

Not here: what is done to it (sabotage_objects, sabotage_tables, sabotage_records) and what is asked
of the outcome (test_sabotage).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from app.domain.datasets import DataMap
from app.domain.errors import ClearlakeError
from app.domain.receipts import ObjectWork, TableWork
from app.offline.stages import check, erase, plan, purge, verify
from app.stages.evidence import build_reports
from tests.places import Place
from tests.stages.runs import AT, RUN, Run
from tests.verify.material import event, user
from tests.verify.planted import TABLE, make_clean_lake, rows

MOMENTS = ("loaded", "planned", "erased", "checked", "purged", "verified")
PERSON = user(1)
_TIMES = ("resolved", "planned", "checked", "purging", "purged", "verified")


@dataclass
class Lab:
    """A run of one small lake, and its hands on everything."""

    run: Run
    admin: Any = None
    """Of a lake in a bucket: an S3 client that may do anything."""
    data_map: DataMap = field(init=False)

    def __post_init__(self) -> None:
        self.data_map = self.run.data_map

    @property
    def place(self) -> Place:
        return self.run.place

    @property
    def uri(self) -> str:
        """An object that the run rewrites: a stranger's line, the person's, nobody's."""
        return f"{self.place.root}raw/event_dt=2026-10-01/02/evt-0.ndjson"

    def path(self, uri: str = "") -> Path:
        """Of a lake in a folder."""
        return Path((uri or self.uri).removeprefix("file://"))

    def work(self) -> ObjectWork:
        with self.run.journal() as journal:
            return next(w for w in journal.works("raw_events") if w.uri == self.uri)

    def put_work(self, work: ObjectWork) -> None:
        with self.run.journal() as journal:
            journal.put_works("raw_events", [work])

    def table(self) -> TableWork:
        with self.run.journal() as journal:
            work = journal.table_work("events")
        assert work is not None
        return work

    def put_table(self, work: TableWork) -> None:
        with self.run.journal() as journal:
            journal.put_table_work("events", work)

    def put_facts(self, **facts: str) -> None:
        with self.run.journal() as journal:
            journal.put_facts(**facts)

    # --- the run, stage by stage -----------------------------------------------------------------

    def loaded(self) -> None:
        """A lake with two people in three objects and in a table."""
        make_clean_lake(self.place)
        for number in range(2):
            self.run.load(f"evt-{number}.ndjson", event(7), event(1 + number), event(None))
        self.run.load("evt-severed.ndjson", event(8, provider_id=PERSON), event(7))
        self.place.engine.append(TABLE, rows({"user_id": PERSON}, {"user_id": user(7)}))

    def planned(self) -> None:
        with self.run.acts() as acts:
            plan(replace(acts, data_map=self.data_map))

    def erased(self) -> None:
        with self.run.acts() as acts:
            erase(replace(acts, data_map=self.data_map))
            acts.journal.put_facts(erased_at=self.place.reader.now().isoformat())

    def checked(self) -> None:
        with self.run.acts() as acts:
            assert check(replace(acts, data_map=self.data_map))

    def purged(self) -> None:
        with self.run.acts() as acts:
            purge(replace(acts, data_map=self.data_map))

    def verified(self) -> None:
        with self.run.acts() as acts:
            verify(replace(acts, data_map=self.data_map))
            acts.journal.put_facts(**{f"{name}_at": AT.isoformat() for name in _TIMES})


Tampering = Callable[[Lab], None]


@dataclass(frozen=True)
class Sabotage:
    """Somebody does something after a moment of a run; and what the report must say of it."""

    name: str
    after: str
    act: Tampering = field(repr=False)
    says: str
    """In the place or detail of a finding, or in the refusal."""
    dataset: str = "raw_events"
    verdict: str = "FAILED"
    """PARTIAL | DEFERRED | FAILED; REFUSED: there is no report at all."""


@dataclass(frozen=True)
class Judged:
    """What came of it."""

    verdict: str
    said: tuple[str, ...]
    """Every finding: dataset, place, detail."""


def judged(lab: Lab, sabotage: Sabotage | None) -> Judged:
    """Run it to its signed report, sabotaged on the way (or not at all: the control)."""
    try:
        for moment in MOMENTS:
            getattr(lab, moment)()
            if sabotage is not None and sabotage.after == moment:
                sabotage.act(lab)
        document = _report(lab)
    except ClearlakeError as err:
        return Judged("REFUSED", (f"{err.code}: {err}",))
    findings = document["verification"]["findings"]
    said = (f"{f['dataset']}: {f['what']}, {f['place']}, {f['detail']}" for f in findings)
    return Judged(document["verdict"]["value"], tuple(said))


def _report(lab: Lab) -> dict[str, Any]:
    with lab.run.journal() as journal:
        built = build_reports(
            run_id=RUN,
            identities=lab.run.people,
            data_map=lab.data_map,
            journal=journal,
            keys=lab.run.keys,
            case_key=lambda subject: f"{RUN}.{subject}",
            cases=None,
        )
    document: dict[str, Any] = json.loads(built.run.document)
    return document
