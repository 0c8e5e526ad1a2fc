"""What the service's role may do in the database: declared here, put in place by every migration.

Not here: what an API key may do (app.domain.actors).

1. A group role without a login holds the rights; the service logs in as a member of it.
2. Every table has a row in RIGHTS. What has none, the service cannot read.
3. Tables of app.store.tables.APPEND_ONLY refuse change by trigger, to their owner too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from app.domain.errors import SettingsError
from app.domain.failpoints import failpoint
from app.store.hold_tables import hold, hold_digest, identity_digest
from app.store.tables import APPEND_ONLY, SCHEMA

GROUP = "clearlake_service"
READ = ("select",)
ADD = (*READ, "insert")
CHANGE = (*ADD, "update")
REMOVE = (*ADD, "delete")
EVERYTHING = (*CHANGE, "delete")

RIGHTS: Mapping[str, tuple[str, ...]] = {
    "api_key": CHANGE,
    "idempotency": REMOVE,
    "dsar": CHANGE,
    "dsar_digest": REMOVE,
    "scope": EVERYTHING,
    identity_digest.name: REMOVE,
    hold.name: CHANGE,
    hold_digest.name: REMOVE,
    "run": CHANGE,
    "run_dsar": EVERYTHING,
    "run_fact": CHANGE,
    "run_document": EVERYTHING,
    "work": EVERYTHING,
    "step": EVERYTHING,
    "finding": ADD,
    "report": ADD,
    "suppression": EVERYTHING,
    "sweep_mark": CHANGE,
    "consent_subject": CHANGE,
    "consent_digest": REMOVE,
    "consent": ADD,
    "audit_entry": ADD,
    "schedule": CHANGE,
    "alembic_version": READ,
}

_REFUSE = f"""
create or replace function {SCHEMA}.refuse_change() returns trigger
language plpgsql set search_path = pg_catalog as $$
begin
  raise exception '% is append-only: % refused', tg_table_name, lower(tg_op)
    using errcode = 'insufficient_privilege';
end
$$
"""
_ROLE_EXISTS = ("42710", "23505")
_NOT_ALLOWED = "42501"


def apply(connection: Connection) -> None:
    """Put the rights and the triggers in place, in the caller's transaction. A repeat changes
    nothing.
    """
    _make_role(connection, f'create role "{GROUP}" nologin')

    def run(statement: str) -> None:
        _run(connection, statement)

    run(f"revoke all on schema {SCHEMA} from public")
    run(f'grant usage on schema {SCHEMA} to "{GROUP}"')
    there = set(connection.scalars(text(_TABLES), {"schema": SCHEMA}))
    for table in sorted(there):
        run(f'revoke all on {SCHEMA}."{table}" from public, "{GROUP}"')
        if table in RIGHTS:
            run(f'grant {", ".join(RIGHTS[table])} on {SCHEMA}."{table}" to "{GROUP}"')
    run(_REFUSE)
    for table in APPEND_ONLY:
        # always: also where replication, or a restore, switches ordinary triggers off
        run(
            f"create or replace trigger append_only before update or delete or truncate on {table}"
            f" for each statement execute function {SCHEMA}.refuse_change()"
        )
        run(f"alter table {table} enable always trigger append_only")
    failpoint("rights.applied")


_TABLES = "select tablename from pg_tables where schemaname = :schema"


def admit(connection: Connection, login: URL) -> None:
    """Make the login role of a URL if it is missing, and a member of the group.

    SettingsError when the role is there and may do more than the service should.
    """
    name = _name_of(login)
    _make_role(connection, f"create role {name} login password {_verifier(connection, login)}")
    row = connection.execute(text(_TOO_MUCH), {"name": login.username, "schema": SCHEMA}).one()
    if row.powerful or row.owns:
        raise SettingsError(
            "CLEARLAKE_DATABASE_URL: its role is a superuser, may make roles or databases, or owns "
            "the tables. Expected a role of its own; name a new one and it is made."
        )
    if not row.member:
        _run(connection, f'grant "{GROUP}" to {name}')
    failpoint("rights.admitted")


_TOO_MUCH = """
select r.rolsuper or r.rolcreatedb or r.rolcreaterole or r.rolbypassrls or r.rolreplication
         as powerful,
       pg_has_role(r.oid, n.nspowner, 'member') as owns,
       exists (select from pg_auth_members m join pg_roles g on g.oid = m.roleid
               where m.member = r.oid and g.rolname = 'clearlake_service') as member
from pg_roles r, pg_namespace n where r.rolname = :name and n.nspname = :schema
"""


def open_catalog(connection: Connection, login: URL) -> None:
    """A role for the lake's SQL catalog beside us: it may make tables in `public`, nothing else."""
    name = _name_of(login)
    _make_role(connection, f"create role {name} login password {_verifier(connection, login)}")
    _run(connection, f"grant usage, create on schema public to {name}")


def _make_role(connection: Connection, statement: str) -> None:
    """Roles belong to the whole cluster: another database's migration may be a moment ahead."""
    try:
        with connection.begin_nested():
            _run(connection, statement)
    except DBAPIError as err:
        state = getattr(err.orig, "sqlstate", None)
        if state in _ROLE_EXISTS:
            return
        if isinstance(err, ProgrammingError) and state == _NOT_ALLOWED:
            raise SettingsError(
                "CLEARLAKE_OWNER_DATABASE_URL: this role may not make roles. Give it createrole, "
                "or have the two roles of docs/operations.md made for you."
            ) from None  # the statement holds a password's verifier
        raise


def _run(connection: Connection, statement: str) -> None:
    """As it stands: a `%` in it is no placeholder."""
    connection.exec_driver_sql(statement.replace("%", "%%"))


def _name_of(login: URL) -> str:
    if not login.username or not login.password:
        raise SettingsError("CLEARLAKE_DATABASE_URL: expected a user and a password in it.")
    quoted = login.username.replace('"', '""')
    return f'"{quoted}"'


def _verifier(connection: Connection, login: URL) -> str:
    """The password as the server keeps it (SCRAM): the password itself never travels or is logged.

    SettingsError when it is missing.
    """
    driver: Any = connection.connection.driver_connection
    made: bytes = driver.pgconn.encrypt_password(
        str(login.password).encode(), str(login.username).encode(), b"scram-sha-256"
    )
    return f"'{made.decode()}'"
