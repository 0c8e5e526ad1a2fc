"""A new digest key makes nobody forgotten, and an old one ends when nothing needs it any more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from app import cli
from app.domain.datasets import DataMap
from app.domain.identifiers import Identifier, Kind
from app.services import generations
from app.services.actors import OPERATOR
from app.services.parts import Parts
from tests.lake.bronze_world import ANON, OTHER_ANON, SECOND, USER, event
from tests.places import Place
from tests.services.dsar_cases import entries_of
from tests.services.erased import suppress
from tests.services.late_worlds import World, followed, person, world

NEEDED = ("suppression", "dsar_digest", "identity_digest")


@pytest.fixture
def erased(place_file: Place, file_parts: Callable[[DataMap], Parts], tmp_path: Path) -> World:
    """Somebody erased, settling."""
    return world(place_file, file_parts, tmp_path)


def rotated(parts: Parts) -> int:
    with parts.database.transaction() as tx:
        return generations.rotate(OPERATOR, tx, parts=parts)


def destroyed(parts: Parts) -> list[int]:
    with parts.database.transaction() as tx:
        return generations.destroy_ended(tx, parts)


def execute(owner_url: str, statement: str) -> None:
    """What no service can do: rows end before their time, time passes."""
    url = owner_url.replace("+psycopg", "", 1)
    with psycopg.connect(url, autocommit=True, options="-csearch_path=clearlake") as link:
        link.execute(statement.encode())


def an_hour_passes(owner_url: str) -> None:
    execute(
        owner_url,
        "alter table audit_entry disable trigger all;"
        "update audit_entry set at = at - interval '61 minutes';"
        "alter table audit_entry enable trigger all",
    )


def test_a_sweep_finds_who_was_erased_under_any_generation_that_lives(erased: World) -> None:
    assert rotated(erased.parts) == 2
    second = Identifier(Kind.USER_ID, SECOND)
    someone = replace(person(erased.case_id), given=frozenset({second}), linked=frozenset())
    suppress(erased.parts, erased.run_id, someone)
    rotated(erased.parts)
    erased.lands(event(USER, ANON, ts=erased.before), event(SECOND, OTHER_ANON, ts=erased.before))
    assert erased.sweep()["values"] == 3
    (found,) = followed(erased)
    assert {i.value for i in found.identifiers} == {USER, ANON, SECOND}


def test_a_generation_lives_while_any_row_needs_it(erased: World, owner_database_url: str) -> None:
    rotated(erased.parts)
    for table in NEEDED:
        assert destroyed(erased.parts) == []
        assert entries_of(erased.parts, "digest_key_1") == []
        execute(owner_database_url, f"delete from {table}")
    assert destroyed(erased.parts) == []
    assert [v for v, _ in entries_of(erased.parts, "digest_key_1")] == ["digest_key.ending"]


def test_its_end_is_said_and_comes_an_hour_later(erased: World, owner_database_url: str) -> None:
    rotated(erased.parts)
    for table in NEEDED:
        execute(owner_database_url, f"delete from {table}")
    assert [destroyed(erased.parts), destroyed(erased.parts)] == [[], []]
    an_hour_passes(owner_database_url)
    assert destroyed(erased.parts) == [1]
    assert erased.parts.keys.digester().generations == (2,)
    assert destroyed(erased.parts) == []


def test_a_row_that_was_written_meanwhile_keeps_its_generation(
    erased: World, owner_database_url: str
) -> None:
    """Somebody had taken its digest before the new generation was there."""
    rotated(erased.parts)
    execute(owner_database_url, "create table aside as table suppression")
    for table in NEEDED:
        execute(owner_database_url, f"delete from {table}")
    destroyed(erased.parts)
    execute(owner_database_url, "insert into suppression select * from aside")
    an_hour_passes(owner_database_url)
    assert destroyed(erased.parts) == []
    assert erased.parts.keys.digester().generations == (2, 1)


def test_the_newest_is_never_destroyed(parts: Parts) -> None:
    parts.keys.digester()
    assert destroyed(parts) == []
    assert entries_of(parts, "digest_key_1") == []


def test_an_operator_begins_a_new_one(
    parts: Parts,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    parts.keys.digester()
    monkeypatch.setenv("CLEARLAKE_DATABASE_URL", database_url)
    monkeypatch.setenv("CLEARLAKE_KEYS_URI", f"file://{tmp_path / 'keys'}")
    assert cli.run(["keys", "rotate-digests"]) == 0
    assert "generation 2" in capsys.readouterr().out
    assert [v for v, _ in entries_of(parts, "digest_key_2")] == ["digest_key.rotated"]
