"""Facts and the rows of the last time become the rows of the identity table, part by part.

Memory holds one part; the others lie on disk. Not here: where facts come from (stitch_rows), what
follows from them (stitch_facts), the commit (stitch).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.lake.stitch_facts import (
    HOLDERS,
    LONG_AGO,
    NEVER,
    SIGHTS,
    USES,
    Numbers,
    fold,
    lists_of,
    living,
    settled,
)
from app.lake.stitch_rows import Facts
from app.lake.stitch_spool import Spool

_TEXTS, _TIME = pa.list_(pa.string()), pa.timestamp("us", tz="UTC")

SCHEMA = pa.schema(
    [
        ("identity_id", pa.string()),
        ("user_id", pa.string()),
        ("anon_ids", _TEXTS),
        ("device_fps", _TEXTS),
        ("current_anon_ids", _TEXTS),
        ("first_seen", _TIME),
        ("last_seen", _TIME),
        ("role", pa.string()),
        ("country", pa.string()),
        ("built_at", _TIME),
        ("current_since", pa.list_(_TIME)),
        ("role_at", _TIME),
        ("country_at", _TIME),
    ]
)
"""gold.dim_identity. The last three are for the next stitch: the latest link of each of a user's
current_anon_ids, and when role and country were said.
"""


class Merge:
    """Takes facts in any order, then gives the rows once."""

    KNOWN: ClassVar = ("identity_id", "user_id", "anon_ids")

    def __init__(self, *, parts: int, folder: Path | None) -> None:
        """`parts`: so many, that one fits into memory. `folder`: as of Spool."""
        self._parts = parts
        self._closing = ExitStack()

        def spool(schema: pa.Schema, about: str) -> Spool:
            made = Spool(schema, about=about, parts=parts, folder=folder)
            return self._closing.enter_context(made)

        self._users, self._anons = spool(SIGHTS, "who"), spool(SIGHTS, "who")
        self._by_user, self._by_value = spool(USES, "user"), spool(USES, "value")
        self._holders = spool(HOLDERS, "user")
        self.links = self.shared = self.users = self.identities = 0

    def __enter__(self) -> Merge:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.close()

    def add(self, facts: Facts) -> None:
        """Facts of events."""
        self._users.add(fold(facts.users))
        self._anons.add(fold(facts.anons))
        self._use(facts.uses)
        self.links += facts.links

    def know(self, batches: Iterable[pa.RecordBatch]) -> None:
        """The ids of identities that there are, by the columns KNOWN: whoever is found again keeps
        theirs.
        """
        for batch in batches:
            is_user = pc.is_valid(batch["user_id"])
            users = batch.filter(is_user)
            self._users.add(_unseen(users["user_id"], users["identity_id"]))
            anon_ids, ids = _exploded(
                batch.filter(pc.invert(is_user)), "anon_ids", beside="identity_id"
            )
            self._anons.add(_unseen(anon_ids, ids))

    def take(self, batches: Iterable[pa.RecordBatch]) -> None:
        """The rows of the last stitch, whole: nothing that they were built from is added again."""
        for batch in batches:
            is_user = pc.is_valid(batch["user_id"])
            users, visitors = batch.filter(is_user), batch.filter(pc.invert(is_user))
            self._users.add(_as_sights(users, users["user_id"]))
            self._anons.add(_as_sights(visitors, pc.list_element(visitors["anon_ids"], 0)))
            for column, is_anon in (("anon_ids", True), ("device_fps", False)):
                values, user = _exploded(users, column, beside="user_id")
                at = np.full(len(values), LONG_AGO)
                self._use(_uses(user, values, is_anon=is_anon, at=at))
            values, user = _exploded(users, "current_anon_ids", beside="user_id")
            since = _micros(users["current_since"].flatten())
            self._use(_uses(user, values, is_anon=True, at=since))

    def rows(self, *, built_at: datetime) -> Iterator[pa.Table]:
        """The rows, part by part: visitors, then users."""
        for part in range(self._parts):
            found = settled(self._by_value.part(part), self._anons.part(part))
            self._holders.add(found.holders)
            self.shared += found.shared
            self.identities += found.visitors.num_rows
            yield _visitors(found.visitors, built_at=built_at)
        for part in range(self._parts):
            users = living(fold(self._users.part(part)))
            self.users += users.num_rows
            self.identities += users.num_rows
            uses, holders = self._by_user.part(part), self._holders.part(part)
            yield _users(users, uses, holders, built_at=built_at)

    def _use(self, uses: pa.Table) -> None:
        self._by_user.add(uses)
        self._by_value.add(uses)


# --- rows of the table to facts ------------------------------------------------------------------


def _unseen(who: pa.Array, ids: pa.Array) -> pa.Table:
    nothing, nobody = np.full(len(who), LONG_AGO), pa.nulls(len(who), pa.string())
    columns = [who, np.full(len(who), NEVER), nothing, nobody, nothing, nobody, nothing, ids]
    return pa.table(dict(zip(SIGHTS.names, columns, strict=True)), schema=SIGHTS)


def _as_sights(rows: pa.RecordBatch, who: pa.Array) -> pa.Table:
    columns = [
        who,
        _micros(rows["first_seen"]),
        _micros(rows["last_seen"]),
        rows["role"],
        _micros(rows["role_at"]),
        rows["country"],
        _micros(rows["country_at"]),
        rows["identity_id"],
    ]
    return pa.table(dict(zip(SIGHTS.names, columns, strict=True)), schema=SIGHTS)


def _uses(users: pa.Array, values: pa.Array, *, is_anon: bool, at: Numbers) -> pa.Table:
    columns = [users, values, pa.repeat(pa.scalar(is_anon), len(users)), at]
    return pa.table(dict(zip(USES.names, columns, strict=True)), schema=USES)


def _exploded(rows: pa.RecordBatch, column: str, *, beside: str) -> tuple[pa.Array, pa.Array]:
    """Each element of a list column, and what stands beside its list."""
    return rows[column].flatten(), rows[beside].take(pc.list_parent_indices(rows[column]))


def _micros(times: pa.Array) -> Numbers:
    micros: Numbers = times.cast(_TIME).cast(pa.int64()).fill_null(LONG_AGO).to_numpy()
    return micros


# --- facts to rows of the table ------------------------------------------------------------------


def _users(users: pa.Table, uses: pa.Table, holders: pa.Table, *, built_at: datetime) -> pa.Table:
    who = users["who"].combine_chunks()
    anons, devices = (
        lists_of(who, part["user"], part["value"])[0]
        for part in (uses.filter(uses["is_anon"]), uses.filter(pc.invert(uses["is_anon"])))
    )
    current, rows = lists_of(who, holders["user"], holders["value"])
    since = holders["at"].combine_chunks().take(pa.array(rows)).cast(_TIME)
    return _table(
        users,
        {
            "identity_id": _ids("user_id", users),
            "user_id": who,
            "anon_ids": anons,
            "device_fps": devices,
            "current_anon_ids": current,
            "current_since": pa.ListArray.from_arrays(current.offsets, since),
        },
        built_at=built_at,
    )


def _visitors(visitors: pa.Table, *, built_at: datetime) -> pa.Table:
    count = visitors.num_rows
    each = pa.array(np.arange(count + 1, dtype=np.int32))
    themselves = pa.ListArray.from_arrays(each, visitors["who"].combine_chunks())
    none = pa.array(np.zeros(count + 1, np.int32))
    return _table(
        visitors,
        {
            "identity_id": _ids("anon_id", visitors),
            "user_id": pa.nulls(count, pa.string()),
            "anon_ids": themselves,
            "device_fps": pa.ListArray.from_arrays(none, pa.array([], pa.string())),
            "current_anon_ids": themselves,
            "current_since": pa.ListArray.from_arrays(none, pa.array([], _TIME)),
        },
        built_at=built_at,
    )


def _table(seen: pa.Table, columns: dict[str, pa.Array], *, built_at: datetime) -> pa.Table:
    columns |= {
        "first_seen": seen["first"].cast(_TIME),
        "last_seen": seen["last"].cast(_TIME),
        "role": seen["role"],
        "country": seen["country"],
        "built_at": pa.array([built_at] * seen.num_rows, _TIME),
        "role_at": _when(seen["role_at"]),
        "country_at": _when(seen["country_at"]),
    }
    return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)


def _when(micros: pa.ChunkedArray) -> pa.ChunkedArray:
    said = pc.greater(micros, pa.scalar(LONG_AGO))
    return pc.if_else(said, micros, pa.scalar(None, pa.int64())).cast(_TIME)


def _ids(kind: str, seen: pa.Table) -> pa.Array:
    """A new identity's id is the same on every night and host; the table keeps it from then on."""
    known, who = seen["identity_id"].combine_chunks(), seen["who"].combine_chunks()
    new = pc.is_null(known)
    made = [_id(kind, value) for value in who.filter(new).to_pylist()]
    return pc.replace_with_mask(known, new, pa.array(made, pa.string()))


def _id(kind: str, value: str) -> str:
    text = f"{kind}\x00{value}".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(text, digest_size=16, person=b"clearlake.idn").digest()
    return "idn_" + base64.b32encode(digest).decode("ascii").rstrip("=").lower()
