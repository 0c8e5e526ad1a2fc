"""The database itself holds what the service may do: RIGHTS and no more, and history stays."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import make_url

from app.domain.errors import SettingsError
from app.store.migrate import migrate
from app.store.rights import GROUP, RIGHTS
from app.store.tables import APPEND_ONLY, metadata
from tests.store.conftest import plain

APPENDED = [table.name for table in APPEND_ONLY]
CHANGES = {
    "update": "update clearlake.{} set {} = {}",
    "delete": "delete from clearlake.{}",
    "truncate": "truncate clearlake.{} cascade",
}


@pytest.fixture
def service(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(plain(database_url), autocommit=True) as link:
        yield link


@pytest.fixture
def owner(owner_database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(plain(owner_database_url), autocommit=True) as link:
        yield link


def change(table: str, what: str) -> bytes:
    column = metadata.tables[f"clearlake.{table}"].columns.keys()[0]
    return CHANGES[what].format(table, column, column).encode()


def test_every_table_has_a_row_of_rights() -> None:
    named = {table.name for table in metadata.tables.values()} | {"alembic_version"}
    assert set(RIGHTS) == named


def test_append_only_tables_are_only_added_to() -> None:
    assert {name: set(RIGHTS[name]) for name in APPENDED} == {
        name: {"select", "insert"} for name in APPENDED
    }


def test_the_service_may_do_exactly_what_is_declared(service: psycopg.Connection) -> None:
    every = ("select", "insert", "update", "delete", "truncate", "references", "trigger")
    asked = "select has_table_privilege(%s, %s)"
    for table, declared in RIGHTS.items():
        may = {
            right
            for right in every
            if service.execute(asked, (f"clearlake.{table}", right)).fetchone() == (True,)
        }
        assert may == set(declared), table


@pytest.mark.parametrize("what", sorted(CHANGES))
def test_nobody_changes_history(
    what: str, service: psycopg.Connection, owner: psycopg.Connection
) -> None:
    for table in APPENDED:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            service.execute(change(table, what))
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            owner.execute(change(table, what))


def test_not_even_where_ordinary_triggers_are_switched_off(owner: psycopg.Connection) -> None:
    owner.execute("set session_replication_role = replica")
    for table in APPENDED:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
            owner.execute(change(table, "delete"))


HOUSE = (
    "create table clearlake.mine (one int)",
    "create table public.mine (one int)",
    "create schema mine",
    "create role mine",
    "alter table clearlake.audit_entry disable trigger append_only",
    "drop trigger append_only on clearlake.audit_entry",
    "drop function clearlake.refuse_change() cascade",
    "alter table clearlake.dsar add column mine int",
    "drop table clearlake.idempotency",
    "update clearlake.alembic_version set version_num = 'mine'",
    "reassign owned by clearlake to current_user",
    "set session_replication_role = replica",
)


def test_the_service_changes_nothing_of_the_house_itself(service: psycopg.Connection) -> None:
    for act in HOUSE:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            service.execute(act.encode())


def test_the_login_is_made_with_a_scram_password_and_no_powers(
    empty_database_url: str, service_login: str
) -> None:
    migrate(empty_database_url, service_login)
    name = make_url(service_login).username
    with psycopg.connect(plain(empty_database_url)) as link:
        row = link.execute(
            "select left(rolpassword, 14), rolsuper, rolcreatedb, rolcreaterole, rolreplication, "
            "rolbypassrls, rolcanlogin from pg_authid where rolname = %s",
            (name,),
        ).fetchone()
        group = link.execute("select rolcanlogin from pg_roles where rolname = %s", (GROUP,))
        assert row == ("SCRAM-SHA-256$", False, False, False, False, False, True)
        assert group.fetchone() == (False,)


def test_a_login_that_may_too_much_is_refused(empty_database_url: str, service_login: str) -> None:
    login = make_url(service_login)
    with psycopg.connect(plain(empty_database_url), autocommit=True) as link:
        link.execute(f"create role \"{login.username}\" login createrole password 'known'".encode())
    with pytest.raises(SettingsError, match="CLEARLAKE_DATABASE_URL"):
        migrate(empty_database_url, service_login)
    with pytest.raises(SettingsError, match="names the owner"):
        migrate(empty_database_url, empty_database_url)


def test_a_login_made_by_others_is_let_in_and_a_wrong_password_is_found_now(
    empty_database_url: str, service_login: str
) -> None:
    login = make_url(service_login)
    with psycopg.connect(plain(empty_database_url), autocommit=True) as link:
        link.execute(f"create role \"{login.username}\" login password 'known'".encode())
    with pytest.raises(SettingsError, match="cannot log in"):
        migrate(empty_database_url, service_login)
    right = login.set(password="known").render_as_string(hide_password=False)
    assert migrate(empty_database_url, right)


def test_an_owner_that_may_not_make_roles_says_so(
    empty_database_url: str, service_login: str
) -> None:
    weak = make_url(empty_database_url).set(username="weak_owner", password="weak")
    with psycopg.connect(plain(empty_database_url), autocommit=True) as link:
        link.execute("create role weak_owner login password 'weak'")
        link.execute(f'grant create on database "{weak.database}" to weak_owner'.encode())
        try:
            with pytest.raises(SettingsError, match="may not make roles"):
                migrate(weak.render_as_string(hide_password=False), service_login)
        finally:
            link.execute("drop owned by weak_owner")
            link.execute("drop role weak_owner")
