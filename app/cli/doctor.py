"""`clearlake doctor`: probes of the configured parts, as a table or one document.

Exit codes: 0 all pass, 3 something fails, 6 something does not answer. Not here: what is probed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app import wiring
from app.cli.display import ERR, OUT, print_json
from app.doctor.checkup import CONFIGURED, look
from app.doctor.results import Area, Outcome, Probed
from app.domain.errors import UsageError
from app.wiring.doctor import installation_of

_WORDS = {
    Outcome.PASS: "pass",
    Outcome.FAIL: "FAIL",
    Outcome.NOT_APPLICABLE: "n/a",
    Outcome.UNREACHABLE: "UNREACHABLE",
}


def doctor(
    areas: Annotated[
        list[Area] | None, typer.Argument(help="Which parts; all when none is named.")
    ] = None,
    lake_map: Annotated[
        Path | None, typer.Option("--map", help="The data map; else CLEARLAKE_LAKE_MAP.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Look whether the parts are what Clearlake relies on. Mends nothing.

    Tries things only in `clearlake-doctor/` of each bucket, and takes them away again.
    """
    settings = wiring.settings_of()
    wanted = list(dict.fromkeys(areas or Area))
    found: list[Probed] = []
    with installation_of(settings, lake_map) as installation:
        for area in wanted:
            ERR.print(f"looking at {area.value}", markup=False)
            found += look(installation, [area])
    if all(probed.check == CONFIGURED for probed in found):
        raise UsageError(" ".join(dict.fromkeys(probed.saw for probed in found)))
    code = _exit_code(found)
    if as_json:
        document = {
            "schema": "clearlake.doctor/1",
            "healthy": code == 0,
            "probes": [probed.as_document() for probed in found],
        }
        print_json(document)
    else:
        _show(found)
    return code


def _exit_code(found: list[Probed]) -> int:
    """What does not answer was not looked at: that comes first."""
    outcomes = {probed.outcome for probed in found}
    if Outcome.UNREACHABLE in outcomes:
        return 6
    return 3 if Outcome.FAIL in outcomes else 0


def _show(found: list[Probed]) -> None:
    shown = Table(box=None, pad_edge=False, padding=(0, 1))
    for name in ("part", "where", "check", "", "what was seen"):
        shown.add_column(name, overflow="fold")
    for probed in found:
        words = (probed.area.value, probed.target, probed.check, _WORDS[probed.outcome])
        shown.add_row(*words, probed.saw)
    Console(highlight=False, markup=False, width=max(OUT.width, 150)).print(shown)
    wrong = [p for p in found if p.outcome in (Outcome.FAIL, Outcome.UNREACHABLE)]
    if wrong:
        OUT.print("\nWhat to do:", markup=False)
    for probed in wrong:
        where = f"{probed.area.value} {probed.check}, {probed.target}"
        OUT.print(f"- {where}: {probed.advice}", markup=False, soft_wrap=True)
    counts = (sum(p.outcome is o for p in found) for o in (Outcome.PASS, Outcome.FAIL))
    OUT.print("\n{} pass, {} fail.".format(*counts), markup=False)
