"""The parts of the service as commands: migrate, api, worker, beat.

Each reads its settings from the environment. Not here: what the parts do.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from typing import Annotated, NoReturn

import typer

from app import wiring
from app.cli.display import OUT, print_json

STOP_SECONDS = 10
"""From SIGTERM to the end of the last answer."""

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


def migrate(
    with_catalog: Annotated[
        bool,
        typer.Option(
            "--with-catalog", help="Also the login of CLEARLAKE_CATALOG_URI, in `public`."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the database to this version, and let the service's own login in. Twice is fine.

    Needs CLEARLAKE_OWNER_DATABASE_URL and CLEARLAKE_DATABASE_URL.
    """
    from app.store.migrate import migrate as migrate_database
    from app.store.migrate import open_catalog

    settings = wiring.settings_of()
    wiring.require(settings, "owner_database_url", "database_url")
    owner, service = settings.owner_database_url, settings.database_url
    assert owner is not None
    assert service is not None
    revision = migrate_database(owner.get_secret_value(), service.get_secret_value())
    if with_catalog:
        wiring.require(settings, "catalog_uri")
        assert settings.catalog_uri is not None
        open_catalog(owner.get_secret_value(), settings.catalog_uri.get_secret_value())
    if as_json:
        print_json({"schema": "clearlake.migrated/1", "revision": revision})
    else:
        OUT.print(f"The database is at revision {revision}.", markup=False)


def api() -> None:
    """Serve HTTP on CLEARLAKE_HOST and CLEARLAKE_PORT until SIGTERM."""
    import uvicorn  # only here: the other commands need neither a web server nor the lake

    from app.logs import configure
    from app.main import build
    from app.wiring import lakes

    settings = wiring.settings_of()
    configure("api")
    parts = lakes.parts_with_names(settings, ring=wiring.bell_of(settings))
    application = build(
        parts,
        health=lakes.health_of(settings),
        public_url=settings.public_url,
        env=settings.env,
    )
    # what is loaded by now stays: looking through it for garbage again and again would be pauses
    # of a tenth of a second in the middle of answers
    gc.collect()
    gc.freeze()
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn ends its answers first and then raises the signal again: asked to end, it did
        signal.signal(number, lambda *_: None)
    try:
        uvicorn.run(
            application,
            host=settings.host,
            port=settings.port,
            http="h11",  # which gives the application every method there can be; not "auto"
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    finally:
        parts.database.close()


def worker(
    no_broker: Annotated[
        bool, typer.Option("--no-broker", help="Look for steps in the database, without a broker.")
    ] = False,
) -> NoReturn:
    """Carry out steps until SIGTERM; what is under way is given back."""
    settings = wiring.settings_of()
    wiring.require(settings, "database_url", "keys_uri", "lake_map")
    if no_broker:
        _become("workers.poll")
    wiring.require(settings, "broker_url")
    # workers do not gossip: who does what stands in Postgres
    talk = ("--without-mingle", "--without-gossip", "--without-heartbeat")
    name = f"--hostname=worker-{os.getpid()}@%h"
    _become("celery", "--quiet", "-A", "workers.main", "worker", name, *talk)


def beat() -> NoReturn:
    """Ring for what is due, until SIGTERM. One is enough; two do no harm."""
    wiring.require(wiring.settings_of(), "broker_url")
    _become("celery", "--quiet", "-A", "workers.main", "beat", "--pidfile=")


def _become(module: str, *arguments: str) -> NoReturn:
    """This process goes on as that one: the same id, the same signals."""
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606
