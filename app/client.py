"""A client of the service over HTTP, for the command line and the demo.

It waits out a service that is away for a moment. Not here: what to ask for.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, Self
from uuid import uuid4

import httpx

from app.domain.errors import ClearlakeError, UnreachableError

_AWAY = frozenset({502, 503, 504})
_PAUSE = 0.25


class AnswerError(ClearlakeError):
    """The service said no. `status`: the HTTP status; `answered`: the code of its problem."""

    code: ClassVar[str] = "answer"

    def __init__(self, message: str, *, status: int, answered: str) -> None:
        super().__init__(message)
        self.status, self.answered = status, answered


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event."""

    name: str
    data: Any
    id: str | None


@dataclass(frozen=True, slots=True)
class Client:
    """`with Client(url, key) as client:`. `patience`: seconds to wait for a service that does not
    answer or says 503; then UnreachableError.
    """

    url: str
    key: str = field(repr=False)
    patience: float = 60.0
    http: httpx.Client = field(
        default_factory=lambda: httpx.Client(timeout=httpx.Timeout(10.0, read=30.0)), repr=False
    )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.http.close()

    def get(self, path: str, **query: str | int | list[str]) -> dict[str, Any]:
        """A JSON document."""
        found: dict[str, Any] = self._sent("GET", path, params=query).json()
        return found

    def download(self, path: str) -> bytes:
        """A file, as it was stored."""
        return self._sent("GET", path).content

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask for a change. Sent again only under the same Idempotency-Key."""
        headers = {"Idempotency-Key": str(uuid4())}
        found: dict[str, Any] = self._sent("POST", path, json=body or {}, headers=headers).json()
        return found

    def events(self, path: str) -> Iterator[Event]:
        """A stream, taken up again after the last event that came, until it says `end`."""
        last: str | None = None
        until = time.monotonic() + self.patience
        while True:
            headers = {"Last-Event-ID": last} if last else {}
            try:
                with self._stream(path, headers) as answer:
                    for event in _parsed(answer.iter_lines()):
                        until = time.monotonic() + self.patience
                        last = event.id or last
                        yield event
                        if event.name == "end":
                            return
            except httpx.TransportError as err:
                if time.monotonic() > until:
                    raise UnreachableError(f"{self.url} does not answer.") from err
            time.sleep(_PAUSE)

    def _stream(self, path: str, headers: Mapping[str, str]) -> Any:
        return self.http.stream("GET", self.url + path, headers={**self._auth, **headers})

    def _sent(self, method: str, path: str, **options: Any) -> httpx.Response:
        until = time.monotonic() + self.patience
        headers = {**self._auth, **options.pop("headers", {})}
        while True:
            try:
                answer = self.http.request(method, self.url + path, headers=headers, **options)
            except httpx.TransportError as err:
                if time.monotonic() > until:
                    raise UnreachableError(f"{self.url} does not answer.") from err
            else:
                if answer.status_code not in _AWAY or time.monotonic() > until:
                    return _accepted(answer)
            time.sleep(_PAUSE)

    @property
    def _auth(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


def _accepted(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    code = str(problem.get("code", answer.status_code))
    detail = problem.get("detail") or f"The service answered {answer.status_code}."
    raise AnswerError(str(detail), status=answer.status_code, answered=code)


def _parsed(lines: Iterator[str]) -> Iterator[Event]:
    """WHATWG HTML, 9.2: empty lines part events; a line that begins with a colon is a comment."""
    name, id_, data = "message", None, list[str]()
    for line in lines:
        if not line:
            if data:
                yield Event(name, json.loads("\n".join(data)), id_)
            name, id_, data = "message", None, []
            continue
        field_, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field_ == "event":
            name = value
        elif field_ == "id":
            id_ = value
        elif field_ == "data":
            data.append(value)
