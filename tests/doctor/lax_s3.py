"""A server that speaks S3 and keeps none of its promises: it ignores conditions, checksums, version
ids of a delete, and locks. No server that we can run is so bad, and doctor must see through one.
"""

from __future__ import annotations

import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

_SETTINGS = {
    "versioning": "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    "object-lock": "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>"
    "</ObjectLockConfiguration>",
    "lifecycle": "<LifecycleConfiguration/>",
    "replication": "<ReplicationConfiguration/>",
    "versions": "<ListVersionsResult/>",
    "uploads": "<ListMultipartUploadsResult/>",
}


class _Lax(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: dict[str, dict[str, bytes]]
    numbers: Iterator[int]

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        asked = urllib.parse.parse_qs(query, keep_blank_values=True)
        body = self.objects.get(path, {}).get(asked.get("versionId", [""])[0])
        if body is not None:
            modified = {"Last-Modified": self.date_time_string()}
            self._answer(200, body, ETag='"same"', **modified)
            return
        found = next((text for name, text in _SETTINGS.items() if name in asked), None)
        if found is None and path != "/":
            self._answer(404, b"<Error><Code>NoSuchVersion</Code></Error>")
        else:
            self._answer(200, (found or "<ListAllMyBucketsResult/>").encode())

    do_HEAD = do_GET  # noqa: N815 - the library's name

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        version = f"v{next(self.numbers)}"
        self.objects.setdefault(self.path.partition("?")[0], {})[version] = body
        self._answer(200, b"", ETag='"same"', **{"x-amz-version-id": version})

    def do_DELETE(self) -> None:
        self.objects.pop(self.path.partition("?")[0], None)
        self._answer(204, b"")

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Quiet."""


@contextmanager
def lax_s3() -> Iterator[str]:
    """Its address, for as long as it runs."""
    handler = type("Lax", (_Lax,), {"objects": {}, "numbers": count(1)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
