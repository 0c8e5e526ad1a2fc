"""Is the service's database as the protocols need it, seen as the service's own role?

Not here: how it is asked (app.store.probe), and how it gets so (`clearlake migrate`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.doctor.results import Area, Check, Probed, Verdict, examine, judged, passed
from app.doctor.scratch import age
from app.doctor.storage import MOST_SKEW
from app.store.probe import DatabaseFacts, look

OLDEST = 150000
"""Postgres 15."""
CONNECTIONS = 15
"""What one more process of the service may open."""
MIGRATE = "Run `clearlake migrate`."


@dataclass(frozen=True, slots=True)
class Answering:
    """A database that answered, and the time here when it did."""

    facts: DatabaseFacts
    now: datetime


def examine_database(url: str, *, now: Callable[[], datetime]) -> Iterator[Probed]:
    """Every check on the database."""
    found: list[Answering] = []

    def reachable(_: str) -> Verdict:
        facts = look(url)
        found.append(Answering(facts, now()))
        return passed("It answers the service's role.")

    first: Sequence[Check[str]] = (("reachable", reachable),)
    yield from examine(Area.DATABASE, "database", url, checks=first)
    for answering in found:
        yield from examine(Area.DATABASE, "database", answering, checks=CHECKS)


def _version(at: Answering) -> Verdict:
    number = at.facts.version
    return judged(
        holds=number >= OLDEST,
        saw=f"Postgres {number // 10000}.{number % 10000}.",
        advice="Expected Postgres 15 or later.",
    )


def _migrated(at: Answering) -> Verdict:
    return judged(
        holds=at.facts.revision == at.facts.head,
        saw=f"It is at revision {at.facts.revision or 'none'}; this version is {at.facts.head}.",
        advice=MIGRATE,
    )


def _role(at: Answering) -> Verdict:
    facts = at.facts
    words = [w for w, so in (("is powerful", facts.powerful), ("owns", facts.owns)) if so]
    return judged(
        holds=not words,
        saw=f"The service's role {' and '.join(words)}: no rights are refused to it."
        if words
        else "The service's role owns nothing and is no superuser.",
        advice="Name a role of its own in CLEARLAKE_DATABASE_URL and migrate: it is made.",
    )


def _rights(at: Answering) -> Verdict:
    more, less = at.facts.too_much, at.facts.too_little
    said = [f"Too much: {_few(more)}."] * bool(more) + [f"Missing: {_few(less)}."] * bool(less)
    return judged(
        holds=not said,
        saw=" ".join(said) or "The rights are those declared; history can only be added to.",
        advice=MIGRATE + " It puts the declared rights in place.",
    )


def _few(items: Sequence[str]) -> str:
    shown = ", ".join(items[:3])
    return shown if len(items) <= 3 else f"{shown} and {len(items) - 3} more"


def _guarded(at: Answering) -> Verdict:
    return judged(
        holds=not at.facts.unguarded,
        saw=f"Without its trigger: {', '.join(at.facts.unguarded)}."
        if at.facts.unguarded
        else "Audit entries, consents and reports refuse change to their owner too.",
        advice=MIGRATE,
    )


def _clock(at: Answering) -> Verdict:
    skew = age(at.facts.now, at.now)
    return judged(
        holds=skew <= MOST_SKEW,
        saw=f"This machine and the database differ by {skew:.0f} s.",
        advice="Set both by NTP.",
    )


def _durable(at: Answering) -> Verdict:
    off = [name for name, value in sorted(at.facts.settings.items()) if value == "off"]
    return judged(
        holds=not off,
        saw=f"Off: {', '.join(off)}." if off else "A commit is on disk before it is answered.",
        advice="Turn these on: an accepted case must survive a power cut.",
    )


def _connections(at: Answering) -> Verdict:
    left = at.facts.connections_left
    return judged(
        holds=left >= CONNECTIONS,
        saw=f"{left} connections are left.",
        advice=f"Raise max_connections or the role's limit: a process opens up to {CONNECTIONS}.",
    )


CHECKS: Sequence[Check[Answering]] = (
    ("version", _version),
    ("migrated", _migrated),
    ("role", _role),
    ("rights", _rights),
    ("append_only", _guarded),
    ("clock", _clock),
    ("durable", _durable),
    ("connections", _connections),
)
