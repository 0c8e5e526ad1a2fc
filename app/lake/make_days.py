"""One day of a made lake as numbers: its sessions, and its events in the order of time.

Not here: texts (app.lake.make_text). Everything is drawn from the seed and the day's number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from app.lake.make_orders import CLOSE, DISPUTE, REFUND, REFUND_FAILED, Orders, latest_order
from app.lake.make_people import (
    ACTIVE_BUYER,
    DISPUTED,
    FIRST_TABLET,
    PROVIDER,
    Flags,
    Floats,
    Ints,
    People,
    zipf,
)
from app.lake.make_words import ANONYMOUS, BUYER, CAMPAIGNS, TOKENED_MEDIA, WEB_APPS
from app.lake.make_words import PROVIDER as PROVIDER_MIX

NAMES = (
    "app.start",
    "app.end",
    "session.start",
    "session.end",
    "identity.link",
    "exp.view",
    "exp.convert",
    "checkout.start",
    "checkout.payment_succeeded",
    "checkout.abandon",
    "refund.proposed",
    "refund.succeeded",
    "refund.failed",
    "chargeback.open",
    "chargeback.submit",
    "chargeback.closed",
    *sorted({*ANONYMOUS, *BUYER, *PROVIDER_MIX}),
)
_CODE = {name: code for code, name in enumerate(NAMES)}
LINK = _CODE["identity.link"]
_CARDS = (_CODE["action_card.open"], _CODE["action_card.complete"])
_FOLLOWS = {
    REFUND: ("refund.proposed", "refund.succeeded"),
    REFUND_FAILED: ("refund.proposed", "refund.failed"),
    DISPUTE: ("chargeback.open", "chargeback.submit"),
    CLOSE: ("chargeback.closed", "support.case.resolve"),
}

MIN_LENGTH = 10
"""Events a session: room for a start, a login, a purchase and an end."""
MIN_SESSIONS = 12
MIN_EVENTS = MIN_LENGTH * MIN_SESSIONS
"""A day: everybody with a part to play has a session."""
_MEAN_LENGTH = 16
_MAX_SESSIONS = 40
"""An actor and day: what 24 hours hold at 30 minutes between sessions."""
_PAUSE_MS = 1_801_000
_LONGEST_MS = 1_680_000
DAY_MS = 86_400_000
IN, LOGIN, OUT = range(3)
_NOTHING, _ABANDONS, _PAYS = -3, -2, -1


@dataclass(slots=True)
class Past:
    """What one day leaves to the next."""

    orders: Orders
    linked: Flags
    """By client: somebody has signed in there."""
    on_tablet: Flags
    """By user: has signed in on the shared tablet, on a day before."""

    @classmethod
    def none(cls, people: People) -> Past:
        """Before the first day."""
        clients, users = len(people.anon_ids), len(people.users)
        return cls(Orders(), np.zeros(clients, np.bool_), np.zeros(users, np.bool_))


@dataclass(frozen=True, slots=True)
class Sessions:
    """The sessions of one day; a column an array."""

    actor: Ints
    client: Ints
    start: Ints
    """Milliseconds of the day, as `lasts`."""
    lasts: Ints
    length: Ints
    mode: Ints
    """IN: signed in all along; LOGIN: signs in on the way; OUT: not signed in."""
    providers: Ints
    """Three candidates a session, as `buyers`."""
    buyers: Ints
    order: Ints
    """The order it is about, or -1."""
    about: Ints
    """Nothing, a purchase, or what it does about an earlier order."""
    campaign: Ints
    """Or -1: came by itself."""
    token: Ints
    """The click token: mostly its own number, sometimes a forwarded one; -1: none."""


@dataclass(frozen=True, slots=True)
class Events:
    """The events of one day by time; a column an array, numbers into people and sessions."""

    session: Ints
    ms: Ints
    """Milliseconds of the day."""
    name: Ints
    actor: Ints
    shown: Ints
    """The user that the envelope names, or -1."""
    signed_in: Flags
    client: Ints
    provider: Ints
    buyer: Ints
    order: Ints
    luck: Ints
    """63 random bits: what texts are drawn by."""

    def cut(self, first: int, end: int) -> Events:
        """The events from one to before another."""
        return Events(**{f.name: getattr(self, f.name)[first:end] for f in fields(self)})


def quotas(*, events: int, days: int) -> list[int]:
    """Events a day, summing to `events`; days too small for a believable day are left out."""
    least = MIN_LENGTH * MIN_SESSIONS
    active = max(1, min(days, events // least))
    base, rest = divmod(events, active)
    return [base + (day < rest) for day in range(active)]


def make_day(
    people: People, past: Past, *, day: int, quota: int, seed: int
) -> tuple[Sessions, Events]:
    """The day's sessions and events; `past` is carried on."""
    rng = np.random.default_rng([seed, 2, day])
    sessions = _sessions(rng, people, past, day=day, quota=quota)
    events = _events(rng, people, past, sessions=sessions)
    on_tablet = sessions.client >= people.first_tablet
    past.on_tablet[sessions.actor[on_tablet]] = True
    return sessions, events


