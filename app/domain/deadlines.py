"""When a case must be answered: the law as a table with its sources, and how its periods are
counted. Not here: which days are holidays (app.services.calendars), what is stored (app.store).
"""

from __future__ import annotations

import calendar as months
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import count, islice
from types import MappingProxyType
from typing import Protocol
from zoneinfo import ZoneInfo

from app.domain.dsars import DsarType, Regulation
from app.domain.errors import IllegalMoveError


class Calendar(Protocol):
    """The days of one place. Implementations MUST answer the same for the same version."""

    @property
    def version(self) -> str:
        """What decides: a source with its version, and a place. Stored beside each due date."""

    @property
    def zone(self) -> str:
        """The IANA time zone in which a day begins and ends."""

    def is_working_day(self, day: date) -> bool:
        """Whether it is no Saturday, Sunday or public holiday there."""


class Unit(StrEnum):
    """How a period is counted. The day of receipt is never counted."""

    MONTHS = "months"
    """Reg. (EEC, Euratom) 1182/71 art. 3(2)(c) and (4): the same date, or the month's last day;
    never ending on a Saturday, a Sunday or a public holiday.
    """
    DAYS = "days"
    """Calendar days, whatever day is the last: where a law lets it move, the earlier is safe."""
    WORKING_DAYS = "working_days"


@dataclass(frozen=True, slots=True)
class Period:
    """So many of these, from the day of receipt."""

    number: int
    unit: Unit


@dataclass(frozen=True, slots=True)
class Regime:
    """One row of the law. Every period runs from the receipt, the extended one too."""

    id: str
    """Stored with the case: which row made its dates."""
    source: str
    due: Period
    acknowledge: Period | None = None
    extended: Period | None = None
    types: frozenset[DsarType] = frozenset(DsarType)


_MONTH = Period(1, Unit.MONTHS)
_THREE_MONTHS = Period(3, Unit.MONTHS)
_45_DAYS = Period(45, Unit.DAYS)
_90_DAYS = Period(90, Unit.DAYS)
_15_BUSINESS_DAYS = Period(15, Unit.WORKING_DAYS)

REGIMES: Mapping[Regulation, tuple[Regime, ...]] = MappingProxyType(
    {
        Regulation.GDPR: (
            Regime(
                "gdpr.12_3", "Reg. (EU) 2016/679 art. 12(3)", due=_MONTH, extended=_THREE_MONTHS
            ),
        ),
        Regulation.UK_GDPR: (
            Regime(
                "uk_gdpr.12_3",
                "UK GDPR art. 12(3); Data (Use and Access) Act 2025; ICO, right of access",
                due=_MONTH,
                extended=_THREE_MONTHS,
            ),
        ),
        Regulation.CCPA: (
            Regime(
                "ccpa.7026",
                "Cal. Code Regs. tit. 11 s. 7026(f)",
                due=_15_BUSINESS_DAYS,
                types=frozenset({DsarType.OPT_OUT_SALE_SHARING}),
            ),
            Regime(
                "ccpa.7027",
                "Cal. Code Regs. tit. 11 s. 7027(g)",
                due=_15_BUSINESS_DAYS,
                types=frozenset({DsarType.LIMIT_SENSITIVE}),
            ),
            Regime(
                "ccpa.7021",
                "Cal. Code Regs. tit. 11 s. 7021",
                due=_45_DAYS,
                acknowledge=Period(10, Unit.WORKING_DAYS),
                extended=_90_DAYS,
            ),
        ),
        Regulation.LGPD: (
            Regime(
                "lgpd.19",
                "Lei 13.709/2018 art. 18 par. 4, art. 19",
                due=Period(15, Unit.DAYS),
                acknowledge=Period(0, Unit.DAYS),
            ),
        ),
        Regulation.VCDPA: (
            Regime("vcdpa.59_1_577", "Va. Code 59.1-577(B)", due=_45_DAYS, extended=_90_DAYS),
        ),
        Regulation.CPA: (
            Regime("cpa.6_1_1306", "C.R.S. 6-1-1306(2)", due=_45_DAYS, extended=_90_DAYS),
        ),
        Regulation.CTDPA: (
            Regime("ctdpa.42_518", "Conn. Gen. Stat. 42-518(c)", due=_45_DAYS, extended=_90_DAYS),
        ),
    }
)
"""The first row that fits the type of the request counts."""


