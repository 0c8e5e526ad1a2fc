"""API keys as rows: their digests, never the keys. Who may make one is app.services.actors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Row, bindparam, func, insert, or_, select, update

from app.domain.actors import ActorKind, Scope
from app.store.tables import api_key
from app.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret."""

    id: str
    kind: ActorKind
    scopes: frozenset[Scope]
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    name: str = field(repr=False)

    def works_at(self, now: datetime) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


_SHOWN = [c for c in api_key.c if c.name != "digest"]


def put(
    tx: Transaction,
    key_id: str,
    *,
    digest: str,
    name: str,
    kind: ActorKind,
    scopes: Sequence[Scope],
    created_by: str,
    expires_at: datetime | None,
) -> ApiKey:
    """Add a key."""
    row = tx.run(
        insert(api_key)
        .values(
            id=key_id,
            digest=digest,
            name=name,
            kind=kind.value,
            scopes=[s.value for s in scopes],
            created_by=created_by,
            expires_at=expires_at,
        )
        .returning(*_SHOWN)
    ).one()
    return _key(row)


def get(tx: Transaction, key_id: str, *, lock: bool = False) -> ApiKey | None:
    """A key; with `lock` nobody else changes it until this transaction ends."""
    query = select(*_SHOWN).where(api_key.c.id == key_id)
    row = tx.run(query.with_for_update() if lock else query).one_or_none()
    return None if row is None else _key(row)


@dataclass(frozen=True, slots=True)
class Presented:
    """A key that somebody knocks with."""

    key: ApiKey
    digest: str = field(repr=False)
    """To check the secret against."""
    unseen_for: timedelta | None
    """Since when nobody has written down that it was used; None: never."""


_KNOCK = select(
    *_SHOWN,
    api_key.c.digest,
    func.now().label("now"),
    (func.now() - api_key.c.last_used_at).label("unseen_for"),
).where(api_key.c.id == bindparam("key_id"))


def presented(tx: Transaction, key_id: str) -> Presented | None:
    """A key as it stands now, in one statement, the transaction's time with it."""
    row = tx.run(_KNOCK, {"key_id": key_id}).one_or_none()
    if row is None:
        return None
    tx.began(row.now)
    return Presented(_key(row), row.digest, row.unseen_for)


def newest_first(tx: Transaction, *, limit: int, before: str | None) -> list[ApiKey]:
    """Keys in the order of their ids (which begin with a time), newest first."""
    query = select(*_SHOWN).order_by(api_key.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(api_key.c.id < before)
    return [_key(row) for row in tx.run(query)]


def used(tx: Transaction, key_id: str, *, at_most_every: timedelta) -> None:
    """Write down that a key was used, unless that was just done or somebody is doing it now."""
    free = (
        select(api_key.c.id)
        .where(
            api_key.c.id == key_id,
            or_(
                api_key.c.last_used_at.is_(None),
                api_key.c.last_used_at < func.now() - at_most_every,
            ),
        )
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    tx.run(update(api_key).where(api_key.c.id == free).values(last_used_at=func.now()))


def revoke(tx: Transaction, key_id: str) -> None:
    """From the commit on it opens nothing. The first revocation's time stays."""
    first = func.coalesce(api_key.c.revoked_at, func.now())
    tx.run(update(api_key).where(api_key.c.id == key_id).values(revoked_at=first))


def replace_digest(tx: Transaction, key_id: str, *, digest: str) -> None:
    """Another secret for the same key."""
    tx.run(update(api_key).where(api_key.c.id == key_id).values(digest=digest))


def _key(row: Row[tuple[object, ...]]) -> ApiKey:
    return ApiKey(
        id=row.id,
        kind=ActorKind(row.kind),
        scopes=frozenset(Scope(s) for s in row.scopes),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
        name=row.name,
    )


def makers(tx: Transaction, key_id: str) -> frozenset[str]:
    """Whoever made this key, who made theirs, and so on. The key itself is not among them."""
    found: set[str] = set()
    asked = key_id
    while (
        maker := tx.run(
            select(api_key.c.created_by).where(api_key.c.id == asked)
        ).scalar_one_or_none()
    ) is not None and maker not in found:
        found.add(maker)
        asked = maker
    return frozenset(found)
