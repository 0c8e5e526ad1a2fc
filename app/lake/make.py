"""Makes a realistic lake from a seed: Bronze objects, Silver and Gold tables of the same events.

For the demo, tests and bench. Not here: gold.dim_identity (app.lake.stitch), servers, settings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from app.domain.errors import UsageError
from app.lake.codecs import Codec
from app.lake.make_days import MIN_EVENTS, Past, make_day, quotas
from app.lake.make_load import Loading, Progress, cut
from app.lake.make_people import (
    ACTIVE_BUYER,
    DISPUTED,
    FIRST_TABLET,
    MIN_USERS,
    PROVIDER,
    People,
    make_people,
)
from app.lake.make_tables import (
    EVENTS,
    ORDERS,
    SCHEMAS,
    SESSIONS,
    event_rows,
    order_rows,
    session_rows,
)
from app.lake.make_text import Writer
from app.lake.ports import Loader
from app.lake.table_ports import TableEngine

__all__ = ["Cast", "Codec", "LakeMade", "make_lake"]


@dataclass(frozen=True, slots=True)
class Cast:
    """People of the lake with something to show, by their identifiers."""

    active_buyer: str = field(repr=False)
    tablet_user: str = field(repr=False)
    """A user_id; so are all but the three values that say otherwise."""
    tablet_anon_id: str = field(repr=False)
    """The shared tablet's, as the next: linked to three user_ids."""
    tablet_device_fp: str = field(repr=False)
    visitor_anon_id: str = field(repr=False)
    """Never linked to a user."""
    provider: str = field(repr=False)
    """Named in the payloads and pages of very many others."""
    disputed_buyer: str = field(repr=False)
    """Has an order under dispute (chargeback.*, not closed)."""


@dataclass(frozen=True, slots=True)
class LakeMade:
    """What was made, and how long it took."""

    events: int
    users: int
    visitors: int
    sessions: int
    orders: int
    objects: int
    bytes: int
    """Of the Bronze objects, as stored."""
    seconds: Mapping[str, float]
    """Busy seconds of the threads that load bronze and silver (gold with it), and `total`."""
    cast: Cast

    def as_document(self) -> dict[str, Any]:
        """For `--json`."""
        return {"schema": "clearlake.lake/1", **asdict(self)}

    def sentence(self) -> str:
        """For people."""
        return (
            f"{self.events:,} events of {self.users:,} users and {self.visitors:,} visitors in "
            f"{self.objects:,} objects ({self.bytes / 1e6:,.1f} MB), {self.sessions:,} sessions, "
            f"{self.orders:,} orders, in {self.seconds['total']:.1f} s."
        )


def make_lake(
    *,
    events: int,
    users: int,
    days: int,
    seed: int,
    codec: str,
    root: str,
    loader: Loader,
    engine: TableEngine,
    start: date,
    retain_until: datetime,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> LakeMade:
    """Make the lake under `root` (s3://bucket/ or file:///folder/) and in the engine's catalog.

    The same arguments give the same events, byte for byte. UsageError: numbers too small for the
    cast, an unknown codec, or a lake that is there already.
    """
    _check(events=events, users=users, days=days, seed=seed, codec=codec, root=root)
    for table in SCHEMAS:
        if engine.exists(table) and engine.head(table).snapshot_id is not None:
            raise UsageError(f"{table} has rows already: make the lake in an empty place.")
    began = clock()
    people = make_people(users=users, seed=seed)
    loading = Loading(
        loader,
        engine,
        root=root,
        codec=Codec(codec),
        retain_until=retain_until,
        events=events,
        progress=progress,
        clock=clock,
    )
    with loading:
        loading.prepare()
        made = _Lake(people, Writer(people, seed=seed), loading, start=start, seed=seed)
        for number, quota in enumerate(quotas(events=events, days=days)):
            made.day(number, quota)
        loading.append(ORDERS, order_rows(people, made.past.orders, start=start))
    return LakeMade(
        events=events,
        users=users,
        visitors=people.visitors,
        sessions=made.sessions,
        orders=len(made.past.orders),
        objects=loading.objects,
        bytes=loading.bytes,
        seconds={**loading.seconds, "total": round(clock() - began, 3)},
        cast=_cast(people),
    )


class _Lake:
    """The days of one lake, one after the other."""

    def __init__(
        self, people: People, writer: Writer, loading: Loading, *, start: date, seed: int
    ) -> None:
        self.past = Past.none(people)
        self.sessions = 0
        self._people = people
        self._writer = writer
        self._loading = loading
        self._start = start
        self._seed = seed

    def day(self, number: int, quota: int) -> None:
        """Make one day and hand it to the loader and the tables."""
        people, loading = self._people, self._loading
        day = self._start + timedelta(days=number)
        sessions, events = make_day(people, self.past, day=number, quota=quota, seed=self._seed)
        of = self._writer.day(day=day, number=number, sessions=sessions, orders=self.past.orders)
        for parts in cut(events.ms):
            first, end = parts[0].first, parts[-1].end
            stretch = events.cut(first, end)
            texts = self._writer.texts(stretch, of=of, first=first)
            loading.append(EVENTS, event_rows(people, sessions, stretch, texts=texts, of=of))
            lines = self._writer.lines(stretch, texts, of=of)
            for part in parts:
                loading.put(day, part, lines.slice(part.first - first, part.end - part.first))
        loading.append(SESSIONS, session_rows(people, sessions, of=of))
        self.sessions += len(sessions.actor)


def _check(*, events: int, users: int, days: int, seed: int, codec: str, root: str) -> None:
    least = {"events": (events, MIN_EVENTS), "users": (users, MIN_USERS), "days": (days, 1)}
    for name, (given, minimum) in {**least, "seed": (seed, 0)}.items():
        if given < minimum:
            raise UsageError(f"{name}: a lake needs at least {minimum}, got {given}.")
    if codec not in set(Codec):
        raise UsageError(f"codec: expected one of {', '.join(Codec)}.")
    if not root.endswith("/"):
        raise UsageError("root: expected s3://bucket/ or file:///folder/, with the last slash.")


def _cast(people: People) -> Cast:
    tablet_user = FIRST_TABLET[0]
    tablet = int(people.tablet[tablet_user])
    visitor = int(people.first_client[len(people.users)])
    return Cast(
        active_buyer=people.users[ACTIVE_BUYER].as_py(),
        tablet_user=people.users[tablet_user].as_py(),
        tablet_anon_id=people.anon_ids[tablet].as_py(),
        tablet_device_fp=people.device_fps[tablet].as_py(),
        visitor_anon_id=people.anon_ids[visitor].as_py(),
        provider=people.users[PROVIDER].as_py(),
        disputed_buyer=people.users[DISPUTED].as_py(),
    )
