"""One run, stage by stage, each journalled: killed anywhere, the same command again finishes it.

Only the order of things and what is written when; the acts are in app.stages.acts.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from time import monotonic

from typeid import TypeID

from app.audit.keys import KeyStore
from app.domain.datasets import DataMap
from app.domain.errors import (
    JournalConflictError,
    NotUndoableError,
    PlanChangedError,
    StageError,
)
from app.domain.failpoints import failpoint
from app.domain.findings import Finding
from app.domain.identifiers import Identity, Subject, Targets
from app.domain.plans import Plan
from app.domain.progress import Say
from app.domain.runs import UNDOABLE, Stage
from app.lake.ports import Doors
from app.offline.evidence import Written, write_reports
from app.offline.journal import Journal, StateFolder
from app.offline.stages import check, erase, plan, purge, undo, verify
from app.stages.acts import Acts
from app.stages.evidence import build_reports
from app.stages.planning import make_plan
from app.stages.resolving import resolve_checked

_ENTRY = {
    Stage.RESOLVED: "plan",
    Stage.PLANNED: "erase",
    Stage.ERASED: "check",
    Stage.CHECKED: "purge",
    Stage.PURGING: "purge",
    Stage.PURGED: "verify",
    Stage.VERIFIED: "report",
}
"""Which act a run at this stage does next."""


class Ending(StrEnum):
    """How one call of a run came to its end."""

    REPORTED = "reported"
    WAITING = "waiting"
    """Checked; the undo window or the readers' grace is still open."""
    STUCK = "stuck"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class Ended:
    """What a call of a run leaves behind."""

    ending: Ending
    run_id: str
    seconds: Mapping[str, float]
    until: datetime | None = None
    written: Written | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for on the command line."""

    subjects: tuple[Subject, ...]
    report: Path
    purge_now: bool = False
    shared_review: str | None = None
    """What to do with shared values that the map leaves to a person: tombstone | keep."""


class OfflineRun:
    """A run over one lake, with its journal in a state folder."""

    def __init__(
        self,
        request: Request,
        *,
        data_map: DataMap,
        doors: Doors,
        state: StateFolder,
        say: Say,
        keys: Path | None = None,
    ) -> None:
        """`keys`: the folder of the key store; by default one in the state folder."""
        self._request, self._map, self._doors, self._say = request, data_map, doors, say
        self._state = state
        self._keys = KeyStore.open(keys or state.path / "keys")
        self._journal = Journal(state.journal_path)
        self._seconds: dict[str, float] = {}

    def close(self) -> None:
        """Close the journal; what was written stays."""
        self._journal.close()

    # --- before anything is changed ------------------------------------------------------------

    def plan(self) -> tuple[Plan, list[Identity]]:
        """Resolve and plan in memory. Changes nothing, journals nothing."""
        identities = self._resolve()
        return make_plan(identities, data_map=self._map, doors=self._doors), identities

    @property
    def is_open(self) -> bool:
        """Whether the state folder holds a run that has not ended."""
        return self._journal.is_open

    def start(self, plan: Plan, identities: Sequence[Identity], *, confirmed: str | None) -> None:
        """Journal the beginning of a run for this plan.

        PlanChangedError when `confirmed` is another plan's digest, or a shared value waits for a
        person's decision.
        """
        if confirmed is not None and confirmed != plan.digest:
            raise PlanChangedError(
                f"The plan is now {plan.digest}: look at it again, then confirm that digest."
            )
        if plan.undecided:
            raise PlanChangedError(
                f"{plan.undecided} shared values wait for a person's decision: give "
                "--shared-review tombstone or --shared-review keep."
            )
        run_id = str(TypeID(prefix="run"))
        self._keys.create(run_id)
        self._journal.begin(self._keys.sealer(run_id))
        self._journal.put_document("identities", list(identities))
        self._journal.put_facts(
            run_id=run_id,
            stage=Stage.RESOLVED,
            command=self._fingerprint(),
            digest=plan.digest,
            subjects=str(len(identities)),
            resolved_at=self._doors.reader.now().isoformat(),
        )

    def _resolve(self) -> list[Identity]:
        started = monotonic()
        identities = resolve_checked(
            self._request.subjects,
            data_map=self._map,
            doors=self._doors,
            shared_review=self._request.shared_review,
        )
        self._seconds["resolve"] = monotonic() - started
        return identities

    def _fingerprint(self) -> str:
        given = [
            [s.name, [[i.kind.value, i.value] for i in s.given]] for s in self._request.subjects
        ]
        text = json.dumps([self._map.digest, given], sort_keys=True)
        key = self._keys.digester().keys[-1][1]
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    # --- going on ------------------------------------------------------------------------------

    def _reopen(self) -> str:
        run_id = self._journal.fact("run_id")
        assert run_id is not None
        if self._journal.fact("command") != self._fingerprint():
            raise JournalConflictError(
                f"{self._state.path}: the run of another command is open here. Finish it with its "
                "own command, undo it, or give another --state."
            )
        self._journal.sealed_by(self._keys.sealer(run_id))
        return run_id

    def go(self) -> Ended:
        """Take the run as far as it can go now, from wherever it stands."""
        run_id = self._reopen()
        if self._journal.stage is Stage.PENDING:
            self._journal.put_facts(stage=Stage.PLANNED)
        acts = self._acts(run_id)
        while (stage := self._journal.stage) not in (Stage.CLOSED, Stage.PENDING, Stage.STUCK):
            if stage is Stage.CHECKED and (until := self._waits_until(acts)) is not None:
                return Ended(Ending.WAITING, run_id, dict(self._seconds), until=until)
            name = _ENTRY[stage]
            started = monotonic()
            failpoint(f"run.before_{name}")
            following = self._act(name, acts)
            self._seconds[name] = self._seconds.get(name, 0.0) + monotonic() - started
            if name == "report":
                return self._reported(run_id, following)
            self._journal.put_facts(
                stage=following, **{f"{following.value}_at": self._doors.reader.now().isoformat()}
            )
        return Ended(Ending.STUCK, run_id, dict(self._seconds), findings=acts.check_findings())

    def _acts(self, run_id: str) -> Acts:
        identities = self._journal.document("identities", list[Identity])
        assert identities is not None
        return Acts(
            run_id=run_id,
            data_map=self._map,
            doors=self._doors,
            journal=self._journal,
            targets=Targets.of(identities),
            secret=self._keys.secret(run_id, purpose="tombstones"),
            spool=self._state.spool,
            say=self._say,
            stop=_never,
        )

    def _act(self, name: str, acts: Acts) -> Stage:
        if name == "plan":
            plan(acts)
            return Stage.PLANNED
        if name == "erase":
            erase(acts)
            return Stage.ERASED
        if name == "check":
            return Stage.CHECKED if check(acts) else Stage.STUCK
        if name == "purge":
            self._journal.put_facts(stage=Stage.PURGING)
            purge(acts)
            return Stage.PURGED
        if name == "verify":
            verify(acts)
            return Stage.VERIFIED
        if name == "report":
            return Stage.CLOSED if not acts.open_works() else Stage.PENDING
        raise StageError(f"a run does not know what to do next: {name}")

    def _waits_until(self, acts: Acts) -> datetime | None:
        if self._request.purge_now:
            return None
        checked = self._journal.fact("checked_at")
        erased = self._journal.fact("erased_at")
        assert checked is not None
        assert erased is not None
        grace = self._map.reader_grace if acts.changed_tables() else timedelta(0)
        until = max(
            datetime.fromisoformat(checked) + self._map.undo_window,
            datetime.fromisoformat(erased) + grace,
        )
        return until if self._doors.reader.now() < until else None

    def _reported(self, run_id: str, following: Stage) -> Ended:
        started = monotonic()
        identities = self._journal.document("identities", list[Identity])
        assert identities is not None
        built = build_reports(
            run_id=run_id,
            identities=identities,
            data_map=self._map,
            journal=self._journal,
            keys=self._keys,
            case_key=lambda subject: f"{run_id}.{subject}",
            cases=None,
        )
        written = write_reports(
            self._request.report, built, subjects=[i.subject for i in identities]
        )
        self._journal.put_facts(stage=following)
        if following is Stage.CLOSED:
            self._shred(run_id, [i.subject for i in identities])
        self._seconds["report"] = monotonic() - started
        return Ended(Ending.REPORTED, run_id, dict(self._seconds), written=written)

    def _shred(self, run_id: str, subjects: Sequence[str]) -> None:
        """The end of a run: its keys go, and with them identifiers, plan and tombstones."""
        failpoint("run.before_shred")
        for name in subjects:
            self._keys.shred(f"{run_id}.{name}")
        self._keys.shred(run_id)
        self._journal.close()
        for leftover in self._state.path.glob("journal.sqlite*"):
            leftover.unlink()
        self._journal = Journal(self._state.journal_path)

    # --- back ----------------------------------------------------------------------------------

    def undo(self) -> Ended:
        """Put every superseded byte back. NotUndoableError after the point of no return."""
        if not self._journal.is_open:
            raise NotUndoableError(f"{self._state.path}: there is no open run to undo here.")
        run_id = self._reopen()
        if self._journal.stage not in UNDOABLE:
            raise NotUndoableError(
                "The point of no return has passed: old bytes are being purged or are gone."
            )
        started = monotonic()
        left = undo(self._acts(run_id))
        if left:
            raise StageError(
                f"{left} objects or tables were changed by others since and were left as they are; "
                "everything else was put back. Look at them, then undo again."
            )
        identities = self._journal.document("identities", list[Identity]) or []
        self._journal.put_facts(stage=Stage.UNDONE)
        self._shred(run_id, [i.subject for i in identities])
        return Ended(Ending.UNDONE, run_id, {"undo": monotonic() - started})


def _never() -> bool:
    return False
