"""Runs command lines of the product, each in a process of its own that is forked ready-imported.

As a program: reads command lines on stdin, one JSON document a line. As a module: its client.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Done:
    """A finished command. `code` is minus the signal's number where one killed it."""

    code: int
    out: str = field(repr=False)
    err: str = field(repr=False)

    @property
    def document(self) -> dict[str, Any]:
        """What `--json` printed: exactly one document."""
        found: dict[str, Any] = json.loads(self.out)
        return found


class Running:
    """A command that has begun."""

    def __init__(self, runner: Runner, pid: int, folder: Path) -> None:
        self._runner, self.pid, self._folder = runner, pid, folder

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self) -> Done:
        """Wait for it."""
        code = int(self._runner.answer()["code"])
        out, err = (self._folder / name for name in ("out", "err"))
        return Done(code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))


class Runner:
    """A process that has the product imported and forks once a command; one at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.forking"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def start(
        self, arguments: Sequence[str | Path], *, environment: Mapping[str, str], limit: int = 0
    ) -> Running:
        """Begin `clearlake ARGUMENTS...`. `limit`: the largest file it may write, in bytes."""
        assert self._process.stdin is not None
        command = {
            "arguments": [str(a) for a in arguments],
            "environment": dict(environment),
            "folder": str(self._folder),
            "limit": limit,
        }
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return Running(self, int(self.answer()["pid"]), self._folder)

    def run(self, *arguments: str | Path, environment: Mapping[str, str], limit: int = 0) -> Done:
        """Carry a command line out."""
        return self.start(arguments, environment=environment, limit=limit).end()

    def answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


def _serve() -> None:
    import app.cli  # the slow part, once
    import app.lake.pyiceberg_engine

    answers = os.dup(1)
    os.dup2(2, 1)
    for line in sys.stdin:
        command = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.close(answers)
            _carry_out(command, app.cli.main)
        os.write(answers, json.dumps({"pid": pid}).encode() + b"\n")
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        os.write(answers, json.dumps({"code": code}).encode() + b"\n")


def _carry_out(command: dict[str, Any], main: Any) -> None:
    """In the child: become the command, and never return."""
    folder = Path(command["folder"])
    os.environ.clear()
    os.environ.update(command["environment"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if command["limit"]:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (command["limit"], command["limit"]))
    code: Any = 1
    try:
        main(command["arguments"])
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # as the interpreter itself would say it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
