"""A1: the service itself under load: uvicorn, Postgres and Valkey as `clearlake up` starts them.

Its workers are left out: they carry out what was taken in, on machines of their own. Not here: the
client (load).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from app.client import Client
from app.servers import Servers, remove_state
from app.servers.state import free_ports
from app.store.migrate import login_url
from app.up import Service
from bench.lakes import BenchLake
from bench.load import Answers, request, send
from bench.rows import Row

CHECKS_A_SECOND = 500
PEOPLE = 2_000
CASES = 3_000
CONNECTIONS = 16
SECONDS = 20
_SCOPES = ("dsars:read", "dsars:write", "consents:write", "consents:read")


@dataclass(frozen=True, slots=True)
class Running:
    """The service, a key that may write, and where its rows stand."""

    port: int
    pid: int
    key: str = field(repr=False)
    owner_url: str = field(repr=False)

    def count(self, query: str, *values: object) -> int:
        with psycopg.connect(self.owner_url.replace("+psycopg", "", 1)) as link:
            row = link.execute(query.encode(), values).fetchone()
            assert row is not None
            return int(row[0])

    def cpu_seconds(self) -> float:
        """Of the API's process so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rows(_: BenchLake) -> Iterator[Row]:
    """A1."""
    yield from measured_rows()


def measured_rows() -> Iterator[Row]:
    """A1, which needs no lake."""
    with service() as running:
        yield ceiling(running)
        yield recording(running)
        yield checking(running)
        yield from taking_in(running)


@contextmanager
def service() -> Iterator[Running]:
    """Everything new, nothing kept."""
    folder = Path(tempfile.mkdtemp(prefix="clearlake-bench-api-"))
    folder.chmod(0o711)  # where we are root, Postgres runs as nobody
    try:
        with Servers(folder / "servers", parts={"postgres", "valkey"}) as servers:
            owner = servers.postgres.url
            port = free_ports(1)[0]
            environment = {
                **os.environ,
                "CLEARLAKE_OWNER_DATABASE_URL": owner,
                "CLEARLAKE_DATABASE_URL": login_url(owner, "clearlake_api", "bench"),
                "CLEARLAKE_BROKER_URL": servers.valkey.url,
                "CLEARLAKE_KEYS_URI": f"file://{folder / 'keys'}",
                "CLEARLAKE_PORT": str(port),
                "CLEARLAKE_MAX_DSARS_A_DAY": "1000000",
            }
            with Service(environment, folder / "service", workers=0) as up:
                assert up.admin_key is not None
                with Client(up.url, up.admin_key) as admin:
                    asked = {"name": "bench", "kind": "service", "scopes": _SCOPES}
                    key = admin.post("/v1/api-keys", asked)["secret"]
                yield Running(port, up.processes["api"], key, owner)
    finally:
        remove_state(folder / "servers")
        shutil.rmtree(folder, ignore_errors=True)


def ceiling(running: Running) -> Row:
    """What the client can do where next to nothing is done for it."""
    asked = [request("GET", "/healthz", key=running.key)] * 2_000
    found = send(running.port, asked, connections=CONNECTIONS, rate=None)
    _all_are(found, 200)
    what = "GET /healthz, closed loop: the client and the web server alone"
    return Row("A1 client", what, found.rate, 0, is_at_least=True, unit="a second")


def recording(running: Running) -> Row:
    """A consent of each person; also what is checked afterwards."""
    asked = [
        request("POST", "/v1/consents", key=running.key, body=_consent(n), once=f"consent-{n}")
        for n in range(PEOPLE)
    ]
    found = _costed(running, asked, rate=None)
    _all_are(found.answers, 201)
    assert running.count("select count(*) from clearlake.consent") == PEOPLE
    what = f"consents recorded by {CONNECTIONS} callers"
    return found.row("A1 consents", what, found.answers.rate, 0, unit="a second")


