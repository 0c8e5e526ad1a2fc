"""Settings come from the environment or from files, and a wrong one is named, never shown."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from app.domain.errors import SettingsError
from app.settings import Settings, duration, read_settings
from app.wiring import settings_of
from app.wiring.lakes import data_map_of


def test_a_role_without_a_key_of_its_own_uses_the_plain_pair() -> None:
    settings = read_settings(
        {
            "CLEARLAKE_S3_ACCESS_KEY": "one",
            "CLEARLAKE_S3_SECRET_KEY": "1",
            "CLEARLAKE_PURGE_S3_ACCESS_KEY": "two",
            "CLEARLAKE_PURGE_S3_SECRET_KEY": "2",
        }
    )
    assert settings.s3_keys(None) == ("one", "1")
    assert settings.s3_keys("erase") == ("one", "1")
    assert settings.s3_keys("purge") == ("two", "2")
    assert "secret_key=SecretStr('1')" not in repr(settings)


def test_half_a_pair_is_named() -> None:
    settings = read_settings({"CLEARLAKE_ERASE_S3_ACCESS_KEY": "one"})
    with pytest.raises(SettingsError, match="CLEARLAKE_ERASE_S3_ACCESS_KEY"):
        settings.s3_keys("erase")


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("hidden\n", encoding="utf-8")
    settings = read_settings({"CLEARLAKE_CATALOG_URI_FILE": str(path)})
    assert settings.catalog_uri is not None
    assert settings.catalog_uri.get_secret_value() == "hidden"
    with pytest.raises(SettingsError, match="CLEARLAKE_CATALOG_URI_FILE"):
        read_settings({"CLEARLAKE_CATALOG_URI_FILE": str(tmp_path / "nowhere")})


def test_a_wrong_value_is_named_and_not_shown() -> None:
    with pytest.raises(SettingsError, match="CLEARLAKE_PURGE_PER_HOUR") as refusal:
        read_settings({"CLEARLAKE_PURGE_PER_HOUR": "plenty"})
    assert "plenty" not in str(refusal.value)


def test_failpoints_are_refused_in_production() -> None:
    with pytest.raises(SettingsError, match="CLEARLAKE_FAILPOINTS"):
        settings_of({"CLEARLAKE_ENV": "production", "CLEARLAKE_FAILPOINTS": "x=kill"})


def documented() -> dict[str, str]:
    """Setting -> default, as the tables of docs/settings.md have them."""
    text = (Path(__file__).parents[1] / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[A-Z].*?) \| (.*?) \|", text, flags=re.MULTILINE)
    return {name: default for names, default in rows for name in re.findall(r"`(\w+)`", names)}


def test_every_setting_is_documented_and_nothing_else() -> None:
    assert set(documented()) == {name.upper() for name in Settings.model_fields}


def test_the_documented_defaults_are_those_of_the_code() -> None:
    for name, shown in documented().items():
        default = Settings.model_fields[name.lower()].default
        found = re.fullmatch(r"`(.+)`", shown)
        if default is None:
            assert found is None, name
        else:
            assert found is not None, name
            value = duration(found[1]) if isinstance(default, timedelta) else found[1]
            assert value == (default if isinstance(default, timedelta) else str(default)), name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENV", "prod"),
        ("DATABASE_URL", "mysql://someone:hidden@host/x"),
        ("OWNER_DATABASE_URL", "hidden"),
        ("BROKER_URL", "amqp://someone:hidden@host"),
        ("PUBLIC_URL", "hidden.example"),
        ("PORT", "70000"),
        ("PORT", "0"),
        ("RUN_EVERY", "0s"),
        ("RUN_EVERY", "hidden"),
        ("LEASE", "-1s"),
        ("APPROVAL_GRACE", "72 hours"),
        ("PURGE_PER_HOUR", "0"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"CLEARLAKE_{name}: .*[a-z]") as refusal:
        settings_of({f"CLEARLAKE_{name}": value})
    assert "hidden" not in f"{refusal.value!r}{refusal.value.__cause__!r}"


def test_a_heartbeat_too_slow_for_its_lease_is_refused() -> None:
    with pytest.raises(SettingsError, match="CLEARLAKE_HEARTBEAT"):
        settings_of({"CLEARLAKE_LEASE": "10s", "CLEARLAKE_HEARTBEAT": "6s"})


@pytest.mark.parametrize("name", ["APPROVAL_GRACE", "MAX_WRITER_LIFETIME"])
def test_production_waits(name: str) -> None:
    settings = {f"CLEARLAKE_{name}": "0s"}
    assert settings_of({**settings, "CLEARLAKE_ENV": "demo"})
    with pytest.raises(SettingsError, match=f"CLEARLAKE_{name}"):
        settings_of({**settings, "CLEARLAKE_ENV": "production"})


def test_a_variable_of_the_map_may_stand_in_a_file_too(tmp_path: Path) -> None:
    secret = tmp_path / "uri"
    secret.write_text("sqlite:////tmp/catalog.db\n", encoding="utf-8")
    shipped = Path(__file__).parents[1] / "app" / "lake" / "default_lake.yaml"
    environment = {
        "CLEARLAKE_CATALOG_URI_FILE": str(secret),
        "CLEARLAKE_LAKE_ROOT": "s3://analytics/",
        "CLEARLAKE_S3_ENDPOINT": "http://127.0.0.1:1",
    }
    catalog = data_map_of(shipped, environment).catalog
    assert catalog is not None
    assert catalog.uri == "sqlite:////tmp/catalog.db"
