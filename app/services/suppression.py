"""Nobody comes back: what is written down of the erased before a run begins to look for them.

Not here: looking for late data (app.services.late), the rows themselves (app.store.suppression).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from app.domain.actors import WORKER, Actor
from app.domain.failpoints import failpoint
from app.domain.identifiers import Identifier, Identity, Kind
from app.services import entries
from app.services.parts import Parts, Transaction
from app.store import suppression as store
from app.store.suppression import NewSuppression

ALL, BEFORE = "all", "before"
_SUPPRESSED = frozenset({Kind.USER_ID, Kind.ANON_ID, Kind.DEVICE_FP})
GROUND = "GDPR 17(1)"


def own(identity: Identity) -> list[Identifier]:
    """The identifiers that are this person's alone, sorted.

    Shared values are not among them, whatever was decided: another person's next event carries
    them too. Derived ones neither: they come with a row that names the person, or mean nobody.
    """
    shared = {s.identifier for s in identity.shared}
    return sorted(i for i in identity.identifiers - shared if i.kind in _SUPPRESSED)


def suppress(
    actor: Actor,
    tx: Transaction,
    *,
    parts: Parts,
    run_id: str,
    identities: Sequence[Identity],
    account_closed: Mapping[str, bool],
    ground: str = GROUND,
) -> int:
    """Write what the identities of a run (each named by its case) must not bring back. How many
    rows are new; those of an earlier attempt, or of an earlier run of the case, stay as they are.

    The fence is now, by the database's clock, so call it before any scan. A user_id of a closed
    account matches every later event (`all`); any other identifier only events up to the fence
    (`before`): later activity of the same browser is a new fact.
    """
    fence = tx.now()
    known = store.known_of(tx, {i.subject for i in identities})
    rows = [
        row
        for identity in identities
        for row in _rows(
            identity,
            parts,
            run_id=run_id,
            closed=account_closed.get(identity.subject, False),
            fence=fence,
            ground=ground,
            known=known,
        )
    ]
    failpoint("suppression.before_rows")
    new = store.put(tx, rows)
    failpoint("suppression.after_rows")
    if new:
        scopes = Counter(row.scope for row in rows)
        entries.record(
            actor,
            tx,
            verb="suppression.written",
            about=run_id,
            cases=len({row.dsar_id for row in rows}),
            rows=new,
            scopes=dict(scopes),
            until=(fence + parts.rules.suppress).isoformat(),
        )
    return new


def _rows(
    identity: Identity,
    parts: Parts,
    *,
    run_id: str,
    closed: bool,
    fence: datetime,
    ground: str,
    known: Iterable[tuple[str, store.Digest]],
) -> Iterator[NewSuppression]:
    digester = parts.keys.digester()
    there = frozenset(known)
    for identifier in own(identity):
        every = digester.all_of(identifier)
        if any((identity.subject, (d.generation, d.digest)) in there for d in every):
            continue
        yield NewSuppression(
            generation=every[0].generation,
            digest=every[0].digest,
            dsar_id=identity.subject,
            run_id=run_id,
            kind=identifier.kind.value,
            scope=ALL if closed and identifier.kind is Kind.USER_ID else BEFORE,
            fence=fence,
            ground=ground,
            until=fence + parts.rules.suppress,
        )


def lift(tx: Transaction, *, run_id: str, dsar_ids: Collection[str]) -> int:
    """A run was undone, or these cases left it: what it erased of them is back, or was never
    erased. How many rows are gone.
    """
    gone = store.lift(tx, run_id, dsar_ids)
    if gone:
        entries.record(WORKER, tx, verb="suppression.lifted", about=run_id, rows=gone)
    return gone


def expire(tx: Transaction) -> int:
    """Delete what is past its end. How many rows."""
    gone = store.expire(tx)
    if gone:
        entries.record(WORKER, tx, verb="suppression.expired", about="suppression", rows=gone)
    return gone


def digest_rows(tx: Transaction, generation: int) -> int:
    """How many rows still need this digest key: `KeyStore.destroy_digest` refuses above none."""
    return store.digest_rows(tx, generation)
