"""Legal holds: what one may be on, and what a case waits for while one hits it.

A hold forbids erasing; it is never lifted by time. Not here: whom it hits (app.services.holds).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from app.domain.dsars import Needs


class HoldKind(StrEnum):
    """What a hold is on."""

    SUBJECT = "subject"
    """One identifier: no case erases anybody whose identity has it."""
    DATASET = "dataset"
    """One dataset of the map: no step changes or purges it; everything else goes on."""
    ORDER = "order"
    """One order: no case erases anybody whom a row of that order names."""


BY_HOLD = "a legal hold of this service"
"""What a case waits for that no run has, and the reason of a step that a hold forbade."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A live hold that concerns a case."""

    hold_id: str
    kind: HoldKind
    dataset: str | None = None
    looked: bool = True
    """ORDER: whether it is known whom its rows name. Until then it hits everybody."""


def needs_on_hold(hits: Iterable[Hit]) -> Needs:
    """What a case on hold waits for."""
    named = ", ".join(sorted({h.hold_id for h in hits}))
    return Needs(
        f"somebody other than who placed them releases the legal holds ({named}); then it goes on "
        "by itself",
        "privacy_officer",
    )
