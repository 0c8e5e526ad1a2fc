"""The events of a made lake as text: ids, times, payloads, pages, and whole NDJSON lines.

Column-wise in arrow, no Python object a row. Not here: the tables (app.lake.make_tables).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from app.lake.envelope import BASE62, CROCKFORD
from app.lake.make_days import NAMES, Events, Sessions
from app.lake.make_fill import Drawn, fill, join, take
from app.lake.make_orders import Orders
from app.lake.make_people import Ints, People, fixed_texts, random_ids
from app.lake.make_words import (
    APPS,
    CAMPAIGNS,
    CONTEXTS,
    DEFAULT_PATHS,
    DEVICES,
    LOGIN_REFS,
    METHODS,
    PATHS,
    PAYLOADS,
    PLACES,
    POOLS,
    REFS,
)

_THREADS = 4096
_PAYLOADS = Drawn(PAYLOADS, names=NAMES, other=("{}",))
_PATHS = Drawn(PATHS, names=NAMES, other=DEFAULT_PATHS)
_SHIFTS = {name: 5 * (number % 9) for number, name in enumerate((*POOLS, "bool2", "bool3"))}


@dataclass(frozen=True, slots=True)
class DayTexts:
    """The texts of a day's sessions and of the orders so far, by number."""

    day: date
    session_ids: pa.Array = field(repr=False)
    tokens: pa.Array = field(repr=False)
    campaigns: pa.Array = field(repr=False)
    """JSON by session, from after the page to before the payload."""
    orders: Orders = field(repr=False)
    order_ids: pa.Array = field(repr=False)
    cents: pa.Array = field(repr=False)


@dataclass(frozen=True, slots=True)
class EventTexts:
    """What only text can say of a stretch of events; a column an arrow array."""

    event_id: pa.Array = field(repr=False)
    ts: pa.Array = field(repr=False)
    path: pa.Array = field(repr=False)
    ref: pa.Array = field(repr=False)
    payload: pa.Array = field(repr=False)


class Writer:
    """Turns numbers into text for one population. Holds what is the same on every day."""

    def __init__(self, people: People, *, seed: int) -> None:
        self._people = people
        self._seed = seed
        rng = np.random.default_rng([seed, 3])
        self._pools = {name: pa.array(pool) for name, pool in POOLS.items()}
        self._pools["thread"] = random_ids(rng, "thr_", alphabet=CROCKFORD, size=26, n=_THREADS)
        self._escaped = pc.replace_substring(people.users, "_", "%5F")
        self._names = pa.array(NAMES)
        self._apps = _rows('","app":{"name":"$","ver":"$","build":"$"},"user":{"user_id":', APPS)
        self._users = join('"', people.users, '"')
        self._anons = join(',"anon_id":"', people.anon_ids, '","role":')
        self._roles = pa.array(['"buyer"', '"provider"'])
        self._clients = _client_json(people)

    def day(self, *, day: date, number: int, sessions: Sessions, orders: Orders) -> DayTexts:
        """The texts of one day's sessions."""
        rng = np.random.default_rng([self._seed, 4, number])
        n = len(sessions.actor)
        tokens = random_ids(rng, "ct_", alphabet=BASE62, size=20, n=n)
        return DayTexts(
            day=day,
            session_ids=random_ids(rng, "s_", alphabet=CROCKFORD, size=26, n=n),
            tokens=tokens,
            campaigns=_campaign_json(sessions, tokens),
            orders=orders,
            order_ids=orders.texts(),
            cents=pa.array(orders.cents).cast(pa.string()),
        )

    def texts(self, events: Events, *, of: DayTexts, first: int) -> EventTexts:
        """The text columns of a stretch of the day's events; `first` is its place in the day."""
        values = _Values(self._people, self._pools, self._escaped, events=events, of=of)
        rng = np.random.default_rng([self._seed, 5, of.day.toordinal(), first])
        return EventTexts(
            event_id=_event_ids(rng, events.ms, of.day),
            ts=_times(events.ms, of.day),
            path=_PATHS.fill(values, name=events.name, draw=events.luck >> 50),
            ref=fill([*REFS, *LOGIN_REFS], _refs(self._people, events), values),
            payload=_PAYLOADS.fill(values, name=events.name, draw=events.luck >> 48),
        )

    def lines(self, events: Events, texts: EventTexts, *, of: DayTexts) -> pa.Array:
        """One NDJSON line an event, newline included: the data buffer is an object's body."""
        people, shown = self._people, events.shown
        role = np.where(shown < 0, -1, people.is_provider[shown])
        return join(
            '{"event_id":"',
            texts.event_id,
            '","ts":"',
            texts.ts,
            '","name":"',
            take(self._names, events.name),
            take(self._apps, people.app[events.client]),
            pc.fill_null(take(self._users, shown), "null"),
            take(self._anons, events.client),
            pc.fill_null(take(self._roles, role), "null"),
            '},"session_id":"',
            take(of.session_ids, events.session),
            take(self._clients, events.client),
            texts.path,
            '","ref":',
            pc.fill_null(join('"', texts.ref, '"'), "null"),
            take(of.campaigns, events.session),
            texts.payload,
            "}\n",
        )


