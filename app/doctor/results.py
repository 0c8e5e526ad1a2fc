"""What a probe saw, and how a part is looked at probe by probe. Words for people: no secret, no key
of anybody's object, no personal value.

Not here: what is looked at (storage, catalog, broker, database, permissions).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TypeVar

from app.domain.errors import (
    AccessDeniedError,
    ClearlakeError,
    DatabaseUnavailableError,
    UnreachableError,
)

_S = TypeVar("_S")


class Area(StrEnum):
    """A part of the installation."""

    STORAGE = "storage"
    CATALOG = "catalog"
    BROKER = "broker"
    DATABASE = "database"
    PERMISSIONS = "permissions"


class Outcome(StrEnum):
    """How a probe ended."""

    PASS = "pass"
    FAIL = "fail"
    NOT_APPLICABLE = "not_applicable"
    UNREACHABLE = "unreachable"


class NotTriedError(ClearlakeError):
    """What a probe needs is not there: it says nothing about the part."""

    code = "not_tried"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One probe's answer, and what to do where it is not a pass."""

    outcome: Outcome
    saw: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Probed:
    """A verdict with its place."""

    area: Area
    check: str
    target: str
    """The bucket, table, credential or server."""
    outcome: Outcome
    saw: str
    advice: str = ""

    def as_document(self) -> dict[str, str]:
        """For `--json`."""
        return {name: str(value) for name, value in asdict(self).items()}


Check = tuple[str, Callable[[_S], Verdict]]
"""A name, and what looks at a subject."""


def passed(saw: str) -> Verdict:
    """As it should be."""
    return Verdict(Outcome.PASS, saw)


def failed(saw: str, advice: str) -> Verdict:
    """Not as it should be."""
    return Verdict(Outcome.FAIL, saw, advice)


def skipped(why: str) -> Verdict:
    """Does not apply here, or could not be tried without harm."""
    return Verdict(Outcome.NOT_APPLICABLE, why)


def judged(*, holds: bool, saw: str, advice: str) -> Verdict:
    """A pass where it holds, else a failure with what to do."""
    return passed(saw) if holds else failed(saw, advice)


def examine(
    area: Area, target: str, subject: _S, *, checks: Sequence[Check[_S]]
) -> Iterator[Probed]:
    """Every check on one subject. What does not answer at all is not asked any further."""
    for name, look in checks:
        verdict = _looked(look, subject)
        yield Probed(area, name, target, verdict.outcome, verdict.saw, verdict.advice)
        if verdict.outcome is Outcome.UNREACHABLE:
            return


def _looked(look: Callable[[_S], Verdict], subject: _S) -> Verdict:
    try:
        return look(subject)
    except NotTriedError as err:
        return skipped(str(err))
    except (UnreachableError, DatabaseUnavailableError) as err:
        return Verdict(
            Outcome.UNREACHABLE, str(err), "See that it runs, and that this machine can reach it."
        )
    except AccessDeniedError as err:
        return failed(str(err), "Give it the right; docs/operations.md and docs/iam say which.")
    except ClearlakeError as err:
        return failed(str(err), "Mend what it names, then look again.")
