"""Consents: recording what was said, what is in force, and what an erasure leaves of them.

Not here: whose record an entry goes to (app.domain.consents), rows (app.store.consents).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec
from typeid import TypeID

from app.audit.canonical import canonical_bytes
from app.domain.actors import WORKER, Actor, Scope
from app.domain.consents import (
    SALE_SHARING,
    Candidate,
    ConsentState,
    Named,
    Said,
    as_of,
    checked_purpose,
    document_of,
    home_of,
    opt_out_of,
    time_of,
)
from app.domain.errors import KeyMissingError
from app.domain.failpoints import failpoint
from app.domain.identifiers import Identifier, Kind
from app.services import entries
from app.services.parts import Parts, Transaction
from app.store import audit
from app.store import consents as store
from app.store.consents import Consent, Digest, Lead

__all__ = [
    "Consent", "Opened", "Recorded", "erase_subject", "in_force", "read", "record", "shred_erased",
]  # fmt: skip

_SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was said, and the opt-outs that the browser's signal added."""

    consent: Consent
    opt_outs: tuple[Consent, ...]


class Opened(msgspec.Struct, frozen=True):
    """What was sealed with an entry: `proof` = HMAC-SHA-256(salt, document), both in hex."""

    document: str
    salt: str

    def __repr__(self) -> str:
        return "Opened(...)"


def record(actor: Actor, tx: Transaction, *, parts: Parts, said: Said) -> Recorded:
    """Add what was said, and with a signal the opt-out it stands for, in one transaction.

    1. Make the key of somebody new while nobody waits for us.
    2. Take the turn: nobody else records or erases until the commit.
    3. Find the record that the identifiers lead to, or begin one.
    4. Add what was said. 5. Add the signal's opt-outs.
    """
    checked_purpose(said.purpose, place="body.purpose")
    at = time_of(said.at, tx.now())
    asked = _digests(parts, said.subject.leading)
    known = home_of(_candidates(store.leads(tx, asked), asked))
    prepared = known or _new_key(parts)
    audit.take_turn(tx)
    asked = _digests(parts, said.subject.leading)  # again: the digest key may have been rotated
    leads = store.leads(tx, asked)
    ref = home_of(_candidates(leads, asked))
    if ref is None:
        # Erased since we looked: its key is about to go, so another one begins.
        ref = _new_key(parts) if prepared == known else prepared
        store.enrol(tx, ref)
    _lead_to(tx, ref, leads=leads, asked=asked)
    consent = _append(actor, tx, parts=parts, ref=ref, said=said, at=at)
    opt_outs = [
        _append(actor, tx, parts=parts, ref=each, said=opt_out, at=tx.now())
        for each, opt_out in _signalled(tx, said, ref=ref, leads=leads, asked=asked)
    ]
    return Recorded(consent, tuple(opt_outs))


def in_force(
    actor: Actor,
    tx: Transaction,
    *,
    parts: Parts,
    who: Identifier,
    at: datetime | None = None,
    purpose: str | None = None,
    after: str = "",
    limit: int = 200,
) -> list[Consent]:
    """What is in force for a user_id or an anon_id as of a time (now), purpose by purpose.

    A shared anon_id leads to several records: the strictest counts. Nobody known: nothing.
    """
    return store.in_force(
        tx,
        _digests(parts, [who]).keys(),
        at=None if at is None else as_of(at, tx.now()),
        purpose=purpose,
        after=after,
        limit=limit,
    )


def read(
    actor: Actor, tx: Transaction, *, parts: Parts, consent_id: str
) -> tuple[Consent, Opened | None]:
    """An entry; for an actor with subject:read also what was sealed with it, and that is an audit
    entry. None too once its person was erased. NotFoundError.
    """
    consent = store.get(tx, consent_id)
    if consent.erased or not actor.may(Scope.SUBJECT_READ):
        return consent, None
    try:
        sealed = parts.keys.open_sealed(consent.ref, consent.sealed_evidence, aad=_row(consent.id))
    except KeyMissingError:
        return consent, None
    entries.record(actor, tx, verb="consent.evidence_read", about=consent_id)
    return consent, msgspec.json.decode(sealed, type=Opened)


def erase_subject(
    actor: Actor, tx: Transaction, *, parts: Parts, identifiers: Iterable[Identifier]
) -> list[str]:
    """Let nothing lead to a person's entries any more. Gives the ids of the keys to be shredded
    once this is committed; `shred_erased` does it too, whatever became of them. Twice is a success.

    Theirs are the records of their user_ids, and those of their anon_ids that belong to no user.
    Another user's record that a shared anon_id leads to stays as it is.
    """
    asked = _digests(parts, identifiers)
    audit.take_turn(tx)
    found = _candidates(store.leads(tx, asked), asked)
    theirs = [c.ref for c in found if c.named_user or not c.of_user]
    for ref in theirs:
        erased = store.erase(tx, ref)
        failpoint("consents.erased")
        entries.record(
            actor,
            tx,
            verb="consent.subject_erased",
            about=ref,
            entries=erased.entries,
            digests=erased.digests,
        )
    return theirs


