"""The law's periods: worked examples of the authorities, and every day of nine years counted a
second time, one day after another, by other code.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import holidays
import pytest

from app.domain.deadlines import (
    REGIMES,
    Calendar,
    LegalClock,
    Unit,
    clock_of,
    days_left,
    extended,
    regime_of,
)
from app.domain.dsars import DsarType, Regulation
from app.domain.errors import IllegalMoveError
from app.services.calendars import calendar_of

DAY = timedelta(days=1)
ERASURE = DsarType.ERASURE
EEA = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IS IT LI LT LU LV MT NL NO PL PT RO SE SI SK"
FIRST, LAST = date(2024, 1, 1), date(2032, 12, 31)
PLACES = [
    (Regulation.GDPR, "DE", "DE", None),
    (Regulation.GDPR, "DE-BY", "DE", "BY"),
    (Regulation.GDPR, "FR", "FR", None),
    (Regulation.GDPR, "RO", "RO", None),
    (Regulation.UK_GDPR, "GB-SCT", "GB", "SCT"),
    (Regulation.CCPA, "US-CA", "US", "CA"),
    (Regulation.LGPD, "BR", "BR", None),
    (Regulation.VCDPA, None, "US", "VA"),
    (Regulation.CPA, None, "US", "CO"),
    (Regulation.CTDPA, None, "US", "CT"),
]


def local_day(moment: datetime | None, calendar: Calendar) -> date:
    """The day a period ends on; it must be that day's last second there."""
    assert moment is not None
    there = moment.astimezone(ZoneInfo(calendar.zone))
    assert (there.hour, there.minute, there.second) == (23, 59, 59)
    return there.date()


def noon(day: date, calendar: Calendar) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(calendar.zone))


def clock_on(regulation: Regulation, day: date, region: str | None = None) -> LegalClock:
    calendar = calendar_of(regulation, region)
    return clock_of(regulation, ERASURE, noon(day, calendar), calendar=calendar)


@pytest.mark.parametrize(
    ("regulation", "region", "received", "due"),
    [
        # EDPB guidelines 01/2022 on the right of access, section 5.3
        ("gdpr", "BE", "2024-03-05", "2024-04-05"),
        ("gdpr", "BE", "2026-08-31", "2026-09-30"),
        # ICO, right of access: how long do we have to comply
        ("uk_gdpr", None, "2025-09-03", "2025-10-03"),
        ("uk_gdpr", None, "2027-03-31", "2027-04-30"),
        ("uk_gdpr", "GB-ENG", "2026-11-25", "2026-12-29"),  # Christmas, its weekend, its Monday
        ("uk_gdpr", "GB-SCT", "2026-12-01", "2027-01-05"),  # 1 January, a weekend, 4 January
        # a leap year and one that is none
        ("gdpr", "DE", "2024-01-31", "2024-02-29"),
        ("gdpr", "DE", "2025-01-31", "2025-02-28"),
        # across the year; the 1st a holiday, then a weekend
        ("gdpr", "FR", "2026-12-01", "2027-01-04"),
        # Corpus Christi is a holiday in Bavaria, not in Berlin
        ("gdpr", "DE-BY", "2026-05-04", "2026-06-05"),
        ("gdpr", "DE-BE", "2026-05-04", "2026-06-04"),
        # days are days, whatever the last one is
        ("ccpa", None, "2026-11-11", "2026-12-26"),
        ("lgpd", None, "2026-12-10", "2026-12-25"),
        ("vcdpa", None, "2026-01-01", "2026-02-15"),
    ],
)
def test_a_period_ends_as_the_authorities_count_it(
    regulation: str, region: str | None, received: str, due: str
) -> None:
    law = Regulation(regulation)
    clock = clock_on(law, date.fromisoformat(received), region)
    assert local_day(clock.due_at, calendar_of(law, region)) == date.fromisoformat(due)


def test_the_ten_business_days_of_california_leave_out_thanksgiving() -> None:
    clock = clock_on(Regulation.CCPA, date(2026, 11, 23))
    # 24, 25, (26 and 27 are holidays), 30, 1, 2, 3, 4, 7, 8, 9
    assert local_day(clock.acknowledge_by, calendar_of(Regulation.CCPA, None)) == date(2026, 12, 9)


