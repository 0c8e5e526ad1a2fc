"""`clearlake migrate`: brings the database to this version of the code, as its owner.

Not here: what a version is (migrations/), and who may do what (rights).

1. Take the lock that every migration takes: two at once follow each other.
2. Run the revisions that are missing. 3. Put rights, triggers and the service's login in place.
4. All of it is one transaction: after a crash nothing of it happened.
5. Log in as the service, to find a wrong password now and not at the first request.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Engine, NullPool, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from app.domain.errors import DatabaseUnavailableError, SettingsError
from app.domain.failpoints import failpoint
from app.store import rights
from app.store.tables import SCHEMA

_LOCK_TIMEOUT = "55P03"


def migrate(owner_url: str, service_url: str) -> str:
    """Migrate the owner's database and let the service in; the revision it is at now.

    SettingsError names a URL that cannot be used. DatabaseUnavailableError when the server is
    away, or somebody else holds a table for longer than five seconds.
    """
    owner = _engine(owner_url, name="CLEARLAKE_OWNER_DATABASE_URL")
    service = url_of(service_url, name="CLEARLAKE_DATABASE_URL")
    if owner.url.username == service.username:
        raise SettingsError(
            "CLEARLAKE_DATABASE_URL: names the owner's role. Expected a role of its own; "
            "name a new one and it is made."
        )
    try:
        with owner.begin() as connection:
            config = revisions()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            failpoint("migrate.upgraded")
            rights.apply(connection)
            rights.admit(connection, service)
            found = connection.scalar(text(f"select version_num from {SCHEMA}.alembic_version"))
            failpoint("migrate.before_commit")
    except OperationalError as err:
        raise _unavailable(err) from None  # the cause may show the URL
    finally:
        owner.dispose()
    _log_in(service)
    return str(found)


def open_catalog(owner_url: str, catalog_url: str) -> None:
    """Let a login role, made if missing, keep the lake's SQL catalog in the owner's database."""
    owner = _engine(owner_url, name="CLEARLAKE_OWNER_DATABASE_URL")
    try:
        with owner.begin() as connection:
            rights.open_catalog(connection, url_of(catalog_url, name="CLEARLAKE_CATALOG_URI"))
    except OperationalError as err:
        raise _unavailable(err) from None
    finally:
        owner.dispose()


def login_url(url: str, user: str, password: str) -> str:
    """The same database for another login."""
    login = url_of(url, name="CLEARLAKE_OWNER_DATABASE_URL").set(username=user, password=password)
    return login.render_as_string(hide_password=False)


def revisions() -> Config:
    """Where the migrations are, from the source tree as from an installed wheel."""
    found = find_spec("migrations")
    if found is None or found.origin is None:
        raise SettingsError("The package `migrations` is missing: install clearlake again.")
    config = Config()
    # a `%` in the path would be an interpolation of the configuration's own
    config.set_main_option("script_location", str(Path(found.origin).parent).replace("%", "%%"))
    return config


def _log_in(service: URL) -> None:
    engine = create_engine(service, poolclass=NullPool, hide_parameters=True)
    try:
        with engine.connect() as connection:
            connection.execute(text(f"select from {SCHEMA}.api_key limit 1"))
    except DBAPIError:
        raise SettingsError(
            "CLEARLAKE_DATABASE_URL: the database is migrated, but this role cannot log in to it "
            "or read it: is it the right password, host and database?"
        ) from None
    finally:
        engine.dispose()


def _unavailable(err: OperationalError) -> DatabaseUnavailableError:
    if getattr(err.orig, "sqlstate", None) == _LOCK_TIMEOUT:
        return DatabaseUnavailableError(
            "A table is in use for longer than five seconds: nothing was changed. End the long "
            "transactions, and migrate again."
        )
    return DatabaseUnavailableError("The database does not answer the owner of the tables.")


def _engine(url: str, *, name: str) -> Engine:
    return create_engine(url_of(url, name=name), poolclass=NullPool, hide_parameters=True)


def url_of(url: str, *, name: str) -> URL:
    expected = f"{name}: expected postgresql+psycopg://user:password@host/database."
    try:
        made = make_url(url)
    except (ArgumentError, ValueError):
        raise SettingsError(expected) from None
    if made.get_backend_name() != "postgresql":
        raise SettingsError(expected)
    return made.set(drivername="postgresql+psycopg")
