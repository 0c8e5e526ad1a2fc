"""Cases over HTTP: taken in, found, previewed, decided, and their signed reports.

Not here: the stream (app.api.dsar_stream), rules (services).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from app.api import dsar_stream
from app.api.bodies import Instant, Line
from app.api.deps import IfMatch, Once, Page, PartsOf, Tx, etag_of, requires
from app.api.dsar_bodies import (
    ApprovalAsked,
    DsarAsked,
    DsarTaken,
    PublicKeys,
    PublicKeyShown,
    ReasonAsked,
    SearchAsked,
)
from app.api.pages import Items, PageAsked, cursor_of, parts_of
from app.domain.actors import Actor, Scope
from app.domain.dsars import DsarType, State, needs
from app.domain.errors import InvalidFieldsError
from app.services import decisions, dsar_views, dsars, previews, reports, timeline
from app.services.decisions import Approval
from app.services.dsar_views import Overview, SubjectView, Summary
from app.services.parts import Transaction
from app.services.previews import Preview
from app.services.timeline import Told

router = APIRouter(prefix="/v1", tags=["cases"])
router.include_router(dsar_stream.router)

Reader = Annotated[Actor, requires(Scope.DSARS_READ)]
Writer = Annotated[Actor, requires(Scope.DSARS_WRITE)]
Approver = Annotated[Actor, requires(Scope.DSARS_APPROVE)]
ReportReader = Annotated[Actor, requires(Scope.REPORTS_READ)]
DsarId = Annotated[str, Path(max_length=64)]
Addendum = Annotated[
    int | None, Query(ge=0, le=100_000, description="Which report; the newest when left out.")
]
_CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"description": "Not from this state; `legal` names the moves that are."}
}
_FILTERS = frozenset({"status", "type", "due_before", "external_ref", "limit", "cursor"})


def _only_known_filters(request: Request) -> None:
    """A filter that is not known would be a list of everybody; and an identifier in a query
    string would stand in every proxy's log.
    """
    if set(request.query_params) - _FILTERS:
        raise InvalidFieldsError(
            "There is no such filter. To look for a person use POST /v1/dsars:search.",
            fields={"query": f"one of {', '.join(sorted(_FILTERS))}"},
        )


@router.post("/dsars", status_code=202, response_model=DsarTaken)
def submit_dsar(body: DsarAsked, actor: Writer, tx: Tx, parts: PartsOf, once: Once) -> Response:
    """Take a case in. Erasures go on by themselves to a scope that can be approved; the other
    types wait for a person, as `needs` says.
    """
    submitted = dsars.submit(actor, tx, parts=parts, asked=body.asked())
    case = submitted.dsar
    taken = DsarTaken.of(
        submitted,
        days_left=dsar_views.days_left(case, tx.now()),
        needs=needs(case.state, case.type),
    )
    return once.answer(202, taken, headers={"Location": f"/v1/dsars/{case.id}"})


@router.get("/dsars", dependencies=[Depends(_only_known_filters)])
def list_dsars(
    actor: Reader,
    tx: Tx,
    parts: PartsOf,
    page: Page,
    status: Annotated[list[State] | None, Query(max_length=len(State))] = None,
    type: DsarType | None = None,  # noqa: A002  the name in the query
    due_before: Instant | None = None,
    external_ref: Annotated[
        Line | None, Query(description="Exact. One that may be personal: POST /v1/dsars:search.")
    ] = None,
) -> Items[Summary]:
    """Cases, the newest first."""
    wanted = dsar_views.wanted(
        parts,
        states=tuple(status or ()),
        type_=type,
        due_before=due_before,
        external_ref=external_ref,
    )
    return _page(tx, wanted, page)


@router.post("/dsars:search")
def search_dsars(body: SearchAsked, actor: Reader, tx: Tx, parts: PartsOf) -> Items[Summary]:
    """The same list by filters in the body, also by an exact identifier of the person: it is
    looked up by its keyed digest, as long as the case is open.
    """
    wanted = dsar_views.wanted(
        parts,
        states=tuple(body.status),
        type_=body.type,
        due_before=body.due_before,
        external_ref=body.external_ref,
        subject=None if body.subject is None else body.subject.identifier(),
    )
    cursor = None if body.cursor is None else parts_of(body.cursor)
    return _page(tx, wanted, PageAsked(body.limit, cursor))


def _page(tx: Transaction, wanted: dsar_views.Wanted, page: PageAsked) -> Items[Summary]:
    after = None if page.cursor is None else _place(page)
    found = dsar_views.summaries(tx, wanted=wanted, limit=page.limit + 1, after=after)
    shown = found[: page.limit]
    following = None
    if len(found) > page.limit:
        following = cursor_of(shown[-1].created_at.isoformat(), shown[-1].id)
    return Items(items=shown, next_cursor=following)


def _place(page: PageAsked) -> tuple[datetime, str]:
    try:
        at, dsar_id = page.cursor or ()
        place = datetime.fromisoformat(at)
    except ValueError as err:
        raise page.refuse() from err
    if place.tzinfo is None:
        raise page.refuse()
    return place, dsar_id


@router.get("/dsars/{dsar_id}")
def read_dsar(dsar_id: DsarId, actor: Reader, tx: Tx, response: Response) -> Overview:
    """Everything needed to follow a case; no identifier."""
    return _shown(tx, dsar_id, response)


@router.get("/dsars/{dsar_id}/subject")
def read_subject(
    dsar_id: DsarId,
    actor: Annotated[Actor, requires(Scope.SUBJECT_READ)],
    tx: Tx,
    parts: PartsOf,
) -> SubjectView:
    """The identifiers of the case. Reading them is an audit entry; 404 once they were destroyed."""
    return dsar_views.read_subject(actor, tx, parts=parts, dsar_id=dsar_id)


@router.get("/dsars/{dsar_id}/preview")
def read_preview(dsar_id: DsarId, actor: Reader, tx: Tx, parts: PartsOf) -> Preview:
    """What a run would do, and the digest that `/approve` takes. 404 `not_ready` before that."""
    return previews.preview(tx, parts=parts, dsar_id=dsar_id)


@router.post("/dsars/{dsar_id}/approve", responses=_CONFLICT)
def approve_dsar(
    dsar_id: DsarId,
    body: ApprovalAsked,
    actor: Approver,
    tx: Tx,
    parts: PartsOf,
    response: Response,
    version: IfMatch,
) -> Overview:
    """Approve the scope. Not by whoever requested it, and by a person's key."""
    accept = tuple(sorted({kind.value for kind in body.accept}))
    approval = Approval(body.scope_digest, body.shared_review, body.reason, accept)
    decisions.approve(
        actor, tx, parts=parts, dsar_id=dsar_id, approval=approval, expected_version=version
    )
    return _shown(tx, dsar_id, response)