def test_the_day_of_receipt_is_the_day_it_was_there() -> None:
    """23:30 in London is already the next day in Berlin, and still the one before in California."""
    at = datetime(2026, 3, 9, 23, 30, tzinfo=UTC)
    days = {}
    for law in (Regulation.GDPR, Regulation.UK_GDPR, Regulation.CCPA):
        calendar = calendar_of(law, "DE")
        days[law] = local_day(clock_of(law, ERASURE, at, calendar=calendar).due_at, calendar)
    assert days == {
        Regulation.GDPR: date(2026, 4, 10),
        Regulation.UK_GDPR: date(2026, 4, 9),
        Regulation.CCPA: date(2026, 4, 23),
    }
    elsewhere = at.astimezone(timezone(timedelta(hours=9)))
    calendar = calendar_of(Regulation.GDPR, "DE")
    assert clock_of(Regulation.GDPR, ERASURE, elsewhere, calendar=calendar) == clock_of(
        Regulation.GDPR, ERASURE, at, calendar=calendar
    )


def test_an_opt_out_has_a_shorter_time_and_no_extension() -> None:
    calendar = calendar_of(Regulation.CCPA, None)
    for type_ in (DsarType.OPT_OUT_SALE_SHARING, DsarType.LIMIT_SENSITIVE):
        clock = clock_of(
            Regulation.CCPA, type_, noon(date(2026, 6, 1), calendar), calendar=calendar
        )
        # 3 July stands for the 4th, which is a Saturday; 19 June is Juneteenth
        assert local_day(clock.due_at, calendar) == date(2026, 6, 23)
        assert clock.acknowledge_by is None
        assert clock.extendable_to is None


# --- the same, counted day by day -------------------------------------------------------------


def every_day() -> Iterator[date]:
    day = FIRST
    while day <= LAST:
        yield day
        day += DAY


def is_off(day: date, off: holidays.HolidayBase) -> bool:
    return day.isoweekday() in (6, 7) or day in off


def walked_months(received: date, number: int, off: holidays.HolidayBase) -> date:
    """Walk until the month has changed so often, then to the date or to the month's end."""
    day, changes = received, 0
    while changes < number:
        day += DAY
        changes += day.day == 1
    while day.day != received.day and (day + DAY).month == day.month:
        day += DAY
    while is_off(day, off):
        day += DAY
    return day


def walked_days(received: date, number: int, off: holidays.HolidayBase, *, only: bool) -> date:
    """Walk so many days, or so many of those on which people work."""
    day, left = received, number
    while left:
        day += DAY
        left -= not (only and is_off(day, off))
    return day


@pytest.mark.parametrize(("regulation", "region", "country", "part"), PLACES)
def test_every_day_of_nine_years_ends_where_a_walk_through_the_days_ends(
    regulation: Regulation, region: str | None, country: str, part: str | None
) -> None:
    calendar = calendar_of(regulation, region)
    off = holidays.country_holidays(country, subdiv=part, years=range(2024, 2034))
    by_regime = {regime_of(regulation, t).id: t for t in DsarType}
    assert set(by_regime) == {r.id for r in REGIMES[regulation]}
    for type_ in by_regime.values():
        regime = regime_of(regulation, type_)
        for day in every_day():
            clock = clock_of(regulation, type_, noon(day, calendar), calendar=calendar)
            found = (clock.acknowledge_by, clock.due_at, clock.extendable_to)
            for period, end in zip(
                (regime.acknowledge, regime.due, regime.extended), found, strict=True
            ):
                if period is None:
                    assert end is None
                    continue
                if period.unit is Unit.MONTHS:
                    expected = walked_months(day, period.number, off)
                else:
                    only = period.unit is Unit.WORKING_DAYS
                    expected = walked_days(day, period.number, off, only=only)
                assert local_day(end, calendar) == expected, day
            assert clock.regime == regime.id


def test_a_month_of_the_gdpr_always_has_two_working_days() -> None:
    """Reg. 1182/71 art. 3(5) asks for it; no period of the table is so short that it must act."""
    for region in ("DE-BY", "ES", "RO"):
        calendar = calendar_of(Regulation.GDPR, region)
        for day in every_day():
            due = local_day(clock_on(Regulation.GDPR, day, region).due_at, calendar)
            between = (day + DAY * n for n in range(1, (due - day).days + 1))
            assert sum(calendar.is_working_day(d) for d in between) >= 2