class _Values:
    """What the variables of the templates stand for, on the events of one stretch."""

    def __init__(
        self,
        people: People,
        pools: dict[str, pa.Array],
        escaped: pa.Array,
        *,
        events: Events,
        of: DayTexts,
    ) -> None:
        users = people.users
        owner = np.minimum(events.actor, len(users) - 1)
        sells = people.is_provider[owner] & (events.actor < len(users))
        other = np.where(sells, events.buyer, events.provider)
        pair = np.minimum(owner, other) * 31 + np.maximum(owner, other) * 17
        self._luck = events.luck
        self._pools = pools
        orders, order = of.orders, events.order
        self._columns: dict[str, tuple[pa.Array, Ints]] = {
            "owner": (users, owner),
            "owner_escaped": (escaped, owner),
            "provider": (users, events.provider),
            "provider_escaped": (escaped, events.provider),
            "profile": (people.profiles, events.provider),
            "studio": (people.studios, events.provider),
            "buyer": (users, events.buyer),
            "other": (users, other),
            "other_escaped": (escaped, other),
            "other_key": (pa.array(["provider_id", "buyer_id"]), sells.astype(np.int64)),
            "other_role": (pa.array(["provider", "buyer"]), sells.astype(np.int64)),
            "anon": (people.anon_ids, events.client),
            "device": (people.device_fps, events.client),
            "thread": (pools["thread"], pair % _THREADS),
            "order": (of.order_ids, order),
            "cents": (of.cents, order),
            "context": (pa.array(CONTEXTS), _of_order(orders.context, order)),
            "method": (pa.array(METHODS), _of_order(orders.method, order)),
        }

    def of(self, variable: str, rows: Ints) -> pa.Array:
        """The variable's text on each of these rows."""
        if variable in self._columns:
            pool, numbers = self._columns[variable]
            return take(pool, numbers[rows])
        pool = self._pools[variable.rstrip("23")]
        return take(pool, (self._luck[rows] >> _SHIFTS[variable]) % len(pool))


def _of_order(column: Ints, order: Ints) -> Ints:
    """A column of the order; any value on events that are about none."""
    return np.asarray(column[order]) if len(column) else np.zeros_like(order)


def _refs(people: People, events: Events) -> Ints:
    """Which ref each event has; -1: none. Before a login some name who is about to sign in."""
    draw = events.luck >> 44 & 31
    which = np.where(draw < 12, -1, (draw - 12) % len(REFS))
    before = ~events.signed_in & (events.actor < len(people.users)) & (draw % 3 == 0)
    return np.where(before, len(REFS) + draw % len(LOGIN_REFS), which)


def _rows(template: str, rows: Sequence[Sequence[str]]) -> pa.Array:
    """A JSON fragment a row: each `$` is the next cell."""
    head, *tails = template.split("$")
    return pa.array([head + "".join(c + t for c, t in zip(r, tails, strict=True)) for r in rows])


def _client_json(people: People) -> pa.Array:
    """By client, from after the session_id to the page's path."""
    device = _rows('","device":{"ua":"$","os":"$","model":"$","lang":"$"', DEVICES)
    place = _rows('},"geo":{"country":"$","region":"$","city":"$"},"page":{"path":"', PLACES)
    fp = take(people.device_fps, np.where(people.sends_fp, np.arange(len(people.sends_fp)), -1))
    sent = pc.fill_null(join(',"fp":"', fp, '"'), "")
    return join(take(device, people.device), sent, take(place, people.place))


def _campaign_json(sessions: Sessions, tokens: pa.Array) -> pa.Array:
    """By session, from after the ref to before the payload."""
    known = _rows('"utm_source":"$","utm_medium":"$","utm_campaign":"$"', CAMPAIGNS)
    none = '"utm_source":null,"utm_medium":null,"utm_campaign":null'
    token = pc.fill_null(join(',"click_token":"', take(tokens, sessions.token), '"'), "")
    utm = pc.fill_null(take(known, sessions.campaign), none)
    return join('},"campaign":{', utm, token, '},"payload":')


def midnight_ms(day: date) -> int:
    """The first millisecond of a day (UTC) since 1970."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def _event_ids(rng: np.random.Generator, ms: Ints, day: date) -> pa.Array:
    """`evt_` + ULID: 48 bits of time, 80 random ones."""
    letters = np.frombuffer(CROCKFORD.encode("ascii"), np.uint8)
    text = np.empty((len(ms), 30), np.uint8)
    text[:, :4] = np.frombuffer(b"evt_", np.uint8)
    at = ms + midnight_ms(day)
    for place in range(10):
        text[:, 4 + place] = letters[at >> 5 * (9 - place) & 31]
    text[:, 14:] = letters[rng.integers(0, 32, (len(ms), 16), np.uint8)]
    return fixed_texts(text)


def _times(ms: Ints, day: date) -> pa.Array:
    """`YYYY-MM-DDTHH:MM:SS.mmmZ`."""
    text = np.empty((len(ms), 24), np.uint8)
    text[:] = np.frombuffer(f"{day.isoformat()}T00:00:00.000Z".encode("ascii"), np.uint8)
    hours, minutes, seconds = ms // 3_600_000, ms // 60_000 % 60, ms // 1000 % 60
    for first, size, values in (
        (11, 2, hours),
        (14, 2, minutes),
        (17, 2, seconds),
        (20, 3, ms % 1000),
    ):
        _write_digits(text, first, size=size, values=values)
    return fixed_texts(text)


def _write_digits(text: npt.NDArray[np.uint8], first: int, *, size: int, values: Ints) -> None:
    for place in range(size):
        text[:, first + size - 1 - place] += (values // 10**place % 10).astype(np.uint8)
