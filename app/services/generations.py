"""Generations of the digest key: a new one for new rows; an old one ends with its last row.

Every living generation is looked for by the sweep, the gate and the replay. Not here: the keys
themselves (app.audit.keys), what is written under them (app.services.suppression, consents, dsars).
"""

from __future__ import annotations

from datetime import timedelta

from app.domain.actors import WORKER, Actor
from app.domain.failpoints import failpoint
from app.services import entries, suppression
from app.services.parts import Parts, Transaction
from app.store import audit

_WRITERS = timedelta(hours=1)
"""No transaction that took a digest under an older generation is still under way after that."""
_ENDING = "digest_key.ending"


def rotate(actor: Actor, tx: Transaction, *, parts: Parts) -> int:
    """Begin a new generation. Its number. Older ones live as long as a row needs them."""
    number = parts.keys.rotate_digest()
    failpoint("generations.rotated")
    entries.record(actor, tx, verb="digest_key.rotated", about=_name(number))
    return number


def destroy_ended(tx: Transaction, parts: Parts) -> list[int]:
    """Destroy every generation whose last row has ended; which. For the clock, again and again.

    Said first, and done at a later call: what nobody can take back is never done unsaid, and
    whoever was about to write a row under an old generation has written it by then.
    """
    _, *older = parts.keys.digester().generations
    return [n for n in sorted(older) if _destroyed(tx, parts, n)]


def _destroyed(tx: Transaction, parts: Parts, number: int) -> bool:
    rows = suppression.digest_rows(tx, number)
    if rows:
        return False
    said = [e.at for e in audit.of_objects(tx, [_name(number)]) if e.verb == _ENDING]
    if not said:
        entries.record(WORKER, tx, verb=_ENDING, about=_name(number))
        return False
    if tx.now() - said[0] < _WRITERS:
        return False
    failpoint("generations.before_destroy")
    parts.keys.destroy_digest(number, rows=rows)
    return True


def _name(number: int) -> str:
    return f"digest_key_{number}"
