"""What points at a person: kinds, values, the identity of a subject, and the targets of a run.

Not here: how an identity is found (app.lake.identities) or searched for (erasers, verifier).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar, cast

from app.domain.errors import (
    IdentifierMalformedError,
    IdentifierMissingError,
    IdentifierTooWeakError,
)

T = TypeVar("T")
MIN_LENGTH = 4
MAX_LENGTH = 256
TOKEN_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
"""A neighbour out of this set means that a value found in text is a part of a longer one: another
person's.
"""
TOMBSTONE = re.compile(r"tomb_[uadx]_[0-9a-hjkmnp-tv-z]{26}")
_PLACEHOLDERS = frozenset(
    {"null", "none", "undefined", "unknown", "anonymous", "false", "true", "test"}
)


class Kind(StrEnum):
    """What a value identifies. `derived`: it singles the person out through rows that stay."""

    USER_ID = "user_id"
    ANON_ID = "anon_id"
    DEVICE_FP = "device_fp"
    DERIVED = "derived"

    @property
    def letter(self) -> str:
        """The kind's letter in a tombstone: u, a, d or x."""
        return {"user_id": "u", "anon_id": "a", "device_fp": "d", "derived": "x"}[self.value]


@dataclass(frozen=True, slots=True, order=True)
class Identifier:
    """One value that points at a person."""

    kind: Kind
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Subject:
    """A person as named in a request, before anything was resolved."""

    name: str
    """The case's own id (`dsar_...`) or `s1`, `s2`, ... in an offline run. Never a personal value.
    """
    given: tuple[Identifier, ...]


@dataclass(frozen=True, slots=True)
class Shared:
    """A linked value that more than one user_id has used, and what was decided of it."""

    identifier: Identifier
    users: int
    decision: str
    """tombstone | keep | review"""


@dataclass(frozen=True, slots=True)
class Identity:
    """A subject, resolved: everything in the lake that points at this person."""

    subject: str
    given: frozenset[Identifier]
    linked: frozenset[Identifier]
    """anon_ids and device_fps ever linked to a given user_id."""
    derived: frozenset[Identifier]
    shared: tuple[Shared, ...]
    sources: tuple[str, ...] = ()
    """Where links were read, and what differed between them; names of datasets and counts only."""

    @property
    def identifiers(self) -> frozenset[Identifier]:
        """Everything to be erased: given, linked and derived, without values that are kept as
        shared.
        """
        kept = {s.identifier for s in self.shared if s.decision == "keep"}
        return (self.given | self.linked | self.derived) - kept

    def remembering(self, before: Identity) -> Identity:
        """With what was known of the person before a run destroyed some of what leads to them. A
        value that is shared is so as it was found now.
        """
        now = self.linked | {s.identifier for s in self.shared}
        shared = [*self.shared, *(s for s in before.shared if s.identifier not in now)]
        return replace(
            self,
            linked=self.linked | before.linked,
            derived=self.derived | before.derived,
            shared=tuple(sorted(shared, key=lambda s: s.identifier)),
            sources=self.sources or before.sources,
        )

    def values(self, kind: Kind) -> frozenset[str]:
        """The values of one kind that will be erased."""
        return frozenset(i.value for i in self.identifiers if i.kind is kind)


@dataclass(frozen=True, slots=True)
class Target:
    """A value to be erased and the first subject of the run that it belongs to."""

    identifier: Identifier
    subject: int


