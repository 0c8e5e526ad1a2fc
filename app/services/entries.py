"""Writing an audit entry: who, what, about what, with facts that hold no personal value."""

from __future__ import annotations

from app.audit.canonical import canonical_bytes
from app.domain.actors import Actor
from app.store import audit
from app.store.transaction import Transaction

Fact = str | int | bool | None | list[str] | dict[str, int]


def record(actor: Actor, tx: Transaction, *, verb: str, about: str, **facts: Fact) -> None:
    """Append an entry, written right before the commit. `verb`: `dsar.approved`, `step.finished`.
    `about`: the id of the case, run, step, key or consent. Facts: ids, states, counts, digests and
    reasons from our own lists; free text that came in never.
    """
    text = canonical_bytes(facts).decode()
    audit.append(tx, actor=actor.id, verb=verb, object_=about, facts=text)
