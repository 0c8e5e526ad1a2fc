"""`clearlake demo`: shows what app.demo does, as tables or as one JSON document."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from app import demo as the_demo
from app.cli.display import ERR, OUT, near, print_json, progress, table
from app.cli.erase import outcome_code, show_rows
from app.demo.walk import Walked
from app.domain.findings import Verdict
from app.domain.identifiers import Identifier, Kind
from app.domain.reports import Outcome
from app.up import Size

SIZE = Size()
STAGES = ("servers", "lake", "service", "resolve", "erase", "check", "purge", "verify", "report")
"""`service` (migration, API, workers) is for people: `clearlake.demo/1` has no such field."""


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
        bool, typer.Option("--keep", help="Leave servers and service up until Ctrl-C.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> int:
    """Servers, a lake, the service, five people out of it over HTTP, and the proof."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    size = Size(events=events, users=users, days=days, seed=seed)
    with (
        progress() as say,
        the_demo.demo(state.absolute(), size=size, subjects=subjects, say=say, tell=_tell) as shown,
    ):
        if as_json:
            print_json(document(shown))
        else:
            _show(shown)
        if keep:
            _wait(shown, quiet=as_json)
    the_demo.forget_servers(state.absolute())
    return exit_code(shown.walked)


def exit_code(walked: Walked) -> int:
    """What is left decides."""
    if walked.verdict == Verdict.FAILED:
        return 3
    return outcome_code(Outcome(walked.outcome))


def _tell(text: str) -> None:
    ERR.print(text, markup=False, soft_wrap=True)


def _show(shown: the_demo.Shown) -> None:
    walked = shown.walked
    OUT.print(f"\n{shown.lake.sentence()}", markup=False, soft_wrap=True)
    for case in walked.cases:
        ended = case.outcome or "no report yet"
        OUT.print(
            f"{case.dsar_id}  {case.status}, {ended}: {case.person.story}",
            markup=False,
            soft_wrap=True,
        )
    show_rows([dict(row) for row in walked.rows])
    table("", ["seconds", *STAGES], [["", *(shown.seconds.get(s, 0.0) for s in STAGES)]])
    OUT.print(f"\n{walked.verdict}: {walked.outcome}", markup=False)
    reports = [c.report for c in walked.cases if c.report is not None] + [walked.run_report]
    for path in reports:
        OUT.print(f"report  {near(path)}", markup=False, soft_wrap=True)
    OUT.print(
        f"verify  clearlake report verify {near(reports[0])} --key {near(walked.public_key)}",
        markup=False,
        soft_wrap=True,
    )


def document(shown: the_demo.Shown) -> dict[str, Any]:
    """`clearlake.demo/1`."""
    return {
        "schema": "clearlake.demo/1",
        **shown.servers,
        "data_map": str(shown.data_map),
        "subjects": [
            {
                "dsar_id": case.dsar_id,
                **_values(case.person.identity),
                "outcome": case.outcome,
                "report": str(case.report) if case.report else None,
            }
            for case in shown.walked.cases
        ],
        "datasets": [dict(row) for row in shown.walked.rows],
        "seconds": {s: round(shown.seconds.get(s, 0.0), 3) for s in STAGES if s != "service"},
    }


def _values(identity: Iterable[Identifier]) -> dict[str, list[str]]:
    """Whom `--json` shows to whoever started the demo: people who were made up."""
    names = {"user_ids": Kind.USER_ID, "anon_ids": Kind.ANON_ID, "device_fps": Kind.DEVICE_FP}
    given = list(identity)
    return {name: [i.value for i in given if i.kind is kind] for name, kind in names.items()}


def _wait(shown: the_demo.Shown, *, quiet: bool) -> None:
    if not quiet:
        api = shown.servers["api"]
        OUT.print(f"\nThe service is up at {api['url']} ({api['url']}/docs).", markup=False)
        OUT.print(f"API key with every scope: {api['key']}", markup=False, soft_wrap=True)
        OUT.print(f"Data map: {shown.data_map}. All stays up until Ctrl-C.", markup=False)
    try:
        signal.pause()
    except KeyboardInterrupt:
        return
