"""People, what they say of a purpose, and how the tests of consents record and count it."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, select

from app.domain.actors import WORKER, Actor, ActorKind, Scope
from app.domain.consents import ConsentState, Said, named
from app.domain.identifiers import Identifier, Kind
from app.services import consents
from app.services.consents import Recorded
from app.services.parts import Parts

GIVEN, REFUSED, WITHDRAWN = ConsentState
OFFICER = Actor("key_officer", ActorKind.PERSONAL, frozenset({Scope.SUBJECT_READ}))
U1, U2 = "usr_CANARY_one", "usr_CANARY_two"
A1, A2 = "anon_CANARY_one", "anon_CANARY_two"
D1 = "fp_CANARY_one"
HOUR = timedelta(hours=1)


def said(
    user: str | None = None,
    *anons: str,
    purpose: str = "newsletter",
    state: ConsentState = GIVEN,
    gpc: bool = False,
    at: datetime | None = None,
    devices: tuple[str, ...] = (),
) -> Said:
    subject = named(user_id=user, anon_ids=anons, device_fps=devices)
    evidence = {"form": "CANARY form 7"}
    return Said(subject, purpose, state, "2026-11", "web_banner", evidence, at, gpc)


def record(parts: Parts, what: Said) -> Recorded:
    with parts.database.transaction() as tx:
        return consents.record(WORKER, tx, parts=parts, said=what)


def ids(*values: str) -> list[Identifier]:
    kinds = {"usr": Kind.USER_ID, "anon": Kind.ANON_ID, "fp": Kind.DEVICE_FP}
    return [Identifier(kinds[value.partition("_")[0]], value) for value in values]


def erase(parts: Parts, *values: str) -> list[str]:
    with parts.database.transaction() as tx:
        return consents.erase_subject(WORKER, tx, parts=parts, identifiers=ids(*values))


def state_of(
    parts: Parts, who: str, purpose: str = "newsletter", at: datetime | None = None
) -> ConsentState | None:
    with parts.database.transaction() as tx:
        found = consents.in_force(WORKER, tx, parts=parts, who=ids(who)[0], purpose=purpose, at=at)
    return found[0].state if found else None


def count(parts: Parts, table: object) -> int:
    with parts.database.transaction() as tx:
        return int(tx.run(select(func.count()).select_from(table)).scalar_one())  # type: ignore[arg-type]  # any of our tables


def now(parts: Parts) -> datetime:
    with parts.database.transaction() as tx:
        return tx.now()
