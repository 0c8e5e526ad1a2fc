"""Typed settings from the environment (prefix CLEARLAKE_). Read by app.wiring and nobody else.

A secret may also stand in a file named by the same variable with `_FILE` behind it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from app.domain.errors import SettingsError

PREFIX = "CLEARLAKE_"


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
