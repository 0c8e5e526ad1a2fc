"""From rows of events to the people in them: read once, column-wise; then pure.

Not here: the identity table (app.lake.stitch).
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.domain.identifiers import TOMBSTONE
from app.lake.table_ports import TableEngine

_LINK = "identity.link"
_COLUMNS = (
    "ts",
    "name",
    "user_id",
    "anon_id",
    "device_fp",
    "role",
    "geo.country",
    "payload",
)
_SEEN = ("ts", "user_id", "anon_id", "role", "geo.country")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Codes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Link:
    """A login: this user was at this browser and this device."""

    at: datetime
    user_id: str = field(repr=False)
    anon_id: str | None = field(repr=False)
    device_fp: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sight:
    """When somebody was seen, and the latest that their rows say of them."""

    first: datetime
    last: datetime
    role: str | None
    country: str | None


@dataclass(frozen=True, slots=True)
class Seen:
    """Everybody on the rows, by user_id and by anon_id; no tombstones."""

    users: Mapping[str, Sight] = field(repr=False)
    anons: Mapping[str, Sight] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Person:
    """A row of the identity table but for its date; lists are sorted."""

    identity_id: str
    user_id: str | None = field(repr=False)
    anon_ids: list[str] = field(repr=False)
    device_fps: list[str] = field(repr=False)
    current_anon_ids: list[str] = field(repr=False)
    first_seen: datetime
    last_seen: datetime
    role: str | None
    country: str | None


def living(links: Iterable[Link]) -> Iterator[Link]:
    """The links without tombstones: neither an erased person nor an erased value is linked."""
    for link in links:
        anon_id, device_fp = _alive(link.anon_id), _alive(link.device_fp)
        if _alive(link.user_id) and (anon_id or device_fp):
            yield Link(link.at, link.user_id, anon_id, device_fp)


def _alive(value: str | None) -> str | None:
    return value if value and not TOMBSTONE.fullmatch(value) else None


def read_events(engine: TableEngine, table: str) -> tuple[Seen, list[Link]]:
    """One pass over the table: who was seen, and every link between values that live."""
    links: list[Link] = []
    slim: list[pa.Table] = []
    for batch in engine.batches(table, columns=_COLUMNS):
        batch = batch.filter(pc.is_valid(batch.column("ts")))
        links += _links(batch.filter(pc.equal(batch.column("name"), _LINK)))
        slim.append(pa.table({name: _slim(batch.column(name)) for name in _SEEN}))
    if not slim:
        return Seen({}, {}), []
    rows = pa.concat_tables(slim).unify_dictionaries().combine_chunks()
    at = rows["ts"].to_numpy()
    users, user = _coded(rows["user_id"])
    anons, anon = _coded(rows["anon_id"])
    role, country = _coded(rows["role"]), _coded(rows["geo.country"])
    return Seen(
        users=_sights(users, user, at=at, role=role, country=country),
        anons=_sights(anons, anon, at=at, role=role, country=country),
    ), list(living(links))


def _links(rows: pa.RecordBatch) -> Iterator[Link]:
    columns = [rows.column(n).to_pylist() for n in ("user_id", "anon_id", "device_fp", "payload")]
    times = rows.column("ts").cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()
    for at, user_id, anon_id, device_fp, payload in zip(times, *columns, strict=True):
        said = _payload(payload)
        user = _text(said.user_id) or user_id
        if user:
            anon, device = _text(said.anon_id) or anon_id, _text(said.device_fp) or device_fp
            yield Link(_moment(at), user, anon, device)


class _Payload(msgspec.Struct):
    user_id: Any = None
    anon_id: Any = None
    device_fp: Any = None


_DECODER = msgspec.json.Decoder(_Payload)


def _payload(text: str | None) -> _Payload:
    """What a link says. The columns stand in for what it does not say, or cannot be read."""
    try:
        return _DECODER.decode(text or "{}")
    except msgspec.DecodeError:
        return _Payload()


def _text(value: Any) -> str | None:
    """A JSON string, or a whole number as its decimal text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None


