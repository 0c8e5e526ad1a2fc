"""Once only: the same Idempotency-Key and body get the same answer, however often they come.

Keys, bodies and paths are stored as HMACs only: a plain hash of a body could be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from app.domain.actors import Actor
from app.domain.errors import IdempotencyKeyReusedError, InFlightError
from app.domain.failpoints import failpoint
from app.services.parts import Parts, Transaction
from app.services.pepper import pepper_of
from app.store import idempotency
from app.store.idempotency import StoredAnswer

__all__ = ["KEPT", "Claim", "StoredAnswer", "begin", "finish", "forget_old"]

KEPT = timedelta(days=1)
"""How long an answer can be asked for again."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A key that this transaction holds; its answer is stored at the end."""

    actor_id: str
    key_digest: str
    route: str
    body_digest: str


def begin(
    actor: Actor, tx: Transaction, *, parts: Parts, key: str, route: str, body: bytes
) -> Claim | StoredAnswer:
    """Claim a key, or find what was answered to it.

    1. Lock the key for this transaction: InFlightError when another has it.
    2. Look for a stored answer: none is a Claim, one for another request is an
       IdempotencyKeyReusedError, else it is the answer.
    """
    secret = pepper_of(parts, purpose="idempotency")
    digests = [_keyed(secret, part) for part in (key.encode(), route.encode(), body)]
    claim = Claim(actor.id, *digests)
    if not idempotency.claim(tx, actor_id=claim.actor_id, key_digest=claim.key_digest):
        raise InFlightError("The first request with this Idempotency-Key is not answered yet.")
    found = idempotency.find(tx, actor_id=claim.actor_id, key_digest=claim.key_digest)
    if found is None:
        return claim
    if (found.route, found.body_digest) != (claim.route, claim.body_digest):
        raise IdempotencyKeyReusedError("This Idempotency-Key was used for another request.")
    return found


def finish(
    tx: Transaction, claim: Claim, *, status: int, headers: Mapping[str, str], answer: str
) -> None:
    """Store the answer beside what it says: both are committed, or neither."""
    failpoint("idempotency.before_put")
    stored = StoredAnswer(claim.route, claim.body_digest, status, headers, answer)
    idempotency.put(tx, stored, actor_id=claim.actor_id, key_digest=claim.key_digest)
    failpoint("idempotency.after_put")


def forget_old(tx: Transaction) -> int:
    """Delete answers that nobody will ask for any more. For the beat."""
    return idempotency.forget(tx, before=tx.now() - KEPT)


def _keyed(secret: bytes, message: bytes) -> str:
    return hmac.new(secret, message, hashlib.sha256).hexdigest()
