"""Migrations make exactly the models, whoever else migrates; what fails leaves nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, make_url
from sqlalchemy.sql.schema import SchemaItem

from app.domain.errors import DatabaseUnavailableError, SettingsError
from app.domain.failpoints import FailpointError
from app.store.migrate import migrate, open_catalog, revisions
from app.store.tables import SCHEMA, metadata
from tests.store.conftest import plain

ROOT = Path(__file__).parents[2]
MIGRATE = "import sys; from app.store.migrate import migrate; migrate(*sys.argv[1:])"


def ours(item: SchemaItem, name: str | None, kind: str, _found: bool, _other: object) -> bool:
    return kind != "table" or (getattr(item, "schema", "") == SCHEMA and name != "alembic_version")


def differences(url: str) -> list[object]:
    # the owner may be named as our schema is: then it would be the default one, and left unsaid
    engine = create_engine(url, connect_args={"options": "-csearch_path=public"})
    with engine.connect() as connection:
        options = {
            "include_schemas": True,
            "include_object": ours,
            "compare_server_default": True,
            "target_metadata": metadata,
        }
        context = MigrationContext.configure(connection, opts=options)
        found: list[object] = compare_metadata(context, metadata)
    engine.dispose()
    return found


def one(url: str, question: str) -> object:
    with psycopg.connect(plain(url)) as link:
        row = link.execute(question.encode()).fetchone()
        return row[0] if row else None


def test_the_migrations_make_exactly_the_models(
    empty_database_url: str, service_login: str
) -> None:
    assert migrate(empty_database_url, service_login)
    assert differences(empty_database_url) == []


def test_the_comparison_would_see_a_difference(empty_database_url: str, service_login: str) -> None:
    migrate(empty_database_url, service_login)
    with psycopg.connect(plain(empty_database_url)) as link:
        link.execute("alter table clearlake.dsar drop column outcome")
        link.execute("alter table clearlake.run alter column version set default 7")
    assert len(differences(empty_database_url)) == 2


def test_there_is_one_head_and_each_revision_is_dated() -> None:
    script = ScriptDirectory.from_config(revisions())
    assert len(script.get_heads()) == 1
    for revision in script.walk_revisions():
        name = Path(revision.path).name
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}-\d{4}_\w+\.py", name), name


def test_a_second_time_is_a_success_and_keeps_what_is_there(
    empty_database_url: str, service_login: str
) -> None:
    first = migrate(empty_database_url, service_login)
    with psycopg.connect(plain(service_login)) as link:
        link.execute("insert into clearlake.schedule values ('stitch', now())")
    assert migrate(empty_database_url, service_login) == first
    assert one(service_login, "select count(*) from clearlake.schedule") == 1


def test_two_at_once_both_succeed(empty_database_url: str, service_login: str) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATE, empty_database_url, service_login], cwd=ROOT
        )
        for _ in range(2)
    ]
    assert [process.wait(60) for process in started] == [0, 0]
    assert differences(empty_database_url) == []


@pytest.mark.parametrize("place", ["migrate.upgraded", "rights.applied", "migrate.before_commit"])
def test_what_breaks_in_the_middle_leaves_nothing(
    place: str, empty_database_url: str, service_login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setenv("CLEARLAKE_FAILPOINTS", ",".join(f"{place}=raise@{n}" for n in range(1, 9)))
        with pytest.raises(FailpointError):
            migrate(empty_database_url, service_login)
    left = "select count(*) from pg_namespace where nspname = 'clearlake'"
    assert one(empty_database_url, left) == 0
    assert migrate(empty_database_url, service_login)


def test_a_killed_migration_is_done_again(empty_database_url: str, service_login: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MIGRATE, empty_database_url, service_login],
        cwd=ROOT,
        env={**os.environ, "CLEARLAKE_FAILPOINTS": "migrate.before_commit=kill"},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert migrate(empty_database_url, service_login)
    assert differences(empty_database_url) == []


def test_the_catalog_of_the_lake_beside_it_stays_as_it_is(
    empty_database_url: str, service_login: str
) -> None:
    with psycopg.connect(plain(empty_database_url)) as link:
        link.execute("create table public.iceberg_tables as select 1 as one")
    migrate(empty_database_url, service_login)
    assert one(empty_database_url, "select one from public.iceberg_tables") == 1
    assert differences(empty_database_url) == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        one(service_login, "select one from public.iceberg_tables")


def test_a_role_for_the_catalog_makes_tables_and_reads_no_case(
    empty_database_url: str, service_login: str
) -> None:
    migrate(empty_database_url, service_login)
    catalog = make_url(service_login).set(username="catalog_of_a_test")
    url = catalog.render_as_string(hide_password=False)
    open_catalog(empty_database_url, url)
    open_catalog(empty_database_url, url)
    with psycopg.connect(plain(url)) as link:
        link.execute("create table iceberg_tables (one int)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            link.execute("select * from clearlake.dsar")
    with psycopg.connect(plain(empty_database_url)) as link:
        link.execute("drop owned by catalog_of_a_test")
        link.execute("drop role catalog_of_a_test")


def test_a_table_that_somebody_holds_is_not_waited_for_long(
    empty_database_url: str, service_login: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(empty_database_url, service_login)
    with psycopg.connect(plain(empty_database_url)) as holder:
        holder.execute("lock table clearlake.report in access exclusive mode")
        with pytest.raises(DatabaseUnavailableError, match="longer than five seconds"):
            migrate(empty_database_url, service_login)


def test_a_url_that_cannot_be_used_is_named_and_never_shown(empty_database_url: str) -> None:
    bad = "postgresql+psycopg://someone:hidden@127.0.0.1:1/nothing"
    with pytest.raises(DatabaseUnavailableError) as away:
        migrate(bad, bad.replace("someone", "another"))
    with pytest.raises(SettingsError, match="CLEARLAKE_OWNER_DATABASE_URL") as foreign:
        migrate("mysql://someone:hidden@host/x", bad)
    with pytest.raises(SettingsError, match="CLEARLAKE_DATABASE_URL") as broken:
        migrate(empty_database_url, "hidden")
    for refusal in (away, foreign, broken):
        assert "hidden" not in f"{refusal.value!r}{refusal.value.__cause__!r}"


def test_an_installed_wheel_brings_its_migrations(
    tmp_path: Path, empty_database_url: str, service_login: str
) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "installed")
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import app.store.migrate as m;"
        "assert m.__file__.startswith(sys.path[0]), m.__file__;"
        "print(m.migrate(*sys.argv[1:]), m.revisions().get_main_option('script_location'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "installed", empty_database_url, service_login],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert str(tmp_path / "installed") in done.stdout
    assert differences(empty_database_url) == []