def _sessions(
    rng: np.random.Generator, people: People, past: Past, *, day: int, quota: int
) -> Sessions:
    counts = _counts(rng, people, day=day, quota=quota)
    actor = np.repeat(np.arange(people.actors), counts)
    n = len(actor)
    rank = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    shares = rng.gamma(1.5, 1.0, n)
    length = MIN_LENGTH + rng.multinomial(quota - MIN_LENGTH * n, shares / shares.sum())
    start, lasts = _times(rng, rank=rank, of=counts[actor], length=length)
    client = _clients(rng, people, actor, rank=rank, day=day)
    mode = _modes(rng, people, past, actor=actor, client=client)
    buyers = _drawn(rng, people.buyers, n)
    providers = _drawn(rng, people.providers, n)
    of_provider = _flag(people.is_provider, actor)
    providers[of_provider, 0] = actor[of_provider]
    campaign = np.where(rng.random(n) < 0.45, rng.integers(0, len(CAMPAIGNS), n), -1)
    sent = np.array([medium in TOKENED_MEDIA for _, medium, _ in CAMPAIGNS])[campaign]
    forwarded = (rng.random(n) < 0.02) & (np.arange(n) > 0)
    sessions = Sessions(
        actor=actor,
        client=client,
        start=start,
        lasts=lasts,
        length=length,
        mode=mode,
        providers=providers,
        buyers=buyers,
        order=np.full(n, -1),
        about=np.full(n, _NOTHING),
        campaign=campaign,
        token=np.where((campaign >= 0) & sent, np.arange(n) - forwarded, -1),
    )
    _trade(rng, people, past.orders, sessions=sessions, day=day)
    return sessions


def _flag(flags: Flags, actor: Ints) -> Flags:
    """A user's flag by actor; visitors have none."""
    return np.asarray((actor < len(flags)) & flags[np.minimum(actor, len(flags) - 1)])


