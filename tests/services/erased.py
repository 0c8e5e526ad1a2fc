"""Cases that a run took, and runs that are over, without a lake. Not here: what is expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from app.domain.actors import WORKER
from app.domain.dsars import State
from app.domain.findings import Verdict
from app.domain.identifiers import Identity
from app.domain.reports import Outcome
from app.domain.runs import Stage
from app.domain.steps import NewStep, Step, StepEnd, StepKind
from app.services import endings, ledger, runs, suppression
from app.services.dsars import Asked
from app.services.ledger import Act, Lease, Performed, Worker
from app.services.parts import Parts
from app.store import leases, steps
from app.store import runs as stored_runs
from app.store.dsars import Dsar
from tests.services.dsar_cases import ASKED, approve, get, identity, put_scope, submit

NO_WAIT = timedelta(0)
LONG = timedelta(hours=24)


def with_rules(parts: Parts, **changes: Any) -> Parts:
    return replace(parts, rules=replace(parts.rules, **changes))


def queued(
    parts: Parts, asked: Asked = ASKED, *, of: Callable[[str], Identity] | None = None
) -> Dsar:
    """An approved case."""
    case = submit(parts, asked).dsar
    found = of(case.id) if of else identity(case.id, users=2, decision="tombstone")
    return approve(parts, put_scope(parts, found), review=None)


def started(parts: Parts) -> str:
    """A run with every approved case."""
    with parts.database.transaction() as tx:
        run_id = runs.start(WORKER, tx, parts=parts)
    assert run_id is not None
    return run_id


def suppress(
    parts: Parts, run_id: str, *identities: Identity, closed: Mapping[str, bool] | None = None
) -> int:
    with parts.database.transaction() as tx:
        return suppression.suppress(
            WORKER,
            tx,
            parts=parts,
            run_id=run_id,
            identities=identities,
            account_closed=closed or {},
        )


def put_facts(parts: Parts, run_id: str, facts: Mapping[str, str]) -> None:
    with parts.database.transaction() as tx:
        stored_runs.put_facts(tx, run_id, facts)


def finish(
    parts: Parts,
    run_id: str,
    dsar_id: str,
    *,
    outcome: Outcome = Outcome.FULFILLED,
    verdict: Verdict = Verdict.VERIFIED,
) -> State:
    with parts.database.transaction() as tx:
        return endings.finish_case(
            WORKER,
            tx,
            parts=parts,
            dsar_id=dsar_id,
            run_id=run_id,
            outcome=outcome,
            verdict=verdict,
        )


def end_run(parts: Parts, run_id: str, stage: Stage = Stage.CLOSED) -> None:
    with parts.database.transaction() as tx:
        stored_runs.put(tx, run_id, stage=stage)


def state_of(parts: Parts, dsar_id: str) -> State:
    return get(parts, dsar_id).state


def act(parts: Parts, kind: StepKind, do: Act, target: str) -> Performed:
    """Put one step and perform it, as a worker does."""
    with parts.database.transaction() as tx:
        (step_id,) = steps.put(tx, [NewStep(kind, target)])
    worker = Worker("w", parts, {kind: do}, lambda *_: [])
    return ledger.perform(step_id, worker=worker)


def held(parts: Parts, kind: StepKind, target: str) -> tuple[Step, Lease]:
    """A step in hand, for an act that a test breaks in the middle."""
    with parts.database.transaction() as tx:
        (step_id,) = steps.put(tx, [NewStep(kind, target)])
        claim = leases.claim(tx, step_id, worker="w", lease=LONG, kinds=(kind,))
    assert claim is not None
    return claim.step, Lease(
        claim.step, parts, claimed_at=0.0, clock=lambda: 0.0, draining=lambda: False
    )


def let_go(parts: Parts, step: Step) -> None:
    """Out of hand, whatever came of it."""
    with parts.database.transaction() as tx:
        leases.finish(tx, step, StepEnd())
