"""A run over a small lake, act by act: what the offline run and the workers are made of.

Not here: a made lake and the command line (tests.e2e).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from app.audit.keys import KeyStore
from app.domain.datasets import DataMap, Dataset
from app.domain.identifiers import Identity, Targets
from app.lake.ports import Doors
from app.offline.journal import Journal
from app.offline.stages import check, erase, plan, purge, verify
from app.stages.acts import Acts
from tests.places import Place
from tests.verify.material import event, person, user
from tests.verify.planted import TABLE, data_map, make_clean_lake, rows

RUN = "run_01test"
PEOPLE = (person(1), person(2))
AT = datetime(2026, 11, 5, 12, 0, 0, tzinfo=UTC)


def doors(place: Place) -> Doors:
    """Every door of a place."""
    return Doors(
        place.reader, place.eraser, place.verifier, place.purger(), place.engine, place.engine
    )


@dataclass
class Run:
    """A lake, and a journal that each `acts` opens anew, as another process would."""

    place: Place
    folder: Path
    people: tuple[Identity, ...] = PEOPLE
    doors: Doors = field(init=False)
    keys: KeyStore = field(init=False)
    said: list[tuple[str, str, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.doors = doors(self.place)
        self.keys = KeyStore.open(self.folder / "keys")
        self.keys.create(RUN)

    @property
    def data_map(self) -> DataMap:
        return data_map(self.place)

    @property
    def raw(self) -> Dataset:
        return self.data_map.bronze[0]

    @property
    def events(self) -> Dataset:
        return self.data_map.tables[0]

    @contextmanager
    def journal(self) -> Iterator[Journal]:
        with closing(Journal(self.folder / "journal.sqlite")) as journal:
            journal.sealed_by(self.keys.sealer(RUN))
            yield journal

    @contextmanager
    def acts(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Acts]:
        with self.journal() as journal:
            yield Acts(
                run_id=RUN,
                data_map=self.data_map,
                doors=self.doors,
                journal=journal,
                targets=Targets.of(self.people),
                secret=bytes(32),
                spool=self.folder / "spool",
                say=lambda *said: self.said.append(said),
                stop=stop,
            )

    def load(self, name: str, *lines: bytes) -> str:
        """A new object, or over one that is there, as a loader would. Its URI."""
        uri = f"{self.place.root}raw/event_dt=2026-10-01/02/{name}"
        self.place.loader.load(uri, b"".join(lines))
        return uri

    def body(self, uri: str) -> bytes:
        """The current version."""
        [latest] = [v for v in self.place.reader.versions(uri) if v.uri == uri and v.is_latest]
        with self.place.reader.open(uri, version_id=latest.version_id) as stream:
            return b"".join(iter(lambda: stream.read(1 << 20), b""))

    def planned(self) -> None:
        """A lake with two people in six objects and a table, listed."""
        make_clean_lake(self.place)
        for number in range(6):
            self.load(f"evt-{number}.ndjson", event(7), event(1 + number % 2), event(None))
        self.place.engine.append(TABLE, rows({"user_id": user(1)}, {"user_id": user(7)}))
        with self.acts() as acts:
            plan(acts)

    def erased(self) -> None:
        self.planned()
        with self.acts() as acts:
            erase(acts)
            acts.journal.put_facts(erased_at=self.place.reader.now().isoformat())

    def verified(self) -> None:
        """Everything up to the reports."""
        self.erased()
        with self.acts() as acts:
            assert check(acts)
            purge(acts)
            verify(acts)
            times = ("resolved", "planned", "checked", "purging", "purged", "verified")
            acts.journal.put_facts(**{f"{name}_at": AT.isoformat() for name in times})