@dataclass(frozen=True, slots=True)
class LegalClock:
    """The dates of a case, each the last second of a day of the regime's place, in UTC."""

    regime: str
    acknowledge_by: datetime | None
    due_at: datetime
    extendable_to: datetime | None
    """None: no extension, or it was taken."""
    calendar: str
    """The version of the calendar that made these dates."""


def regime_of(regulation: Regulation, type_: DsarType) -> Regime:
    """The row of the law for a request of this type."""
    return next(r for r in REGIMES[regulation] if type_ in r.types)


def clock_of(
    regulation: Regulation, type_: DsarType, received_at: datetime, *, calendar: Calendar
) -> LegalClock:
    """The dates of a case received at an (aware) time, by the days of one place.

    1. The day of receipt is the day it was there, and is not counted.
    2. Each period runs from it: acknowledge, due, extended.
    3. It ends with the last second of its last day there.
    """
    regime = regime_of(regulation, type_)
    received = received_at.astimezone(ZoneInfo(calendar.zone)).date()

    def end(period: Period | None) -> datetime | None:
        return _end(period, received, calendar=calendar) if period else None

    return LegalClock(
        regime=regime.id,
        acknowledge_by=end(regime.acknowledge),
        due_at=_end(regime.due, received, calendar=calendar),
        extendable_to=end(regime.extended),
        calendar=calendar.version,
    )


def extended(clock: LegalClock, *, told_at: datetime) -> LegalClock:
    """The clock after the person was told of the extension and its reasons: once, and in time.

    IllegalMoveError when the law gives no extension, it was taken, or the first period is over.
    """
    if clock.extendable_to is None:
        raise IllegalMoveError("The time of this case cannot be extended, or was already.")
    if told_at > clock.due_at:
        raise IllegalMoveError("An extension must be told before the first period is over.")
    return replace(clock, due_at=clock.extendable_to, extendable_to=None)


def days_left(due_at: datetime, now: datetime) -> int:
    """Whole days of 24 hours left: 0 on the last one, negative from the first second after."""
    return (due_at - now) // timedelta(days=1)


def _end(period: Period, received: date, *, calendar: Calendar) -> datetime:
    last = _LAST_DAYS[period.unit](received, period.number, calendar)
    return datetime.combine(last, time(23, 59, 59), ZoneInfo(calendar.zone)).astimezone(UTC)


def _same_date(received: date, number: int, calendar: Calendar) -> date:
    year, month = divmod(received.year * 12 + received.month - 1 + number, 12)
    last_of_month = months.monthrange(year, month + 1)[1]
    same = date(year, month + 1, min(received.day, last_of_month))
    return next(day for day in _days_from(same) if calendar.is_working_day(day))


def _days_after(received: date, number: int, calendar: Calendar) -> date:
    return received + timedelta(days=number)


def _working_days_after(received: date, number: int, calendar: Calendar) -> date:
    following = _days_from(received + timedelta(days=1))
    return next(islice(filter(calendar.is_working_day, following), number - 1, None))


def _days_from(first: date) -> Iterator[date]:
    return (first + timedelta(days=n) for n in count())


_LAST_DAYS: Mapping[Unit, Callable[[date, int, Calendar], date]] = MappingProxyType(
    {
        Unit.MONTHS: _same_date,
        Unit.DAYS: _days_after,
        Unit.WORKING_DAYS: _working_days_after,
    }
)
