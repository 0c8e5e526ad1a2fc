"""Cases for tests: people, keys that act, and scopes without a lake.

Not here: a lake (dsar_lakes), what is expected of cases (the tests).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import psycopg

from app.domain.actors import Actor, ActorKind, Scope
from app.domain.datasets import DataMap
from app.domain.dsars import DsarType, Move, Regulation, RequesterKind
from app.domain.identifiers import Identifier, Identity, Kind, Shared
from app.domain.plans import DatasetPlan, Plan
from app.lake.datamap import map_text, parse_map
from app.services import decisions, dsars, scopes
from app.services.decisions import Approval
from app.services.dsars import Asked, Submitted
from app.services.parts import Parts
from app.services.scopes import Look
from app.store import dsars as store
from app.store.dsars import Dsar

ALL = frozenset(Scope)
ASKER = Actor("key_asker", ActorKind.PERSONAL, ALL)
OFFICER = Actor("key_officer", ActorKind.PERSONAL, ALL)
SERVICE = Actor("key_service", ActorKind.SERVICE, ALL)

USER = "usr_0CANARY0000000000000000001"
ANON = "a_CANARY0000000000000002"
DEVICE = "fp_canary0000000000000000000000003"
LINKED = "a_CANARY0000000000000004"
SHARED = "fp_canary0000000000000000000000005"
DERIVED = "s_0CANARY00000000000000000006"
NOTE = "She wrote: CANARY seven"
REF = "ticket CANARY eight"
REASON = "because of CANARY nine"
PERSONAL = (USER, ANON, DEVICE, LINKED, SHARED, DERIVED, NOTE, REF, REASON)

ASKED = Asked(
    type=DsarType.ERASURE,
    regulation=Regulation.GDPR,
    requester_kind=RequesterKind.SELF,
    user_id=USER,
    anon_ids=(ANON,),
    device_fps=(DEVICE,),
    note=NOTE,
    external_ref=REF,
)


def default_map() -> DataMap:
    """The default data map, of a lake that is not there."""
    text = map_text(root="file:///nowhere/")
    return parse_map(text, source="lake.yaml", environment={"CLEARLAKE_CATALOG_URI": "sqlite://"})


MAP = default_map()
LOOK = Look(
    "f" * 64,
    Plan(
        digest="",
        subjects=(),
        datasets=(
            DatasetPlan("bronze", "raw_events", "delete", 3, 4, 1_000_000_000, None, 0),
            DatasetPlan("silver", "events", "delete", 2, 2, 100_000_000, 1500, 7),
        ),
        undo_window_seconds=86400,
        undecided=0,
    ),
)


def submit(parts: Parts, asked: Asked = ASKED, *, actor: Actor = ASKER) -> Submitted:
    with parts.database.transaction() as tx:
        return dsars.submit(actor, tx, parts=parts, asked=asked)


def identity(dsar_id: str, *, users: int = 9, decision: str = "review") -> Identity:
    """Somebody with a linked value and a shared one. More than five users: a person decides."""
    given = frozenset(
        {
            Identifier(Kind.USER_ID, USER),
            Identifier(Kind.ANON_ID, ANON),
            Identifier(Kind.DEVICE_FP, DEVICE),
        }
    )
    shared = Identifier(Kind.DEVICE_FP, SHARED)
    return Identity(
        subject=dsar_id,
        given=given,
        linked=frozenset({Identifier(Kind.ANON_ID, LINKED), shared}),
        derived=frozenset({Identifier(Kind.DERIVED, DERIVED)}),
        shared=(Shared(shared, users, decision),),
        sources=("events: 2 linked values",),
    )


def put_scope(parts: Parts, found: Identity, *, data_map: DataMap = MAP) -> Dsar:
    """What SCOPE records of a case."""
    with parts.database.transaction() as tx:
        return scopes.store_scope(
            ASKER,
            tx,
            parts=parts,
            data_map=data_map,
            identity=found,
            look=LOOK,
            move=Move.SCOPE,
            verb="dsar.scoped",
        )


def scoped(parts: Parts, asked: Asked = ASKED, *, users: int = 9) -> Dsar:
    """A case that awaits approval."""
    case = submit(parts, asked).dsar
    return put_scope(parts, identity(case.id, users=users))


def digest_of(parts: Parts, dsar_id: str) -> str:
    with parts.database.transaction() as tx:
        row = store.scope_of(tx, dsar_id)
    assert row is not None
    return row.digest


def approve(
    parts: Parts,
    case: Dsar,
    *,
    actor: Actor = OFFICER,
    review: str | None = "tombstone",
    digest: str | None = None,
) -> Dsar:
    approval = Approval(digest or digest_of(parts, case.id), review, REASON)
    with parts.database.transaction() as tx:
        return decisions.approve(actor, tx, parts=parts, dsar_id=case.id, approval=approval)


def get(parts: Parts, dsar_id: str) -> Dsar:
    with parts.database.transaction() as tx:
        return store.get(tx, dsar_id)


def moved(parts: Parts, dsar_id: str, *moves: Move) -> Dsar:
    """A case after moves of the service."""
    with parts.database.transaction() as tx:
        for move in moves:
            dsars.move(ASKER, tx, dsar_id, move, verb=f"dsar.{move.value}")
        return store.get(tx, dsar_id)


@dataclass(frozen=True)
class Dumped:
    """Everything the service's database holds, as text."""

    rows: dict[str, list[str]]

    @property
    def text(self) -> str:
        return "\n".join(line for lines in self.rows.values() for line in lines)

    def found(self, values: Iterable[str]) -> list[str]:
        """Which of these values stand in it: plain, or as the bytes that a bytea is printed as."""
        text = self.text
        return [v for v in values if v in text or v.encode().hex() in text]


def dumped(url: str) -> Dumped:
    """Every row of every table of the service, each as Postgres prints it."""
    rows: dict[str, list[str]] = {}
    with psycopg.connect(url.replace("+psycopg", "", 1)) as link:
        tables = link.execute(
            "select tablename from pg_tables where schemaname = 'clearlake'"
        ).fetchall()
        for (table,) in tables:
            found = link.execute(f'select t::text from clearlake."{table}" t').fetchall()
            rows[table] = [line for (line,) in found]
    return Dumped(rows)


def somebody(number: int) -> Asked:
    """Another person than ASKED."""
    return replace(
        ASKED,
        user_id=f"usr_0SOMEBODY{number:017}",
        anon_ids=(),
        device_fps=(),
        note=None,
        external_ref=None,
    )


def entries_of(parts: Parts, dsar_id: str) -> list[tuple[str, str]]:
    """Verb and facts of each entry about a case."""
    from app.store import audit

    with parts.database.transaction() as tx:
        return [(e.verb, e.facts) for e in audit.of_objects(tx, [dsar_id])]


LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
