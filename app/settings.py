"""Typed settings from the environment (prefix CLEARLAKE_). Read by app.wiring and nobody else.

A secret may also stand in a file named by the same variable with `_FILE` behind it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from app.domain.errors import SettingsError

PREFIX = "CLEARLAKE_"
_Text = TypeVar("_Text", str, SecretStr)
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: object) -> object:
    """`250ms`, `40s`, `15m`, `12h`, `7d`; a bare number is seconds. ValueError else."""
    if not isinstance(text, str):
        return text
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)?", text.strip())
    if found is None:
        raise ValueError("expected a duration such as 40s, 15m, 12h or 7d")
    return timedelta(seconds=float(found[1]) * _UNITS[found[2] or "s"])


def _written(form: str, expected: str) -> AfterValidator:
    def check(value: _Text) -> _Text:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not re.match(form, text):
            raise ValueError(f"expected {expected}")
        return value

    return AfterValidator(check)


Duration = Annotated[timedelta, BeforeValidator(duration)]
PositiveDuration = Annotated[Duration, Field(gt=timedelta(0))]
PostgresUrl = Annotated[
    SecretStr,
    _written(r"postgresql(\+psycopg)?://", "postgresql+psycopg://user:password@host/database"),
]
BrokerUrl = Annotated[SecretStr, _written(r"rediss?://", "redis://:password@host:6379/0")]
WebUrl = Annotated[str, _written(r"https?://[^/]", "https://host")]


class Settings(BaseModel):
    """What the parts are built from. Absent credentials of a role fall back to the plain pair."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    env: Literal["development", "demo", "production"] = "development"
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
    spark_master: str | None = None
    spark_remote: str | None = None
    spark_catalog: str | None = None
    spark_conf: Path | None = None
    purge_per_hour: Annotated[int, Field(gt=0)] = 100_000
    failpoints: str | None = None
    # the service
    database_url: PostgresUrl | None = None
    owner_database_url: PostgresUrl | None = None
    broker_url: BrokerUrl | None = None
    lake_map: Path | None = None
    public_url: WebUrl = "http://127.0.0.1:8000"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    spool: Path | None = None
    run_every: PositiveDuration = timedelta(hours=1)
    stitch_every: PositiveDuration = timedelta(days=1)
    sweep_every: PositiveDuration = timedelta(days=1)
    approval_grace: Duration = timedelta(hours=72)
    max_writer_lifetime: Duration = timedelta(hours=24)
    shred_after: Duration = timedelta(hours=24)
    retain: Duration = timedelta(days=730)
    suppress: Duration = timedelta(days=730)
    scope_delay: Duration = timedelta(seconds=1)
    max_linked: Annotated[int, Field(ge=0)] = 50
    max_rows: Annotated[int, Field(ge=0)] = 10_000
    max_row_share: Annotated[float, Field(ge=0, le=1)] = 0.001
    max_dsars_a_day: Annotated[int, Field(ge=0)] = 200
    lease: PositiveDuration = timedelta(seconds=40)
    heartbeat: PositiveDuration = timedelta(seconds=10)
    reconcile_every: PositiveDuration = timedelta(seconds=15)
    retry_after: PositiveDuration = timedelta(seconds=5)

    def refuse_dangers(self) -> None:
        """SettingsError for values that do harm together, or that production must not have."""
        if self.lease < 2 * self.heartbeat:
            raise SettingsError(
                f"{PREFIX}HEARTBEAT: expected at most half of {PREFIX}LEASE, or healthy steps lose "
                "their lease."
            )
        if not self.is_production:
            return
        if self.failpoints:
            raise SettingsError(f"{PREFIX}FAILPOINTS must not be set where {PREFIX}ENV=production.")
        for name in ("approval_grace", "max_writer_lifetime"):
            if not getattr(self, name):
                raise SettingsError(
                    f"{PREFIX}{name.upper()}: expected more than 0s where {PREFIX}ENV=production."
                )

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
    found = with_files(os.environ if environment is None else environment)
    values = {
        name: found[PREFIX + name.upper()]
        for name in Settings.model_fields
        if PREFIX + name.upper() in found
    }
    try:
        return Settings.model_validate(values)
    except ValidationError as err:
        first = err.errors(include_input=False, include_url=False, include_context=False)[0]
        name = PREFIX + str(first["loc"][0]).upper()
        expected = str(first["msg"]).removeprefix("Value error, ")
        raise SettingsError(f"{name}: {expected}.") from None


def with_files(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with the content of the file for each CLEARLAKE_..._FILE that names one."""
    named = {
        variable.removesuffix("_FILE"): Path(path)
        for variable, path in environment.items()
        if variable.startswith(PREFIX) and variable.endswith("_FILE") and path
    }
    read = {variable: _from_file(variable, path) for variable, path in named.items()}
    return {**environment, **read}


def _from_file(variable: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as err:
        raise SettingsError(f"{variable}_FILE: cannot read the file it names.") from err
