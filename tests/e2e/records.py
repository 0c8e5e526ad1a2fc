"""What a lake says of everybody, and what it must say once some people are gone: the oracle.

Independent of the product: it imports nothing of it. Not here: where bytes are (storage).
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

from tests.e2e.decoding import parts_of
from tests.e2e.storage import Storage

GONE = "<gone>"
_TOMBSTONE = re.compile(r"tomb_[uadx]_[0-9a-hjkmnp-tv-z]{26}")
_DELETED, _POSITION_DELETES = 2, 1
Line = dict[str, Any]


@dataclass(frozen=True)
class Gone:
    """The people of a run: what points at them, and the user_ids whose rows go."""

    users: frozenset[str]
    values: frozenset[str] = field(repr=False)

    def severed(self, text: str) -> str:
        """The text without these people, as the oracle writes it."""
        return self._pattern.sub(GONE, text)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        values = sorted(self.values, key=len, reverse=True)
        found = "|".join("".join(_spellings(c) for c in v) for v in values)
        start = r"(?:(?<![A-Za-z0-9_-])|(?<=%[0-9A-Fa-f]{2}))"
        return re.compile(rf"{start}(?:{found})(?![A-Za-z0-9_-])")


def _spellings(character: str) -> str:
    """A character as it is, percent-encoded, or escaped in JSON."""
    if character.isalnum():
        return character
    code = f"{ord(character):02x}"
    return rf"(?:{re.escape(character)}|%(?i:{code})|\\u00(?i:{code}))"


@dataclass(frozen=True)
class Records:
    """Bronze: object -> its lines, in order. Tables: name -> their rows, sorted."""

    lines: Mapping[str, tuple[str, ...]] = field(repr=False)
    rows: Mapping[str, tuple[str, ...]] = field(repr=False)

    @property
    def settled(self) -> Records:
        """After a run: every tombstone as the oracle writes it."""
        return Records(
            {key: tuple(_TOMBSTONE.sub(GONE, t) for t in ts) for key, ts in self.lines.items()},
            {
                name: tuple(sorted(_TOMBSTONE.sub(GONE, t) for t in ts))
                for name, ts in self.rows.items()
            },
        )

    def count(self) -> int:
        """How many lines and rows there are."""
        return sum(len(ts) for ts in (*self.lines.values(), *self.rows.values()))

    def without(self, gone: Gone) -> Records:
        """What must be left, by the erasure rule for the map of a made lake."""
        return Records(
            {
                key: tuple(
                    gone.severed(t) for t in ts if not _goes(line_owners(json.loads(t)), gone)
                )
                for key, ts in self.lines.items()
            },
            {
                name: tuple(
                    sorted(gone.severed(t) for t in ts if not _row_goes(name, json.loads(t), gone))
                )
                for name, ts in self.rows.items()
            },
        )

    def differences(self, other: Records) -> list[str]:
        """Where two lakes differ: names and how many, for a failing test."""
        found = []
        for mine, theirs in ((self.lines, other.lines), (self.rows, other.rows)):
            for name in sorted({*mine, *theirs}):
                a, b = mine.get(name), theirs.get(name)
                if a != b:
                    left, right = len(a or ()), len(b or ())
                    found.append(f"{name}: {left} and {right}, {_first(a or (), b or ())}")
        return found


def _first(a: Iterable[str], b: Iterable[str]) -> str:
    mine, theirs = set(a), set(b)
    return f"only one has {sorted(mine - theirs)[:1]}, only the other {sorted(theirs - mine)[:1]}"


def _goes(owners: set[str], gone: Gone) -> bool:
    return bool(owners) and owners <= gone.users


def _row_goes(table: str, row: Line, gone: Gone) -> bool:
    if table == "fact_orders":  # treatment: tombstone
        return False
    if table == "dim_identity":
        values = {v for v in (row["user_id"], *row["anon_ids"], *row["device_fps"]) if v}
        return row["user_id"] in gone.users or values <= gone.values
    owners = {row["user_id"]} - {None}
    if row.get("name") == "identity.link":
        owners |= {json.loads(row["payload"]).get("user_id")} - {None}
    return _goes(owners, gone)


def line_owners(line: Line) -> set[str]:
    """Whose line it is."""
    owners = {line["user"]["user_id"]}
    if line["name"] == "identity.link":
        owners.add(line["payload"]["user_id"])
    return owners - {None}


def gone_people(records: Records, *, users: Iterable[str] = (), anons: Iterable[str] = ()) -> Gone:
    """Everything that points at these people, from the Bronze lines alone."""
    lines = [json.loads(t) for ts in records.lines.values() for t in ts]
    values = set(users) | set(anons)
    for user in users:
        derived: set[str] = set()
        others: set[str] = set()
        for line in lines:
            owners = line_owners(line)
            if line["name"] == "identity.link" and user in owners:
                values |= {line["payload"]["anon_id"], line["payload"]["device_fp"]}
                values.add(line["user"]["anon_id"])
            (derived if owners == {user} else others if owners else set()).update(_derived(line))
        values |= derived - others
    return Gone(frozenset(users), frozenset(values - {None}))


def _derived(line: Line) -> set[str]:
    return {line["session_id"], line["campaign"].get("click_token")} - {None}


# --- reading -----------------------------------------------------------------------------------


def read_records(storage: Storage) -> Records:
    """Every current line and row of a lake."""
    lines = {
        name: tuple(decoded(data).decode("utf-8").splitlines())
        for name, data in storage.current("raw/").items()
    }
    rows = {table: tuple(sorted(_rows(storage, at))) for table, at in storage.tables().items()}
    return Records(lines, rows)


def decoded(data: bytes) -> bytes:
    parts = list(parts_of(data))
    return data if len(parts) == 1 else b"".join(content for _, content in parts[1:])


def _rows(storage: Storage, metadata_location: str) -> Iterator[str]:
    metadata = json.loads(storage.read(metadata_location))
    current = metadata.get("current-snapshot-id")
    by_id = {s["snapshot-id"]: s for s in metadata.get("snapshots", [])}
    if current not in by_id:
        return
    manifests = _entries(storage.read(by_id[current]["manifest-list"]))
    files = [
        entry["data_file"]
        for manifest in manifests
        for entry in _entries(storage.read(manifest["manifest_path"]))
        if entry["status"] != _DELETED
    ]
    hidden: set[tuple[str, int]] = set()
    for file in files:
        if file["content"] == _POSITION_DELETES:
            deletes = _table(storage, file["file_path"]).to_pylist()
            hidden |= {(d["file_path"], d["pos"]) for d in deletes}
    for file in files:
        if not file["content"]:
            for number, row in enumerate(_table(storage, file["file_path"]).to_pylist()):
                if (file["file_path"], number) not in hidden:
                    yield json.dumps(row, sort_keys=True, default=str)


def _entries(data: bytes) -> Iterator[Line]:
    for entry in fastavro.reader(io.BytesIO(data)):
        assert isinstance(entry, dict)
        yield entry


def _table(storage: Storage, path: str) -> pa.Table:
    return pq.ParquetFile(pa.BufferReader(storage.read(path))).read()
