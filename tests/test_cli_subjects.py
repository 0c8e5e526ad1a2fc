"""A file of people: what is read from it, and what is refused without repeating it."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import cli
from app.cli.subjects import subjects_of
from app.domain.identifiers import Identifier, Kind

USER, ANON, DEVICE = "usr_01HXSECRET", "a_SECRETSECRET", "fp_5EC2E75EC2E7"


def test_each_line_is_a_person(tmp_path: Path) -> None:
    path = tmp_path / "people.ndjson"
    path.write_text(
        f'{{"user_id": "{USER}", "anon_ids": ["{ANON}", "{ANON}"], "device_fps": ["{DEVICE}"]}}\n'
        f'\n{{"anon_ids": ["{ANON}"]}}'
    )
    first, second = subjects_of(path)
    assert {(i.kind, i.value) for i in first.given} == {
        (Kind.USER_ID, USER),
        (Kind.ANON_ID, ANON),
        (Kind.DEVICE_FP, DEVICE),
    }
    assert second.given == (Identifier(Kind.ANON_ID, ANON),)
    assert [s.name for s in (first, second)] == ["s1", "s3"]
    assert USER not in repr(first)


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        (f"{USER}\n", "usage", 1),
        (f'{{"user_id": "{USER}"}}\n{{"{USER}": 1}}', "usage", 2),
        (f'{{"user_id": ["{USER}"]}}', "usage", 1),
        (f'{{"user_id": "{USER}"', "usage", 1),
        (f'{{"user_id": "{USER}\udcff"}}', "usage", 1),
        (f'{{"user_id": "{USER} {USER}"}}', "identifier_malformed", 1),
        (f'\n{{"device_fps": ["{DEVICE}"]}}', "identifier_too_weak", 2),
        ("{}", "identifier_missing", 1),
        ("\n \n", "identifier_missing", None),
    ],
)
def test_a_file_that_names_nobody_rightly_is_refused_by_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, code: str, line: int | None
) -> None:
    path = tmp_path / "people.ndjson"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert cli.run(["bench", "bronze", "--map", "lake.yaml", "--subjects", str(path)]) == 2
    said = "".join(capsys.readouterr())
    assert f"[{code}]" in said
    assert f"--subjects, line {line}:" in said if line else "--subjects: " in said
    for value in (USER, ANON, DEVICE):
        assert value not in said


def test_a_file_that_is_not_there_is_said_without_its_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Somebody may have typed an identifier in its place."""
    assert cli.run(["bench", "tables", "--map", "lake.yaml", "--subjects", USER]) == 2
    said = "".join(capsys.readouterr())
    assert "--subjects: the file cannot be read: No such file or directory." in said
    assert USER not in said
