"""What a part of the service leans on, and whether it answers now. Built by app.wiring.

Not here: how a look is bounded in time, and how it is shown (app.api.health).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at. `probe` returns when it answers and raises when it does not; it may
    take its time: whoever asks gives up after two seconds.
    """

    name: str
    """database | broker | bucket | catalog."""
    probe: Callable[[], object]
    essential: bool = False
    """Without it nothing can be answered."""


@dataclass(frozen=True, slots=True)
class Health:
    """What /readyz looks at, beside the database."""

    checks: tuple[Check, ...] = ()
