"""`clearlake report verify`: is this report what was signed? Offline, in numbered steps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.audit.report_verify import verify_report
from app.cli.display import OUT, print_json
from app.domain.errors import UsageError

app = typer.Typer(help="Check a signed report.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Check a signed report."""


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="The report, with its .sig beside it.")],
    key: Annotated[Path, typer.Option(help="The public key, PEM.")],
    attachment: Annotated[Path | None, typer.Option(help="The run's object list.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Check a report offline: form, signature, attachment, arithmetic. Exit 3 when it fails."""
    try:
        public_key = key.read_bytes()
    except OSError as err:
        raise UsageError(f"{key}: cannot be read: {err.strerror}.") from err
    steps = verify_report(file, public_key_pem=public_key, attachment=attachment)
    failed = [s for s in steps if not s.passed]
    if as_json:
        rows = [
            {"number": s.number, "name": s.name, "passed": s.passed, "detail": s.detail}
            for s in steps
        ]
        print_json({"schema": "clearlake.verified/1", "valid": not failed, "steps": rows})
    else:
        for step in steps:
            mark = "ok    " if step.passed else "FAILED"
            detail = f": {step.detail}" if step.detail else ""
            OUT.print(f"{step.number} {mark} {step.name}{detail}", markup=False)
        OUT.print("The report is valid." if not failed else "The report is NOT valid.")
    return 3 if failed else 0
