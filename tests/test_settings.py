"""Settings come from the environment or from files, and a wrong one is named, never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.domain.errors import SettingsError
from app.settings import read_settings
from app.wiring import settings_of


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