def shred_erased(parts: Parts) -> int:
    """Destroy the keys of erased records that are not yet written down as destroyed: what a crash
    after the commit left. Load, act, record; twice is a success.
    """
    with parts.database.transaction() as tx:
        refs = store.awaiting_shredding(tx)
    for ref in refs:
        failpoint("consents.before_shred")
        parts.keys.shred(ref)
    failpoint("consents.shredded")
    with parts.database.transaction() as tx:
        for ref in store.note_shredded(tx, refs):
            entries.record(WORKER, tx, verb="consent.key_shredded", about=ref)
    return len(refs)


def _digests(parts: Parts, identifiers: Iterable[Identifier]) -> dict[Digest, Identifier]:
    """Every digest of the identifiers that lead to records; of each its newest first."""
    digester = parts.keys.digester()
    return {
        (found.generation, found.digest): identifier
        for identifier in identifiers
        if identifier.kind in (Kind.USER_ID, Kind.ANON_ID)
        for found in digester.all_of(identifier)
    }


def _candidates(leads: Iterable[Lead], asked: Mapping[Digest, Identifier]) -> list[Candidate]:
    found: dict[str, Candidate] = {}
    for lead in leads:
        before = found.get(lead.ref)
        named = asked[lead.digest].kind is Kind.USER_ID or (
            before is not None and before.named_user
        )
        found[lead.ref] = Candidate(lead.ref, of_user=lead.of_user, named_user=named)
    return list(found.values())


def _new_key(parts: Parts) -> str:
    """The ref of a record to be, with its key: a row is never there without it. Where no row
    follows, a key is left that seals nothing.
    """
    ref = str(TypeID(prefix="csub"))
    parts.keys.create(ref)
    failpoint("consents.after_key")
    return ref


def _lead_to(
    tx: Transaction, ref: str, *, leads: Iterable[Lead], asked: Mapping[Digest, Identifier]
) -> None:
    """Every given identifier leads to the record from now on, by its newest digest."""
    there = {asked[lead.digest] for lead in leads if lead.ref == ref}
    newest: dict[Identifier, Digest] = {}
    for digest, identifier in asked.items():
        newest.setdefault(identifier, digest)
    store.lead(tx, ref, [(d, i.kind.value) for i, d in newest.items() if i not in there])


def _signalled(
    tx: Transaction,
    said: Said,
    *,
    ref: str,
    leads: Iterable[Lead],
    asked: Mapping[Digest, Identifier],
) -> Iterator[tuple[str, Said]]:
    """The opt-outs of a signal: one for whoever was named, and one for each other record that this
    browser leads to and that has not opted out (11 CCR 7025(c)(1): any profile associated with
    it). The others' hold the browser's identifiers alone: no record names another's user.
    """
    if not said.gpc:
        return
    yield ref, opt_out_of(said, subject=said.subject)
    browsers: dict[str, dict[Identifier, None]] = {}
    for lead in leads:
        browsers.setdefault(lead.ref, {})[asked[lead.digest]] = None
    for other, identifiers in browsers.items():
        if other != ref and not _has_opted_out(tx, other):
            yield other, opt_out_of(said, subject=Named(anon_ids=tuple(identifiers)))


def _has_opted_out(tx: Transaction, ref: str) -> bool:
    found = store.in_force_of(tx, ref, purpose=SALE_SHARING)
    return any(c.state is not ConsentState.GIVEN for c in found)


def _append(
    actor: Actor, tx: Transaction, *, parts: Parts, ref: str, said: Said, at: datetime
) -> Consent:
    consent_id = str(TypeID(prefix="con"))
    document = canonical_bytes(document_of(said, consent_id, at))
    salt = secrets.token_bytes(_SALT_BYTES)
    opened = msgspec.json.encode(Opened(document.decode(), salt.hex()))
    store.append(
        tx,
        {
            "id": consent_id,
            "ref": ref,
            "purpose": said.purpose,
            "state": said.state.value,
            "policy_version": said.policy_version,
            "source": said.source,
            "gpc": said.gpc,
            "at": at,
            "recorded_by": actor.id,
            "sealed_evidence": parts.keys.seal(ref, opened, aad=_row(consent_id)),
            "proof": hmac.new(salt, document, hashlib.sha256).hexdigest(),
        },
    )
    failpoint("consents.before_entry")
    commitments = parts.keys.commitments(ref)
    entries.record(
        actor,
        tx,
        verb="consent.recorded",
        about=consent_id,
        state=said.state.value,
        gpc=said.gpc,
        identifiers=dict(Counter(i.kind.value for i in said.subject.leading)),
        commitments=sorted(commitments.of(i) for i in said.subject.leading),
    )
    return store.get(tx, consent_id)


def _row(consent_id: str) -> str:
    return f"consent/sealed_evidence/{consent_id}"
