"""After the end of a case the database holds nothing of the person but keyed digests."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
from collections.abc import Iterator

import psycopg
import pytest

from app.domain.identifiers import Identifier, Kind
from app.domain.receipts import ObjectWork
from app.domain.steps import StepKind
from app.services import endings
from app.services.journal import LedgerJournal
from app.services.parts import Parts
from tests.services.dsar_cases import (
    ANON,
    PERSONAL,
    USER,
    identity,
)
from tests.services.erased import (
    NO_WAIT,
    act,
    end_run,
    finish,
    queued,
    started,
    suppress,
    with_rules,
)

_TEXT = re.compile(r"[A-Za-z0-9+/=_-]{8,}")


@pytest.fixture
def at_once(parts: Parts) -> Parts:
    """No writer outlives a run here, and keys go with the close."""
    return with_rules(parts, max_writer_lifetime=NO_WAIT, shred_after=NO_WAIT)


# --- what is left --------------------------------------------------------------------------------


def cells(url: str) -> Iterator[tuple[str, bytes]]:
    """Every cell of the service's tables, as text or bytes, and what it decodes to."""
    with psycopg.connect(url.replace("+psycopg", "", 1)) as link:
        tables = link.execute(
            "select tablename from pg_tables where schemaname = 'clearlake'"
        ).fetchall()
        for (table,) in tables:
            for row in link.execute(f'select * from clearlake."{table}"').fetchall():
                for cell in row:
                    yield from ((table, raw) for raw in decoded(cell))


def decoded(cell: object) -> Iterator[bytes]:
    if isinstance(cell, bytes):
        yield cell
        return
    text = str(cell)
    yield text.encode()
    for found in _TEXT.findall(text):
        with contextlib.suppress(ValueError):
            yield bytes.fromhex(found)
        with contextlib.suppress(ValueError):
            yield base64.urlsafe_b64decode(found.replace("+", "-").replace("/", "_") + "===")


def traces(value: str) -> set[bytes]:
    """The value, and what anybody can make of it who guesses it."""
    raw = value.encode()
    return {raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"=")} | {
        form
        for name in ("md5", "sha1", "sha256", "sha512", "blake2b")
        for digest in (hashlib.new(name, raw),)
        for form in (digest.digest(), digest.hexdigest().encode())
    }


def test_after_the_end_the_database_holds_nothing_of_the_person_but_keyed_digests(
    at_once: Parts, database_url: str
) -> None:
    soon = with_rules(at_once, retain=NO_WAIT)
    case = queued(soon)
    run_id = started(soon)
    person = identity(case.id, users=2, decision="tombstone")
    suppress(soon, run_id, person)
    journal = LedgerJournal.of(soon, run_id, guard=lambda _: None)
    journal.put_document("identities", [person])
    journal.put_works("raw", [ObjectWork(uri=f"s3://lake/raw/{USER}.ndjson")])
    finish(soon, run_id, case.id)
    end_run(soon, run_id)
    act(soon, StepKind.SHRED, endings.shred, case.id)
    act(soon, StepKind.SHRED, endings.shred, run_id)
    with soon.database.transaction() as tx:
        endings.forget_due(tx, soon)
    every = list(cells(database_url))
    sought = {trace for value in PERSONAL for trace in traces(value)}
    assert [table for table, raw in every if any(s in raw for s in sought)] == []
    assert {table for table, _ in every} >= {"dsar", "audit_entry", "suppression", "run", "step"}
    digests = {
        d.digest.encode()
        for i in (Identifier(Kind.USER_ID, USER), Identifier(Kind.ANON_ID, ANON))
        for d in soon.keys.digester().all_of(i)
    }
    assert {table for table, raw in every if raw in digests} == {"suppression"}


def test_nothing_sealed_is_left_that_a_key_could_open(at_once: Parts, database_url: str) -> None:
    """Of a case and a run after their end, and after the end of what is kept."""
    soon = with_rules(at_once, retain=NO_WAIT)
    case = queued(soon)
    run_id = started(soon)
    finish(soon, run_id, case.id)
    end_run(soon, run_id)
    act(soon, StepKind.SHRED, endings.shred, case.id)
    act(soon, StepKind.SHRED, endings.shred, run_id)
    with soon.database.transaction() as tx:
        endings.forget_due(tx, soon)
    with psycopg.connect(database_url.replace("+psycopg", "", 1)) as link:
        columns = link.execute(
            "select table_name, column_name from information_schema.columns"
            " where table_schema = 'clearlake' and column_name like 'sealed%'"
        ).fetchall()
        assert len(columns) >= 8
        for table, column in columns:
            query = f'select count(*) from clearlake."{table}" where "{column}" is not null'
            assert link.execute(query).fetchone() == (0,), (table, column)
