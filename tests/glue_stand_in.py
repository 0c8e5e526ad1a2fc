"""The part of AWS Glue that an Iceberg catalog needs, on the loopback: databases and tables by
name, and an update that is refused when the table's version is another. Not Glue: no rights.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


class RefusedError(Exception):
    """Glue's name of an error."""


@dataclass
class Glue:
    """What it knows. One call at a time."""

    endpoint: str = ""
    databases: dict[str, Body] = field(default_factory=dict)
    tables: dict[tuple[str, str], Body] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, call: str, said: Body) -> Body:
        """One call by its name."""
        acts: dict[str, Callable[[Body], Body]] = {
            "CreateDatabase": self._create_database,
            "GetDatabase": lambda s: {"Database": _known(self.databases, s["Name"])},
            "GetDatabases": lambda _: {"DatabaseList": list(self.databases.values())},
            "CreateTable": self._create_table,
            "GetTable": lambda s: {"Table": _known(self.tables, (s["DatabaseName"], s["Name"]))},
            "GetTables": self._get_tables,
            "UpdateTable": self._update_table,
        }
        with self.lock:
            return acts[call](said)

    def _create_database(self, said: Body) -> Body:
        name = said["DatabaseInput"]["Name"]
        if name in self.databases:
            raise RefusedError("AlreadyExistsException")
        self.databases[name] = said["DatabaseInput"]
        return {}

    def _create_table(self, said: Body) -> Body:
        _known(self.databases, said["DatabaseName"])
        key = (said["DatabaseName"], said["TableInput"]["Name"])
        if key in self.tables:
            raise RefusedError("AlreadyExistsException")
        self.tables[key] = {**said["TableInput"], "DatabaseName": key[0], "VersionId": "0"}
        return {}

    def _get_tables(self, said: Body) -> Body:
        _known(self.databases, said["DatabaseName"])
        mine = [t for (name, _), t in self.tables.items() if name == said["DatabaseName"]]
        return {"TableList": mine}

    def _update_table(self, said: Body) -> Body:
        key = (said["DatabaseName"], said["TableInput"]["Name"])
        version = _known(self.tables, key)["VersionId"]
        if said["VersionId"] != version:
            raise RefusedError("ConcurrentModificationException")
        new = {"DatabaseName": key[0], "VersionId": str(int(version) + 1)}
        self.tables[key] = {**said["TableInput"], **new}
        return {}


def _known(named: dict[Any, Body], name: Any) -> Body:
    if name not in named:
        raise RefusedError("EntityNotFoundException")
    return named[name]


@contextmanager
def serving_glue() -> Iterator[Glue]:
    """Serve until the block ends."""
    glue = Glue()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            call = self.headers["X-Amz-Target"].partition(".")[2]
            try:
                status, body = 200, glue.answer(call, said)
            except RefusedError as err:
                status, body = 400, {"__type": str(err), "Message": str(err)}
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        glue.endpoint = f"http://127.0.0.1:{server.server_port}"
        yield glue
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
