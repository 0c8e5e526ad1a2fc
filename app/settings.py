"""Typed settings from the environment (prefix CLEARLAKE_). Read by app.wiring and nobody else.

A secret may also stand in a file named by the same variable with `_FILE` behind it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, ValidationError

from app.domain.errors import SettingsError

PREFIX = "CLEARLAKE_"
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: object) -> object:
    """`250ms`, `40s`, `15m`, `12h`, `7d`; a bare number is seconds. ValueError else."""
    if not isinstance(text, str):
        return text
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)?", text.strip())
    if found is None:
        raise ValueError("expected a duration such as 40s, 15m, 12h or 7d")
    return timedelta(seconds=float(found[1]) * _UNITS[found[2] or "s"])


Duration = Annotated[timedelta, BeforeValidator(duration)]


class Settings(BaseModel):
    """What the parts are built from. Absent credentials of a role fall back to the plain pair."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    env: str = "development"
    s3_endpoint: str | None = None
    s3_region: str = "us-east-1"
    s3_access_key: str | None = None
    s3_secret_key: SecretStr | None = None
    erase_s3_access_key: str | None = None
    erase_s3_secret_key: SecretStr | None = None
    purge_s3_access_key: str | None = None
    purge_s3_secret_key: SecretStr | None = None
    verify_s3_access_key: str | None = None
    verify_s3_secret_key: SecretStr | None = None
    catalog_uri: SecretStr | None = None
    keys_uri: str | None = None
    purge_per_hour: int = 100_000
    failpoints: str | None = None
    # the service
    database_url: SecretStr | None = None
    owner_database_url: SecretStr | None = None
    broker_url: SecretStr | None = None
    lake_map: Path | None = None
    public_url: str = "http://127.0.0.1:8000"
    host: str = "127.0.0.1"
    port: int = 8000
    spool: Path | None = None
    run_every: Duration = timedelta(hours=1)
    stitch_every: Duration = timedelta(days=1)
    sweep_every: Duration = timedelta(days=1)
    approval_grace: Duration = timedelta(hours=72)
    max_writer_lifetime: Duration = timedelta(hours=24)
    shred_after: Duration = timedelta(hours=24)
    retain: Duration = timedelta(days=730)
    suppress: Duration = timedelta(days=730)
    scope_delay: Duration = timedelta(seconds=1)
    lease: Duration = timedelta(seconds=40)
    heartbeat: Duration = timedelta(seconds=10)
    reconcile_every: Duration = timedelta(seconds=15)
    retry_after: Duration = timedelta(seconds=5)

    @property
    def is_production(self) -> bool:
        """Whether servers from wheels and failpoints are refused."""
        return self.env == "production"

    @property
    def key_folder(self) -> Path | None:
        """The folder of the key store, when one is configured."""
        if self.keys_uri is None:
            return None
        if not self.keys_uri.startswith("file:///"):
            raise SettingsError(f"{PREFIX}KEYS_URI: expected file:///folder.")
        return Path(self.keys_uri.removeprefix("file://"))

    def s3_keys(self, role: str | None) -> tuple[str | None, str | None]:
        """Access key and secret of a role (`erase`, `purge`, `verify`; None: reading)."""
        access = getattr(self, f"{role}_s3_access_key") if role else None
        secret = getattr(self, f"{role}_s3_secret_key") if role else None
        if access is None and secret is None:
            access, secret = self.s3_access_key, self.s3_secret_key
        if (access is None) != (secret is None):
            name = f"{PREFIX}{role.upper() + '_' if role else ''}S3"
            raise SettingsError(f"Set both {name}_ACCESS_KEY and {name}_SECRET_KEY, or neither.")
        return access, secret.get_secret_value() if secret else None


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings of an environment (the process's own by default).

    SettingsError names a wrong one and what it should be; it never shows the value.
    """
    found = dict(os.environ if environment is None else environment)
    values: dict[str, str] = {}
    for name in Settings.model_fields:
        variable = PREFIX + name.upper()
        if found.get(variable + "_FILE"):
            values[name] = _from_file(variable, Path(found[variable + "_FILE"]))
        elif variable in found:
            values[name] = found[variable]
    try:
        return Settings.model_validate(values)
    except ValidationError as err:
        first = err.errors(include_input=False, include_url=False)[0]
        name = PREFIX + str(first["loc"][0]).upper()
        raise SettingsError(f"{name}: {first['msg']}.") from None


def _from_file(variable: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as err:
        raise SettingsError(f"{variable}_FILE: cannot read the file it names.") from err
