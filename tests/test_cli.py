"""What the parser refuses is said without what was typed."""

from __future__ import annotations

import pytest

from app import cli


def test_a_misplaced_identifier_is_refused_and_not_repeated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = cli.run(["erase", "usr_01HXSECRET", "--map", "lake.yaml"])
    said = "".join(capsys.readouterr())
    assert code == 2
    assert "unexpected extra argument" in said
    assert "usr_01HXSECRET" not in said


def test_an_unknown_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["eraze"]) == 2
    assert "eraze" in "".join(capsys.readouterr())
