"""API keys over HTTP. The secret is in the answer that made it and nowhere else."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from app.api.bodies import Asked, Instant, Line
from app.api.deps import Once, Page, PartsOf, Tx, requires
from app.api.pages import Items, cursor_of
from app.domain.actors import Actor, ActorKind, Scope
from app.services import actors

router = APIRouter(prefix="/v1/api-keys", tags=["api keys"])

_A_YEAR = timedelta(days=365)
Admin = Annotated[Actor, requires(Scope.ADMIN)]
KeyId = Annotated[str, Path(pattern=r"^key_[0-9a-hjkmnp-tv-z]{26}$")]


class NewKey(Asked):
    """A key to make."""

    name: Annotated[Line, Field(description="Whose it is, for people's eyes.")]
    kind: Annotated[
        Literal["personal", "service"],
        Field(description="Only a personal key may approve an erasure."),
    ]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))]
    expires_at: Annotated[Instant | None, Field(description="In a year when left out.")] = None


class Key(BaseModel):
    """A key without its secret."""

    id: str
    name: str
    kind: ActorKind
    scopes: list[Scope]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: Annotated[datetime | None, Field(description="To the minute.")]
    revoked_at: datetime | None

    @classmethod
    def of(cls, key: actors.ApiKey) -> Key:
        """From a row."""
        return cls(
            id=key.id,
            name=key.name,
            kind=key.kind,
            scopes=sorted(key.scopes),
            created_at=key.created_at,
            created_by=key.created_by,
            expires_at=key.expires_at,
            last_used_at=key.last_used_at,
            revoked_at=key.revoked_at,
        )


class KeyShown(Key):
    """A key with its secret: shown this once."""

    secret: Annotated[
        str | None,
        Field(description="null when the answer is replayed: it is stored nowhere. Rotate then."),
    ]


@router.post("", status_code=201, response_model=KeyShown)
def create_key(body: NewKey, actor: Admin, tx: Tx, parts: PartsOf, once: Once) -> Response:
    """Make a key. An admin may grant any scope; that it did is an audit entry."""
    made, secret = actors.create(
        actor,
        tx,
        parts=parts,
        name=body.name,
        kind=ActorKind(body.kind),
        scopes=body.scopes,
        expires_at=body.expires_at or tx.now() + _A_YEAR,
    )
    key = Key.of(made)
    return once.answer(
        201,
        KeyShown(**key.model_dump(), secret=secret),
        headers={"Location": f"{router.prefix}/{made.id}"},
        kept=KeyShown(**key.model_dump(), secret=None),
    )


@router.get("")
def list_keys(actor: Admin, tx: Tx, page: Page) -> Items[Key]:
    """Keys, newest first, those that have ended too."""
    before = page.cursor[0] if page.cursor else None
    found = actors.newest_first(actor, tx, limit=page.limit + 1, before=before)
    shown = found[: page.limit]
    following = cursor_of(shown[-1].id) if len(found) > page.limit else None
    return Items(items=[Key.of(k) for k in shown], next_cursor=following)


@router.get("/{key_id}")
def read_key(key_id: KeyId, actor: Admin, tx: Tx) -> Key:
    """One key."""
    return Key.of(actors.get(actor, tx, key_id=key_id))


@router.post("/{key_id}/revoke")
def revoke_key(key_id: KeyId, actor: Admin, tx: Tx) -> Key:
    """End a key at once; twice is a success."""
    return Key.of(actors.revoke(actor, tx, key_id=key_id))


@router.post("/{key_id}/rotate")
def rotate_key(key_id: KeyId, actor: Admin, tx: Tx, parts: PartsOf) -> KeyShown:
    """Another secret for the same key; the old one ends at once. 409 for a key that has ended."""
    key, secret = actors.rotate(actor, tx, parts=parts, key_id=key_id)
    return KeyShown(**Key.of(key).model_dump(), secret=secret)
