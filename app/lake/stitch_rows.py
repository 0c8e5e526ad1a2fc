"""From rows of events to facts about people: column-wise, a chunk at a time.

Not here: what follows from the facts (stitch_facts), the identity table (stitch).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.domain.identifiers import TOMBSTONE
from app.lake.stitch_facts import USES, sights

COLUMNS = (
    "ts",
    "name",
    "user_id",
    "anon_id",
    "device_fp",
    "role",
    "geo.country",
    "payload",
)
_LINK = "identity.link"
_CHUNK = 250_000
"""Rows of events that are looked at together."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Link:
    """A login: this user was at this browser and this device."""

    at: datetime
    user_id: str = field(repr=False)
    anon_id: str | None = field(repr=False)
    device_fp: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Facts:
    """What some rows say; no tombstones."""

    users: pa.Table
    """SIGHTS by user_id, those of the links among them."""
    anons: pa.Table
    """SIGHTS by anon_id."""
    uses: pa.Table
    links: int
    """Links between a user and a value, both living."""


def facts_of_events(batches: Iterable[pa.RecordBatch]) -> Iterator[Facts]:
    """The facts of events with the columns COLUMNS, chunk by chunk."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        if rows >= _CHUNK:
            yield _facts(held)
            held, rows = [], 0
    if held:
        yield _facts(held)


def facts_of_links(links: Iterable[Link]) -> Facts:
    """The facts of links alone."""
    given = list(links)
    at = [(link.at - _EPOCH) // timedelta(microseconds=1) for link in given]
    texts = [
        [getattr(link, name) for link in given] for name in ("user_id", "anon_id", "device_fp")
    ]
    users, uses, count = _links_of(np.array(at, np.int64), *(_living(_texts(t)) for t in texts))
    return Facts(users, users.slice(0, 0), uses, count)


def _facts(batches: list[pa.RecordBatch]) -> Facts:
    rows = pa.Table.from_batches(batches)
    rows = rows.filter(pc.is_valid(rows["ts"])).combine_chunks()
    links = rows.filter(pc.equal(rows["name"], _LINK))
    of_links, uses, count = _links_of(_micros(links["ts"]), *_said(links))
    users, anons = (_seen(rows, name) for name in ("user_id", "anon_id"))
    return Facts(pa.concat_tables([users, of_links]), anons, uses, count)


def _seen(rows: pa.Table, name: str) -> pa.Table:
    who = _living(_one(rows[name]))
    there = pc.is_valid(who)
    role, country = (_living(_one(rows[n])).filter(there) for n in ("role", "geo.country"))
    at = _micros(rows["ts"])[there.to_numpy(zero_copy_only=False)]
    return sights(who.filter(there), at, role=role, country=country)


def _links_of(
    at: Numbers, users: pa.Array, anons: pa.Array, devices: pa.Array
) -> tuple[pa.Table, pa.Table, int]:
    """SIGHTS of the users, USES, and how many links there are."""
    holds = pc.and_(pc.is_valid(users), pc.or_(pc.is_valid(anons), pc.is_valid(devices)))
    users, anons, devices = (a.filter(holds) for a in (users, anons, devices))
    at = at[holds.to_numpy(zero_copy_only=False)]
    nothing = pa.nulls(len(users), pa.string())
    pieces = []
    for values, is_anon in ((anons, True), (devices, False)):
        there = pc.is_valid(values)
        used = values.filter(there)
        columns = [
            users.filter(there),
            used,
            pa.repeat(pa.scalar(is_anon), len(used)),
            pa.array(at[there.to_numpy(zero_copy_only=False)], pa.int64()),
        ]
        pieces.append(pa.table(columns, schema=USES))
    return sights(users, at, role=nothing, country=nothing), pa.concat_tables(pieces), len(users)


def _said(links: pa.Table) -> list[pa.Array]:
    """user_id, anon_id and device_fp of each link, without tombstones: what its payload says; the
    columns stand in for what that does not say, or cannot be read.
    """
    said = _payloads(_one(links["payload"]))
    found = []
    for name in ("user_id", "anon_id", "device_fp"):
        inside = _texts([_text(getattr(payload, name)) or None for payload in said])
        found.append(_living(pc.coalesce(inside, _one(links[name]))))
    return found


class _Payload(msgspec.Struct):
    user_id: Any = None
    anon_id: Any = None
    device_fp: Any = None


_DECODER = msgspec.json.Decoder(_Payload)


def _payloads(texts: pa.Array) -> list[_Payload]:
    """What the links say, all at once where each is one line of JSON."""
    given = texts.to_pylist()
    lines = [text or "{}" for text in given]
    if not any("\n" in line for line in lines):
        try:
            said = _DECODER.decode_lines("\n".join(lines))
        except msgspec.DecodeError:
            said = []
        if len(said) == len(lines):
            return said
    return [_payload(line) for line in lines]


def _payload(text: str) -> _Payload:
    try:
        return _DECODER.decode(text)
    except msgspec.DecodeError:
        return _Payload()


def _text(value: Any) -> str | None:
    """A JSON string, or a whole number as its decimal text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None


def _texts(values: list[str | None]) -> pa.Array:
    return pa.array(values, pa.string())


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.cast(pa.string()).combine_chunks()


def _micros(column: pa.ChunkedArray) -> Numbers:
    times: Numbers = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_numpy()
    return times


def _living(texts: pa.Array) -> pa.Array:
    """With null for a tombstone: neither an erased person nor an erased value is anybody. Nor is
    an empty text.
    """
    encoded = texts.dictionary_encode()
    gone = pc.match_substring_regex(encoded.dictionary, f"^(?:{TOMBSTONE.pattern})?$")
    if not pc.any(gone).as_py():
        return texts
    kept = pc.if_else(gone, pa.scalar(None, pa.string()), encoded.dictionary)
    return kept.take(encoded.indices)
