"""The command line takes people out of a made lake, and an independent reader agrees."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.worlds import World


def test_the_plan_changes_no_byte_and_names_nobody(world: World) -> None:
    user = world.cast.active_buyer
    before = world.storage.versions()
    done = world.erase("--user-id", user)
    assert done.code == 0, done.err
    assert "Nothing was changed." in done.out
    assert world.storage.versions() == before
    assert world.held(world.gone(users=(user,))) == world.storage.held(
        world.gone(users=(user,)).values
    )


@pytest.mark.parametrize("world", ["s3", "file"], indirect=True)
def test_a_person_leaves_and_everybody_else_stays(world: World) -> None:
    user = world.cast.active_buyer
    before, gone = world.records(), world.gone(users=(user,))
    assert world.storage.held(gone.values)
    found = world.check("--user-id", user)
    assert (found.code, "Found." in found.out) == (3, True)
    done = world.erase("--user-id", user, "--yes", "--purge-now", "--json")
    assert done.code == 0, done.out + done.err
    document = done.document
    assert (document["verdict"], document["outcome"]) == ("VERIFIED", "fulfilled")
    assert sum(row["deleted"] for row in document["datasets"]) == (
        before.count() - world.records().count()
    )
    world.clean_of(gone, before=before)
    assert world.check("--user-id", user).code == 0
    _reports_are_valid(world, [Path(p) for p in document["reports"]])
    _again_changes_nothing(world, user)


def _reports_are_valid(world: World, reports: list[Path]) -> None:
    key = world.report.with_name("clearlake-public.pem")
    assert len(reports) == 2
    for report in reports:
        assert world.run("report", "verify", report, "--key", key).code == 0
    data = reports[0].read_bytes()
    reports[0].write_bytes(data.replace(b"VERIFIED", b"VERIFIEE", 1))
    broken = world.run("report", "verify", reports[0], "--key", key)
    assert broken.code == 3
    assert "FAILED" in broken.out


def _again_changes_nothing(world: World, user: str) -> None:
    before = world.storage.versions()
    again = world.erase("--user-id", user, "--yes", "--purge-now", "--json")
    assert again.code == 0, again.out + again.err
    assert again.document["outcome"] == "not_found"
    assert not any(row["changed"] or row["deleted"] for row in again.document["datasets"])
    assert world.storage.versions() == before


def test_several_people_leave_in_one_run(world: World) -> None:
    users = (world.cast.tablet_user, world.cast.provider)
    visitor = world.cast.visitor_anon_id
    before, gone = world.records(), world.gone(users=users, anons=(visitor,))
    named = ["--user-id", users[0], "--user-id", users[1], "--anon-id", visitor]
    done = world.erase(*named, "--yes", "--json")
    assert done.code == 0, done.out + done.err
    assert len(done.document["reports"]) == 4
    world.clean_of(gone, before=before)


def test_a_plan_is_carried_out_by_its_digest_only(folder_world: World) -> None:
    user = folder_world.cast.disputed_buyer
    before, gone = folder_world.records(), folder_world.gone(users=(user,))
    versions = folder_world.storage.versions()
    wrong = folder_world.erase("--user-id", user, "--confirm", "0" * 64)
    assert wrong.code == 2
    assert "[plan_changed]" in wrong.err
    assert folder_world.storage.versions() == versions
    digest = folder_world.erase("--user-id", user, "--json").document["digest"]
    assert digest in wrong.err
    right = folder_world.erase("--user-id", user, "--confirm", digest)
    assert right.code == 0, right.out + right.err
    folder_world.clean_of(gone, before=before)


def test_within_the_undo_window_every_byte_comes_back(world: World) -> None:
    world.edit_map("undo_window: PT0S", "undo_window: P1D")
    user = world.cast.active_buyer
    before, current = world.records(), world.storage.current("raw/")
    waiting = world.erase("--user-id", user, "--yes")
    assert waiting.code == 4, waiting.out + waiting.err
    assert "Nothing is destroyed until 20" in waiting.out
    assert world.storage.current("raw/") != current
    assert world.erase("--user-id", user, "--yes").code == 4
    undone = world.erase("--user-id", user, "--undo")
    assert undone.code == 0, undone.out + undone.err
    assert world.storage.current("raw/") == current
    assert not world.records().differences(before)
    nothing = world.erase("--user-id", user, "--undo")
    assert (nothing.code, "[not_undoable]" in nothing.err) == (2, True)


def test_after_the_purge_nothing_can_be_undone(folder_world: World) -> None:
    folder_world.edit_map("undo_window: PT0S", "undo_window: P1D")
    user = folder_world.cast.active_buyer
    before, gone = folder_world.records(), folder_world.gone(users=(user,))
    assert folder_world.erase("--user-id", user, "--yes").code == 4
    assert folder_world.erase("--user-id", user, "--yes", "--purge-now").code == 0
    refused = folder_world.erase("--user-id", user, "--undo")
    assert (refused.code, "[not_undoable]" in refused.err) == (2, True)
    folder_world.clean_of(gone, before=before)


def test_another_command_on_an_open_journal_is_refused(folder_world: World) -> None:
    folder_world.edit_map("undo_window: PT0S", "undo_window: P1D")
    user, other = folder_world.cast.active_buyer, folder_world.cast.disputed_buyer
    assert folder_world.erase("--user-id", user, "--yes").code == 4
    versions = folder_world.storage.versions()
    for arguments in (["--yes"], [], ["--undo"], ["--yes", "--purge-now"]):
        refused = folder_world.erase("--user-id", other, *arguments)
        assert (refused.code, "[journal_conflict]" in refused.err) == (2, True), arguments
    assert folder_world.storage.versions() == versions


def test_an_unknown_person_is_not_found_and_the_report_says_so(folder_world: World) -> None:
    unknown = "usr_00000000000000000000UNKNOWN"[:30]
    versions = folder_world.storage.versions()
    done = folder_world.erase("--user-id", unknown, "--yes", "--purge-now", "--json")
    assert done.code == 0, done.out + done.err
    assert done.document["outcome"] == "not_found"
    assert folder_world.storage.versions() == versions
    assert "not_found" in folder_world.report.read_text()
    assert unknown not in folder_world.report.read_text()


def test_the_installed_command_answers_by_itself(folder_world: World) -> None:
    """Once as a real console script: everything else is forked from a warm process."""
    command = Path(sys.executable).with_name("clearlake")
    line: list[str | Path] = [command, "erase", "--map", folder_world.map_path, "--json"]
    user = folder_world.cast.active_buyer
    done = subprocess.run(
        [*line, "--user-id", user, "--state", folder_world.state],
        env=folder_world.environment,
        cwd=folder_world.desk,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["schema"] == "clearlake.plan/1"
