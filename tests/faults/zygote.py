"""Worker processes of the product, forked ready-imported, many at once, each with its own settings.

As a program: reads one JSON document a worker on stdin, writes its process id. As a module: its
client. Not here: what the workers are put through (the tests).
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil


class Zygote:
    """A process that has the product imported and forks once a worker."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    def close(self) -> None:
        """No worker of it may be left: kill them first."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def worker(
        self, environment: Mapping[str, str], *, log: Path, limit: int = 0, days_off: int = 0
    ) -> Worker:
        """Start one without a broker. `limit`: the largest file it may write, in bytes;
        `days_off`: how far its clock is ahead.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        wanted = {
            "environment": dict(environment),
            "log": str(log),
            "limit": limit,
            "days_off": days_off,
        }
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        return Worker(int(self._process.stdout.readline()), log)


class Worker:
    """One that was started."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid, self.log = pid, log

    @property
    def ended(self) -> bool:
        return not psutil.pid_exists(self.pid)

    @property
    def stopped(self) -> bool:
        """Whether it was sent SIGSTOP, by whomever."""
        with suppress(psutil.NoSuchProcess):
            return bool(psutil.Process(self.pid).status() == psutil.STATUS_STOPPED)
        return False

    def signal(self, number: signal.Signals) -> None:
        """To it, if it is still there."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """At once, whatever state it is in."""
        self.signal(signal.SIGKILL)
        self.wait()

    def wait(self, seconds: float = 30) -> None:
        """Until it has ended."""
        until = time.monotonic() + seconds
        while not self.ended:
            assert time.monotonic() < until, self.said()
            time.sleep(0.01)

    def said(self) -> str:
        """The end of its log."""
        text = self.log.read_text("utf-8", "replace") if self.log.exists() else ""
        return "\n".join(line for line in text.splitlines() if "pyiceberg" not in line)[-2000:]


def _serve() -> None:
    for slow in ("app.wiring.lakes", "workers.pipeline", "workers.poll"):
        importlib.import_module(slow)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    answers = os.dup(1)
    os.dup2(2, 1)
    for line in sys.stdin:
        wanted = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.close(answers)
            _become(wanted)
        os.write(answers, f"{pid}\n".encode())


def _become(wanted: dict[str, object]) -> None:
    """In the child: become the worker, and never return."""
    from workers import poll

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(wanted["environment"])  # type: ignore[call-overload]  # of JSON
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(str(wanted["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(log, number)
    if wanted["limit"]:
        _limit(int(str(wanted["limit"])))
    if wanted["days_off"]:
        from tests.faults.clock import put_forward

        put_forward(int(str(wanted["days_off"])))
    code = 1
    try:
        poll.main()
        code = 0
    except BaseException:  # as the interpreter itself would say it
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _limit(size: int) -> None:
    """What a full disk looks like to whoever writes."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


if __name__ == "__main__":
    _serve()
