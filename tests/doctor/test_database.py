"""A database that would lose a case, or lets the service do too much, is seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url

from app.doctor.database import CHECKS, Answering, examine_database
from app.doctor.results import Outcome, Probed
from app.store.probe import look
from tests.doctor.conftest import failing

DURABLE = {"durable"}
"""The server of the tests is told to hurry (tests/conftest.py): this check must see it."""


def _now() -> datetime:
    return datetime.now(UTC)


def _look(url: str) -> list[Probed]:
    return list(examine_database(url, now=_now))


@contextmanager
def _owner(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as link:
        yield link


def test_the_services_database_passes_but_for_the_hurry_of_the_tests(database_url: str) -> None:
    found = _look(database_url)
    assert len(found) == 1 + len(CHECKS)
    assert failing(found) == DURABLE
    assert any("fsync" in p.saw for p in found)


def test_the_owner_as_the_services_role_fails(owner_database_url: str) -> None:
    found = _look(owner_database_url)
    assert failing(found) == DURABLE | {"role", "rights"}
    assert any("audit_entry" in p.saw or "more" in p.saw for p in found)


def test_a_database_that_nobody_migrated_fails(empty_database_url: str) -> None:
    assert {"migrated", "rights", "append_only"} <= failing(_look(empty_database_url))


def test_another_revision_fails(database_url: str, owner_database_url: str) -> None:
    with _owner(owner_database_url) as link:
        link.execute("update clearlake.alembic_version set version_num = 'of-another-time'")
    found = _look(database_url)
    assert failing(found) == DURABLE | {"migrated"}
    assert any("of-another-time" in p.saw for p in found)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("grant delete on clearlake.audit_entry to clearlake_service", "Too much: audit_entry"),
        ("grant update on clearlake.consent to clearlake_service", "Too much: consent: update"),
        ("revoke insert on clearlake.dsar from clearlake_service", "Missing: dsar: insert"),
    ],
)
def test_a_right_too_much_or_too_little_fails(
    change: str, words: str, database_url: str, owner_database_url: str
) -> None:
    with _owner(owner_database_url) as link:
        link.execute(change.encode())
    found = _look(database_url)
    assert failing(found) == DURABLE | {"rights"}
    assert any(words in p.saw for p in found)


def test_a_schema_that_the_role_may_not_look_into_fails(
    database_url: str, owner_database_url: str
) -> None:
    with _owner(owner_database_url) as link:
        link.execute("revoke usage on schema clearlake from clearlake_service")
    assert {"migrated", "rights"} <= failing(_look(database_url))


def test_history_without_its_trigger_fails(database_url: str, owner_database_url: str) -> None:
    with _owner(owner_database_url) as link:
        link.execute("alter table clearlake.audit_entry disable trigger append_only")
    found = _look(database_url)
    assert failing(found) == DURABLE | {"append_only"}
    assert any("audit_entry" in p.saw for p in found)


def test_a_role_with_few_connections_fails(owner_database_url: str) -> None:
    name = f"few_{uuid4().hex[:12]}"
    with _owner(owner_database_url) as link:
        link.execute(
            f"create role {name} login password 'known' connection limit 14 "
            "in role clearlake_service".encode()
        )
        login = make_url(owner_database_url).set(username=name, password="known")
        found = _look(login.render_as_string(hide_password=False))
        link.execute(f"drop role {name}".encode())
    assert failing(found) == DURABLE | {"connections"}


def test_a_clock_a_day_off_and_an_old_server_fail(database_url: str) -> None:
    facts = look(database_url)
    off = Answering(facts, _now() + timedelta(days=1))
    assert dict(CHECKS)["clock"](off).outcome is Outcome.FAIL
    old = Answering(replace(facts, version=140011), _now())
    assert dict(CHECKS)["version"](old).outcome is Outcome.FAIL


def test_a_database_that_is_away_is_unreachable_and_one_that_refuses_us_fails(
    database_url: str,
) -> None:
    (away,) = _look("postgresql+psycopg://who:secret@127.0.0.1:1/none")
    assert away.outcome is Outcome.UNREACHABLE
    wrong = make_url(database_url).set(password="wrong-one")
    (refused,) = _look(wrong.render_as_string(hide_password=False))
    assert refused.outcome is Outcome.FAIL
    assert "secret" not in repr(away)
    assert "wrong-one" not in repr(refused)
