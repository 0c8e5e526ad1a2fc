"""API keys: made, checked, rotated, revoked. The secret is shown once and stored nowhere.

A key is `clk_<id>_<secret>`; the row holds HMAC-SHA-256 of it under a pepper from the key store.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from typeid import TypeID

from app.domain.actors import Actor, ActorKind, Scope
from app.domain.errors import (
    IllegalMoveError,
    InvalidFieldsError,
    NotAllowedError,
    NotAuthenticatedError,
    NotFoundError,
)
from app.domain.failpoints import failpoint
from app.services import entries
from app.services.parts import Parts, Transaction
from app.services.pepper import pepper_of
from app.store import actors
from app.store.actors import ApiKey

__all__ = [
    "OPERATOR", "ApiKey", "authenticate", "create", "get", "newest_first", "revoke", "rotate",
]  # fmt: skip

OPERATOR = Actor("operator", ActorKind.PERSONAL, frozenset({Scope.ADMIN}))
"""Whoever runs commands on the machine itself: makes the first key."""

_FORM = re.compile(r"clk_([0-9a-hjkmnp-tv-z]{26})_[A-Za-z0-9_-]{43}")
_NOBODY = "0" * 26
_SEEN_EVERY = timedelta(minutes=1)


def create(
    actor: Actor,
    tx: Transaction,
    *,
    parts: Parts,
    name: str,
    kind: ActorKind,
    scopes: Iterable[Scope],
    expires_at: datetime | None,
) -> tuple[ApiKey, str]:
    """Make a key; gives it and its secret, which nobody can be told again.

    An actor with `admin` grants any scope (it could make itself a key with them anyway, and each
    key is an audit entry); any other actor only scopes that it has. InvalidFieldsError for no
    scope, a worker's key or an end that has passed.
    """
    wanted = sorted(set(scopes))
    if not actor.may(Scope.ADMIN) and not actor.scopes.issuperset(wanted):
        raise NotAllowedError("A key grants only scopes that its maker has, or admin.")
    fields = {}
    if not wanted:
        fields["body.scopes"] = "Name at least one scope."
    if kind is ActorKind.WORKER:
        fields["body.kind"] = "Expected personal or service."
    if expires_at is not None and expires_at <= tx.now():
        fields["body.expires_at"] = "Expected a time to come."
    if fields:
        raise InvalidFieldsError("This key cannot be made.", fields=fields)
    id_ = TypeID(prefix="key")
    secret = _secret(id_.suffix)
    made = actors.put(
        tx,
        str(id_),
        digest=_digest(parts, secret),
        name=name,
        kind=kind,
        scopes=wanted,
        created_by=actor.id,
        expires_at=expires_at,
    )
    failpoint("actors.after_put")
    entries.record(
        actor, tx, verb="api_key.created", about=made.id, kind=kind.value, scopes=list(wanted)
    )
    return made, secret


def authenticate(tx: Transaction, *, parts: Parts, presented: str) -> Actor:
    """Who presents this key. NotAuthenticatedError, the same for a malformed, unknown, expired or
    revoked one and after the same work. Nothing is cached: a revocation holds from its commit on.
    """
    form = _FORM.fullmatch(presented)
    digest = _digest(parts, presented)
    found = actors.presented(tx, f"key_{form[1] if form else _NOBODY}")
    matches = hmac.compare_digest(digest, found.digest if found else "0" * len(digest))
    if found is None or not matches or not found.key.works_at(tx.now()):
        raise NotAuthenticatedError("A valid API key is needed.")
    key = found.key
    if found.unseen_for is None or found.unseen_for > _SEEN_EVERY:
        actors.used(tx, key.id, at_most_every=_SEEN_EVERY)
    return Actor(key.id, key.kind, key.scopes, key.name)


def get(actor: Actor, tx: Transaction, *, key_id: str) -> ApiKey:
    """A key. NotFoundError."""
    return _found(actors.get(tx, key_id))


def newest_first(actor: Actor, tx: Transaction, *, limit: int, before: str | None) -> list[ApiKey]:
    """Keys, newest first, after the id `before`."""
    return actors.newest_first(tx, limit=limit, before=before)


def revoke(actor: Actor, tx: Transaction, *, key_id: str) -> ApiKey:
    """End a key at once. Twice is a success. NotFoundError."""
    key = _found(actors.get(tx, key_id, lock=True))
    if key.revoked_at is not None:
        return key
    actors.revoke(tx, key_id)
    failpoint("actors.after_revoke")
    entries.record(actor, tx, verb="api_key.revoked", about=key_id)
    return _found(actors.get(tx, key_id))


def one_hand(tx: Transaction, first: str, second: str) -> bool:
    """Whether these actors are the same, or one made the key of the other: with it, they could be
    one person with two keys.
    """
    return (
        first == second or first in actors.makers(tx, second) or second in actors.makers(tx, first)
    )


def rotate(actor: Actor, tx: Transaction, *, parts: Parts, key_id: str) -> tuple[ApiKey, str]:
    """Another secret for the same key; the old one opens nothing from the commit on. The id stays,
    so that the rule of four eyes still knows who it is. NotFoundError; IllegalMoveError for a key
    that was revoked or has expired; NotAllowedError for somebody else's personal key: whoever saw
    its new secret could act as them.
    """
    key = _found(actors.get(tx, key_id, lock=True))
    if key.kind is ActorKind.PERSONAL and actor.id not in (key.id, OPERATOR.id):
        raise NotAllowedError("A personal key is rotated by its owner: revoke it, make another.")
    if not key.works_at(tx.now()):
        raise IllegalMoveError("This key has ended: make another one.")
    secret = _secret(key_id.removeprefix("key_"))
    actors.replace_digest(tx, key_id, digest=_digest(parts, secret))
    failpoint("actors.after_rotate")
    entries.record(actor, tx, verb="api_key.rotated", about=key_id)
    return key, secret


def _secret(suffix: str) -> str:
    return f"clk_{suffix}_{secrets.token_urlsafe(32)}"


def _digest(parts: Parts, secret: str) -> str:
    pepper = pepper_of(parts, purpose="api-keys")
    return hmac.new(pepper, secret.encode(), hashlib.sha256).hexdigest()


def _found(key: ApiKey | None) -> ApiKey:
    if key is None:
        raise NotFoundError("There is no such key.")
    return key
