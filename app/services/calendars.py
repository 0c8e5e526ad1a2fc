"""Which days are working days where: the public holidays of the `holidays` library, by country
and region, with the time zone in which a day begins and ends. Not here: how periods are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from importlib.metadata import version
from types import MappingProxyType

import holidays

from app.domain.deadlines import Calendar
from app.domain.dsars import Regulation

_SATURDAY = 5
_SOURCE = f"holidays {version('holidays')}"

_EEA: Mapping[str, str] = MappingProxyType(
    {
        "AT": "Europe/Vienna",
        "BE": "Europe/Brussels",
        "BG": "Europe/Sofia",
        "CY": "Asia/Nicosia",
        "CZ": "Europe/Prague",
        "DE": "Europe/Berlin",
        "DK": "Europe/Copenhagen",
        "EE": "Europe/Tallinn",
        "ES": "Europe/Madrid",
        "FI": "Europe/Helsinki",
        "FR": "Europe/Paris",
        "GR": "Europe/Athens",
        "HR": "Europe/Zagreb",
        "HU": "Europe/Budapest",
        "IE": "Europe/Dublin",
        "IS": "Atlantic/Reykjavik",
        "IT": "Europe/Rome",
        "LI": "Europe/Vaduz",
        "LT": "Europe/Vilnius",
        "LU": "Europe/Luxembourg",
        "LV": "Europe/Riga",
        "MT": "Europe/Malta",
        "NL": "Europe/Amsterdam",
        "NO": "Europe/Oslo",
        "PL": "Europe/Warsaw",
        "PT": "Europe/Lisbon",
        "RO": "Europe/Bucharest",
        "SE": "Europe/Stockholm",
        "SI": "Europe/Ljubljana",
        "SK": "Europe/Bratislava",
    }
)
"""Where the GDPR applies (EEA Joint Committee decision 154/2018), each with its capital's time."""
_ELSEWHERE = MappingProxyType({"ES-CN": "Atlantic/Canary", "PT-20": "Atlantic/Azores"})
_ALSO_CALLED = MappingProxyType({"EL": "GR", "UK": "GB"})
_UNKNOWN_ZONE = "Europe/Brussels"
"""Of a case under the GDPR whose country is not known: the time most member states keep."""


@dataclass(frozen=True, slots=True)
class Law:
    """Where a law's days are counted: its countries (or its one state) and their zones."""

    zones: Mapping[str, str]
    default: str | None
    """When a case names no region of this law. None: nobody can say which holidays count."""


_LAWS: Mapping[Regulation, Law] = MappingProxyType(
    {
        Regulation.GDPR: Law(_EEA, None),
        Regulation.UK_GDPR: Law({"GB": "Europe/London"}, "GB"),
        Regulation.LGPD: Law({"BR": "America/Sao_Paulo"}, "BR"),
        # The law of one state: its own days count, wherever in the country the person lives.
        Regulation.CCPA: Law({"US-CA": "America/Los_Angeles"}, "US-CA"),
        Regulation.VCDPA: Law({"US-VA": "America/New_York"}, "US-VA"),
        Regulation.CPA: Law({"US-CO": "America/Denver"}, "US-CO"),
        Regulation.CTDPA: Law({"US-CT": "America/New_York"}, "US-CT"),
    }
)


@dataclass(frozen=True, slots=True)
class PublicHolidays:
    """The working days of a country, or of a part of it."""

    version: str
    zone: str
    country: str
    subdivision: str | None

    def is_working_day(self, day: date) -> bool:
        """Reg. 1182/71 art. 2(2): all days but public holidays, Sundays and Saturdays."""
        return day.weekday() < _SATURDAY and day not in _public_holidays(
            self.country, self.subdivision, day.year
        )


@dataclass(frozen=True, slots=True)
class WeekendsOnly:
    """Where nobody said whose holidays count: none does, so that a date is rather too early."""

    version: str
    zone: str

    def is_working_day(self, day: date) -> bool:
        """Monday to Friday."""
        return day.weekday() < _SATURDAY


def calendar_of(regulation: Regulation, region: str | None) -> Calendar:
    """The calendar for a case. `region`: ISO 3166 (`DE`, `DE-BY`, `US-CA`), of the place that acts.

    A region outside the law's reach is as none at all. A part of a country that the library does
    not know gets the holidays of the whole country. The version says what was used; it repeats
    nothing that came in and was not recognised.
    """
    law = _LAWS[regulation]
    country, _, part = (region or "").upper().partition("-")
    country = _ALSO_CALLED.get(country, country)
    if country not in law.zones:
        if law.default is None:
            return WeekendsOnly(f"weekends only ({_why(region)})", _UNKNOWN_ZONE)
        country, _, part = law.default.partition("-")
        return _of_place(country, part, law.zones[law.default])
    return _of_place(country, part, _ELSEWHERE.get(f"{country}-{part}", law.zones[country]))


def _why(region: str | None) -> str:
    return "region unknown" if region else "no region"


@lru_cache(maxsize=256)
def _of_place(country: str, part: str, zone: str) -> PublicHolidays:
    if not part:
        return PublicHolidays(f"{_SOURCE} {country}", zone, country, None)
    if part in holidays.country_holidays(country).subdivisions:
        return PublicHolidays(f"{_SOURCE} {country}-{part}", zone, country, part)
    return PublicHolidays(f"{_SOURCE} {country} (part unknown)", zone, country, None)


@lru_cache(maxsize=4096)
def _public_holidays(country: str, subdivision: str | None, year: int) -> frozenset[date]:
    """Copied: the library's own mapping grows while it is asked, and threads share it."""
    return frozenset(holidays.country_holidays(country, subdiv=subdivision, years=year))
