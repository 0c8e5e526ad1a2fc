"""The tables of a made lake, from the same events as Bronze: lake.events, gold.fact_sessions and
gold.fact_orders. Not here: gold.dim_identity (app.lake.stitch).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import numpy as np
import pyarrow as pa

from app.lake.make_days import LINK, LOGIN, NAMES, OUT, Events, Sessions
from app.lake.make_fill import take
from app.lake.make_orders import Orders
from app.lake.make_people import Ints, People
from app.lake.make_text import DayTexts, EventTexts, midnight_ms
from app.lake.make_words import APPS, CAMPAIGNS, CONTEXTS, DEVICES, METHODS, PLACES, STATUSES

EVENTS, SESSIONS, ORDERS = "lake.events", "gold.fact_sessions", "gold.fact_orders"
_TEXT, _DAY, _TIME = pa.string(), pa.date32(), pa.timestamp("us", tz="UTC")


def _struct(*names: str) -> pa.DataType:
    return pa.struct([(name, _TEXT) for name in names])


_APP = _struct("name", "ver", "build")
_DEVICE = _struct("ua", "os", "model", "lang")
_GEO = _struct("country", "region", "city")
_PAGE = _struct("path", "ref")
_CAMPAIGN = _struct("utm_source", "utm_medium", "utm_campaign", "click_token")

SCHEMAS: Mapping[str, pa.Schema] = {
    EVENTS: pa.schema(
        [
            ("event_dt", _DAY),
            ("event_id", _TEXT),
            ("ts", _TIME),
            ("name", _TEXT),
            ("app", _APP),
            ("user_id", _TEXT),
            ("anon_id", _TEXT),
            ("device_fp", _TEXT),
            ("role", _TEXT),
            ("session_id", _TEXT),
            ("device", _DEVICE),
            ("geo", _GEO),
            ("page", _PAGE),
            ("campaign", _CAMPAIGN),
            ("payload", _TEXT),
            ("ingested_at", _TIME),
        ]
    ),
    SESSIONS: pa.schema(
        [
            ("session_id", _TEXT),
            ("session_dt", _DAY),
            ("user_id", _TEXT),
            ("anon_id", _TEXT),
            ("device_fp", _TEXT),
            ("started_at", _TIME),
            ("ended_at", _TIME),
            ("events", pa.int64()),
            ("country", _TEXT),
        ]
    ),
    ORDERS: pa.schema(
        [
            ("order_id", _TEXT),
            ("order_dt", _DAY),
            ("user_id", _TEXT),
            ("anon_id", _TEXT),
            ("context", _TEXT),
            ("amount_cents", pa.int64()),
            ("method", _TEXT),
            ("status", _TEXT),
        ]
    ),
}
PARTITION_BY: Mapping[str, str | None] = {EVENTS: "event_dt", SESSIONS: None, ORDERS: None}


def event_rows(
    people: People, sessions: Sessions, events: Events, *, texts: EventTexts, of: DayTexts
) -> pa.Table:
    """The Silver rows of a stretch of events."""
    n = len(events.ms)
    shown, client = events.shown, events.client
    at = events.ms + midnight_ms(of.day)
    known = people.sends_fp[client] | (events.name == LINK)
    columns = {
        "event_dt": pa.repeat(pa.scalar(of.day, _DAY), n),
        "event_id": texts.event_id,
        "ts": _micros(at),
        "name": take(pa.array(NAMES), events.name),
        "app": take(_structs(_APP, APPS), people.app[client]),
        "user_id": take(people.users, shown),
        "anon_id": take(people.anon_ids, client),
        "device_fp": take(people.device_fps, np.where(known, client, -1)),
        "role": _roles(people, shown),
        "session_id": take(of.session_ids, events.session),
        "device": take(_structs(_DEVICE, DEVICES), people.device[client]),
        "geo": take(_structs(_GEO, PLACES), people.place[client]),
        "page": pa.StructArray.from_arrays([texts.path, texts.ref], fields=list(_PAGE)),
        "campaign": take(_campaigns(sessions, of), events.session),
        "payload": texts.payload,
        "ingested_at": _micros(at + 200 + events.luck % 4800),
    }
    return pa.table(columns, schema=SCHEMAS[EVENTS])


def session_rows(people: People, sessions: Sessions, *, of: DayTexts) -> pa.Table:
    """The sessions of one day."""
    midnight, n = midnight_ms(of.day), len(sessions.actor)
    client = sessions.client
    known = people.sends_fp[client] | (sessions.mode == LOGIN)
    user = np.where(sessions.mode == OUT, -1, sessions.actor)
    columns = {
        "session_id": of.session_ids,
        "session_dt": pa.repeat(pa.scalar(of.day, _DAY), n),
        "user_id": take(people.users, user),
        "anon_id": take(people.anon_ids, client),
        "device_fp": take(people.device_fps, np.where(known, client, -1)),
        "started_at": _micros(midnight + sessions.start),
        "ended_at": _micros(midnight + sessions.start + sessions.lasts),
        "events": pa.array(sessions.length),
        "country": take(pa.array([country for country, _, _ in PLACES]), people.place[client]),
    }
    return pa.table(columns, schema=SCHEMAS[SESSIONS])


def order_rows(people: People, orders: Orders, *, start: date) -> pa.Table:
    """Every order, as it stands after the last day."""
    days = [start + timedelta(days=n) for n in range(int(orders.day.max(initial=0)) + 1)]
    paid = orders.status != STATUSES.index("abandoned")
    columns = {
        "order_id": orders.texts(),
        "order_dt": take(pa.array(days, _DAY), orders.day),
        "user_id": take(people.users, orders.user),
        "anon_id": take(people.anon_ids, orders.client),
        "context": take(pa.array(CONTEXTS), orders.context),
        "amount_cents": pa.array(orders.cents),
        "method": take(pa.array(METHODS), np.where(paid, orders.method, -1)),
        "status": take(pa.array(STATUSES), orders.status),
    }
    return pa.table(columns, schema=SCHEMAS[ORDERS])


def _micros(ms: Ints) -> pa.Array:
    return pa.array(ms * 1000).cast(_TIME)


def _roles(people: People, shown: Ints) -> pa.Array:
    role = np.where(shown < 0, -1, people.is_provider[shown])
    return take(pa.array(["buyer", "provider"]), role)


def _structs(kind: pa.DataType, rows: tuple[tuple[str, ...], ...]) -> pa.Array:
    arrays = [pa.array(column, _TEXT) for column in zip(*rows, strict=True)]
    return pa.StructArray.from_arrays(arrays, fields=list(kind))


def _campaigns(sessions: Sessions, of: DayTexts) -> pa.Array:
    """By session; a session that came by itself has a struct of nulls."""
    utm = [pa.array(column) for column in zip(*CAMPAIGNS, strict=True)]
    arrays = [take(column, sessions.campaign) for column in utm]
    return pa.StructArray.from_arrays(
        [*arrays, take(of.tokens, sessions.token)], fields=list(_CAMPAIGN)
    )
