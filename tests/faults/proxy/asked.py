"""What an S3 server was asked through the proxy: by kind, by object, by stage of a run.

Not here: what is expected (the tests), and the table of it (bench).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from app.offline import stages
from app.stages.acts import Acts
from tests.faults.proxy.http import Asked, HttpProxy

_BY_QUERY = (
    ("versions", "list"),
    ("list-type", "list"),
    ("uploads", "uploads"),
    ("versioning", "settings"),
    ("object-lock", "settings"),
    ("tagging", "tags"),
    ("retention", "retention"),
    ("uploadId", "part"),
)

PROTOCOL = ("plan", "erase", "check", "purge")
LOOK = "verify"
"""The second look reads every version once more, whatever became of it."""


@dataclass(frozen=True)
class Request:
    """One request."""

    stage: str
    kind: str
    """get | head | put | delete of an object; list, uploads, clock, settings of a bucket; ..."""
    uri: str
    """Of the object, or what the names of those begin with that are listed; '' if it is about none.
    """


@dataclass
class Requests:
    """All that a proxy saw, from now on."""

    proxy: HttpProxy
    seen: list[Request] = field(default_factory=list)
    _read: int = 0

    def __post_init__(self) -> None:
        self._read = len(self.proxy.asked)

    def of_run(self, acts: Acts) -> None:
        """Take a run through its stages, up to the second look."""
        self.of_stage("before")
        for name in (*PROTOCOL, LOOK):
            getattr(stages, name)(acts)
            self.of_stage(name)

    def listings(self, beginning: str, *stages: str) -> int:
        """How often names that begin so were listed, one of them alone counted too."""
        return sum(
            r.kind == "list" and r.uri.startswith(beginning) and r.stage in stages
            for r in self.seen
        )

    def of_stage(self, stage: str) -> None:
        """What was asked since the last stage is this one's."""
        asked = self.proxy.asked[self._read :]
        self._read += len(asked)
        self.seen += [_request(stage, each) for each in asked if each.path.startswith("/")]

    def about(self, uris: Iterable[str], *stages: str) -> Counter[str]:
        """By kind, about some objects in some stages."""
        wanted = frozenset(uris)
        return Counter(r.kind for r in self.seen if r.uri in wanted and r.stage in stages)


def _request(stage: str, asked: Asked) -> Request:
    parts = urlsplit(asked.path)
    bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
    query = parse_qs(parts.query, keep_blank_values=True)
    kind = next((k for name, k in _BY_QUERY if name in query), asked.method.lower())
    if not bucket:
        kind = "clock"
    if kind == "list":
        key = query.get("prefix", [""])[0]
    return Request(stage, kind, f"s3://{bucket}/{key}" if key else "")
