"""Legal holds over HTTP: placed, listed, released by another person.

Not here: whom they hit and what follows (app.services.holds).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from app.api.bodies import Asked
from app.api.deps import Once, Page, PartsOf, Tx, requires
from app.api.dsar_bodies import PersonAsked, Reason, ReasonAsked, Value
from app.api.pages import Items, cursor_of
from app.domain.actors import Actor, Scope
from app.services import holds
from app.services.holds import HoldAsked, HoldOpened, HoldView

router = APIRouter(prefix="/v1/holds", tags=["legal holds"])

Reader = Annotated[Actor, requires(Scope.DSARS_READ)]
Approver = Annotated[Actor, requires(Scope.DSARS_APPROVE)]
HoldId = Annotated[str, Path(max_length=64)]
_FOUR_EYES: dict[int | str, dict[str, Any]] = {
    403: {"description": "The key lacks the scope, or whoever placed it wants to release it."}
}


class NewHold(Asked):
    """A hold to place, on exactly one of three."""

    subject: Annotated[
        PersonAsked | None,
        Field(description="No case erases anybody whose identity has this identifier."),
    ] = None
    dataset: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=200,
            pattern=r"^[^\x00-\x1f\x7f]+$",
            description="As the data map names it: no run changes it or purges from it.",
        ),
    ] = None
    order_id: Annotated[
        Value | None,
        Field(description="No case erases anybody whom a row of this order names."),
    ] = None
    reason: Reason

    def asked(self) -> HoldAsked:
        """As the service takes it."""
        return HoldAsked(
            reason=self.reason,
            subject=None if self.subject is None else self.subject.identifier(),
            dataset=self.dataset,
            order_id=self.order_id,
        )


class HoldPlaced(BaseModel):
    """A hold that is in force. It holds ids only, so that it can be replayed."""

    id: str
    kind: str
    dataset: str | None
    created_at: datetime


class HoldShown(BaseModel):
    """A hold, and for a key with subject:read what is sealed of it."""

    hold: HoldView
    opened: Annotated[
        HoldOpened | None, Field(description="Only with subject:read, and that is an audit entry.")
    ]


@router.post("", status_code=201, response_model=HoldPlaced)
def place_hold(body: NewHold, actor: Approver, tx: Tx, parts: PartsOf, once: Once) -> Response:
    """Place a hold. It is in force at once: open cases that it hits go on hold, and no step that
    changes or destroys begins for them. It has no end but its release.
    """
    placed = holds.place(actor, tx, parts=parts, asked=body.asked())
    shown = HoldPlaced(
        id=placed.id, kind=placed.kind.value, dataset=placed.dataset, created_at=placed.created_at
    )
    return once.answer(201, shown, headers={"Location": f"{router.prefix}/{placed.id}"})


@router.get("")
def list_holds(
    actor: Reader,
    tx: Tx,
    page: Page,
    in_force: Annotated[
        bool | None, Query(description="true: those in force; false: those released.")
    ] = None,
) -> Items[HoldView]:
    """Holds, the newest first."""
    found = holds.page(tx, live_only=in_force, limit=page.limit + 1, after=page.time_and_id())
    shown = found[: page.limit]
    following = None
    if len(found) > page.limit:
        following = cursor_of(shown[-1].created_at.isoformat(), shown[-1].id)
    return Items(items=shown, next_cursor=following)


@router.get("/{hold_id}")
def read_hold(hold_id: HoldId, actor: Reader, tx: Tx, parts: PartsOf) -> HoldShown:
    """One hold."""
    shown = holds.view(tx, hold_id)
    return HoldShown(hold=shown, opened=holds.opened(actor, tx, parts=parts, hold_id=hold_id))


@router.post("/{hold_id}/release", responses=_FOUR_EYES)
def release_hold(
    hold_id: HoldId, body: ReasonAsked, actor: Approver, tx: Tx, parts: PartsOf
) -> HoldView:
    """Release a hold: a person, and not the one who placed it. What waited for nothing else goes
    on by itself. Twice is a success.
    """
    holds.release(actor, tx, parts=parts, hold_id=hold_id, reason=body.reason)
    return holds.view(tx, hold_id)