@router.post("/dsars/{dsar_id}/reject", responses=_CONFLICT)
def reject_dsar(
    dsar_id: DsarId,
    body: ReasonAsked,
    actor: Approver,
    tx: Tx,
    parts: PartsOf,
    response: Response,
    version: IfMatch,
) -> Overview:
    """Refuse the case. Its identifiers are destroyed soon after."""
    decisions.reject(
        actor, tx, parts=parts, dsar_id=dsar_id, reason=body.reason, expected_version=version
    )
    return _shown(tx, dsar_id, response)


@router.post("/dsars/{dsar_id}/cancel", responses=_CONFLICT)
def cancel_dsar(
    dsar_id: DsarId,
    body: ReasonAsked,
    actor: Writer,
    tx: Tx,
    parts: PartsOf,
    response: Response,
    version: IfMatch,
) -> Overview:
    """Take the case back, as long as no run has taken it. Its identifiers are destroyed soon
    after.
    """
    decisions.cancel(
        actor, tx, parts=parts, dsar_id=dsar_id, reason=body.reason, expected_version=version
    )
    return _shown(tx, dsar_id, response)


@router.post("/dsars/{dsar_id}/retry", responses=_CONFLICT)
def retry_dsar(
    dsar_id: DsarId, actor: Writer, tx: Tx, response: Response, version: IfMatch
) -> Overview:
    """Look for the scope of a received erasure again, once `waiting_reason` is mended."""
    decisions.retry(actor, tx, dsar_id=dsar_id, expected_version=version)
    return _shown(tx, dsar_id, response)


def _shown(tx: Transaction, dsar_id: str, response: Response) -> Overview:
    shown = dsar_views.overview(tx, dsar_id=dsar_id)
    response.headers["ETag"] = etag_of(shown.version)
    return shown


@router.get("/dsars/{dsar_id}/timeline")
def read_timeline(dsar_id: DsarId, actor: Reader, tx: Tx, page: Page) -> Items[Told]:
    """What happened, in plain sentences, the oldest first; also in the runs that took the case."""
    after = 0 if page.cursor is None else _seq(page)
    found = timeline.timeline(tx, dsar_id=dsar_id, after=after, limit=page.limit + 1)
    shown = list(found[: page.limit])
    following = cursor_of(str(shown[-1].seq)) if len(found) > page.limit else None
    return Items(items=shown, next_cursor=following)


def _seq(page: PageAsked) -> int:
    text = "".join(page.cursor or ())
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise page.refuse()
    return int(text)


@router.get(
    "/dsars/{dsar_id}/report.json",
    response_class=Response,
    responses={200: {"content": {"application/json": {}}, "description": "As it was signed."}},
)
def read_report(
    dsar_id: DsarId, actor: ReportReader, tx: Tx, addendum: Addendum = None
) -> Response:
    """The signed report, byte for byte; its ETag is its SHA-256. The download is an audit entry.
    404 `not_ready` says what is awaited.
    """
    found = reports.read_report(actor, tx, dsar_id=dsar_id, addendum=addendum)
    headers = {
        "ETag": f'"{found.sha256}"',
        "Content-Disposition": f'attachment; filename="{found.id}.json"',
    }
    return Response(found.document, headers=headers, media_type="application/json")


@router.get(
    "/dsars/{dsar_id}/report.sig",
    response_class=Response,
    responses={
        200: {
            "content": {"application/octet-stream": {}},
            "description": "64 bytes: Ed25519 over the report, as openssl checks it.",
        }
    },
)
def read_signature(
    dsar_id: DsarId, actor: ReportReader, tx: Tx, addendum: Addendum = None
) -> Response:
    """The detached signature of the report."""
    found = reports.signature_of(tx, dsar_id=dsar_id, addendum=addendum)
    headers = {
        "ETag": f'"{found.sha256}.sig"',
        "Content-Disposition": f'attachment; filename="{found.id}.json.sig"',
    }
    return Response(found.signature, headers=headers, media_type="application/octet-stream")


@router.get("/keys/public")
def list_public_keys(actor: ReportReader, parts: PartsOf) -> PublicKeys:
    """The public keys that reports are checked with, also those that were rotated."""
    found = reports.public_keys(parts)
    return PublicKeys(items=[PublicKeyShown(key_id=k.key_id, pem=k.pem) for k in found])
