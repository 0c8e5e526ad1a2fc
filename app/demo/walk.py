"""One walk through the service over HTTP, from a DSAR to its verified report.

1. The support desk opens a case for each person. 2. An officer looks at each preview and approves
its scope. 3. A run takes them all. 4. The reports are downloaded and verified, offline.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from app.audit.files import write_durably
from app.audit.report_verify import Step, require_valid, verify_report
from app.audit.signing import signature_path
from app.client import AnswerError, Client
from app.demo.people import Person
from app.domain.dsars import CLOSED, State
from app.domain.errors import StageError
from app.domain.identifiers import Kind
from app.domain.progress import Say

PUBLIC_KEY = "clearlake-public.pem"
_POLL_SECONDS = 0.2
_WAITING = frozenset({State.PENDING_RETENTION, State.ON_HOLD, State.STUCK})
_SUPPORT = ("dsars:read", "dsars:write")
_OFFICER = (
    *("dsars:read", "dsars:approve", "subject:read", "runs:read", "runs:operate"),
    *("reports:read", "consents:read", "auditor"),
)
_SPANS = (
    ("erase", "planned", "erased"),
    ("check", "erased", "checked"),
    ("purge", "purging", "purged"),
    ("verify", "purged", "verified"),
    ("report", "verified", "closed"),
)
"""What took how long: from when one stage was reached to when another was."""


@dataclass(frozen=True, slots=True)
class Case:
    """A case, how it ended, and where its report is."""

    dsar_id: str
    person: Person
    status: State
    outcome: str | None
    verdict: str | None
    report: Path | None


@dataclass(frozen=True, slots=True)
class Walked:
    """The whole walk."""

    cases: tuple[Case, ...]
    run_id: str
    run_report: Path
    public_key: Path
    verdict: str
    outcome: str
    rows: tuple[Mapping[str, Any], ...]
    """A line a dataset, as the run's signed report has it."""
    checked: tuple[Step, ...]
    """What the offline verification of the first report said."""
    seconds: Mapping[str, float]


def walk(people: Sequence[Person], *, url: str, admin_key: str, reports: Path, say: Say) -> Walked:
    """Take these people out of the lake. StageError when a case stops on the way."""
    with _desks(url, admin_key) as (support, officer):
        began = time.monotonic()
        ids = [_opened(support, person) for person in people]
        scoped = _until(officer, ids, lambda c: c["status"] != State.RECEIVED, say=say)
        resolved = time.monotonic() - began
        for case in scoped:
            _approve(officer, case["id"])
        run_id = officer.post("/v1/runs")["id"]
        _watch(officer, ids[0], say)
        ended = _until(
            officer, ids, lambda c: c["status"] in CLOSED | _WAITING, say=lambda *_: None
        )
        run = _closed_run(officer, run_id)
        reports.mkdir(exist_ok=True)
        write_durably(reports / PUBLIC_KEY, _public_key(officer))
        cases = [_case(officer, c, p, reports) for c, p in zip(ended, people, strict=True)]
        run_report = _downloaded(officer, f"/v1/runs/{run_id}", reports / "report-run.json")
        document = json.loads(run_report.read_bytes())
        paths = [c.report for c in cases if c.report is not None] + [run_report]
        checked = [_verified(path, reports / PUBLIC_KEY) for path in paths]
        return Walked(
            cases=tuple(cases),
            run_id=run_id,
            run_report=run_report,
            public_key=reports / PUBLIC_KEY,
            verdict=document["verdict"]["value"],
            outcome=document["verdict"]["outcome"],
            rows=tuple(_rows(document)),
            checked=tuple(checked[0]),
            seconds=_seconds(run, resolved=resolved),
        )


# --- who ---------------------------------------------------------------------------------------


@contextmanager
def _desks(url: str, admin_key: str) -> Iterator[tuple[Client, Client]]:
    """Two actors: whoever asks for an erasure cannot approve it."""
    with Client(url, admin_key) as admin:
        support = admin.post(
            "/v1/api-keys", {"name": "support desk", "kind": "service", "scopes": _SUPPORT}
        )
        officer = admin.post(
            "/v1/api-keys", {"name": "privacy officer", "kind": "personal", "scopes": _OFFICER}
        )
    with Client(url, support["secret"]) as first, Client(url, officer["secret"]) as second:
        yield first, second


