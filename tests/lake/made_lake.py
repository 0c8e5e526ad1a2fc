"""Lakes in memory: the lines of a seed before they are loaded, for tests of what they say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from app.lake.make_days import Past, make_day, quotas
from app.lake.make_people import People, make_people
from app.lake.make_tables import order_rows
from app.lake.make_text import Writer

START = date(2026, 10, 1)
Event = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """A lake in memory: the lines, before they are loaded, and the orders as a table."""

    people: People
    lines: list[bytes]
    events: list[Event]
    orders: list[dict[str, Any]]


def made(*, events: int, users: int, days: int, seed: int) -> Made:
    people = make_people(users=users, seed=seed)
    past, writer, lines = Past.none(people), Writer(people, seed=seed), b""
    for number, quota in enumerate(quotas(events=events, days=days)):
        sessions, numbers = make_day(people, past, day=number, quota=quota, seed=seed)
        day = START + timedelta(days=number)
        of = writer.day(day=day, number=number, sessions=sessions, orders=past.orders)
        texts = writer.texts(numbers, of=of, first=0)
        lines += "".join(writer.lines(numbers, texts, of=of).to_pylist()).encode()
    orders = order_rows(people, past.orders, start=START).to_pylist()
    split = lines.splitlines()
    return Made(people, split, [json.loads(line) for line in split], orders)


def moment(ts: str) -> datetime:
    return datetime.fromisoformat(ts)
