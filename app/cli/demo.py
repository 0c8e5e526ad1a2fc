"""`clearlake demo`: shows what app.demo does, as tables or as one JSON document."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from app import demo as the_demo
from app.cli.display import OUT, near, print_json, progress, table
from app.cli.erase import exit_code, show_findings, show_rows
from app.up import Size

SIZE = Size()
STAGES = ("servers", "lake", "resolve", "erase", "check", "purge", "verify", "report")


def demo(
    events: Annotated[int, typer.Option(min=1000)] = SIZE.events,
    users: Annotated[int, typer.Option(min=10)] = SIZE.users,
    days: Annotated[int, typer.Option(min=1, max=366)] = SIZE.days,
    seed: Annotated[int, typer.Option()] = SIZE.seed,
    subjects: Annotated[int, typer.Option(min=1, help="How many people leave.")] = 5,
    state: Annotated[Path, typer.Option(help="Folder of the demo; made anew each time.")] = Path(
        "clearlake-demo"
    ),
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the servers up until Ctrl-C.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Servers, a lake, five people out of it, and the proof: in under a minute."""
    size = Size(events=events, users=users, days=days, seed=seed)
    with (
        progress() as say,
        the_demo.demo(state.absolute(), size=size, subjects=subjects, say=say) as shown,
    ):
        code = exit_code(shown.ended)
        if as_json:
            print_json(document(shown))
        else:
            _show(shown)
        if keep:
            _wait(shown, quiet=as_json)
    the_demo.forget_servers(state.absolute())
    return code


def _show(shown: the_demo.Shown) -> None:
    OUT.print(f"\n{shown.lake.sentence()}", markup=False, soft_wrap=True)
    for subject, story in zip(shown.subjects, shown.stories, strict=True):
        OUT.print(f"{subject.name}  {story}", markup=False)
    written = shown.ended.written
    if written is None:
        show_findings(shown.ended.findings)
        OUT.print("Stopped before anything was destroyed.")
        return
    show_rows(written.rows)
    table("", ["seconds", *STAGES], [["", *(shown.seconds.get(s, 0.0) for s in STAGES)]])
    OUT.print(f"\n{written.verdict.value}: {written.outcome.value}", markup=False)
    for path in written.reports:
        OUT.print(f"report  {near(path)}", markup=False, soft_wrap=True)
    report, key = near(written.reports[0]), near(written.public_key)
    OUT.print(f"verify  clearlake report verify {report} --key {key}", markup=False, soft_wrap=True)


def document(shown: the_demo.Shown) -> dict[str, Any]:
    """`clearlake.demo/1`. `api` and `dsar_id` are null: there is no service around the run yet."""
    written = shown.ended.written
    outcomes = [o.value for o in written.outcomes] if written else [None] * len(shown.subjects)
    reports = written.reports if written else [None] * len(shown.subjects)
    return {
        "schema": "clearlake.demo/1",
        **shown.servers,
        "api": {"url": None, "key": None},
        "data_map": str(shown.data_map),
        "subjects": [
            {
                "dsar_id": None,
                **the_demo.values_by_kind(subject),
                "outcome": outcome,
                "report": str(report) if report else None,
            }
            for subject, outcome, report in zip(shown.subjects, outcomes, reports, strict=False)
        ],
        "datasets": written.rows if written else [],
        "seconds": {s: round(shown.seconds.get(s, 0.0), 3) for s in STAGES},
    }


def _wait(shown: the_demo.Shown, *, quiet: bool) -> None:
    if not quiet:
        OUT.print(f"\nThe servers stay up until Ctrl-C. Data map: {shown.data_map}", markup=False)
    try:
        signal.pause()
    except KeyboardInterrupt:
        return