def _opened(support: Client, person: Person) -> str:
    value = person.known_by.value
    subject = {"user_id": value} if person.known_by.kind is Kind.USER_ID else {"anon_ids": [value]}
    opened = support.post(
        "/v1/dsars",
        {
            "type": "erasure",
            "regulation": person.regulation,
            "region": person.region,
            "subject": subject,
            "requester": {"kind": "self", "proof_kind": "account-login"},
        },
    )
    return str(opened["id"])


def _approve(officer: Client, dsar_id: str) -> None:
    """Look at the preview, then approve exactly that. An approval whose answer was lost is found
    by the second try: the case is queued.
    """
    preview = officer.get(f"/v1/dsars/{dsar_id}/preview")
    body = {"scope_digest": preview["scope_digest"]}
    if preview["undecided"]:
        body["shared_review"] = "tombstone"
    try:
        officer.post(f"/v1/dsars/{dsar_id}/approve", body)
    except AnswerError as err:
        if officer.get(f"/v1/dsars/{dsar_id}")["status"] != State.QUEUED:
            raise StageError(f"{dsar_id} could not be approved: {err}") from err


# --- how it goes -------------------------------------------------------------------------------


def _until(
    officer: Client,
    ids: Sequence[str],
    reached: Callable[[Mapping[str, Any]], bool],
    *,
    say: Say,
) -> list[dict[str, Any]]:
    """The cases, once each of them is that far."""
    while True:
        cases = [officer.get(f"/v1/dsars/{dsar_id}") for dsar_id in ids]
        done = sum(map(reached, cases))
        say("resolve", "people", done, len(cases))
        if done == len(cases):
            return cases
        time.sleep(_POLL_SECONDS)


def _watch(officer: Client, dsar_id: str, say: Say) -> None:
    """Follow the stream of one case: it tells of the run that all are in."""
    for event in officer.events(f"/v1/dsars/{dsar_id}/stream"):
        if event.name == "progress":
            for p in event.data:
                say(p["stage"], p["dataset"], p["done"], p["total"])
        elif event.name == "entry" and event.data["verb"] in _STOPPED:
            return


_STOPPED = frozenset({"dsar.deferred", "dsar.held", "dsar.stuck"})


def _closed_run(officer: Client, run_id: str) -> dict[str, Any]:
    while True:
        run = officer.get(f"/v1/runs/{run_id}")
        if run["stage"] in {"closed", "pending", "stuck"}:
            return run
        time.sleep(_POLL_SECONDS)


# --- what is left of it --------------------------------------------------------------------------


def _case(officer: Client, case: Mapping[str, Any], person: Person, folder: Path) -> Case:
    report = None
    if case["reports"]:
        path = folder / f"{case['id']}.json"
        report = _downloaded(officer, f"/v1/dsars/{case['id']}", path)
    return Case(
        dsar_id=case["id"],
        person=person,
        status=State(case["status"]),
        outcome=case["outcome"],
        verdict=case["verdict"],
        report=report,
    )


def _downloaded(officer: Client, where: str, path: Path) -> Path:
    write_durably(path, officer.download(f"{where}/report.json"))
    write_durably(signature_path(path), officer.download(f"{where}/report.sig"))
    return path


def _public_key(officer: Client) -> bytes:
    keys = officer.get("/v1/keys/public")["items"]
    return str(keys[-1]["pem"]).encode()


def _verified(path: Path, public_key: Path) -> list[Step]:
    steps = verify_report(path, public_key_pem=public_key.read_bytes(), attachment=None)
    require_valid(steps)
    return steps


def _rows(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for dataset in report["datasets"]:
        totals = dataset["run_totals"]
        yield {
            "layer": dataset["layer"],
            "name": dataset["name"],
            "read": dataset["read"],
            "changed": dataset["changed"],
            **{n: totals[n] for n in ("before", "deleted", "tombstoned", "co_owned", "after")},
            "versions_purged": dataset["versions_purged"],
            "files_purged": dataset["files_purged"],
            "findings": sum(
                f["count"]
                for f in report["verification"]["findings"]
                if f["dataset"] == dataset["name"] and f["what"] != "note"
            ),
        }


def _seconds(run: Mapping[str, Any], *, resolved: float) -> dict[str, float]:
    reached = {name: datetime.fromisoformat(at) for name, at in run["reached"].items()}
    begun = datetime.fromisoformat(run["created_at"])
    again = (reached["resolved"] - begun).total_seconds() if "resolved" in reached else 0.0
    seconds = {"resolve": resolved + again}
    for name, since, until in _SPANS:
        if since in reached and until in reached:
            seconds[name] = (reached[until] - reached[since]).total_seconds()
    return seconds
