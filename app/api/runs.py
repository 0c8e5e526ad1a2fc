"""Runs over HTTP: begun, watched, stopped, resumed, undone, and their own signed reports.

Not here: what a run does (services, workers), reports of a case (app.api.dsars).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from app.api.bodies import Asked
from app.api.deps import IfMatch, Once, Page, PartsOf, Tx, etag_of, requires
from app.api.pages import Items, PageAsked, cursor_of
from app.domain.actors import Actor, Scope
from app.domain.canary import LONGEST, Limit
from app.domain.errors import NothingToDoError
from app.services import run_views, runs
from app.services.parts import Transaction
from app.services.run_views import RunOverview, RunSummary

router = APIRouter(prefix="/v1", tags=["runs"])

Reader = Annotated[Actor, requires(Scope.RUNS_READ)]
Operator = Annotated[Actor, requires(Scope.RUNS_OPERATE)]
ReportReader = Annotated[Actor, requires(Scope.REPORTS_READ)]
RunId = Annotated[str, Path(max_length=64)]
Addendum = Annotated[
    int | None, Query(ge=0, le=100_000, description="Which report; the newest when left out.")
]
_CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"description": "Not from this state; `legal` names the moves that are."}
}
_NOT_NOW: dict[int | str, dict[str, Any]] = {
    409: {"description": "Another run is at work (`lake_busy`), or no case waits."}
}


class RunStarted(BaseModel):
    """A run that has begun."""

    id: str
    stage: str


class LimitAsked(Asked):
    """A part of the lake: one dataset of the map, or one folder of a dataset of objects."""

    dataset: Annotated[str, Field(min_length=1, max_length=100, examples=["raw_events"])]
    partition: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=LONGEST,
            description="A folder below the dataset's location. A table is taken as a whole.",
            examples=["event_dt=2026-11-01"],
        ),
    ] = None


class StartAsked(Asked):
    """How far the run goes."""

    limit: Annotated[
        LimitAsked | None,
        Field(
            description="A canary: the run erases, purges and verifies this part alone, reports it "
            "as limited, and waits to be widened. Its cases stay in it."
        ),
    ] = None


class ResumeAsked(Asked):
    """The way out for lines that could not be parsed and hold an identifier."""

    step: Annotated[
        str, Field(max_length=64, description="A parked erase step, as `left` names it.")
    ]
    unparsable: Annotated[
        Literal["drop"], Field(description="The lines that it could not parse are dropped.")
    ]


@router.post("/runs", status_code=202, response_model=RunStarted, responses=_NOT_NOW)
def start_run(
    actor: Operator, tx: Tx, parts: PartsOf, once: Once, body: StartAsked | None = None
) -> Response:
    """Begin a run now, for every approved case whose grace period is over."""
    asked = body.limit if body is not None else None
    limit = None if asked is None else Limit(asked.dataset, asked.partition)
    run_id = runs.start(actor, tx, parts=parts, limit=limit)
    if run_id is None:
        raise NothingToDoError("No approved case waits for a run now.")
    begun = run_views.overview(tx, run_id=run_id)
    answer = RunStarted(id=run_id, stage=begun.stage.value)
    return once.answer(202, answer, headers={"Location": f"/v1/runs/{run_id}"})


@router.get("/runs")
def list_runs(actor: Reader, tx: Tx, page: Page) -> Items[RunSummary]:
    """Runs, the newest first."""
    after = None if page.cursor is None else _place(page)
    found = run_views.summaries(tx, limit=page.limit + 1, after=after)
    shown = found[: page.limit]
    following = None
    if len(found) > page.limit:
        following = cursor_of(shown[-1].created_at.isoformat(), shown[-1].id)
    return Items(items=shown, next_cursor=following)


def _place(page: PageAsked) -> tuple[datetime, str]:
    try:
        at, run_id = page.cursor or ()
        place = datetime.fromisoformat(at)
    except ValueError as err:
        raise page.refuse() from err
    if place.tzinfo is None:
        raise page.refuse()
    return place, run_id


@router.get("/runs/{run_id}")
def read_run(run_id: RunId, actor: Reader, tx: Tx, response: Response) -> RunOverview:
    """How far a run is by layer, dataset and stage, what waits for a person, and its reports."""
    return _shown(tx, run_id, response)


@router.post("/runs/{run_id}/stop", responses=_CONFLICT)
def stop_run(
    run_id: RunId, actor: Operator, tx: Tx, response: Response, version: IfMatch
) -> RunOverview:
    """Begin no further step; those at work end at their next effect. Nothing is lost by it."""
    runs.stop(actor, tx, run_id=run_id, expected_version=version)
    return _shown(tx, run_id, response)


@router.post("/runs/{run_id}/resume", responses=_CONFLICT)
def resume_run(
    run_id: RunId,
    actor: Operator,
    tx: Tx,
    parts: PartsOf,
    response: Response,
    version: IfMatch,
    body: ResumeAsked | None = None,
) -> RunOverview:
    """Go on with a run that was stopped, is stuck, or is pending; with a body, also past lines
    that could not be parsed.
    """
    way = None if body is None else runs.Exit(body.step)
    runs.resume(actor, tx, parts=parts, run_id=run_id, exit_=way, expected_version=version)
    return _shown(tx, run_id, response)


@router.post("/runs/{run_id}/widen", responses=_CONFLICT)
def widen_run(
    run_id: RunId, actor: Operator, tx: Tx, parts: PartsOf, response: Response, version: IfMatch
) -> RunOverview:
    """Go on with a limited run over the whole lake, once its part was reported: the same people,
    the same tombstones, an undo window of its own.
    """
    runs.widen(actor, tx, parts=parts, run_id=run_id, expected_version=version)
    return _shown(tx, run_id, response)


@router.post("/runs/{run_id}/undo", responses=_CONFLICT)
def undo_run(
    run_id: RunId, actor: Operator, tx: Tx, parts: PartsOf, response: Response, version: IfMatch
) -> RunOverview:
    """Put every superseded byte back; its cases wait for an approval again. Not any more once the
    undo window is over.
    """
    runs.undo(actor, tx, parts=parts, run_id=run_id, expected_version=version)
    return _shown(tx, run_id, response)


def _shown(tx: Transaction, run_id: str, response: Response) -> RunOverview:
    shown = run_views.overview(tx, run_id=run_id)
    response.headers["ETag"] = etag_of(shown.version)
    return shown


@router.get(
    "/runs/{run_id}/report.json",
    response_class=Response,
    responses={200: {"content": {"application/json": {}}, "description": "As it was signed."}},
)
def read_run_report(
    run_id: RunId, actor: ReportReader, tx: Tx, addendum: Addendum = None
) -> Response:
    """The run's own signed report, byte for byte; its ETag is its SHA-256. The download is an
    audit entry. 404 `not_ready` before there is one.
    """
    found = run_views.read_report(actor, tx, run_id=run_id, addendum=addendum)
    headers = {
        "ETag": f'"{found.sha256}"',
        "Content-Disposition": f'attachment; filename="{found.id}.json"',
    }
    return Response(found.document, headers=headers, media_type="application/json")


@router.get(
    "/runs/{run_id}/report.sig",
    response_class=Response,
    responses={
        200: {
            "content": {"application/octet-stream": {}},
            "description": "64 bytes: Ed25519 over the report, as openssl checks it.",
        }
    },
)
def read_run_signature(
    run_id: RunId, actor: ReportReader, tx: Tx, addendum: Addendum = None
) -> Response:
    """The detached signature of the run's report."""
    found = run_views.signature_of(tx, run_id=run_id, addendum=addendum)
    headers = {
        "ETag": f'"{found.sha256}.sig"',
        "Content-Disposition": f'attachment; filename="{found.id}.json.sig"',
    }
    return Response(found.signature, headers=headers, media_type="application/octet-stream")


@router.get(
    "/runs/{run_id}/objects",
    response_class=Response,
    responses={
        200: {
            "content": {"application/octet-stream": {}},
            "description": "The list that the reports name by its SHA-256.",
        }
    },
)
def read_run_objects(
    run_id: RunId, actor: ReportReader, tx: Tx, addendum: Addendum = None
) -> Response:
    """The list of objects that the run changed; sealed where it was a run of few people. The
    download is an audit entry.
    """
    found = run_views.read_objects(actor, tx, run_id=run_id, addendum=addendum)
    headers = {
        "ETag": f'"{found.sha256}"',
        "Content-Disposition": f'attachment; filename="{found.id}"',
    }
    return Response(found.document, headers=headers, media_type="application/octet-stream")