def _counts(rng: np.random.Generator, people: People, *, day: int, quota: int) -> Ints:
    """Sessions an actor. On the first day everybody with a part to play is there."""
    counts = np.zeros(people.actors, np.int64)
    if day == 0:
        counts[[ACTIVE_BUYER, *FIRST_TABLET, PROVIDER, len(people.users)]] = 1
        counts[DISPUTED] = 2
    wanted = min(max(MIN_SESSIONS, quota // _MEAN_LENGTH), people.actors * _MAX_SESSIONS // 3)
    missing = wanted - int(counts.sum())
    counts = np.minimum(counts + rng.multinomial(missing, people.activity), _MAX_SESSIONS)
    while (missing := wanted - int(counts.sum())) > 0:
        counts[np.argsort(counts, kind="stable")[:missing]] += 1
    return np.asarray(counts)


def _times(rng: np.random.Generator, *, rank: Ints, of: Ints, length: Ints) -> tuple[Ints, Ints]:
    """Start and duration: an actor's sessions lie in slots of the day, over 30 minutes apart."""
    slot = DAY_MS // of
    room = slot - _PAUSE_MS
    lasts = length * rng.gamma(4.0, 5000.0, len(rank))
    lasts = np.minimum(np.minimum(lasts, room * 0.8), _LONGEST_MS).astype(np.int64)
    noon = rng.random((len(rank), 3)).mean(axis=1)
    where = np.where(of == 1, noon, rng.random(len(rank)))
    return rank * slot + (where * (room - lasts)).astype(np.int64), lasts


def _clients(
    rng: np.random.Generator, people: People, actor: Ints, *, rank: Ints, day: int
) -> Ints:
    """Mostly the first own client; half of the time the shared tablet, where there is one."""
    which = (rng.random(len(actor)) ** 2 * people.clients[actor]).astype(np.int64)
    own = people.first_client[actor] + which
    users = len(people.users)
    tablet = np.where(actor < users, people.tablet[np.minimum(actor, users - 1)], -1)
    wanted = (rng.random(len(actor)) < 0.5) | ((day == 0) & (rank == 0))
    return np.where((tablet >= 0) & wanted, tablet, own)


def _modes(
    rng: np.random.Generator, people: People, past: Past, *, actor: Ints, client: Ints
) -> Ints:
    """A login on every new client and whenever a tablet changes hands; visitors never sign in."""
    is_user = actor < len(people.users)
    luck = rng.random(len(actor))
    mode = np.select([luck < 0.2, (luck < 0.3) & (actor != DISPUTED)], [LOGIN, OUT], IN)
    _, first = np.unique(client, return_index=True)
    new = np.zeros(len(actor), np.bool_)
    new[first] = ~past.linked[client[first]]
    past.linked[client[is_user]] = True
    mode = np.where(new | (client >= people.first_tablet), LOGIN, mode)
    return np.where(is_user, mode, OUT)


def _drawn(rng: np.random.Generator, of: Ints, n: int) -> Ints:
    """Three a session, the first ones far more often."""
    shares = np.cumsum(zipf(len(of), exponent=0.9, shift=2.0))
    ranks = np.minimum(np.searchsorted(shares, rng.random((n, 3))), len(of) - 1)
    return np.asarray(of[ranks])


def _trade(
    rng: np.random.Generator, people: People, orders: Orders, *, sessions: Sessions, day: int
) -> None:
    """Who buys, and whose session is about an earlier order: fills `order` and `about`."""
    n = len(sessions.actor)
    can = _flag(~people.is_provider, sessions.actor) & (sessions.mode != OUT)
    buys = can & (rng.random(n) < 0.3)
    pays = rng.random(n) < 0.8
    if day == 0:
        first, second = np.flatnonzero(sessions.actor == DISPUTED)[:2]
        buys[first], pays[first], buys[second] = True, True, False
    at = day * DAY_MS + sessions.start
    sessions.about[buys] = np.where(pays, _PAYS, _ABANDONS)[buys]
    sessions.order[buys] = orders.place(
        rng,
        user=sessions.actor[buys],
        provider=sessions.providers[buys, 1],
        client=sessions.client[buys],
        day=day,
        starts=at[buys],
        paid=pays[buys],
    )
    waiting = {due.user for due in orders.due}
    free: dict[int, list[tuple[int, int]]] = {}
    for number in np.flatnonzero(can & ~buys):
        user = int(sessions.actor[number])
        if user in waiting:
            free.setdefault(user, []).append((int(at[number]), int(number)))
    for session, (what, order) in orders.settle(sessions=free).items():
        sessions.about[session], sessions.order[session] = what, order


def _events(rng: np.random.Generator, people: People, past: Past, *, sessions: Sessions) -> Events:
    length = sessions.length
    n = int(length.sum())
    session = np.repeat(np.arange(len(length)), length)
    ahead = np.cumsum(length) - length
    pos = np.arange(n) - ahead[session]
    luck = rng.integers(0, 2**63 - 1, n)
    login = 3 + luck[ahead] % np.minimum(length - MIN_LENGTH + 2, 6)
    mode, actor = sessions.mode[session], sessions.actor[session]
    signed_in = (mode == IN) | ((mode == LOGIN) & (pos >= login[session]))
    name = _names(rng, people, sessions, session=session, pos=pos, signed_in=signed_in)
    name[(mode == LOGIN) & (pos == login[session])] = LINK
    order = sessions.order[session]
    cards = np.isin(name, _CARDS)
    order[cards] = latest_order(past.orders, people)[actor[cards]]
    name[cards & (order < 0)] = _CODE["thread.open"]
    pick = luck % 3
    by_time = np.argsort(ms := _moments(rng, sessions, session=session), kind="stable")
    columns = {
        "session": session,
        "ms": ms,
        "name": name,
        "actor": actor,
        "shown": _shown(people, past, sessions, session, name=name, signed_in=signed_in, luck=luck),
        "signed_in": signed_in,
        "client": sessions.client[session],
        "provider": sessions.providers[session, pick],
        "buyer": sessions.buyers[session, pick],
        "order": order,
        "luck": luck,
    }
    return Events(**{key: values[by_time] for key, values in columns.items()})


def _moments(rng: np.random.Generator, sessions: Sessions, *, session: Ints) -> Ints:
    """Milliseconds of the day: random gaps, scaled to what the session lasts."""
    gone = np.cumsum(rng.exponential(1.0, len(session)))
    last = np.cumsum(sessions.length) - 1
    first = last - sessions.length + 1
    within = (gone - gone[first][session]) / (gone[last] - gone[first])[session]
    return np.asarray(sessions.start[session] + (within * sessions.lasts[session]).astype(np.int64))


def _shown(
    people: People,
    past: Past,
    sessions: Sessions,
    session: Ints,
    *,
    name: Ints,
    signed_in: Flags,
    luck: Ints,
) -> Ints:
    """The user in the envelope. A link row may still have none, or a tablet's user before."""
    actor = sessions.actor[session]
    shown = np.where(signed_in, actor, -1)
    link = name == LINK
    shown[link & (luck % 10 < 3)] = -1
    mate = people.tablet_mate[np.minimum(actor, len(people.users) - 1)]
    on_tablet = sessions.client[session] >= people.first_tablet
    before = link & on_tablet & (luck % 10 > 7)
    before[before] = past.on_tablet[mate[before]]
    shown[before] = mate[before]
    return shown


def _names(
    rng: np.random.Generator,
    people: People,
    sessions: Sessions,
    *,
    session: Ints,
    pos: Ints,
    signed_in: Flags,
) -> Ints:
    of_provider = _flag(people.is_provider, sessions.actor[session])
    draw = rng.random(len(session))
    name = np.select(
        [~signed_in, of_provider],
        [_mixed(ANONYMOUS, draw), _mixed(PROVIDER_MIX, draw)],
        _mixed(BUYER, draw),
    )
    back = sessions.length[session] - 1 - pos
    native = (people.app[sessions.client] >= WEB_APPS)[session]
    name[(pos == 2) & (draw < 0.6)] = _CODE["exp.view"]
    name[pos == 0] = _CODE["session.start"]
    name[back == 0] = _CODE["session.end"]
    name[(pos == 0) & native] = _CODE["app.start"]
    name[(pos == 1) & native] = _CODE["session.start"]
    name[(back == 1) & native] = _CODE["session.end"]
    name[(back == 0) & native] = _CODE["app.end"]
    about = sessions.about[session]
    pair = {_PAYS: ("checkout.start", "checkout.payment_succeeded"), **_FOLLOWS}
    pair[_ABANDONS] = ("checkout.start", "checkout.abandon")
    for what, (one, two) in pair.items():
        name[(about == what) & (back == 4)] = _CODE[one]
        name[(about == what) & (back == 3)] = _CODE[two]
    name[(about == _PAYS) & (back == 2) & (draw < 0.5)] = _CODE["exp.convert"]
    return name


def _mixed(mix: Mapping[str, int], draw: Floats) -> Ints:
    """Names drawn by their weights."""
    codes = np.array([_CODE[name] for name in mix])
    shares = np.cumsum(np.array(list(mix.values()))) / sum(mix.values())
    return np.asarray(codes[np.minimum(np.searchsorted(shares, draw), len(codes) - 1)])
