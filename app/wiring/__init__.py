"""Settings -> parts: the only place where parts are built and settings are read.

The parts that never touch the lake; those that do are in app.wiring.lakes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

from app.audit.keys import KeyStore
from app.domain.breakers import Limits
from app.domain.errors import SettingsError
from app.services.parts import Parts, Rules
from app.settings import PREFIX, Settings, read_settings
from app.store.transaction import Database, Ring


def settings_of(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings; what does harm, or must not be in production, is refused."""
    settings = read_settings(environment)
    settings.refuse_dangers()
    return settings


def rules_of(settings: Settings) -> Rules:
    """The settings that decide what happens when."""
    names = {f.name for f in fields(Rules)} & set(Settings.model_fields)
    return Rules(
        **{name: getattr(settings, name) for name in names},
        breakers=Limits(
            linked=settings.max_linked,
            rows=settings.max_rows,
            row_share=settings.max_row_share,
            dsars_a_day=settings.max_dsars_a_day,
        ),
        service_keys_may_approve=settings.env == "demo",
    )


def bell_of(settings: Settings) -> Ring:
    """The bell of the broker; without one, workers look into the database by themselves."""
    if settings.broker_url is None:
        return no_bell
    from app.queue import CeleryBell  # only here: most commands need no broker

    return CeleryBell(settings.broker_url.get_secret_value())


def no_bell(_: Sequence[str]) -> bool:
    """For a process that has no broker at hand: the reconciler rings for what it wrote."""
    return False


_EXPECTED = {
    "database_url": "postgresql+psycopg://user:password@host/database",
    "owner_database_url": "postgresql+psycopg://user:password@host/database",
    "broker_url": "redis://:password@host:6379/0",
    "catalog_uri": "the URL of the lake's SQL catalog",
    "keys_uri": "file:///folder",
    "lake_map": "the path of lake.yaml",
}


def require(settings: Settings, *names: str) -> None:
    """SettingsError for the first of these that is missing."""
    for name in names:
        if getattr(settings, name) is None:
            raise SettingsError(f"{PREFIX}{name.upper()}: expected {_EXPECTED[name]}.")


def service_parts(settings: Settings, *, ring: Ring) -> Parts:
    """What a process needs that never touches the lake: database, keys, rules."""
    require(settings, "database_url", "keys_uri")
    assert settings.database_url is not None
    assert settings.key_folder is not None
    return Parts(
        database=Database(
            settings.database_url.get_secret_value(), ring=ring, asleep=settings.lease / 2
        ),
        keys=KeyStore.open(settings.key_folder),
        rules=rules_of(settings),
    )
