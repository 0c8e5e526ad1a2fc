"""Logs: JSON lines on stderr, and only keys and words of our own in them.

What is not on the list is dropped and counted. An exception is told as its classes and where it
was raised: never its message, never a local variable.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.contextvars import get_contextvars, merge_contextvars

ALLOWED = frozenset(
    {
        "event", "level", "timestamp", "logger", "part", "template", "where", "error", "frames",
        "code", "dropped",
        # who and what
        "request_id", "run_id", "dsar_id", "step_id", "actor", "kind", "target", "attempt",
        "fence", "worker", "task_id", "lane",
        # how it stands
        "stage", "state", "move", "verdict", "outcome", "due_at", "until", "not_before",
        # over HTTP
        "method", "route", "status",
        # how much
        "ms", "seconds", "count", "bytes", "dataset", "layer", "rows", "objects", "files",
        "findings", "steps", "cases", "rung",
    }
)  # fmt: skip
"""Every key that may stand in a line. `target` and `kind` are words of our own: a dataset and a
group, a recurring thing.
"""

_EVENT = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*")
_LONGEST = 200
_MOST_FRAMES = 30
_CONSTANT = ("uvicorn", "celery")
"""Loggers whose messages without arguments are constants in their source."""

Event = MutableMapping[str, Any]


def configure(part: str, *, stream: TextIO | None = None) -> None:
    """Set up the logs of this process. `part`: api, worker, beat."""
    to = stream or sys.stderr
    structlog.configure(
        processors=[
            merge_contextvars,
            structlog.processors.add_log_level,
            structlog.stdlib.add_logger_name,
            _Plain(part),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *names: _Lines(names[0] if names else "clearlake", to),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(to)
    handler.setFormatter(_Foreign(_Plain(part)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    for name in list(logging.root.manager.loggerDict):
        # What a library has set up for itself would write its messages as they are.
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
    logging.getLogger("uvicorn.access").setLevel(logging.WARNING)


class _Lines:
    """Writes whole lines: those of two threads or processes never mix."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self.name = name
        self._stream = stream

    def msg(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()

    debug = info = warning = error = critical = exception = fatal = msg


class _Plain:
    """The last processor: what it lets through may be read by anybody."""

    def __init__(self, part: str) -> None:
        self._part = part

    def __call__(self, logger: object, method: str, event: Event) -> Event:
        event.update(_told(event.pop("exc_info", None)))
        event.pop("stack_info", None)
        event.pop("exception", None)
        name = event.pop("event", "")
        shown = {k: v for k, v in event.items() if k in ALLOWED and v is not None}
        line: Event = {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "level": shown.pop("level", method),
            "event": name if _EVENT.fullmatch(str(name)) else "unnamed",
            "part": self._part,
        }
        line.update((k, v if k == "frames" else _value(v)) for k, v in shown.items())
        dropped = sum(1 for k in event if k not in ALLOWED)
        if dropped:
            line["dropped"] = dropped
        return line


class _Foreign(logging.Formatter):
    """A record of another library: its template, never with its arguments filled in."""

    def __init__(self, plain: _Plain) -> None:
        super().__init__()
        self._plain = plain

    def format(self, record: logging.LogRecord) -> str:
        event: Event = {
            **get_contextvars(),
            "event": "log",
            "level": record.levelname.lower(),
            "logger": record.name,
            "where": f"{_short(record.pathname)}:{record.lineno}",
            "exc_info": record.exc_info,
        }
        # Without arguments it may have been filled in already (an f-string): the place tells.
        if record.args or record.name.partition(".")[0] in _CONSTANT:
            event["template"] = " ".join(str(record.msg).split())[:_LONGEST]
        line = self._plain(None, "info", event)
        return str(structlog.processors.JSONRenderer()(None, "", line))


def _value(value: object) -> object:
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, str) and len(value) <= _LONGEST and value.isprintable():
        return value
    return "?"


def _told(exc_info: object) -> dict[str, object]:
    """The classes of an exception and its causes, and where the last of them was raised."""
    if exc_info is True:
        exc_info = sys.exc_info()
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if not isinstance(error, BaseException):
        return {}
    chain = list(_chain(error))
    told: dict[str, object] = {
        "error": " < ".join(type(e).__name__ for e in chain)[:_LONGEST],
        "frames": [f for e in reversed(chain) for f in _frames(e.__traceback__)][-_MOST_FRAMES:],
    }
    code = getattr(type(error), "code", None)
    return told | ({"code": code} if isinstance(code, str) else {})


def _chain(error: BaseException) -> Iterator[BaseException]:
    following: BaseException | None = error
    for _ in range(5):
        if following is None:
            return
        yield following
        hidden = following.__suppress_context__
        following = following.__cause__ or (None if hidden else following.__context__)


def _frames(trace: TracebackType | None) -> Iterator[str]:
    while trace is not None:
        code = trace.tb_frame.f_code
        yield f"{_short(code.co_filename)}:{trace.tb_lineno} {code.co_name}"
        trace = trace.tb_next


_HOME = str(Path(__file__).parents[1]) + "/"


def _short(path: str) -> str:
    """A file's place without this machine's folders."""
    return path.rpartition("site-packages/")[2].removeprefix(_HOME)[-120:]
