"""People, a dataset and lines for the Bronze tests."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.domain.datasets import Dataset, Layer, OwnerWhen, Roles, Where
from app.domain.identifiers import Identifier, Kind, Target, Targets
from app.domain.receipts import ObjectWork, WorkState
from app.lake.bronze import erase_objects, listed_keys, planned
from app.lake.bronze_lines import Rule, Tally, rewritten
from app.lake.codecs import blocks
from app.lake.ports import ObjectStore, Version
from app.lake.purge_objects import purge_objects
from app.lake.tombstones import Tombstones, row_owner
from app.lake.undo_objects import undo_objects

USER, ANON, DEVICE = (
    "usr_01HZX5T3QF7N8K2M4P6R8S0VWX",
    "a_7Gk2mQ9xT4bW1cZ8vN5pLd",
    "fp_0f1e2d3c4b5a69788796a5b4c3d2e1f0",
)
SESSION = "s_01HZX5T3QF7N8K2M4P6R8S0VWY"
SECOND = "usr_01HZX9999999999999999SECND"
OTHER = "usr_01HZX0000000000000000OTHER"
OTHER_ANON = "a_0000000000000000000oth"
TOMBSTONES = Tombstones(b"bronze world secret of 32 bytes!")

ROLES = Roles(
    owner=("user.user_id",),
    owner_when=(OwnerWhen(Where((("name", ("identity.link",)),)), ("payload.user_id",)),),
    linked=(
        (Kind.ANON_ID, ("user.anon_id", "payload.anon_id")),
        (Kind.DEVICE_FP, ("device.fp", "payload.device_fp")),
    ),
    mentions=("payload.user_id", "payload.provider_id", "payload.buyer_id"),
    derived=("session_id", "campaign.click_token"),
)
DATASET = Dataset(name="raw_events", layer=Layer.BRONZE, event_time="ts", roles=ROLES)

_IDENTIFIERS = (
    (Identifier(Kind.USER_ID, USER), 0),
    (Identifier(Kind.ANON_ID, ANON), 0),
    (Identifier(Kind.DEVICE_FP, DEVICE), 0),
    (Identifier(Kind.DERIVED, SESSION), 0),
    (Identifier(Kind.USER_ID, SECOND), 1),
)
TARGETS = Targets(
    ("s1", "s2"),
    {i.value: Target(i, subject) for i, subject in _IDENTIFIERS},
    {USER: 0, SECOND: 1},
)


def plan_objects(store: ObjectStore, dataset: Dataset) -> list[ObjectWork]:
    """A work for every object, as a run begins with."""
    return [planned(versions) for versions in listed_keys(store, dataset)]


def dataset(root: str, **changes: Any) -> Dataset:
    """The dataset under a place's root."""
    return replace(DATASET, location=root + "raw/", **changes)


def tomb(value: str, *owners: str) -> str:
    """The tombstone of a value on a row of these owners."""
    return TOMBSTONES.of(TARGETS.by_value[value].identifier, owner=row_owner(owners))


def event(user: str | None, anon: str | None = OTHER_ANON, **more: Any) -> bytes:
    """One line of the envelope, without its newline."""
    return json.dumps(
        {
            "event_id": "evt_01",
            "ts": "2026-11-01T00:00:00.000Z",
            "name": "search.query",
            "user": {"user_id": user, "anon_id": anon, "role": "buyer"},
            "page": {"path": "/a%20b", "ref": "https://x.example/größe?q=1"},
            "payload": {},
            **more,
        },
        ensure_ascii=False,
    ).encode()


def text(lines: Iterable[bytes]) -> bytes:
    """Lines with their newlines."""
    return b"".join(line + b"\n" for line in lines)


def erased(
    content: bytes, *, rules: Dataset = DATASET, unparsable: str = "park", chunk: int = 1 << 20
) -> tuple[bytes, Tally]:
    """The text after the rule, read in chunks of that size."""
    rule = Rule.of(rules, targets=TARGETS, tombstones=TOMBSTONES, unparsable=unparsable)
    tally = Tally()
    source = io.BytesIO(content)
    chunks = iter(lambda: source.read(chunk), b"")
    pieces = rewritten(blocks(chunks), rule=rule, tally=tally)
    return b"".join(bytes(p) for some in pieces for p in some), tally


class Journal:
    """What was recorded, in order, and the last word on every object."""

    def __init__(self) -> None:
        self.calls: list[list[ObjectWork]] = []
        self.works: dict[str, ObjectWork] = {}

    def __call__(self, works: Iterable[ObjectWork]) -> None:
        self.calls.append(list(works))
        self.works.update((w.uri, w) for w in works)


class Lake:
    """A place with Bronze objects, and runs over it."""

    def __init__(self, place: Any, spool: Path) -> None:
        self.place = place
        self.spool = spool
        self.dataset = dataset(place.root)
        self.journal = Journal()

    def uri(self, name: str) -> str:
        return f"{self.place.root}raw/{name}"

    def load(self, name: str, body: bytes, **lock: Any) -> str:
        """What a loader does: in a folder it overwrites, and the old bytes are gone."""
        version: str = self.place.loader.load(self.uri(name), body, **lock)
        return version

    def load_over(self, name: str, body: bytes) -> str:
        """A new version above the old ones, in a folder too (as an earlier run leaves them)."""
        if self.place.kind == "s3":
            return self.load(name, body)
        (latest, *_), uri = self.versions(name), self.uri(name)
        like = self.place.eraser.info(uri, version_id=latest.version_id)
        version: str = self.place.eraser.put(
            uri, io.BytesIO(body), if_match=latest.etag, like=like, marks={}, retain=False
        )
        return version

    def body(self, name: str, version_id: str | None = None) -> bytes:
        """Stored bytes, of the current version unless one is named."""
        found = version_id or self.versions(name)[0].version_id
        with self.place.reader.open(self.uri(name), version_id=found) as stream:
            return b"".join(iter(lambda: stream.read(1 << 20), b""))

    def versions(self, name: str) -> list[Version]:
        uri = self.uri(name)
        return [v for v in self.place.reader.versions(uri) if v.uri == uri]

    def erase(self, works: Sequence[ObjectWork] | None = None, **changes: Any) -> list[ObjectWork]:
        """One call of erase_objects, on what was planned or given."""
        if works is None:
            works = plan_objects(self.place.eraser, self.dataset)
        arguments: dict[str, Any] = {
            "dataset": self.dataset,
            "targets": TARGETS,
            "tombstones": TOMBSTONES,
            "store": self.place.eraser,
            "run_id": "run_1",
            "spool": self.spool,
            "unparsable": "park",
            "record": self.journal,
            "stop": lambda: False,
            "sleep": lambda _: None,
        }
        return erase_objects(works, **(arguments | changes))

    def purge(self, works: Sequence[ObjectWork]) -> list[ObjectWork]:
        """Purge as if the second look had agreed with every WRITTEN work."""
        checked = [w.to(WorkState.CHECKED) if w.state is WorkState.WRITTEN else w for w in works]
        return purge_objects(
            checked,
            store=self.place.eraser,
            purger=self.place.purger(),
            record=self.journal,
            stop=lambda: False,
        )

    def undo(self, works: Sequence[ObjectWork]) -> list[ObjectWork]:
        """Put back what the works replaced."""
        return undo_objects(works, store=self.place.eraser, record=self.journal, spool=self.spool)