def checking(running: Running) -> Row:
    """Consent checks at a fixed rate, whatever the answers."""
    paths = [f"/v1/consents/check?user_id={_user(n % PEOPLE)}&purpose=marketing"
             for n in range(CHECKS_A_SECOND * SECONDS)]  # fmt: skip
    asked = [request("GET", path, key=running.key) for path in paths]
    send(
        running.port, asked[:500], connections=CONNECTIONS, rate=None
    )  # whatever loads on first use
    found = _costed(running, asked, rate=CHECKS_A_SECOND)
    _all_are(found.answers, 200)
    wrong = [b for n, b in enumerate(found.answers.bodies)
             if json.loads(b)["given"] != (_state(n % PEOPLE) == "given")]  # fmt: skip
    assert not wrong, f"{len(wrong)} checks were answered wrongly"
    what = f"consent checks at {CHECKS_A_SECOND} a second: p99"
    value = found.answers.percentile(0.99) * 1000
    return found.row("A1 check", what, value, 10.0, unit="ms", is_at_least=False)


def taking_in(running: Running) -> Iterator[Row]:
    """Cases from several callers at once; each 202 must be a row, its entry and its step."""
    asked = [
        request("POST", "/v1/dsars", key=running.key, body=_case(n), once=f"case-{n}")
        for n in range(CASES)
    ]
    found = _costed(running, asked, rate=None)
    _all_are(found.answers, 202)
    ids = [json.loads(body)["id"] for body in found.answers.bodies]
    lost = len(ids) - min(running.count(q, ids) for q in _WRITTEN)
    assert len(set(ids)) == CASES
    what = f"cases taken in from {CONNECTIONS} callers, each durable before its 202"
    yield found.row("A1 intake", what, found.answers.rate, 200.0, unit="a second")
    what = "202s without a row, an audit entry or a step"
    yield Row("A1 lost", what, lost, 0, is_at_least=False, unit="cases")
    gaps = running.count("select max(seq) - count(*) from clearlake.audit_entry")
    yield Row("A1 gaps", "numbers that the audit log lacks", gaps, 0, is_at_least=False, unit="")


_WRITTEN = (
    "select count(*) from clearlake.dsar where id = any(%s)",
    "select count(distinct object) from clearlake.audit_entry where object = any(%s)",
    "select count(*) from clearlake.step where kind = 'scope' and target = any(%s)",
)


@dataclass(frozen=True, slots=True)
class _Costed:
    """Answers, and what they cost the API's process."""

    answers: Answers
    cpu_seconds: float

    def row(
        self,
        name: str,
        what: str,
        value: float,
        goal: float,
        *,
        unit: str,
        is_at_least: bool = True,
    ) -> Row:
        more = {
            "api_cpu_ms": round(self.cpu_seconds / len(self.answers.statuses) * 1000, 3),
            "rate": round(self.answers.rate, 1),
            "p50_ms": round(self.answers.percentile(0.5) * 1000, 2),
            "p99_ms": round(self.answers.percentile(0.99) * 1000, 2),
            "worst_ms": round(self.answers.percentile(1) * 1000, 2),
        }
        return Row(name, what, value, goal, is_at_least, unit=unit, more=more)


def _costed(running: Running, asked: Sequence[str], *, rate: float | None) -> _Costed:
    before = running.cpu_seconds()
    connections = CONNECTIONS if rate is None else 4 * CONNECTIONS
    answers = send(running.port, asked, connections=connections, rate=rate)
    return _Costed(answers, running.cpu_seconds() - before)


def _all_are(answers: Answers, status: int) -> None:
    other = {s for s in answers.statuses if s != status}
    assert not other, f"answers of other kinds: {sorted(other)}"


def _user(number: int) -> str:
    return f"usr_{number:026}"


def _state(number: int) -> str:
    return "given" if number % 3 else "refused"


def _consent(number: int) -> dict[str, object]:
    return {
        "subject": {"user_id": _user(number), "anon_ids": [f"a_{number:022}"]},
        "purpose": "marketing",
        "state": _state(number),
        "policy_version": "2026-11",
        "source": "web_banner",
    }


def _case(number: int) -> dict[str, object]:
    subject = {"user_id": _user(number), "anon_ids": [f"a_{number:022}"]}
    return {"type": "erasure", "regulation": "gdpr", "subject": subject}


def main() -> None:
    """`make bench-api`: the rows alone, with what each answer cost."""
    for row in measured_rows():
        told = ", ".join(f"{name} {value}" for name, value in row.more.items())
        print(row.line(), f"({told})" if told else "", flush=True)


if __name__ == "__main__":
    main()
