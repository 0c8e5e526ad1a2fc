"""The parent of one server: stops it when asked to, or when the process that wanted it is gone.

Run as a script, alone, by app.servers.process. Standard library only; not imported by anybody.

1. Start the server as the user it should run as, told by the kernel to stop if this guard dies.
2. Wait until the server ends, a stop is asked for (SIGTERM), or the owner is no longer our parent.
3. Send the server its own stop signal; after the grace, kill its process group.
4. Kill what is left of its process group, and remove the files it leaves behind elsewhere.
"""

import contextlib
import ctypes
import glob
import json
import os
import signal
import sys
import time
from typing import Any

PR_SET_PDEATHSIG = 1
WATCHED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LOOK_SECONDS = 0.25


def main(order: dict[str, Any]) -> int:
    try:
        return watch(order)
    finally:
        for pattern in order["leaves"]:
            for path in glob.glob(pattern):
                with contextlib.suppress(OSError):
                    os.unlink(path)


def watch(order: dict[str, Any]) -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    guard = os.getpid()
    child = os.fork()
    if child == 0:
        become_server(order, guard)
    while True:
        caught = signal.sigtimedwait(WATCHED, LOOK_SECONDS)
        status = ended(child)
        if status is not None:
            kill_group(child)  # a worker killed alone leaves its pool behind
            return status
        asked = caught is not None and caught.si_signo != signal.SIGCHLD
        if asked or os.getppid() != order["owner"]:
            return stop(child, order)


def become_server(order: dict[str, Any], guard: int) -> None:
    """The last steps before the server's own code: order matters."""
    try:
        os.setpgid(0, 0)
        if order["uid"] is not None:
            os.setgroups([])
            os.setgid(order["gid"])
            os.setuid(order["uid"])
        # after setuid, which clears it; the guard has one thread, so its death is the thread's
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, order["stop_signal"], 0, 0, 0)
        if os.getppid() != guard:
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WATCHED)
        for number in WATCHED:
            signal.signal(number, signal.SIG_DFL)
        os.execv(order["argv"][0], order["argv"])  # noqa: S606 - no shell is wanted
    except OSError as err:
        os.write(2, f"cannot run {os.path.basename(order['argv'][0])}: {err.strerror}\n".encode())
    finally:
        os._exit(127)


def ended(child: int) -> int | None:
    pid, status = os.waitpid(child, os.WNOHANG)
    return None if pid == 0 else os.waitstatus_to_exitcode(status) & 0xFF


def stop(child: int, order: dict[str, Any]) -> int:
    deadline = time.monotonic() + order["grace"]
    os.kill(child, order["stop_signal"])
    while time.monotonic() < deadline:
        status = ended(child)
        if status is not None:
            kill_group(child)
            return status
        signal.sigtimedwait([signal.SIGCHLD], 0.1)
    kill_group(child)
    os.waitpid(child, 0)
    return 1


def kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
