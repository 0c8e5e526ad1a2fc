"""A whole installation: the policies of docs/iam on a real server, everything passes, an erasure
goes through, and `clearlake doctor` tells it by its exit code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from app import cli
from app.domain.datasets import Catalog
from app.lake.datamap import map_text
from app.lake.make import Cast, Codec, make_lake
from app.lake.pyiceberg_engine import PyIcebergEngine
from app.lake.s3 import S3Loader
from app.lake.stitch import stitch
from app.servers import Servers, remove_state, seaweed
from app.store.migrate import login_url, migrate

ROOT = Path(__file__).parents[2]
POLICIES = {"reader": "read", "eraser": "erase", "purger": "purge", "verifier": "verify"}
ROLES = {"": "reader", "ERASE_": "eraser", "PURGE_": "purger", "VERIFY_": "verifier"}


def _by_the_book(rights: tuple[str, ...]) -> dict[str, object]:
    """The policy of docs/iam for an identity that has one."""
    for role, file in POLICIES.items():
        if rights == seaweed.RIGHTS[role]:
            found: dict[str, object] = json.loads((ROOT / f"docs/iam/{file}.json").read_text())
            return found
    return _USUAL(rights)


_USUAL = seaweed.policy


@pytest.fixture(scope="module")
def servers_by_the_book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Servers of their own: durable, and S3 with the documents for policies."""
    folder = tmp_path_factory.mktemp("installation") / "servers"
    folder.parent.chmod(0o711)
    with pytest.MonkeyPatch.context() as patched:
        # the product has no switch for other policies than its own: tests alone want one
        patched.setattr(seaweed, "policy", _by_the_book)
        with Servers(folder) as servers:
            yield servers
    remove_state(folder)


@pytest.fixture(scope="module")
def made(servers_by_the_book: Servers, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A small lake in `s3://analytics/`, a migrated database, and the settings of a worker."""
    servers, desk = servers_by_the_book, tmp_path_factory.mktemp("desk")
    postgres = servers.postgres.url
    service = login_url(postgres, "clearlake_api", "known-to-this-test")
    migrate(postgres, service)
    settings = {
        "CLEARLAKE_S3_ENDPOINT": servers.s3.endpoint,
        "CLEARLAKE_CATALOG_URI": f"sqlite:///{desk}/catalog.db",
        "CLEARLAKE_DATABASE_URL": service,
        "CLEARLAKE_BROKER_URL": servers.valkey.url,
        "CLEARLAKE_KEYS_URI": f"file://{desk}/keys",
    }
    for prefix, role in ROLES.items():
        key = servers.s3.credentials[role]
        settings[f"CLEARLAKE_{prefix}S3_ACCESS_KEY"] = key.access_key
        settings[f"CLEARLAKE_{prefix}S3_SECRET_KEY"] = key.secret_key
    cast = _make_lake(servers, settings["CLEARLAKE_CATALOG_URI"])
    (desk / "lake.yaml").write_text(map_text(root="s3://analytics/"))
    return Made(desk, settings, cast)


class Made:
    """A desk with `lake.yaml`, the settings, and who is in the lake."""

    def __init__(self, desk: Path, settings: dict[str, str], cast: Cast) -> None:
        self.desk, self.settings, self.cast = desk, settings, cast


def _make_lake(servers: Servers, catalog_uri: str) -> Cast:
    key = servers.s3.credentials["admin"]
    s3 = servers.s3
    properties = {
        "s3.endpoint": s3.endpoint,
        "s3.region": s3.region,
        "s3.access-key-id": key.access_key,
        "s3.secret-access-key": key.secret_key,
    }
    catalog = Catalog(name="lake", type="sql", uri=catalog_uri, warehouse="s3://analytics/")
    with (
        closing(S3Loader(s3.endpoint, s3.region, key.access_key, key.secret_key)) as loader,
        closing(PyIcebergEngine(catalog, io_properties=properties)) as engine,
    ):
        loader.ensure_bucket("s3://analytics/", object_lock=True)
        made = make_lake(
            events=200,
            users=10,
            days=1,
            seed=1,
            codec=Codec.NONE,
            root="s3://analytics/",
            loader=loader,
            engine=engine,
            start=date(2026, 11, 2),
            retain_until=datetime.now(UTC) + timedelta(days=1),
        )
        stitch(
            engine,
            built_at=datetime.now(UTC),
            events_table="lake.events",
            identity_table="gold.dim_identity",
        )
    return made.cast


@pytest.fixture
def desk(made: Made, monkeypatch: pytest.MonkeyPatch) -> Made:
    for name, value in made.settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(made.desk)
    return made


def test_everything_passes_and_no_secret_is_told(
    desk: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.run(["doctor", "--map", "lake.yaml", "--json"])
    said = "".join(capsys.readouterr())
    document = json.loads(said[said.index("{") : said.rindex("}") + 1])
    wrong = [p for p in document["probes"] if p["outcome"] != "pass"]
    assert wrong == []
    assert code == 0
    assert document["schema"] == "clearlake.doctor/1"
    assert document["healthy"] is True
    areas = {p["area"] for p in document["probes"]}
    assert areas == {"storage", "catalog", "broker", "database", "permissions"}
    secrets = [v for k, v in desk.settings.items() if "SECRET" in k or "URL" in k]
    assert not any(secret in said for secret in secrets)
    assert "known-to-this-test" not in said


def test_an_erasure_goes_through_with_exactly_these_policies(
    desk: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--map", "lake.yaml", "--user-id", desk.cast.active_buyer]
    code = cli.run(["erase", *words, "--yes", "--purge-now", "--report", "report.json"])
    said = "".join(capsys.readouterr())
    assert code == 0, said
    assert cli.run(["check", *words]) == 0, "".join(capsys.readouterr())


def test_a_credential_that_reaches_too_far_makes_the_exit_code_3(
    desk: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("ACCESS", "SECRET"):
        value = desk.settings[f"CLEARLAKE_ERASE_S3_{part}_KEY"]
        monkeypatch.setenv(f"CLEARLAKE_VERIFY_S3_{part}_KEY", value)
    assert cli.run(["doctor", "permissions", "--map", "lake.yaml"]) == 3
    shown = capsys.readouterr().out
    assert "Take s3:PutObject away" in shown
    assert "verify in analytics" in shown


def test_what_does_not_answer_makes_it_6_and_the_rest_is_told(
    desk: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLEARLAKE_BROKER_URL", "redis://:hidden@127.0.0.1:1/0")
    assert cli.run(["doctor", "broker", "database"]) == 6
    said = "".join(capsys.readouterr())
    assert "UNREACHABLE" in said
    assert "at revision" in said
    assert "hidden" not in said


def test_an_area_that_is_none_or_is_not_configured_is_a_matter_of_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("BROKER_URL", "DATABASE_URL", "LAKE_MAP"):
        monkeypatch.delenv(f"CLEARLAKE_{name}", raising=False)
    assert cli.run(["doctor", "plumbing"]) == 2
    assert cli.run(["doctor", "broker"]) == 2
    assert "CLEARLAKE_BROKER_URL is not set" in "".join(capsys.readouterr())
