"""How Alembic reaches the database: one at a time, never waiting long for a table's lock.

Not here: roles and rights (app.store.rights); they are applied after every migration.
"""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import Connection, create_engine, pool, text
from sqlalchemy.sql.schema import SchemaItem

from app.store.tables import SCHEMA, metadata

ONE_AT_A_TIME = 4815162341
"""The advisory lock that every migration holds until it is committed."""


def only_ours(item: SchemaItem, name: str | None, kind: str, _found: bool, _other: object) -> bool:
    """The lake's catalog may live in the same database: schemas of others are not compared."""
    return kind != "table" or getattr(item, "schema", None) == SCHEMA


def migrate(connection: Connection) -> None:
    # the lock before the timeout: whoever comes second waits for the first, and finds it done
    connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": ONE_AT_A_TIME})
    connection.execute(text("set local lock_timeout = '5s'"))
    connection.execute(text(f"create schema if not exists {SCHEMA}"))
    # an owner named `clearlake` has our schema as its default: compared, it would be left unsaid
    connection.execute(text("set local search_path = public"))
    connection.dialect.default_schema_name = "public"
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table_schema=SCHEMA,
        include_schemas=True,
        include_object=only_ours,
        compare_server_default=True,
    )
    context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:  # `alembic revision --autogenerate`, at a developer's desk
    engine = create_engine(os.environ["CLEARLAKE_OWNER_DATABASE_URL"], poolclass=pool.NullPool)
    with engine.begin() as opened:
        migrate(opened)
