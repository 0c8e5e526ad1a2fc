"""Legal holds and runs: who leaves before anything is changed, which steps are forbidden after
that, and which runs go on once the last hold is released.

1. Until the erase stage begins, a case that is hit leaves the run; the others go on.
2. From then on every further step that would change or destroy something is HELD instead: on a held
   dataset, or, where somebody in the run is hit, on any. The rest of the run goes on to its report.
3. Released: the run goes on by itself.

Not here: placing and releasing (app.services.holds).
"""

from __future__ import annotations

from datetime import timedelta

from app.domain.actors import WORKER
from app.domain.errors import OnHoldError
from app.domain.failpoints import failpoint
from app.domain.holds import BY_HOLD
from app.domain.identifiers import Identity
from app.domain.runs import Stage
from app.domain.steps import Step, StepEnd, StepKind, StepState
from app.services import entries, holds, suppression
from app.services.journal import RunSeal
from app.services.parts import Parts, Transaction
from app.services.run_stages import IDENTITIES
from app.store import holds as store
from app.store import runs
from app.store.runs import Run

FORBIDDEN = frozenset({StepKind.ERASE, StepKind.PURGE})
"""Kinds of steps that change or destroy."""
_SOON = timedelta(seconds=5)
_HELD = "on_hold:"
"""Fact of a run: a step on this dataset was forbidden in this pass."""


def ready_cases(tx: Transaction, waiting: list[str]) -> list[str]:
    """Of cases (locked) that a run could take, those that it may; the others go on hold. None may
    while it is looked for whom an order's rows name.
    """
    if store.unlooked(tx):
        return []
    hit = store.hits_of(tx, waiting)
    for dsar_id in sorted(hit):
        holds.hold(WORKER, tx, dsar_id, hits=hit[dsar_id])
    return [d for d in waiting if d not in hit]


def wait_for_looks(tx: Transaction) -> StepEnd | None:
    """The step comes again in a moment, while an order's people are being looked for."""
    if not store.unlooked(tx):
        return None
    until = tx.now() + _SOON
    return StepEnd(StepState.READY, until=until, reason="whom a held order names is looked for")


def leave(tx: Transaction, run: Run) -> frozenset[str]:
    """Cases that are hit leave the run, which has changed nothing yet: who left. The caller has
    locked the run. A pass that is not the first has: nobody leaves it.
    """
    if run.addendum or run.follow_up_of is not None:
        return frozenset()
    runs.lock_dsars(tx, run.id)
    hit = store.hit_in_run(tx, run.id)
    for dsar_id in sorted(hit):
        runs.leave(tx, run.id, dsar_id)
        holds.hold(WORKER, tx, dsar_id, hits=hit[dsar_id])
        entries.record(WORKER, tx, verb="run.left_on_hold", about=run.id, dsar=dsar_id)
    return frozenset(hit)


def leave_resolved(tx: Transaction, parts: Parts, run: Run) -> None:
    """The same once the people of the run are written down: what was written of them goes."""
    left = leave(tx, run)
    sealed = runs.document(tx, run.id, IDENTITIES)
    if not left or sealed is None:
        return
    seal = RunSeal.of(parts.keys, run.id)
    people = seal.opened_document(IDENTITIES, sealed, list[Identity])
    kept = [i for i in people if i.subject not in left]
    runs.put_document(tx, run.id, IDENTITIES, seal.document(IDENTITIES, kept))
    for dsar_id in sorted(left):
        suppression.lift(tx, run_id=run.id, dsar_ids=[dsar_id])
    failpoint("held_runs.left")


def forbidden(tx: Transaction, run: Run, step: Step) -> StepEnd | None:
    """How a step ends that a hold forbids; None: it may act."""
    if step.kind not in FORBIDDEN:
        return None
    if store.holds_step(tx, step.id):
        dataset = step.target.partition("/")[0]
        runs.put_facts(tx, run.id, {f"{_HELD}{dataset}": "1"})
        return StepEnd(StepState.HELD, reason=BY_HOLD)
    return wait_for_looks(tx)


def forget(tx: Transaction, run_id: str) -> None:
    """Another pass begins: what it is forbidden is found out anew."""
    said = [name for name in runs.facts(tx, run_id) if name.startswith(_HELD)]
    runs.put_facts(tx, run_id, dict.fromkeys(said, "0"))


def was_forbidden(tx: Transaction, run_id: str, dataset: str) -> bool:
    """Whether a step on the dataset was forbidden in this pass."""
    return runs.fact(tx, run_id, f"{_HELD}{dataset}") == "1"


def require_free(tx: Transaction, run: Run) -> None:
    """OnHoldError when somebody in a pending run is under a live hold."""
    hit = store.hit_in_run(tx, run.id)
    if run.stage is Stage.PENDING and hit:
        named = sorted({h.hold_id for hits in hit.values() for h in hits})
        raise OnHoldError(
            f"Somebody in this run is under a legal hold ({', '.join(named)}). Once it is "
            "released the run goes on by itself."
        )


def lifted(tx: Transaction) -> list[str]:
    """Pending runs of which a hold forbade a step, and forbids it no more."""
    found = store.lifted_runs(tx)
    return [r for r in found if is_free(tx, r) and runs.get(tx, r).stage is Stage.PENDING]


def is_free(tx: Transaction, run_id: str) -> bool:
    """Whether nobody in the run is under a live hold."""
    return not store.hit_in_run(tx, run_id) and not store.unlooked(tx)
