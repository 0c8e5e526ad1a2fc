"""The parts of the service as commands: migrate, api, worker, beat; and `up`, all on one machine.

Each reads its settings from the environment. Not here: what the parts do.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from app import up as the_service
from app import wiring
from app.cli.display import ERR, OUT, print_json, progress
from app.settings import PREFIX
from app.store.migrate import migrate as migrate_database
from app.store.migrate import open_catalog

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
    import uvicorn  # only here: the other commands need neither a web server nor a broker

    from app.logs import configure
    from app.main import build

    settings = wiring.settings_of()
    configure("api")
    parts = wiring.service_parts(settings, ring=wiring.bell_of(settings))
    application = build(
        parts,
        health=wiring.health_of(settings),
        public_url=settings.public_url,
        env=settings.env,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn ends its answers first and then raises the signal again: asked to end, it did
        signal.signal(number, lambda *_: None)
    try:
        uvicorn.run(
            application,
            host=settings.host,
            port=settings.port,
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
    _become("celery", "-A", "workers.main", "worker", name, *talk)


def beat() -> NoReturn:
    """Ring for what is due, until SIGTERM. One is enough; two do no harm."""
    wiring.require(wiring.settings_of(), "broker_url")
    _become("celery", "-A", "workers.main", "beat", "--pidfile=")


def _become(module: str, *arguments: str) -> NoReturn:
    """This process goes on as that one: the same id, the same signals."""
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606


def up(
    state: Annotated[Path, typer.Option(help="Folder of what must last.")] = Path("clearlake-up"),
    lake_map: Annotated[
        Path | None,
        typer.Option("--map", help="The data map of your lake; without it one is made to try on."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64)] = 2,
    events: Annotated[int, typer.Option(min=1000, help="Size of the lake to try on.")] = 50_000,
    as_json: AsJson = False,
) -> None:
    """Servers, API, workers and beat on this machine, until Ctrl-C.

    Starts Postgres, Valkey and S3 from wheels where no URL is given. The same folder again goes on
    where it ended.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    environment = dict(os.environ)
    if lake_map is not None:
        environment[f"{PREFIX}LAKE_MAP"] = str(lake_map.absolute())
    folder = state.absolute()
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    size = the_service.Size(events=events, users=max(events // 125, 10))
    try:
        with (
            progress() as say,
            the_service.complete(environment, folder, size=size, say=say, tell=_tell) as completed,
            the_service.Service(
                completed, folder / "service", workers=workers, tell=_tell
            ) as running,
        ):
            completed["CLEARLAKE_URL"] = running.url
            the_service.write_environment(folder / "environment", completed)
            _show(running, completed, state=state, as_json=as_json)
            threading.Event().wait()
    except KeyboardInterrupt:
        ERR.print("Stopped. The same command again goes on from here.", markup=False)


def _tell(text: str) -> None:
    ERR.print(text, markup=False, soft_wrap=True)


def _show(
    running: the_service.Running, environment: dict[str, str], *, state: Path, as_json: bool
) -> None:
    if as_json:
        print_json(_document(running, environment, state=state))
        return
    OUT.print(f"\nThe service is up at {running.url} ({running.url}/docs).", markup=False)
    if running.admin_key is not None:
        OUT.print(f"First API key, shown once: {running.admin_key}", markup=False, soft_wrap=True)
    else:
        OUT.print("Keys are there already; for another one, see the command below.")
    if environment[f"{PREFIX}LAKE_MAP"] == str(state.absolute() / "lake.yaml"):
        OUT.print(
            "There was no data map: it works on a made-up lake, with the waits of a real one "
            "(grace, settling) set to nothing.",
            soft_wrap=True,
        )
    OUT.print(f"Settings for other commands: set -a; . {state}/environment; set +a", markup=False)
    OUT.print("It stays up until Ctrl-C.")


def _document(
    running: the_service.Running, environment: dict[str, str], *, state: Path
) -> dict[str, Any]:
    return {
        "schema": "clearlake.up/1",
        "api": {"url": running.url, "key": running.admin_key},
        "data_map": environment[f"{PREFIX}LAKE_MAP"],
        "environment": str(state.absolute() / "environment"),
        "logs": str(state.absolute() / "service"),
        "processes": running.processes,
    }
