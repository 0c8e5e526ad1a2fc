"""Who a loader's gate keeps out, as the service has written it down; and the command itself."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from app import cli
from app.domain.datasets import DataMap
from app.domain.dsars import Move, State
from app.domain.identifiers import Identifier, Kind
from app.domain.runs import Stage
from app.lake.late import NEVER
from app.services import gate
from app.services.parts import Parts
from app.store import runs as stored_runs
from tests.lake.bronze_world import ANON, DEVICE, OTHER, SECOND, USER, event, text
from tests.places import Place
from tests.service.processes import CLEARLAKE, ROOT, clean_environment
from tests.services.dsar_cases import moved
from tests.services.erased import put_facts, suppress
from tests.services.late_worlds import MAP, A, D, U, World, person, world


@pytest.fixture
def erased(place_file: Place, file_parts: Callable[[DataMap], Parts], tmp_path: Path) -> World:
    """Somebody erased, settling."""
    return world(place_file, file_parts, tmp_path)


def kept_out(world: World, *identifiers: Identifier) -> list[bool]:
    with world.parts.database.transaction() as tx:
        found = gate.suppressed(tx, world.parts)
    return [found.fence(i) is not None for i in identifiers]


def test_whoever_is_erased_is_kept_out_and_shared_values_are_not(erased: World) -> None:
    assert kept_out(erased, U, A, D, Identifier(Kind.USER_ID, OTHER)) == [True, True, False, False]


def test_digests_of_every_generation_that_lives_keep_out(erased: World) -> None:
    erased.parts.keys.rotate_digest()
    second = Identifier(Kind.USER_ID, SECOND)
    someone = replace(person(erased.case_id), given=frozenset({second}), linked=frozenset())
    suppress(erased.parts, erased.run_id, someone, closed={erased.case_id: True})
    assert kept_out(erased, U, A, second) == [True] * 3
    with erased.parts.database.transaction() as tx:
        found = gate.suppressed(tx, erased.parts)
    assert found.fence(second) == NEVER
    assert {generation for generation, _ in found.fences} == {1, 2}


def test_whose_run_may_still_be_undone_is_let_through(erased: World) -> None:
    """What a gate drops nobody can put back."""
    with erased.parts.database.transaction() as tx:
        stored_runs.put(tx, erased.run_id, stage=Stage.CHECKED)
    assert kept_out(erased, U) == [False]
    put_facts(erased.parts, erased.run_id, {"past_return": "1"})
    assert kept_out(erased, U) == [True]


def test_whose_case_was_put_back_is_let_through(erased: World) -> None:
    moved(erased.parts, erased.case_id, Move.RETAKE)
    assert moved(erased.parts, erased.case_id, Move.PUT_BACK).state is State.AWAITING_APPROVAL
    assert kept_out(erased, U) == [False]


def test_what_a_sweep_left_of_somebody_active_again_a_gate_keeps_out_row_by_row(
    erased: World,
) -> None:
    erased.lands(event(USER, ts=erased.before), event(USER, ts=erased.after))
    assert erased.sweep()["active_again"] == 1
    assert kept_out(erased, U) == [True]


# --- the command ---------------------------------------------------------------------------------


def settings_of(world: World, database_url: str, tmp_path: Path) -> Mapping[str, str]:
    """What a loader is given."""
    text_ = MAP.format(uri=world.place.catalog.uri, root=world.place.root)
    (tmp_path / "lake.yaml").write_text(text_, encoding="utf-8")
    return {
        "CLEARLAKE_DATABASE_URL": database_url,
        "CLEARLAKE_KEYS_URI": f"file://{tmp_path / 'keys'}",
        "CLEARLAKE_LAKE_MAP": str(tmp_path / "lake.yaml"),
    }


def command(
    world: World, database_url: str, tmp_path: Path, body: bytes, *options: str
) -> subprocess.CompletedProcess[bytes]:
    """`clearlake lake gate` as a loader runs it."""
    return subprocess.run(
        [*CLEARLAKE, "lake", "gate", *options],
        input=body,
        capture_output=True,
        env=clean_environment(settings_of(world, database_url, tmp_path)),
        cwd=ROOT,
        timeout=60,
        check=False,
    )


def test_a_loader_sends_an_object_through_the_command(
    erased: World, database_url: str, tmp_path: Path
) -> None:
    others = event(OTHER, ts=erased.before)
    body = text([event(USER, ts=erased.before), others, event(None, ANON, ts=erased.before)])
    done = command(
        erased, database_url, tmp_path, gzip.compress(body), "--dataset", "raw_events", "--json"
    )
    assert done.returncode == 0, done.stderr
    first, second = gzip.decompress(done.stdout).splitlines()
    assert first == others
    assert json.loads(second)["user"]["anon_id"].startswith("tomb_a_")
    said = json.loads(done.stderr)
    assert (said["lines"], said["dropped"], said["tombstoned"], said["parked"]) == (3, 1, 1, [])
    assert not any(v.encode() in done.stderr for v in (USER, ANON, DEVICE))


def test_the_command_refuses_a_table_and_says_5_where_a_line_is_parked(
    erased: World,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    for name, value in settings_of(erased, database_url, tmp_path).items():
        monkeypatch.setenv(name, value)
    assert cli.run(["lake", "gate", "--dataset", "timed"]) == 2
    refused = capsysbinary.readouterr()
    assert (refused.out, b"raw_events" in refused.err) == (b"", True)
    broken = b'{"user": {"user_id": "' + USER.encode() + b'"\n'
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(broken)))
    assert cli.run(["lake", "gate", "--dataset", "raw_events", "--json"]) == 5
    parked = capsysbinary.readouterr()
    assert parked.out == broken
    assert json.loads(parked.err)["parked"] == [{"line": 1, "byte": 0}]
