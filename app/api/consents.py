"""Consents over HTTP: recorded, read, asked for. Not here: whose record it is, what is in force."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import BaseModel, Field

from app.api.bodies import Asked, Instant
from app.api.deps import Glance, Once, Page, PartsOf, Tx, glances, requires
from app.api.pages import Items, cursor_of
from app.domain.actors import Actor, Scope
from app.domain.consents import SALE_SHARING, ConsentState, Said, checked_purpose, named
from app.domain.errors import InvalidFieldsError
from app.domain.identifiers import MAX_LENGTH, Identifier, Kind, checked_identifier
from app.services import consents
from app.services.parts import Transaction

router = APIRouter(prefix="/v1/consents", tags=["consents"])

Writer = Annotated[Actor, requires(Scope.CONSENTS_WRITE)]
Reader = Annotated[Actor, requires(Scope.CONSENTS_READ)]
ConsentId = Annotated[str, Path(pattern=r"^con_[0-9a-hjkmnp-tv-z]{26}$")]
Value = Annotated[str, Field(max_length=MAX_LENGTH)]
Purpose = Annotated[
    str,
    Field(
        pattern=r"^[a-z][a-z0-9_.-]{0,63}$",
        description=f"Sale and sharing are one opt-out under the CCPA: `{SALE_SHARING}`.",
    ),
]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./:+-]{0,63}$")]
Evidence = Annotated[
    dict[
        Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")],
        Annotated[str, Field(max_length=4000)],
    ],
    Field(max_length=20, description="What shows it. Sealed; gone with the person."),
]
AskedUser = Annotated[
    str | None, Query(max_length=MAX_LENGTH, description="Keep it out of your proxies' logs.")
]
AskedAnon = Annotated[str | None, Query(max_length=MAX_LENGTH)]
AskedAt = Annotated[Instant | None, Query(description="As of this time; now when left out.")]


class SubjectOfConsent(Asked):
    """Who said it. A device_fp alone is too weak."""

    user_id: Value | None = None
    anon_ids: Annotated[list[Value], Field(max_length=20)] = Field(default_factory=list)
    device_fps: Annotated[list[Value], Field(max_length=20)] = Field(default_factory=list)


class NewConsent(Asked):
    """What was said of a purpose."""

    subject: SubjectOfConsent
    purpose: Purpose
    state: ConsentState
    policy_version: Annotated[Label, Field(description="Of the text that the person saw.")]
    source: Annotated[Label, Field(description="Where it was said: web_banner, call_centre.")]
    evidence: Evidence | None = None
    at: Annotated[
        Instant | None,
        Field(description="When it was said; now when left out. Not in the future."),
    ] = None


class Consent(BaseModel):
    """An entry of the ledger. It stays when its person is erased; nothing leads to it then."""

    id: str
    purpose: str
    state: ConsentState
    policy_version: str
    source: str
    gpc: Annotated[bool, Field(description="The browser sent `Sec-GPC: 1` with it.")]
    at: datetime
    recorded_at: datetime
    proof: Annotated[str, Field(description="HMAC-SHA-256(salt, document) in hex.")]

    @classmethod
    def fields_of(cls, consent: consents.Consent) -> dict[str, Any]:
        """From a row."""
        return {
            "id": consent.id,
            "purpose": consent.purpose,
            "state": consent.state,
            "policy_version": consent.policy_version,
            "source": consent.source,
            "gpc": consent.gpc,
            "at": consent.at,
            "recorded_at": consent.created_at,
            "proof": consent.proof,
        }


class ConsentRecorded(Consent):
    """What was recorded."""

    opt_outs: Annotated[
        list[str], Field(description="Entries that the browser's signal added, by their ids.")
    ]


class Receipt(BaseModel):
    """What the proof commits to. Whoever keeps it can show later that the entry is this one."""

    document: Annotated[str, Field(description="RFC 8785 canonical JSON: who, what, evidence.")]
    salt: Annotated[str, Field(description="The key of the HMAC, in hex.")]


class ConsentShown(Consent):
    """One entry."""

    erased: Annotated[bool, Field(description="Its person was erased.")]
    receipt: Annotated[
        Receipt | None,
        Field(description="Only with subject:read, and that is an audit entry."),
    ]


class Check(BaseModel):
    """Whether a purpose is consented to."""

    purpose: str
    given: Annotated[bool, Field(description="True only if the entry in force says so.")]
    in_force: Annotated[Consent | None, Field(description="null: never asked, or erased.")]


@router.post("", status_code=201, response_model=ConsentRecorded)
def record_consent(
    body: NewConsent,
    actor: Writer,
    tx: Tx,
    parts: PartsOf,
    once: Once,
    sec_gpc: Annotated[
        str | None,
        Header(
            alias="Sec-GPC",
            max_length=64,
            description=f"`1`, as the browser sent it: an opt-out of {SALE_SHARING} is added.",
        ),
    ] = None,
) -> Response:
    """Add an entry. Nothing is ever changed or taken back: what is in force is the newest."""
    subject = body.subject
    said = Said(
        subject=named(
            user_id=subject.user_id, anon_ids=subject.anon_ids, device_fps=subject.device_fps
        ),
        purpose=body.purpose,
        state=body.state,
        policy_version=body.policy_version,
        source=body.source,
        evidence=body.evidence,
        at=body.at,
        gpc=sec_gpc is not None and sec_gpc.strip() == "1",
    )
    done = consents.record(actor, tx, parts=parts, said=said)
    answer = ConsentRecorded(
        **Consent.fields_of(done.consent), opt_outs=[c.id for c in done.opt_outs]
    )
    return once.answer(201, answer, headers={"Location": f"{router.prefix}/{answer.id}"})


@router.get("")
def list_in_force(
    actor: Reader,
    tx: Tx,
    parts: PartsOf,
    page: Page,
    user_id: AskedUser = None,
    anon_id: AskedAnon = None,
    at: AskedAt = None,
) -> Items[Consent]:
    """What is in force for each purpose, as of a time. Name a user_id or an anon_id."""
    found = consents.in_force(
        actor,
        tx,
        parts=parts,
        who=_asked(user_id, anon_id),
        at=at,
        after=page.cursor[0] if page.cursor else "",
        limit=page.limit + 1,
    )
    shown = [Consent(**Consent.fields_of(c)) for c in found[: page.limit]]
    following = cursor_of(shown[-1].purpose) if len(found) > page.limit else None
    return Items(items=shown, next_cursor=following)


@router.get("/check", response_model=Check)
async def check(
    glance: Annotated[Glance, glances(Scope.CONSENTS_READ)],
    parts: PartsOf,
    purpose: Annotated[Purpose, Query()],
    user_id: AskedUser = None,
    anon_id: AskedAnon = None,
    at: AskedAt = None,
) -> Response:
    """Whether a purpose is consented to, as of a time. Name a user_id or an anon_id."""

    def look(actor: Actor, tx: Transaction) -> list[consents.Consent]:
        wanted = checked_purpose(purpose, place="query.purpose")
        who = _asked(user_id, anon_id)
        return consents.in_force(actor, tx, parts=parts, who=who, at=at, purpose=wanted)

    found = await glance.at(look)
    newest = found[0] if found else None
    answer = Check(
        purpose=purpose,
        given=newest is not None and newest.state is ConsentState.GIVEN,
        in_force=Consent(**Consent.fields_of(newest)) if newest else None,
    )
    return Response(answer.model_dump_json(), media_type="application/json")


@router.get("/{consent_id}")
def read_consent(consent_id: ConsentId, actor: Reader, tx: Tx, parts: PartsOf) -> ConsentShown:
    """One entry; with subject:read also its receipt."""
    consent, opened = consents.read(actor, tx, parts=parts, consent_id=consent_id)
    receipt = Receipt(document=opened.document, salt=opened.salt) if opened else None
    return ConsentShown(**Consent.fields_of(consent), erased=consent.erased, receipt=receipt)


def _asked(user_id: str | None, anon_id: str | None) -> Identifier:
    if (user_id is None) == (anon_id is None):
        rule = "Name one: user_id or anon_id."
        raise InvalidFieldsError("Whose consents?", fields={"query.user_id": rule})
    if user_id is not None:
        return checked_identifier(Kind.USER_ID, user_id, place="query.user_id")
    return checked_identifier(Kind.ANON_ID, str(anon_id), place="query.anon_id")