def test_a_later_receipt_is_never_due_earlier() -> None:
    for regulation in Regulation:
        dues = [clock_on(regulation, day).due_at for day in every_day()]
        assert dues == sorted(dues)


# --- extension, and what is left --------------------------------------------------------------


def test_an_extension_counts_from_the_receipt_and_is_taken_once() -> None:
    clock = clock_on(Regulation.GDPR, date(2026, 1, 31), "DE")
    longer = extended(clock, told_at=clock.due_at)
    calendar = calendar_of(Regulation.GDPR, "DE")
    assert local_day(clock.due_at, calendar) == date(2026, 3, 2)  # 28 February is a Saturday
    assert local_day(longer.due_at, calendar) == date(2026, 4, 30)
    with pytest.raises(IllegalMoveError):
        extended(longer, told_at=clock.due_at)


def test_an_extension_told_too_late_or_not_in_the_law_is_refused() -> None:
    clock = clock_on(Regulation.CCPA, date(2026, 2, 3))
    with pytest.raises(IllegalMoveError):
        extended(clock, told_at=clock.due_at + timedelta(seconds=1))
    lgpd = clock_on(Regulation.LGPD, date(2026, 2, 3))
    with pytest.raises(IllegalMoveError):
        extended(lgpd, told_at=lgpd.due_at - DAY)


@pytest.mark.parametrize(
    ("now", "left"),
    [("2026-03-01T12:00", 2), ("2026-03-02T23:59:59", 1), ("2026-03-03T00:00", 0),
     ("2026-03-03T23:59:59", 0), ("2026-03-04T00:00", -1), ("2026-03-05T00:00", -2)],
)  # fmt: skip
def test_the_last_day_has_no_day_left_and_the_second_after_it_is_overdue(
    now: str, left: int
) -> None:
    due = datetime(2026, 3, 3, 23, 59, 59, tzinfo=UTC)
    assert days_left(due, datetime.fromisoformat(now).replace(tzinfo=UTC)) == left


# --- places -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("regulation", "region", "place", "zone"),
    [
        ("gdpr", "DE-BY", " DE-BY", "Europe/Berlin"),
        ("gdpr", "el", " GR", "Europe/Athens"),
        ("gdpr", "ES-CN", " ES-CN", "Atlantic/Canary"),
        ("gdpr", "DE-ZZ", " DE (part unknown)", "Europe/Berlin"),
        ("gdpr", None, "weekends only (no region)", "Europe/Brussels"),
        ("gdpr", "US-CA", "weekends only (region unknown)", "Europe/Brussels"),
        ("uk_gdpr", "UK", " GB", "Europe/London"),
        ("ccpa", "US-NY", " US-CA", "America/Los_Angeles"),
        ("ccpa", None, " US-CA", "America/Los_Angeles"),
        ("lgpd", "BR-SP", " BR-SP", "America/Sao_Paulo"),
        ("vcdpa", None, " US-VA", "America/New_York"),
    ],
)
def test_a_calendar_says_whose_days_it_counts(
    regulation: str, region: str | None, place: str, zone: str
) -> None:
    calendar = calendar_of(Regulation(regulation), region)
    assert calendar.version.endswith(place)
    assert calendar.zone == zone
    clock = clock_on(Regulation(regulation), date(2026, 5, 4), region)
    assert clock.calendar == calendar.version


def test_every_country_of_the_law_has_its_holidays_and_its_time() -> None:
    for country in EEA.split():
        calendar = calendar_of(Regulation.GDPR, country)
        assert calendar.version.endswith(f" {country}")
        assert ZoneInfo(calendar.zone)
        assert not calendar.is_working_day(date(2026, 12, 25))
        assert calendar.is_working_day(date(2026, 11, 24))


def test_a_region_nobody_knows_is_not_repeated() -> None:
    for region in ("usr_8842913", "DE-usr_8842913"):
        calendar = calendar_of(Regulation.GDPR, region)
        assert "8842913" not in calendar.version
