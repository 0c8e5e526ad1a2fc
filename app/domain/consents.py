"""What a person said of a purpose: given, refused, withdrawn; whose record it goes to; and what a
signal of the browser adds. Not here: sealing, digests, storage.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from app.domain.errors import (
    IdentifierMissingError,
    IdentifierTooWeakError,
    InvalidFieldsError,
)
from app.domain.identifiers import Identifier, Kind, checked_identifier

SALE_SHARING = "sale_sharing"
"""Sale and sharing are one opt-out (Cal. Civ. Code 1798.120), so one purpose here."""
GPC = "gpc"
"""The source of an opt-out that a browser's signal stands for."""
LEEWAY = timedelta(seconds=5)
"""How far ahead another system's clock may be."""
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_PURPOSE = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_ONE_PURPOSE = frozenset({"sale", "sharing"})


class ConsentState(StrEnum):
    """What the person said."""

    GIVEN = "given"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Named:
    """A person as named beside a consent. Only user_id and anon_ids lead to their record: several
    people can share a fingerprint, so it is kept as evidence and leads nowhere.
    """

    user_id: Identifier | None = None
    anon_ids: tuple[Identifier, ...] = ()
    device_fps: tuple[Identifier, ...] = ()

    @property
    def leading(self) -> tuple[Identifier, ...]:
        """The identifiers that lead to a record."""
        return (self.user_id, *self.anon_ids) if self.user_id else self.anon_ids


@dataclass(frozen=True, slots=True)
class Said:
    """What came in. `at` None: now."""

    subject: Named
    purpose: str
    state: ConsentState
    policy_version: str
    source: str
    evidence: Mapping[str, str] | None = field(default=None, repr=False)
    at: datetime | None = None
    gpc: bool = False
    """The browser sent `Sec-GPC: 1` with it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A record that given identifiers lead to."""

    ref: str
    of_user: bool
    """A user_id leads to it: a named one, or somebody else's."""
    named_user: bool
    """The named user_id leads to it."""


def named(
    *, user_id: str | None, anon_ids: Iterable[str] = (), device_fps: Iterable[str] = ()
) -> Named:
    """The `subject` of a request. Refusals name the place, never the value."""
    place = "subject.user_id"
    user = None if user_id is None else checked_identifier(Kind.USER_ID, user_id, place=place)
    anons = _all(Kind.ANON_ID, anon_ids)
    devices = _all(Kind.DEVICE_FP, device_fps)
    if user is None and not anons:
        if devices:
            raise IdentifierTooWeakError("A device_fp alone is too weak: name a user or anon_id.")
        raise IdentifierMissingError("Name a user_id or at least one anon_id.")
    return Named(user, anons, devices)


def _all(kind: Kind, values: Iterable[str]) -> tuple[Identifier, ...]:
    found = {
        checked_identifier(kind, value, place=f"subject.{kind.value}s[{n}]"): None
        for n, value in enumerate(values)
    }
    return tuple(found)


def checked_purpose(purpose: str, *, place: str) -> str:
    """A purpose's name. InvalidFieldsError for what is none, and for half of `sale_sharing`."""
    if not _PURPOSE.fullmatch(purpose):
        rule = "1 to 64 of a-z, 0-9, '_', '.' and '-', beginning with a letter."
        raise InvalidFieldsError("That is no purpose.", fields={place: rule})
    if purpose in _ONE_PURPOSE:
        rule = f"Sale and sharing are one opt-out: use {SALE_SHARING}."
        raise InvalidFieldsError("That purpose is half of one.", fields={place: rule})
    return purpose


def time_of(at: datetime | None, now: datetime) -> datetime:
    """When it was said: as given, or now. InvalidFieldsError for the future."""
    if at is None:
        return now
    if not EARLIEST <= at <= now + LEEWAY:
        rule = f"A time that has been, since {EARLIEST.year}."
        raise InvalidFieldsError("It cannot have been said then.", fields={"body.at": rule})
    return min(at, now)


def as_of(at: datetime | None, now: datetime) -> datetime:
    """The time to look at: what is in force after now is what is in force now."""
    return now if at is None else min(max(at, EARLIEST), now)


def home_of(candidates: Iterable[Candidate]) -> str | None:
    """The record an entry goes to, of those its identifiers lead to, oldest first. None: a new one.

    1. That of the named user_id.
    2. Else the oldest that belongs to no user: with a user_id named beside its anon_id, it becomes
       that user's. A record of another user is never added to: a shared browser is two people.
    """
    found = list(candidates)
    of_named = [c.ref for c in found if c.named_user]
    of_nobody = [c.ref for c in found if not c.of_user]
    return next(iter(of_named + of_nobody), None)


def opt_out_of(said: Said, *, subject: Named) -> Said:
    """What the browser's signal itself says (11 CCR 7025(c)(1)): no sale, no sharing, as of now."""
    return replace(
        said,
        subject=subject,
        purpose=SALE_SHARING,
        state=ConsentState.REFUSED,
        source=GPC,
        evidence={"signal": "Sec-GPC: 1"},
        at=None,
    )


def document_of(said: Said, consent_id: str, at: datetime) -> dict[str, Any]:
    """The entry as its proof commits to it."""
    subject = said.subject
    return {
        "schema": "clearlake.consent/1",
        "id": consent_id,
        "subject": {
            "user_id": subject.user_id.value if subject.user_id else None,
            "anon_ids": [i.value for i in subject.anon_ids],
            "device_fps": [i.value for i in subject.device_fps],
        },
        "purpose": said.purpose,
        "state": said.state.value,
        "policy_version": said.policy_version,
        "source": said.source,
        "gpc": said.gpc,
        "at": at.astimezone(UTC).isoformat(timespec="microseconds"),
        "evidence": dict(said.evidence) if said.evidence is not None else None,
    }
