"""`clearlake dsar`: cases over HTTP, as an officer's key allows.

Thin: what may be done and what it means is the service's to say. Runs: app.cli.runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any

import typer

from app.cli.asking import FINDINGS, STUCK, WAITING, AsJson, part, service, show_document
from app.cli.display import ERR, OUT, print_json
from app.domain.breakers import BreakerKind
from app.domain.dsars import DsarType, Regulation

dsars = typer.Typer(help="Cases, over HTTP.", no_args_is_help=True)

_ENDS: Mapping[str, int] = {"pending_retention": WAITING, "on_hold": WAITING, "stuck": STUCK}
"""States in which nothing more comes by itself, and their exit codes."""

Reason = Annotated[str, typer.Option(help="Sealed with the case.")]
CaseId = Annotated[str, typer.Argument(help="dsar_...")]


class SharedReview(Enum):
    """What becomes of shared values that the map leaves to a person."""

    TOMBSTONE = "tombstone"
    KEEP = "keep"


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
    with service() as asked:
        show_document(asked.post("/v1/dsars", body), as_json=as_json)


@dsars.command()
def show(case: CaseId, as_json: AsJson = False) -> None:
    """Everything needed to follow a case; no identifier."""
    with service() as asked:
        show_document(asked.get(f"/v1/dsars/{part(case)}"), as_json=as_json)


@dsars.command("list")
def list_cases(
    status: Annotated[list[str] | None, typer.Option(help="Only these; once for each.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
    as_json: AsJson = False,
) -> None:
    """Cases, the newest first."""
    with service() as asked:
        found = asked.post("/v1/dsars:search", {"status": status or [], "limit": limit})
    if as_json:
        print_json(found)
        return
    for case in found["items"]:
        words = (case["id"], case["type"], case["status"], case["outcome"] or "-", case["due_at"])
        OUT.print("  ".join(words), markup=False, soft_wrap=True)


@dsars.command()
def preview(case: CaseId, as_json: AsJson = False) -> None:
    """What a run would do, and the digest that `approve --confirm` takes."""
    with service() as asked:
        show_document(asked.get(f"/v1/dsars/{part(case)}/preview"), as_json=as_json)


@dsars.command()
def approve(
    case: CaseId,
    confirm: Annotated[str, typer.Option(help="The scope digest that you saw in the preview.")],
    shared_review: Annotated[
        SharedReview | None, typer.Option(help="Where the preview has undecided values.")
    ] = None,
    accept: Annotated[
        list[BreakerKind] | None,
        typer.Option(help="A breaker of the preview that is no mistake; once for each."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Sealed with the case.")] = None,
    as_json: AsJson = False,
) -> None:
    """Approve the scope with this digest. Not whoever opened the case."""
    body = {
        "scope_digest": confirm,
        "shared_review": shared_review.value if shared_review else None,
        "accept": [kind.value for kind in accept or ()],
        "reason": reason,
    }
    with service() as asked:
        show_document(asked.post(f"/v1/dsars/{part(case)}/approve", body), as_json=as_json)


@dsars.command()
def reject(case: CaseId, reason: Reason, as_json: AsJson = False) -> None:
    """Refuse a case before a run has it, or once it is stuck and no run has it any more."""
    _closed(case, "reject", reason, as_json=as_json)


@dsars.command()
def cancel(case: CaseId, reason: Reason, as_json: AsJson = False) -> None:
    """Take a case back before a run has it."""
    _closed(case, "cancel", reason, as_json=as_json)


@dsars.command()
def retry(case: CaseId, as_json: AsJson = False) -> None:
    """Look for the scope again, once what was in the way is mended."""
    with service() as asked:
        show_document(asked.post(f"/v1/dsars/{part(case)}/retry"), as_json=as_json)


def _closed(case: str, move: str, reason: str, *, as_json: bool) -> None:
    with service() as asked:
        path = f"/v1/dsars/{part(case)}/{move}"
        show_document(asked.post(path, {"reason": reason}), as_json=as_json)


@dsars.command()
def watch(case: CaseId) -> int:
    """Tell what happens, until the case is closed or waits. Exit 3, 4, 5 as for `erase`."""
    with service() as asked:
        for event in asked.events(f"/v1/dsars/{part(case)}/stream"):
            if event.name == "entry":
                OUT.print(f"{event.data['at']}  {event.data['text']}", markup=False, soft_wrap=True)
            elif event.name == "progress":
                done = sum(stage["done"] for stage in event.data)
                ERR.print(f"{done}/{sum(stage['total'] for stage in event.data)}", markup=False)
        found = asked.get(f"/v1/dsars/{part(case)}")
    OUT.print(f"{found['status']}: {found['outcome'] or '-'}", markup=False)
    return FINDINGS if found["verdict"] == "FAILED" else _ENDS.get(found["status"], 0)
