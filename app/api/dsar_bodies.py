"""The bodies of the routes of cases: what may come in, field by field, and what goes out.

Answers that services shape (app.services.dsar_views, previews, timeline) go out as they are.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StrictBool

from app.api.bodies import Asked, Instant, Line
from app.domain.breakers import BreakerKind
from app.domain.dsars import DsarType, Needs, Regulation, RequesterKind, Role, State
from app.domain.identifiers import MAX_LENGTH, Identifier, Kind
from app.services import dsars
from app.services.dsars import MAX_IDENTIFIERS, Submitted

Value = Annotated[str, Field(min_length=1, max_length=MAX_LENGTH)]
Values = Annotated[list[Value], Field(max_length=MAX_IDENTIFIERS)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Region = Annotated[str, Field(pattern=r"^[A-Za-z]{2}(-[A-Za-z0-9]{1,3})?$")]
Language = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}$",
        max_length=35,
        description="BCP 47, such as de or pt-BR.",
    ),
]
Text = Annotated[str, Field(min_length=1, max_length=4000)]
Reason = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2000,
        description="Sealed; kept with the bare record of the case until its stated end.",
    ),
]


class SubjectAsked(Asked):
    """The person. A device_fp alone is too weak."""

    user_id: Value | None = None
    anon_ids: Values = Field(default_factory=list)
    device_fps: Values = Field(default_factory=list)


class RequesterAsked(Asked):
    """Who speaks for the person."""

    kind: RequesterKind = RequesterKind.SELF
    proof_kind: Annotated[
        Word | None, Field(description="What was shown, never the document itself.")
    ] = None


class DsarAsked(Asked):
    """A new case."""

    type: DsarType
    subject: SubjectAsked
    regulation: Regulation
    requester: RequesterAsked = RequesterAsked()
    region: Annotated[
        Region | None, Field(description="ISO 3166, such as DE-BY or US-CA: whose holidays count.")
    ] = None
    role: Role = Role.CONTROLLER
    controller_id: Word | None = None
    received_at: Annotated[
        Instant | None,
        Field(description="When the person asked: it starts the clock. Within a year, not ahead."),
    ] = None
    language: Language | None = None
    channel: Word | None = None
    account_closed: Annotated[
        StrictBool,
        Field(description="The account is closed: later events of the user_id are late data too."),
    ] = False
    external_ref: Annotated[Line | None, Field(description="Sealed; found by exact value.")] = None
    note: Annotated[Text | None, Field(description="Sealed; destroyed with the identifiers.")] = (
        None
    )

    def asked(self) -> dsars.Asked:
        """As the service takes it."""
        return dsars.Asked(
            type=self.type,
            regulation=self.regulation,
            requester_kind=self.requester.kind,
            user_id=self.subject.user_id,
            anon_ids=tuple(self.subject.anon_ids),
            device_fps=tuple(self.subject.device_fps),
            role=self.role,
            region=self.region,
            controller_id=self.controller_id,
            proof_kind=self.requester.proof_kind,
            received_at=self.received_at,
            language=self.language,
            channel=self.channel,
            account_closed=self.account_closed,
            external_ref=self.external_ref,
            note=self.note,
        )


class DsarTaken(BaseModel):
    """A case that was taken in. It holds ids and states only, so that it can be replayed."""

    id: str
    type: DsarType
    status: State
    due_at: datetime
    days_left: int | None
    needs: Needs
    related: Annotated[
        list[str], Field(description="Other open cases that name one of the same identifiers.")
    ]

    @classmethod
    def of(cls, submitted: Submitted, *, days_left: int | None, needs: Needs) -> DsarTaken:
        """From a new case."""
        case = submitted.dsar
        return cls(
            id=case.id,
            type=case.type,
            status=case.state,
            due_at=case.due_at,
            days_left=days_left,
            needs=needs,
            related=list(submitted.related),
        )


class PersonAsked(Asked):
    """One exact identifier."""

    kind: Literal[Kind.USER_ID, Kind.ANON_ID, Kind.DEVICE_FP]
    value: Value

    def identifier(self) -> Identifier:
        """As a filter takes it: any value may be asked for."""
        return Identifier(Kind(self.kind), self.value)


class SearchAsked(Asked):
    """Filters that must all hold. In a body, because query strings end up in logs of proxies."""

    subject: PersonAsked | None = None
    external_ref: Line | None = None
    status: Annotated[list[State], Field(max_length=len(State))] = Field(default_factory=list)
    type: DsarType | None = None
    due_before: Instant | None = None
    limit: Annotated[int, Field(strict=True, ge=1, le=200)] = 50
    cursor: Annotated[str | None, Field(max_length=1024)] = None


class ApprovalAsked(Asked):
    """What is approved."""

    scope_digest: Annotated[
        str, Field(pattern=r"^[0-9a-f]{64}$", description="As the preview showed it.")
    ]
    shared_review: Annotated[
        Literal["tombstone", "keep"] | None,
        Field(description="Needed where the preview has `undecided` values, and only there."),
    ] = None
    accept: Annotated[
        list[BreakerKind],
        Field(
            max_length=len(BreakerKind),
            description="The kinds of the preview's `breakers`: each is taken for no mistake.",
        ),
    ] = Field(default_factory=list)
    reason: Reason | None = None


class ReasonAsked(Asked):
    """Why."""

    reason: Reason


class PublicKeyShown(BaseModel):
    """A public key that reports are checked with."""

    key_id: str
    pem: Annotated[str, Field(description="Ed25519, SubjectPublicKeyInfo.")]


class PublicKeys(BaseModel):
    """Every key that ever signed here."""

    items: list[PublicKeyShown]
