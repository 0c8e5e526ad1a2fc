"""What is known of people, as columns: who was seen when, who used what; and what follows from it.

Pure: tables in, tables out, in any order and number of pieces. Not here: reading (stitch_rows),
putting aside (stitch_spool), the identity table (stitch).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Numbers = npt.NDArray[np.int64]
NEVER, LONG_AGO = np.iinfo(np.int64).max, np.iinfo(np.int64).min
"""`first` of somebody who was not seen; `last`, and a time that any other is later than."""

_TEXT, _MICROS = pa.string(), pa.int64()

SIGHTS = pa.schema(
    [
        ("who", _TEXT),
        ("first", _MICROS),
        ("last", _MICROS),
        ("role", _TEXT),
        ("role_at", _MICROS),
        ("country", _TEXT),
        ("country_at", _MICROS),
        ("identity_id", _TEXT),
    ]
)
"""Somebody on some rows: when, the latest that they say, and the id that a table has for them."""

USES = pa.schema([("user", _TEXT), ("value", _TEXT), ("is_anon", pa.bool_()), ("at", _MICROS)])
"""A user was at this browser (`is_anon`) or device, the last time then."""

HOLDERS = pa.schema([("user", _TEXT), ("value", _TEXT), ("at", _MICROS)])
"""The user whom the latest link of an anon_id names."""


def sights(who: pa.Array, at: Numbers, *, role: pa.Array, country: pa.Array) -> pa.Table:
    """One sight a row of events, folded."""
    return fold(
        pa.table(
            {
                "who": who,
                "first": at,
                "last": at,
                "role": role,
                "role_at": at,
                "country": country,
                "country_at": at,
                "identity_id": pa.nulls(len(who), _TEXT),
            },
            schema=SIGHTS,
        )
    )


def fold(seen: pa.Table) -> pa.Table:
    """One row for each of them. Of a role or country the latest counts, of two at the same time the
    greater text; folding pieces first makes no difference.
    """
    encoded = _encoded(seen["who"])
    who = encoded.indices.to_numpy()
    count = len(encoded.dictionary)
    first, last = np.full(count, NEVER), np.full(count, LONG_AGO)
    np.minimum.at(first, who, seen["first"].to_numpy())
    np.maximum.at(last, who, seen["last"].to_numpy())
    role, role_at = _latest(who, count, texts=seen["role"], at=seen["role_at"].to_numpy())
    country, country_at = _latest(
        who, count, texts=seen["country"], at=seen["country_at"].to_numpy()
    )
    known, _ = _latest(who, count, texts=seen["identity_id"], at=np.zeros(len(who), np.int64))
    columns = [encoded.dictionary, first, last, role, role_at, country, country_at, known]
    return pa.table(dict(zip(SIGHTS.names, columns, strict=True)), schema=SIGHTS)


def _latest(
    who: Numbers, count: int, *, texts: pa.ChunkedArray, at: Numbers
) -> tuple[pa.Array, Numbers]:
    """Of each, the text with the greatest time that is there, and that time."""
    values, rank = ranked(texts)
    said = rank >= 0
    best_at = np.full(count, LONG_AGO)
    np.maximum.at(best_at, who[said], at[said])
    top = said & (at == best_at[who])
    best = np.full(count, -1)
    np.maximum.at(best, who[top], rank[top])
    return values.take(pa.array(best, mask=best < 0)), best_at


def ranked(texts: pa.ChunkedArray) -> tuple[pa.Array, Numbers]:
    """The different texts in order, and each row's place among them; -1: null."""
    encoded = _encoded(texts)
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.full(len(order) + 1, -1)
    rank[order] = np.arange(len(order))
    codes = encoded.indices.fill_null(len(order)).to_numpy()
    return encoded.dictionary.take(pa.array(order)), rank[codes]


def _encoded(texts: pa.ChunkedArray) -> pa.DictionaryArray:
    encoded = texts.cast(_TEXT).combine_chunks().dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices.cast(pa.int64()), encoded.dictionary)


@dataclass(frozen=True, slots=True)
class Settled:
    """What follows for the values of one part."""

    holders: pa.Table
    visitors: pa.Table
    """SIGHTS of anon_ids that were seen and never linked."""
    shared: int
    """Values that more than one user has used."""


def settled(uses: pa.Table, anons: pa.Table) -> Settled:
    """Whose each anon_id is now, and who is nobody's. `anons`: SIGHTS by anon_id."""
    values, value = ranked(uses["value"])
    users, user = ranked(uses["user"])
    pairs = np.unique(value * max(len(users), 1) + user) // max(len(users), 1)
    shared = int((np.bincount(pairs) > 1).sum()) if len(pairs) else 0
    of_anon = uses["is_anon"].combine_chunks().to_numpy(zero_copy_only=False)
    holder, since = _latest(
        value[of_anon],
        len(values),
        texts=uses["user"].filter(pa.array(of_anon)),
        at=uses["at"].to_numpy()[of_anon],
    )
    linked = pc.is_valid(holder)
    columns = [holder.filter(linked), values.filter(linked), pa.array(since).filter(linked)]
    seen = living(fold(anons))
    alone = pc.invert(pc.is_in(seen["who"], value_set=values.filter(linked)))
    return Settled(pa.table(columns, schema=HOLDERS), seen.filter(alone), shared)


def living(seen: pa.Table) -> pa.Table:
    """Those who were seen, in the order of their texts: a table's id alone makes nobody."""
    seen = seen.filter(pc.less(seen["first"], pa.scalar(NEVER)))
    return seen.take(pc.sort_indices(seen["who"]))


def lists_of(
    people: pa.Array, users: pa.ChunkedArray, values: pa.ChunkedArray
) -> tuple[pa.ListArray, Numbers]:
    """The different values of each of these people (no one else's), in order; and for each value in
    the lists the row that it comes from.
    """
    texts, rank = ranked(values)
    width = max(len(texts), 1)
    user = pc.index_in(users.combine_chunks(), value_set=people).cast(pa.int64()).to_numpy()
    found, rows = np.unique(user * width + rank, return_index=True)
    ends = np.searchsorted(found // width, np.arange(len(people) + 1)).astype(np.int32)
    taken = texts.take(pa.array(found % width))
    return pa.ListArray.from_arrays(pa.array(ends), taken), rows
