"""The README's lines for a shell work as they are printed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.servers import remove_state
from tests.service.processes import CLEARLAKE, ROOT, clean_environment, eventually

BLOCKS = re.findall(
    r"^```(?:\w*)\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.M | re.S
)
[LINES] = [block for block in BLOCKS if "/v1/dsars" in block]


@pytest.fixture
def desk() -> Iterator[Path]:
    """A folder in which `.venv/bin/clearlake` is where the README says."""
    folder = Path(tempfile.mkdtemp(prefix="clearlake-readme-"))
    folder.chmod(0o711)
    (folder / ".venv").symlink_to(sys.prefix)
    yield folder
    if (folder / "clearlake-up").exists():
        remove_state(folder / "clearlake-up" / "servers")
    shutil.rmtree(folder, ignore_errors=True)


def test_a_case_goes_from_the_first_curl_line_to_the_verified_report(desk: Path) -> None:
    environment = clean_environment({"PYTHONPATH": str(ROOT)})
    log = desk / "up.log"
    with log.open("wb") as out:
        up = subprocess.Popen(
            [*CLEARLAKE, "up", "--events", "1500"],
            cwd=desk,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            eventually((desk / "clearlake-up" / "environment").exists, seconds=90)
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", LINES],
                cwd=desk,
                env=environment,
                capture_output=True,
                text=True,
                timeout=150,
                check=False,
            )
        finally:
            up.terminate()
            up.wait(60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The report is valid." in done.stdout
    assert '"status":"completed"' in done.stdout.replace(" ", "")