@dataclass(frozen=True, slots=True)
class Targets:
    """All that a run erases, of all its subjects. What erasers and verifier are given."""

    subjects: tuple[str, ...]
    by_value: Mapping[str, Target] = field(repr=False)
    """Every value searched for, of any kind. A value found is replaced (or its row deleted)
    whatever column it is in.
    """
    owners: Mapping[str, int] = field(repr=False)
    """user_id -> subject index. A row owned by these and nobody else is deleted."""
    _built: dict[str, object] = field(
        default_factory=dict, init=False, repr=False, compare=False, hash=False
    )

    @classmethod
    def of(cls, identities: Iterable[Identity]) -> Targets:
        """Merge the identities of a run. The order of the subjects decides who a shared value is
        counted for.
        """
        order = {Kind.USER_ID: 0, Kind.ANON_ID: 1, Kind.DEVICE_FP: 2, Kind.DERIVED: 3}
        subjects: list[str] = []
        by_value: dict[str, Target] = {}
        owners: dict[str, int] = {}
        for index, identity in enumerate(identities):
            subjects.append(identity.subject)
            for identifier in sorted(identity.identifiers, key=lambda i: (order[i.kind], i.value)):
                by_value.setdefault(identifier.value, Target(identifier, index))
                if identifier.kind is Kind.USER_ID:
                    owners.setdefault(identifier.value, index)
        return cls(tuple(subjects), by_value, owners)

    def subject_of(self, value: str) -> int:
        """The subject a value is counted for."""
        return self.by_value[value].subject

    def once(self, name: str, build: Callable[[], T]) -> T:
        """What is built from these values alone and is dear for many: built by whoever asks for
        `name` first, and gone with them.
        """
        if name not in self._built:
            self._built[name] = build()
        return cast("T", self._built[name])

    def forget_built(self) -> None:
        """Let go of all that was built `once`; what is asked for later is built anew."""
        self._built.clear()


def checked_identifier(kind: Kind, value: str, *, place: str) -> Identifier:
    """An identifier, or a named refusal that says where it stood and never what it was.

    Refused: fewer than 4 or more than 256 characters, control characters or spaces, placeholders
    such as `null` (erasing one would hit strangers' rows), and tombstones of an earlier run.
    """
    problem = None
    if not MIN_LENGTH <= len(value) <= MAX_LENGTH:
        problem = f"must have {MIN_LENGTH} to {MAX_LENGTH} characters"
    elif any(c.isspace() or not c.isprintable() for c in value):
        problem = "must have no spaces and no control characters"
    elif value.lower() in _PLACEHOLDERS or len(set(value)) == 1:
        problem = "is a placeholder, not an identifier: erasing it would hit strangers' rows"
    elif TOMBSTONE.fullmatch(value):
        problem = "is a tombstone of an earlier erasure; there is nobody behind it"
    if problem:
        raise IdentifierMalformedError(f"{place}: a {kind.value} {problem}.")
    return Identifier(kind, value)


def named_subjects(
    *, user_ids: Iterable[str], anon_ids: Iterable[str], device_fps: Iterable[str]
) -> tuple[Subject, ...]:
    """The people named on one command line, in a stable order.

    With exactly one user_id everything else given belongs to that person. With none, or several,
    each anon_id is a person of its own; a device_fp then has nobody to belong to and is refused
    (`identifier_too_weak`).
    """
    users = _all(Kind.USER_ID, user_ids, option="--user-id")
    anons = _all(Kind.ANON_ID, anon_ids, option="--anon-id")
    devices = _all(Kind.DEVICE_FP, device_fps, option="--device-fp")
    if not users and not anons and not devices:
        raise IdentifierMissingError("Name at least one person: --user-id or --anon-id.")
    if len(users) == 1:
        groups = [tuple(users + anons + devices)]
    elif len(anons) == 1 and not users:
        groups = [tuple(anons + devices)]
    elif devices:
        raise IdentifierTooWeakError(
            "A device_fp alone is too weak to erase by: give it with one user_id or one anon_id."
        )
    else:
        groups = [(i,) for i in users + anons]
    return tuple(Subject(f"s{n}", group) for n, group in enumerate(groups, 1))


def _all(kind: Kind, values: Iterable[str], *, option: str) -> list[Identifier]:
    found = [checked_identifier(kind, v, place=f"{option} #{n}") for n, v in enumerate(values, 1)]
    return sorted(set(found))