def _slim(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    return column.cast(pa.string()).dictionary_encode()


def _coded(column: pa.ChunkedArray) -> tuple[list[str], Codes]:
    """The sorted values, and each row's place among them; -1: null, or a tombstone."""
    encoded = column.combine_chunks()
    values = encoded.dictionary
    by_text = pc.sort_indices(values).to_numpy()
    rank = np.empty(len(values) + 1, np.int64)
    rank[by_text] = np.arange(len(values))
    rank[-1] = -1
    tombstones = pc.match_substring_regex(values, f"^(?:{TOMBSTONE.pattern})$")
    rank[:-1][tombstones.to_numpy(zero_copy_only=False)] = -1
    codes = encoded.indices.fill_null(len(values)).to_numpy()
    return values.take(pa.array(by_text)).to_pylist(), rank[codes]


def _sights(
    names: list[str],
    who: Codes,
    *,
    at: Codes,
    role: tuple[list[str], Codes],
    country: tuple[list[str], Codes],
) -> dict[str, Sight]:
    first, last = _latest(who, -at, at), _latest(who, at, at)
    roles = _latest(who, at, role[1], known=role[1] >= 0)
    countries = _latest(who, at, country[1], known=country[1] >= 0)
    return {
        names[key]: Sight(
            first=_moment(first[key]),
            last=_moment(moment),
            role=role[0][roles[key]] if key in roles else None,
            country=country[0][countries[key]] if key in countries else None,
        )
        for key, moment in last.items()
    }


def _latest(
    who: Codes, at: Codes, values: Codes, *, known: npt.NDArray[np.bool_] | None = None
) -> dict[int, int]:
    """Of each key, the value on its row with the greatest `at`, whatever the order of rows."""
    rows = np.flatnonzero(who >= 0 if known is None else (who >= 0) & known)
    rows = rows[np.lexsort((values[rows], at[rows], who[rows]))]
    keys = who[rows]
    ends = np.flatnonzero(np.append(keys[1:] != keys[:-1], True)) if len(keys) else rows
    return dict(zip(keys[ends].tolist(), values[rows[ends]].tolist(), strict=True))


def _moment(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def people_of(seen: Seen, links: Iterable[Link], *, known: Mapping[str, str]) -> list[Person]:
    """The identities, users before visitors, each by its value. `links` are `living`.

    Two users are never one because they share a value. `known` keeps identity_ids.
    """
    by_user: dict[str, list[Link]] = defaultdict(list)
    latest: dict[str, tuple[datetime, str]] = {}
    for link in links:
        by_user[link.user_id].append(link)
        if link.anon_id:
            now = (link.at, link.user_id)
            latest[link.anon_id] = max(latest.get(link.anon_id, now), now)
    current: dict[str, list[str]] = defaultdict(list)
    for anon_id, (_, user_id) in latest.items():
        current[user_id].append(anon_id)
    users = sorted(by_user.keys() | seen.users.keys())
    people = [
        _user(u, seen.users.get(u), by_user[u], current=current[u], known=known) for u in users
    ]
    return people + [
        _visitor(a, seen.anons[a], known=known) for a in sorted(seen.anons.keys() - latest.keys())
    ]


def _user(
    user_id: str,
    sight: Sight | None,
    links: Iterable[Link],
    *,
    current: list[str],
    known: Mapping[str, str],
) -> Person:
    times = [link.at for link in links]
    if sight is not None:
        times += [sight.first, sight.last]
    return Person(
        identity_id=known.get(user_id) or _identity_id("user_id", user_id),
        user_id=user_id,
        anon_ids=_each(link.anon_id for link in links),
        device_fps=_each(link.device_fp for link in links),
        current_anon_ids=sorted(current),
        first_seen=min(times),
        last_seen=max(times),
        role=sight.role if sight else None,
        country=sight.country if sight else None,
    )


def _visitor(anon_id: str, sight: Sight, *, known: Mapping[str, str]) -> Person:
    return Person(
        identity_id=known.get(anon_id) or _identity_id("anon_id", anon_id),
        user_id=None,
        anon_ids=[anon_id],
        device_fps=[],
        current_anon_ids=[anon_id],
        first_seen=sight.first,
        last_seen=sight.last,
        role=sight.role,
        country=sight.country,
    )


def _each(values: Iterable[str | None]) -> list[str]:
    return sorted({v for v in values if v})


def _identity_id(kind: str, value: str) -> str:
    """A new identity's id: the same on every night and host; kept from then on by the table."""
    text = f"{kind}\x00{value}".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(text, digest_size=16, person=b"clearlake.idn").digest()
    return "idn_" + base64.b32encode(digest).decode("ascii").rstrip("=").lower()
