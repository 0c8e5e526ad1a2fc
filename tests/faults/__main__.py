"""`make faults`: the fault matrix for as long as it is given; a table and one JSON document.

Ctrl-C ends it with what was reached. The exit code is 0 only when every promise is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.figures import Book, Reckoning

ROOT = Path(__file__).parents[2]
LOOK_SECONDS = 10


def main() -> int:
    """Run it."""
    asked = _arguments()
    seed = int(os.environ.get("CLEARLAKE_FAULT_SEED") or secrets.randbelow(1_000_000))
    print(
        f"CLEARLAKE_FAULT_SEED={seed}, about {1.7 * asked.minutes:.0f} minutes. Ctrl-C: the table."
    )
    with tempfile.TemporaryDirectory(prefix="clearlake-faults-") as folder:
        path = Path(folder) / "figures.jsonl"
        begun = time.monotonic()
        environment = {
            **os.environ,
            "CLEARLAKE_FAULT_SEED": str(seed),
            "CLEARLAKE_FAULT_MINUTES": str(asked.minutes),
            "CLEARLAKE_FAULT_FIGURES": str(path),
        }
        codes = _watched(asked, environment, Book(path))
        figures = Book(path).figures()
        failed = _failed(path)
        if not failed and (odd := [code for code in codes if code not in (0, 1)]):
            failed = [f"pytest ended with {odd[0]}"]
        end = Reckoning(seed, figures, failed, time.monotonic() - begun)
    print(end.table())
    document = json.dumps(end.document(), indent=2)
    print(document)
    if asked.json is not None:
        asked.json.write_text(document + "\n", encoding="utf-8")
    return 0 if end.holds else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="for most of it")
    parser.add_argument("--only", default="", help="scenarios by name, as pytest's -k takes it")
    parser.add_argument("--json", type=Path, help="also write the document to this file")
    parser.add_argument(
        "-n", "--processes", default="3", help="side by side; most wait most of the time"
    )
    return parser.parse_args()


def _watched(asked: argparse.Namespace, environment: dict[str, str], book: Book) -> list[int]:
    """Most of it side by side; then, alone, what others beside it would slow down."""
    told: dict[str, str] = {}
    codes = []
    for marked, processes in (("not alone", asked.processes), ("alone", "0")):
        command = [*_command(asked), "-m", marked, "-n", processes]
        codes.append(_watch(command, environment, book, told=told))
        if codes[-1] == pytest.ExitCode.INTERRUPTED:
            break
    if pytest.ExitCode.OK in codes:  # `--only` names what is in one of the two
        codes = [code for code in codes if code != pytest.ExitCode.NO_TESTS_COLLECTED]
    return codes


def _command(asked: argparse.Namespace) -> list[str]:
    return [
        *(sys.executable, "-m", "pytest", "tests"),
        *("-p", "tests.faults.plugin", "--dist", "load"),
        # one at a time, the longest first: then all processes end at about the same time
        *("--maxschedchunk", "1", "-p", "no:randomly"),
        # a scenario is as long as its share of the time; one that hangs is ended all the same
        *("--timeout", str(600 + round(60 * asked.minutes)), "--tb", "short", "-q"),
        *(("-k", asked.only) if asked.only else ()),
    ]


def _watch(
    command: list[str], environment: dict[str, str], book: Book, *, told: dict[str, str]
) -> int:
    """Run it, and tell every now and then how far it is. Ctrl-C reaches it too."""
    process = subprocess.Popen(command, env=environment, cwd=ROOT)
    while process.poll() is None:
        try:
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_SECONDS)
            for figure in book.figures():
                if told.get(figure.scenario) != figure.reached:
                    told[figure.scenario] = figure.reached
                    print(f"  {figure.promise:4} {figure.scenario}: {figure.reached}", flush=True)
        except KeyboardInterrupt:
            print("Ending.", flush=True)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
            if process.poll() is None:
                process.kill()
            process.wait()
    return process.returncode


def _failed(path: Path) -> list[str]:
    text = path.read_text("utf-8") if path.exists() else ""
    lines = [json.loads(line) for line in text.splitlines()]
    return [line["test"] for line in lines if line.get("outcome") == "failed"]


if __name__ == "__main__":
    sys.exit(main())
