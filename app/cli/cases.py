"""`clearlake dsar` and `clearlake run`: cases and runs over HTTP, as an officer's key allows.

Thin: what may be done and what it means is the service's to say. CLEARLAKE_URL, CLEARLAKE_API_KEY.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Annotated, Any
from urllib.parse import quote

import typer

from app.cli.display import ERR, OUT, print_json
from app.cli.replay import replay
from app.client import Client
from app.domain.dsars import DsarType, Regulation
from app.domain.errors import SettingsError, UsageError
from app.settings import PREFIX, with_files

dsars = typer.Typer(help="Cases, over HTTP.", no_args_is_help=True)
runs = typer.Typer(help="Runs, over HTTP.", no_args_is_help=True)

FINDINGS, WAITING, STUCK = 3, 4, 5
_ENDS: Mapping[str, int] = {"pending_retention": WAITING, "on_hold": WAITING, "stuck": STUCK}
"""States in which nothing more comes by itself, and their exit codes."""

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]
CaseId = Annotated[str, typer.Argument(help="dsar_...")]
RunId = Annotated[str, typer.Argument(help="run_...")]


class SharedReview(Enum):
    """What becomes of shared values that the map leaves to a person."""

    TOMBSTONE = "tombstone"
    KEEP = "keep"


@contextmanager
def _service() -> Iterator[Client]:
    found = with_files(os.environ)
    url, key = found.get(f"{PREFIX}URL"), found.get(f"{PREFIX}API_KEY")
    if not url or not key:
        name, what = ("URL", "the address of the service") if not url else ("API_KEY", "a key")
        raise SettingsError(f"{PREFIX}{name}: expected {what}.")
    with Client(url.rstrip("/"), key, patience=10) as client:
        yield client


# --- cases -----------------------------------------------------------------------------------


@dsars.command()
def submit(
    regulation: Annotated[Regulation, typer.Option(help="The law that the request stands on.")],
    user_id: Annotated[str | None, typer.Option()] = None,
    anon_id: Annotated[list[str] | None, typer.Option(help="Once for each.")] = None,
    device_fp: Annotated[list[str] | None, typer.Option(help="Once for each.")] = None,
    type_: Annotated[DsarType, typer.Option("--type")] = DsarType.ERASURE,
    region: Annotated[str | None, typer.Option(help="DE-BY, US-CA: whose holidays count.")] = None,
    external_ref: Annotated[str | None, typer.Option(help="Your ticket's number.")] = None,
    account_closed: Annotated[bool, typer.Option("--account-closed")] = False,
    as_json: AsJson = False,
) -> None:
    """Open a case."""
    body: dict[str, Any] = {
        "type": type_.value,
        "regulation": regulation.value,
        "subject": {
            "user_id": user_id,
            "anon_ids": anon_id or [],
            "device_fps": device_fp or [],
        },
        "region": region,
        "external_ref": external_ref,
        "account_closed": account_closed,
    }
    with _service() as service:
        _show(service.post("/v1/dsars", body), as_json=as_json)


@dsars.command()
def show(case: CaseId, as_json: AsJson = False) -> None:
    """Everything needed to follow a case; no identifier."""
    with _service() as service:
        _show(service.get(f"/v1/dsars/{_part(case)}"), as_json=as_json)


@dsars.command("list")
def list_cases(
    status: Annotated[list[str] | None, typer.Option(help="Only these; once for each.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    as_json: AsJson = False,
) -> None:
    """Cases, the newest first."""
    with _service() as service:
        found = service.post("/v1/dsars:search", {"status": status or [], "limit": limit})
    if as_json:
        print_json(found)
        return
    for case in found["items"]:
        words = (case["id"], case["type"], case["status"], case["outcome"] or "-", case["due_at"])
        OUT.print("  ".join(words), markup=False, soft_wrap=True)


@dsars.command()
def preview(case: CaseId, as_json: AsJson = False) -> None:
    """What a run would do, and the digest that `approve --confirm` takes."""
    with _service() as service:
        _show(service.get(f"/v1/dsars/{_part(case)}/preview"), as_json=as_json)


@dsars.command()
def approve(
    case: CaseId,
    confirm: Annotated[str, typer.Option(help="The scope digest that you saw in the preview.")],
    shared_review: Annotated[
        SharedReview | None, typer.Option(help="Where the preview has undecided values.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Sealed with the case.")] = None,
    as_json: AsJson = False,
) -> None:
    """Approve the scope with this digest. Not whoever opened the case."""
    body = {
        "scope_digest": confirm,
        "shared_review": shared_review.value if shared_review else None,
        "reason": reason,
    }
    with _service() as service:
        _show(service.post(f"/v1/dsars/{_part(case)}/approve", body), as_json=as_json)


@dsars.command()
def watch(case: CaseId) -> int:
    """Tell what happens, until the case is closed or waits. Exit 3, 4, 5 as for `erase`."""
    with _service() as service:
        for event in service.events(f"/v1/dsars/{_part(case)}/stream"):
            if event.name == "entry":
                OUT.print(f"{event.data['at']}  {event.data['text']}", markup=False, soft_wrap=True)
            elif event.name == "progress":
                done = sum(stage["done"] for stage in event.data)
                ERR.print(f"{done}/{sum(stage['total'] for stage in event.data)}", markup=False)
        found = service.get(f"/v1/dsars/{_part(case)}")
    OUT.print(f"{found['status']}: {found['outcome'] or '-'}", markup=False)
    return FINDINGS if found["verdict"] == "FAILED" else _ENDS.get(found["status"], 0)


# --- runs ------------------------------------------------------------------------------------


@runs.command()
def start(as_json: AsJson = False) -> None:
    """Begin a run now, for every approved case whose grace period is over."""
    with _service() as service:
        _show(service.post("/v1/runs"), as_json=as_json)


@runs.command("show")
def show_run(run: RunId, as_json: AsJson = False) -> None:
    """How far a run is, what waits for a person, and its reports."""
    with _service() as service:
        _show(service.get(f"/v1/runs/{_part(run)}"), as_json=as_json)


@runs.command("list")
def list_runs(
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50, as_json: AsJson = False
) -> None:
    """Runs, the newest first."""
    with _service() as service:
        found = service.get("/v1/runs", limit=limit)
    if as_json:
        print_json(found)
        return
    for run in found["items"]:
        words = (run["id"], run["stage"], f"{run['dsars']} cases", run["created_at"])
        OUT.print("  ".join(words), markup=False, soft_wrap=True)


@runs.command()
def stop(run: RunId, as_json: AsJson = False) -> None:
    """Begin no further step; `resume` goes on."""
    _moved(run, "stop", {}, as_json=as_json)


@runs.command()
def resume(
    run: RunId,
    step: Annotated[str | None, typer.Option(help="A parked step, as `show` names it.")] = None,
    unparsable: Annotated[
        str | None, typer.Option(help="`drop`: the lines it could not parse are dropped.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that was stopped, or with what was left open."""
    if (step is None) != (unparsable is None):
        raise UsageError("--step and --unparsable: give both, or neither.")
    body = {} if step is None else {"step": step, "unparsable": unparsable}
    _moved(run, "resume", body, as_json=as_json)


@runs.command()
def undo(run: RunId, as_json: AsJson = False) -> None:
    """Put every byte back; not any more once the point of no return has passed."""
    _moved(run, "undo", {}, as_json=as_json)


def _moved(run: str, move: str, body: Mapping[str, Any], *, as_json: bool) -> None:
    with _service() as service:
        _show(service.post(f"/v1/runs/{_part(run)}/{move}", body), as_json=as_json)


def _part(id_: str) -> str:
    """As one part of a path: what is typed can lead nowhere else."""
    return quote(id_, safe="")


def _show(document: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(document)
        return
    for name, value in document.items():
        text = value if isinstance(value, str) else json.dumps(value)
        OUT.print(f"{name:<16} {text}", markup=False, soft_wrap=True)


runs.command("replay")(replay)
