"""What a database says of itself and of the role that asks: facts for `clearlake doctor`.

Not here: what they should be (app.doctor.database). Reads only, one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import InterfaceError, OperationalError

from app.domain.errors import AccessDeniedError, DatabaseUnavailableError
from app.store.migrate import revisions, url_of
from app.store.rights import RIGHTS
from app.store.tables import APPEND_ONLY, SCHEMA

_EVERY = ("select", "insert", "update", "delete", "truncate", "references", "trigger")


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """One look at a database, as the service's role."""

    version: int
    """130005 is 13.5."""
    revision: str | None
    """None: no table of ours, or none that the role may read."""
    head: str
    """The revision of this code."""
    powerful: bool
    """Superuser, or may make roles or databases, replicate, go around row security."""
    owns: bool
    too_much: tuple[str, ...]
    """`table: right` that the role has and should not."""
    too_little: tuple[str, ...]
    unguarded: tuple[str, ...]
    """Append-only tables without their trigger."""
    now: datetime
    settings: Mapping[str, str]
    connections_left: int


def look(url: str) -> DatabaseFacts:
    """Log in with a URL and look. DatabaseUnavailableError, AccessDeniedError; neither shows it."""
    engine = create_engine(
        url_of(url, name="CLEARLAKE_DATABASE_URL"),
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={"connect_timeout": 5},
    )
    try:
        with engine.connect() as connection:
            return _facts(connection)
    except (OperationalError, InterfaceError) as err:
        # libpq tells a refused login in words alone
        if "authentication failed" in str(err.orig) or "no pg_hba.conf entry" in str(err.orig):
            raise AccessDeniedError("The database refuses the login of the service.") from None
        raise DatabaseUnavailableError("The database does not answer now.") from None
    finally:
        engine.dispose()


def _facts(connection: Connection) -> DatabaseFacts:
    role = connection.execute(text(_ROLE), {"schema": SCHEMA}).one()
    there = set(connection.scalars(text(_TABLES), {"schema": SCHEMA}))
    held = {table: _held(connection, table) if table in there else set() for table in RIGHTS}
    declared = {table: set(RIGHTS[table]) for table in held}
    settings = connection.execute(text(_SETTINGS)).all()
    return DatabaseFacts(
        version=int(role.version),
        revision=_revision(connection) if "select" in held["alembic_version"] else None,
        head=ScriptDirectory.from_config(revisions()).get_current_head() or "",
        powerful=bool(role.powerful),
        owns=bool(role.owns),
        too_much=_pairs({t: held[t] - declared[t] for t in held}),
        too_little=_pairs({t: declared[t] - held[t] for t in held}),
        unguarded=_unguarded(connection),
        now=role.now,
        settings={name: value for name, value in settings},  # noqa: C416 - rows, not tuples
        connections_left=int(connection.scalar(text(_LEFT)) or 0),
    )


_ROLE = """
select current_setting('server_version_num')::int as version, clock_timestamp() as now,
       rolsuper or rolcreatedb or rolcreaterole or rolbypassrls or rolreplication as powerful,
       coalesce((select pg_has_role(r.oid, n.nspowner, 'member') from pg_namespace n
                 where n.nspname = :schema), false) as owns
from pg_roles r where rolname = current_user
"""
_TABLES = "select tablename from pg_tables where schemaname = :schema"
_SETTINGS = """
select name, setting from pg_settings
where name in ('fsync', 'synchronous_commit', 'full_page_writes')
"""
_LEFT = """
select least(
  current_setting('max_connections')::int
    - current_setting('superuser_reserved_connections')::int
    - (select count(*) from pg_stat_activity where backend_type = 'client backend'),
  (select case when rolconnlimit < 0 then 1000000 else rolconnlimit end
     - (select count(*) from pg_stat_activity where usename = current_user)
   from pg_roles where rolname = current_user))
"""
_GUARDED = """
select c.relname from pg_trigger t join pg_class c on c.oid = t.tgrelid
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = :schema and t.tgname = 'append_only' and t.tgenabled = 'A'
"""


def _held(connection: Connection, table: str) -> set[str]:
    usable = text("select has_schema_privilege(cast(:name as text), 'usage')")
    if not connection.scalar(usable, {"name": SCHEMA}):
        return set()
    asked = text("select has_table_privilege(cast(:name as text), cast(:held as text))")
    where = {"name": f"{SCHEMA}.{table}"}
    return {held for held in _EVERY if connection.scalar(asked, {**where, "held": held})}


def _revision(connection: Connection) -> str | None:
    found = connection.scalar(text(f"select version_num from {SCHEMA}.alembic_version"))
    return str(found) if found is not None else None


def _unguarded(connection: Connection) -> tuple[str, ...]:
    guarded = set(connection.scalars(text(_GUARDED), {"schema": SCHEMA}))
    return tuple(sorted(table.name for table in APPEND_ONLY if table.name not in guarded))


def _pairs(rights: Mapping[str, set[str]]) -> tuple[str, ...]:
    return tuple(f"{table}: {right}" for table in sorted(rights) for right in sorted(rights[table]))
