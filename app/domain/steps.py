"""A step: one act of a run on one group of objects, one table or one case, in the ledger.

Its kinds, its states, and what an act gives back. Not here: claims and leases (app.store.steps).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum


class StepKind(StrEnum):
    """What a step does. Those of the first group belong to no run."""

    SCOPE = "scope"
    """Resolve every received case, and write down its scope. Target: the case that rang."""
    STITCH = "stitch"
    """Rebuild dim_identity from the links. Target: the night."""
    SWEEP = "sweep"
    """Look for late data of erased people. Target: the time."""
    REPLAY = "replay"
    """Look for erased people in a lake that was restored. Target: since when."""
    LIFT = "lift"
    """Look whether holds in the bucket, that kept runs from their end, were lifted. Target: the
    lake.
    """
    SHRED = "shred"
    """Destroy the keys of a closed case. Target: the case."""
    LOOK = "look"
    """Look for whom the rows of an order name that is under a legal hold. Target: the hold."""

    RESOLVE = "resolve"
    PLAN = "plan"
    """Target: a dataset."""
    ERASE = "erase"
    """Target: dataset/group (objects) or dataset (a table)."""
    NEWER = "newer"
    """What others wrote to a dataset of objects meanwhile. Target: dataset/round."""
    CHECK = "check"
    """Target: dataset/group."""
    PURGE = "purge"
    """Target: dataset/group (objects) or dataset (a table)."""
    VERIFY = "verify"
    """Target: a dataset, or `*` for what nobody declared."""
    REPORT = "report"
    UNDO = "undo"
    """Target: a dataset."""


EXCLUSIVE = frozenset({StepKind.SCOPE, StepKind.STITCH, StepKind.SWEEP, StepKind.REPLAY})
"""Kinds of which one step runs at a time."""


class StepState(StrEnum):
    """READY and RUNNING are open; the others are ends for the stage, DONE for good."""

    READY = "ready"
    RUNNING = "running"
    DONE = "done"
    DEFERRED = "deferred"
    """Until a date (`not_before`)."""
    HELD = "held"
    PARKED = "parked"
    """A person must look: `reason` and `error_code` say at what."""


OPEN = frozenset({StepState.READY, StepState.RUNNING})
TOGETHER = timedelta(days=1)
"""Locks that end within so long of each other are waited for together: each time makes a report."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step as claimed."""

    id: str
    run_id: str | None
    kind: StepKind
    target: str
    attempt: int
    fence: int
    """Raised by every claim; whoever holds an older one writes nothing any more."""


@dataclass(frozen=True, slots=True)
class NewStep:
    """A step to be put in the ledger."""

    kind: StepKind
    target: str
    run_id: str | None = None
    not_before: datetime | None = None
    max_attempts: int = 5


@dataclass(frozen=True, slots=True)
class StepEnd:
    """How an act ended. `receipt`: counts, versions, digests; no personal value, no key name."""

    state: StepState = StepState.DONE
    receipt: Mapping[str, int | str] = field(default_factory=dict)
    until: datetime | None = None
    """DEFERRED: when it is due again. READY: not before."""
    reason: str | None = None


Stop = Callable[[], bool]
"""True once the lease is lost, or the run was told to stop: act no further."""
