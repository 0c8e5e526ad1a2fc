"""`clearlake up`: servers, API, workers and beat on one machine, from one command.

Not here: what the parts do (app.cli.service), how they are started and watched (app.up).
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from app import up as the_service
from app.cli.display import ERR, OUT, print_json, progress
from app.settings import PREFIX

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


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
            "(grace, settling) set to nothing. Somebody to take out of it: user_id "
            f"{environment['CLEARLAKE_TRIAL_USER_ID']}",
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
