"""Logs hold what is on the list and nothing else, whoever writes them."""

from __future__ import annotations

import ast
import io
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import structlog

from app import logs
from app.domain.errors import StaleError
from tests.service.processes import eventually

CANARY = "usr_01canarycanarycanarycanary"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What this process logs, until the test ends."""
    root, shown = logging.getLogger(), warnings.showwarning
    before = root.handlers[:], root.level
    written = io.StringIO()
    logs.configure("test", stream=written)
    yield written
    logging.captureWarnings(capture=False)
    warnings.showwarning = shown
    root.handlers[:], root.level = before
    structlog.contextvars.clear_contextvars()
    structlog.configure(processors=[], logger_factory=structlog.ReturnLoggerFactory())


def read(lines: io.StringIO) -> list[dict[str, object]]:
    assert CANARY not in lines.getvalue()
    return [json.loads(line) for line in lines.getvalue().splitlines()]


def test_a_line_has_what_was_said_and_when_and_who_for(lines: io.StringIO) -> None:
    structlog.contextvars.bind_contextvars(request_id="req_1", run_id="run_1")
    structlog.get_logger("app.x").info("step.finished", step_id="step_1", rows=3, count=None)
    (line,) = read(lines)
    assert str(line.pop("timestamp")).endswith("+00:00")
    assert line == {
        "level": "info", "event": "step.finished", "part": "test", "logger": "app.x",
        "request_id": "req_1", "run_id": "run_1", "step_id": "step_1", "rows": 3,
    }  # fmt: skip


def test_a_key_that_is_not_listed_is_dropped_and_counted(lines: io.StringIO) -> None:
    structlog.get_logger().info("step.finished", user_id=CANARY, body={"x": CANARY}, rows=1)
    (line,) = read(lines)
    assert (line["dropped"], line["rows"]) == (2, 1)


def test_a_value_that_is_no_plain_word_is_not_shown(lines: io.StringIO) -> None:
    for value in ([CANARY], {"a": CANARY}, CANARY.encode(), f"{CANARY}\n", CANARY * 20):
        structlog.get_logger().info("step.finished", target=value)
    assert {line["target"] for line in read(lines)} == {"?"}


def test_an_event_that_is_no_name_is_not_shown(lines: io.StringIO) -> None:
    for event in (f"erased {CANARY}", CANARY.upper(), ""):
        structlog.get_logger().warning(event)
    assert {line["event"] for line in read(lines)} == {"unnamed"}


def breaks(value: str) -> None:
    try:
        int(value)
    except ValueError as err:
        raise StaleError(f"It is {value}") from err


def test_an_exception_is_told_by_its_classes_and_where_it_was_raised(lines: io.StringIO) -> None:
    secret = CANARY
    try:
        breaks(secret)
    except StaleError:
        structlog.get_logger().exception("http.failed", count=1)
        logging.getLogger("some.library").exception("It broke for %s", secret)
    ours, theirs = read(lines)
    for line in (ours, theirs):
        assert (line["error"], line["code"]) == ("StaleError < ValueError", "stale")
        frames = line["frames"]
        assert isinstance(frames, list)
        assert all(f.startswith("tests/api/test_logs.py:") for f in frames)
        assert frames[-1].endswith(" breaks")
    assert theirs["template"] == "It broke for %s"


def test_another_librarys_message_is_its_template_and_its_place(lines: io.StringIO) -> None:
    log = logging.getLogger("botocore.hooks")
    log.warning("Retry %s of %s", 3, CANARY)
    log.warning(f"Retry {CANARY}")  # noqa: G004
    log.warning({"user": CANARY})
    log.debug("Retry %s", CANARY)
    found = read(lines)
    assert [line.get("template") for line in found] == ["Retry %s of %s", None, None]
    assert all(str(line["where"]).startswith("tests/api/test_logs.py:") for line in found)
    assert {(line["logger"], line["level"]) for line in found} == {("botocore.hooks", "warning")}


def test_what_a_library_set_up_for_itself_writes_through_us_too(lines: io.StringIO) -> None:
    own = io.StringIO()
    log = logging.getLogger("test.own.handler")
    log.addHandler(logging.StreamHandler(own))
    log.propagate = False
    logs.configure("test", stream=lines)
    log.warning("For %s", CANARY)
    assert own.getvalue() == ""
    assert [line["template"] for line in read(lines)] == ["For %s"]


def test_a_request_is_one_line_without_its_address_or_body(
    lines: io.StringIO, http: httpx.Client, as_admin: dict[str, str]
) -> None:
    lines.truncate(0)
    lines.seek(0)
    for method, address in (
        ("GET", f"/v1/api-keys/{CANARY}?user_id={CANARY}"),
        ("POST", f"/v1/api-keys?x={CANARY}"),
        ("GET", f"/{CANARY}"),
    ):
        headers = as_admin | {"X-Request-Id": "req-mine", "User-Agent": CANARY}
        http.request(method, address, json={"name": CANARY, CANARY: 1}, headers=headers)
    found: list[dict[str, object]] = []

    def told() -> bool:
        found[:] = [line for line in read(lines) if line["event"] == "http.answered"]
        return len(found) >= 3

    eventually(told)  # the line is written when the answer has left
    assert len(found) == 3
    assert [(line["route"], line["status"]) for line in found] == [
        ("/v1/api-keys/{key_id}", 422), ("/v1/api-keys", 422), ("none", 404),
    ]  # fmt: skip
    assert {line["request_id"] for line in found} == {"req-mine"}
    assert [str(line.get("actor", ""))[:4] for line in found] == ["key_", "key_", ""]
    assert as_admin["Authorization"].split()[1] not in lines.getvalue()


SCRIPT = """
import logging, warnings
import structlog
from app import logs
logs.configure("worker")
logging.getLogger("sqlalchemy.engine").warning("%s", "CANARY")
warnings.warn("CANARY")
structlog.get_logger("x").warning("step.parked", code="stage", note="CANARY")
try:
    raise RuntimeError("CANARY")
except RuntimeError:
    structlog.get_logger("x").exception("step.failed", step_id="step_1")
"""


def test_a_process_writes_json_lines_to_stderr_only() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.replace("CANARY", CANARY)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == ""
    assert CANARY not in done.stderr
    found = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in found] == ["log", "log", "step.parked", "step.failed"]
    assert {line["part"] for line in found} == {"worker"}


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call of a logger in the source."""
    for path in sorted(p for room in ("app", "workers") for p in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            on = node.func.value
            if isinstance(on, ast.Name) and on.id in ("log", "_log", "logger"):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_all_that_we_log_ourselves_has_a_name_and_keys_of_the_list() -> None:
    found = list(calls())
    assert len(found) > 3
    for place, call in found:
        if isinstance(call.func, ast.Attribute) and call.func.attr == "bind":
            continue
        (event,) = call.args
        assert isinstance(event, ast.Constant), place
        assert logs._EVENT.fullmatch(str(event.value)), place
        keys = {k.arg for k in call.keywords if k.arg not in (None, "exc_info")}
        assert keys <= logs.ALLOWED, (place, keys - logs.ALLOWED)
