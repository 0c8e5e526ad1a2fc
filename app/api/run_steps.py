"""The steps of a run over HTTP: where each stands, what it waits for, and one tried again.

Not here: runs as a whole (app.api.runs).
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from app.api.deps import IfMatch, Page, PartsOf, Tx, etag_of
from app.api.pages import Items, cursor_of
from app.api.runs import Operator, Reader, RunId
from app.domain.steps import StepState
from app.services import retries, run_exits, run_views
from app.services.run_exits import StepView
from app.services.run_views import RunOverview

router = APIRouter(prefix="/v1", tags=["runs"])

StepId = Annotated[str, Path(max_length=64)]
_NOT_NOW: dict[int | str, dict[str, Any]] = {
    409: {"description": "Not from this state; `legal` names what can be done with the run."}
}


@router.get("/runs/{run_id}/steps")
def list_steps(
    run_id: RunId,
    actor: Reader,
    tx: Tx,
    page: Page,
    state: Annotated[list[StepState] | None, Query(description="Only these.")] = None,
) -> Items[StepView]:
    """Every step of the run: stage, dataset and group, attempts, last error, next try, exits."""
    after = None
    if page.cursor is not None:
        if len(page.cursor) != 1:
            raise page.refuse()
        after = page.cursor[0]
    found = run_exits.page(tx, run_id=run_id, states=state or (), after=after, limit=page.limit + 1)
    shown = found[: page.limit]
    following = cursor_of(shown[-1].id) if len(found) > page.limit else None
    return Items(items=shown, next_cursor=following)


@router.post("/runs/{run_id}/steps/{step_id}/retry", responses=_NOT_NOW)
def retry_step(
    run_id: RunId,
    step_id: StepId,
    actor: Operator,
    tx: Tx,
    parts: PartsOf,
    response: Response,
    version: IfMatch,
) -> RunOverview:
    """Try a parked or held step again, once its cause is mended. Of a pending run that is another
    pass, which tries everything that was left.
    """
    retries.retry(actor, tx, parts=parts, run_id=run_id, step_id=step_id, expected_version=version)
    shown = run_views.overview(tx, run_id=run_id)
    response.headers["ETag"] = etag_of(shown.version)
    return shown
