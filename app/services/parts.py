"""What services are given: the database, the keys, the rules and the lake. Built by app.wiring."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from app.audit.keys import KeyStore
from app.domain.breakers import Limits
from app.domain.datasets import DataMap
from app.lake.ports import Doors
from app.services.run_targets import OpenedTargets
from app.store.transaction import Database, Transaction

__all__ = ["Lake", "Parts", "Rules", "Transaction"]


@dataclass(frozen=True, slots=True)
class Rules:
    """Settings that decide what happens when."""

    run_every: timedelta = timedelta(hours=1)
    stitch_every: timedelta = timedelta(days=1)
    sweep_every: timedelta = timedelta(days=1)
    approval_grace: timedelta = timedelta(hours=72)
    """Between an approval and the earliest run: time to cancel."""
    max_writer_lifetime: timedelta = timedelta(hours=24)
    """How long after H a writer may still land old data: the case is settling meanwhile."""
    shred_after: timedelta = timedelta(hours=24)
    """From the close of a case to the end of its keys, at most."""
    retain: timedelta = timedelta(days=730)
    """How long the bare record of a closed case is kept (CCPA, 11 CCR 7101: 24 months)."""
    suppress: timedelta = timedelta(days=730)
    scope_delay: timedelta = timedelta(seconds=1)
    """How long a new case waits for others, so that one look at the lake resolves them all."""
    lease: timedelta = timedelta(seconds=40)
    heartbeat: timedelta = timedelta(seconds=10)
    reconcile_every: timedelta = timedelta(seconds=15)
    retry_after: timedelta = timedelta(seconds=5)
    """The first pause after a failed attempt; it doubles with each."""
    breakers: Limits = field(default_factory=Limits)
    """Numbers beyond which the approver must say that it is no mistake."""
    service_keys_may_approve: bool = False
    """Only where CLEARLAKE_ENV=demo, and the report says so. Keys that one hand made may then
    request and approve too: whoever tries the demo is alone.
    """


@dataclass(frozen=True, slots=True)
class Lake:
    """The lake of this installation."""

    data_map: DataMap
    open: Callable[[], AbstractContextManager[Doors]]
    spool: Path
    """A folder (0700) for bodies too large for memory."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything a service may use."""

    database: Database
    keys: KeyStore
    rules: Rules = Rules()
    lake: Lake | None = field(default=None)
    """None in a process that never touches it (the HTTP service)."""
    datasets: frozenset[str] | None = field(default=None)
    """The names in the map, where a process has it without the lake. None: it has not."""

    opened: OpenedTargets = field(default_factory=OpenedTargets, repr=False, compare=False)
    """The people of the run that this process is at work on."""

    @property
    def dataset_names(self) -> frozenset[str] | None:
        """Every dataset of the map; None in a process without one."""
        if self.lake is None:
            return self.datasets
        return frozenset(d.name for d in self.lake.data_map.datasets)
