"""Named places where a test may break the process: killed, stopped, raised, or slept at. A no-op
unless switched on.

Switched on by the environment:
CLEARLAKE_FAILPOINTS="bronze.after_put=kill@2,tables.before_commit=raise" acts on the second and
first passing (`@*`: on every one); CLEARLAKE_FAILPOINTS_RECORD=FILE appends each name as it is
passed, so that a test can list them by recording one run. Refused where ENV is production
(app.wiring).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter

_passed: Counter[str] = Counter()
_lock = threading.Lock()
"""Two threads that pass together are the first and the second, never both the second."""


class FailpointError(BaseException):
    """Raised by a failpoint set to `raise`. A BaseException, so that no except clause of ours
    swallows it.
    """


def failpoint(name: str) -> None:
    """Do nothing; or what the environment says of this place."""
    record = os.environ.get("CLEARLAKE_FAILPOINTS_RECORD")
    if record:
        with open(record, "a", encoding="ascii") as file:
            file.write(name + "\n")
    wanted = os.environ.get("CLEARLAKE_FAILPOINTS")
    if wanted:
        with _lock:
            _passed[name] += 1
            passing = _passed[name]
        for rule in wanted.split(","):
            place, _, action = rule.partition("=")
            action, _, turn = action.partition("@")
            if place == name and (turn == "*" or passing == int(turn or "1")):
                _act(action, name)


def _act(action: str, name: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action == "raise":
        raise FailpointError(name)
    elif action.startswith("sleep:"):
        time.sleep(float(action.removeprefix("sleep:")))
    else:
        raise ValueError(f"failpoint {name}: unknown action {action!r}")
