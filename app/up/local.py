"""What a machine lacks, from wheels: a server for each URL that nobody gave, and a lake to try on.

Not here: the service's own processes (service).

1. Where a URL is given, its server is used and none is started. In production all must be given.
2. The service and the lake's catalog get logins of their own; neither owns the tables.
3. Without a data map a lake is made, once a state folder, and the rules are those of a trial.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from app import wiring
from app.domain.errors import ServerStartError, SettingsError
from app.domain.failpoints import failpoint
from app.domain.progress import Say
from app.servers import Servers, remove_state
from app.servers.state import State, write_private
from app.settings import PREFIX, Settings
from app.store.migrate import login_url, open_catalog
from app.up.crew import LONGEST_PAUSE, LOOK_SECONDS, Tell
from app.up.lake import Made, Size, lake_settings, make_lake_of, write_map

TRIAL: Mapping[str, str] = {
    "CLEARLAKE_ENV": "demo",
    "CLEARLAKE_APPROVAL_GRACE": "0s",
    "CLEARLAKE_MAX_WRITER_LIFETIME": "0s",
    "CLEARLAKE_SHRED_AFTER": "0s",
    "CLEARLAKE_SCOPE_DELAY": "1s",
    "CLEARLAKE_RECONCILE_EVERY": "1s",
    "CLEARLAKE_RUN_EVERY": "5s",
}
"""Nobody waits three days to see a first run. For a lake that was made for it, and no other."""

_PERSON = "lake.person"
_SETTING = {"postgres": "DATABASE_URL", "valkey": "BROKER_URL", "s3": "LAKE_MAP"}


def _somebody(made: Made) -> dict[str, str]:
    """A person who was made up, to try the service on."""
    return {_PERSON: made.lake.cast.active_buyer}


@contextmanager
def complete(
    environment: Mapping[str, str],
    state: Path,
    *,
    size: Size,
    say: Say,
    tell: Tell = print,
    made: Callable[[Made], Mapping[str, str]] = _somebody,
) -> Iterator[dict[str, str]]:
    """The environment with everything in it that the service needs; what was started for it ends
    with the context, and is started again when it ends by itself. A second time on the same folder
    goes on with what is there. `say`: progress; `tell`: news for people; `made`: gets the lake, if
    one was made now, and gives what of it the state remembers.
    """
    settings = wiring.settings_of(environment)
    missing = _missing(settings)
    home = State(state)
    try:
        if home.known("lake.begun") and not home.known("lake.made"):
            remove_state(state / "servers")  # half a lake, and no case yet
        with (
            Servers(state / "servers", parts=missing, env=settings.env) as servers,
            _kept_up(servers, tell),
        ):
            say("start", "servers", len(missing), len(missing))
            given = {"CLEARLAKE_KEYS_URI": f"file://{state / 'keys'}", **environment}
            given.setdefault("CLEARLAKE_SPOOL", str(home.subfolder("spool")))
            if "postgres" in missing:
                given |= _logins(home, servers.postgres.url)
            if "valkey" in missing:
                given["CLEARLAKE_BROKER_URL"] = servers.valkey.url
            if "s3" in missing:
                given = _with_lake(given, home, servers=servers, size=size, say=say, made=made)
            yield given
    finally:
        home.release()


@contextmanager
def _kept_up(servers: Servers, tell: Tell) -> Iterator[None]:
    ending = threading.Event()

    def look() -> None:
        while not ending.wait(LOOK_SECONDS):
            try:
                servers.revive(lambda name: tell(f"{name} ended and was started again."))
            except ServerStartError as err:
                tell(str(err))
                ending.wait(LONGEST_PAUSE)

    watcher = threading.Thread(target=look, name="servers", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ending.set()
        watcher.join()


def _missing(settings: Settings) -> set[str]:
    missing = {part for part, name in _SETTING.items() if getattr(settings, name.lower()) is None}
    if settings.is_production and missing:
        names = ", ".join(sorted(PREFIX + _SETTING[part] for part in missing))
        raise SettingsError(f"{names}: must be given where {PREFIX}ENV=production.")
    if "s3" in missing and "postgres" not in missing and settings.catalog_uri is None:
        raise SettingsError(
            f"{PREFIX}LAKE_MAP: expected the path of lake.yaml, or with {PREFIX}CATALOG_URI the "
            "SQL catalog of a lake to be made."
        )
    return missing


def _logins(home: State, owner_url: str) -> dict[str, str]:
    """The owner migrates; the service logs in as itself; so does the lake's catalog."""
    catalog_url = login_url(owner_url, "clearlake_catalog", home.secret("database.catalog"))
    open_catalog(owner_url, catalog_url)
    return {
        "CLEARLAKE_OWNER_DATABASE_URL": owner_url,
        "CLEARLAKE_DATABASE_URL": login_url(
            owner_url, "clearlake_api", home.secret("database.service")
        ),
        "CLEARLAKE_CATALOG_URI": catalog_url,
    }


def _with_lake(
    given: dict[str, str],
    home: State,
    *,
    servers: Servers,
    size: Size,
    say: Say,
    made: Callable[[Made], Mapping[str, str]],
) -> dict[str, str]:
    catalog_uri = given["CLEARLAKE_CATALOG_URI"]
    map_path = home.folder / "lake.yaml"
    reached = {
        **TRIAL,
        **given,
        **lake_settings(servers, catalog_uri=catalog_uri),
        "CLEARLAKE_LAKE_MAP": str(map_path),
    }
    if home.known("lake.made") is None:
        home.remember("lake.begun", "yes")
        write_map(map_path)
        failpoint("up.lake_begun")
        lake = make_lake_of(reached, map_path, servers=servers, size=size, say=say)
        failpoint("up.lake_made")
        for name, value in made(lake).items():
            home.remember(name, value)
        home.remember("lake.made", lake.lake.sentence())
    # For commands in another shell; no setting of the service.
    return {**reached, "CLEARLAKE_TRIAL_USER_ID": home.known(_PERSON) or ""}


def write_environment(path: Path, environment: Mapping[str, str]) -> None:
    """The settings as lines for a shell, for commands in another one. Ours alone to read."""
    lines = [
        f"{name}={quote(value)}\n"
        for name, value in sorted(environment.items())
        if name.startswith(PREFIX)
    ]
    write_private(path, "".join(lines))
