"""Commands of ours as real processes, and waiting for what they do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
CLEARLAKE = (sys.executable, "-m", "app.cli")


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without settings of ours, and these instead."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("CLEARLAKE_")}
    return {**kept, **settings}


def run(*command: str, settings: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run one to its end."""
    return subprocess.run(
        [*CLEARLAKE, *command],
        env=clean_environment(settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def started(
    *command: str, settings: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run one until the context ends, then kill it if it still lives."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*CLEARLAKE, *command],
            env=clean_environment(settings),
            cwd=ROOT,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def eventually(seen: Callable[[], object], *, seconds: float = 30) -> None:
    """Return once it is so."""
    until = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.05)
