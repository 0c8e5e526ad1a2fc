"""The processes of embedded servers, as the system shows them."""

from __future__ import annotations

import psutil

from app.servers import Servers


def family(servers: Servers) -> list[psutil.Process]:
    """The guards and the servers."""
    guards = [psutil.Process(pid) for pid in servers.guards()]
    return guards + [child for guard in guards for child in guard.children(recursive=True)]


def gone(pids: list[int]) -> bool:
    """Whether all of them end within a few seconds."""
    _, alive = psutil.wait_procs([psutil.Process(p) for p in pids if psutil.pid_exists(p)], 12)
    return not alive


def runs(pid: int) -> bool:
    """Whether it still does anything: one that only waits to be buried does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
