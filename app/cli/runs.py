"""`clearlake run`: runs over HTTP, as an operator's key allows.

Thin: what may be done and what it means is the service's to say. Each command is a line of a table.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import import_module
from typing import Annotated, Any

import typer

from app.cli.asking import STUCK, WAITING, AsJson, part, service, show_document
from app.cli.display import ERR, OUT, print_json
from app.client import Client
from app.domain.errors import UsageError
from app.domain.steps import StepState

RunId = Annotated[str, typer.Argument(help="run_...")]
_EVERY = 2.0
"""Seconds between two looks of `--watch`."""
_ENDED = frozenset({"closed", "undone"})
_WAITS: Mapping[str, int] = {"pending": WAITING, "stuck": STUCK}
"""Stages in which a person, or a date, is waited for, and the exit code of `--watch`."""


def start(
    dataset: Annotated[
        str | None, typer.Option(help="A canary: this dataset alone; `widen` goes on.")
    ] = None,
    partition: Annotated[
        str | None, typer.Option(help="Only this folder of it, such as event_dt=2026-11-01.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Begin a run now, for every approved case whose grace period is over."""
    if partition is not None and dataset is None:
        raise UsageError("--partition: give --dataset too.")
    limit = {"dataset": dataset, "partition": partition}
    body: Mapping[str, Any] = {"limit": limit} if dataset is not None else {}
    with service() as asked:
        show_document(asked.post("/v1/runs", body), as_json=as_json)


def list_runs(
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50, as_json: AsJson = False
) -> None:
    """Runs, the newest first."""
    with service() as asked:
        found = asked.get("/v1/runs", limit=limit)
    if as_json:
        print_json(found)
        return
    for run in found["items"]:
        words = (run["id"], run["stage"], f"{run['dsars']} cases", run["created_at"])
        OUT.print("  ".join(words), markup=False, soft_wrap=True)


def show(
    run: RunId,
    watch: Annotated[
        bool, typer.Option("--watch", help="Until it has ended, or waits for a person or a date.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """How far a run is, what waits and what its exit is, and its reports. With --watch it exits 4
    where the run waits and 5 where it is stuck.
    """
    with service() as asked:
        found = _watched(asked, run) if watch else asked.get(_path(run))
    if as_json:
        print_json(found)
    else:
        _tell(found)
    return _WAITS.get(found["stage"], 0) if watch else 0


def steps(
    run: RunId,
    state: Annotated[list[StepState] | None, typer.Option(help="Only these; once each.")] = None,
    as_json: AsJson = False,
) -> None:
    """Every step: attempts, last error, next try, and what its exit is."""
    with service() as asked:
        found = list(_steps(asked, run, states=[s.value for s in state or ()]))
    if as_json:
        print_json({"items": found})
        return
    for step in found:
        _tell_step(step)


def stop(run: RunId, as_json: AsJson = False) -> None:
    """Begin no further step; `resume` goes on."""
    _moved(run, "stop", {}, as_json=as_json)


def resume(
    run: RunId,
    step: Annotated[
        str | None, typer.Option(help="Only this parked or held step, as `show` names it.")
    ] = None,
    unparsable: Annotated[
        str | None, typer.Option(help="`drop`: the step's lines that cannot be parsed go too.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that was stopped, or with what was left open; or try one step again."""
    if step is None and unparsable is not None:
        raise UsageError("--unparsable: give the --step that it is about.")
    if step is not None and unparsable is None:
        _moved(run, f"steps/{part(step)}/retry", {}, as_json=as_json)
        return
    body = {} if step is None else {"step": step, "unparsable": unparsable}
    _moved(run, "resume", body, as_json=as_json)


def widen(run: RunId, as_json: AsJson = False) -> None:
    """Go on with a run that was limited to a part, over the whole lake."""
    _moved(run, "widen", {}, as_json=as_json)


def undo(run: RunId, as_json: AsJson = False) -> None:
    """Put every byte back; not any more once the point of no return has passed."""
    _moved(run, "undo", {}, as_json=as_json)


_COMMANDS: Mapping[str, tuple[str, str]] = {
    "start": ("runs", "start"),
    "list": ("runs", "list_runs"),
    "show": ("runs", "show"),
    "steps": ("runs", "steps"),
    "stop": ("runs", "stop"),
    "resume": ("runs", "resume"),
    "widen": ("runs", "widen"),
    "undo": ("runs", "undo"),
    "replay": ("replay", "replay"),
}
"""Command -> module of this package, function."""

runs = typer.Typer(help="Runs, over HTTP; `replay` asks the database itself.", no_args_is_help=True)
for _name, (_module, _function) in _COMMANDS.items():
    runs.command(_name)(getattr(import_module(f"app.cli.{_module}"), _function))


# --- asking and telling ------------------------------------------------------------------------


def _path(run: str) -> str:
    return f"/v1/runs/{part(run)}"


def _moved(run: str, move: str, body: Mapping[str, Any], *, as_json: bool) -> None:
    with service() as asked:
        found = asked.post(f"{_path(run)}/{move}", body)
    if as_json:
        print_json(found)
    else:
        _tell(found)


def _steps(asked: Client, run: str, *, states: list[str]) -> Iterator[dict[str, Any]]:
    cursor: str | None = None
    while True:
        query: dict[str, Any] = {"state": states, "limit": 200}
        if cursor is not None:
            query["cursor"] = cursor
        found = asked.get(f"{_path(run)}/steps", **query)
        yield from found["items"]
        cursor = found["next_cursor"]
        if cursor is None:
            return


def _watched(asked: Client, run: str) -> dict[str, Any]:
    said = ""
    while True:
        found = asked.get(_path(run))
        now = "  ".join((f"{found['stage']:<9}", _done(found), *_pace_words(found["pace"])))
        if now != said:
            ERR.print(now, markup=False)
            said = now
        if found["stage"] in {*_ENDED, *_WAITS} or (found["stopped"] and not found["undoing"]):
            return found
        time.sleep(_EVERY)


def _done(run: Mapping[str, Any]) -> str:
    done, total = (sum(p[name] for p in run["progress"]) for name in ("done", "total"))
    return f"{done}/{total} steps"


def _pace_words(pace: Mapping[str, Any] | None) -> Iterator[str]:
    """How fast its stage goes, and until when at that rate."""
    if pace is None or pace["per_minute"] is None:
        return
    yield f"{pace['per_minute']:g} a minute"
    if pace["bytes_per_second"]:
        yield f"{pace['bytes_per_second'] / 1e6:,.1f} MB/s"
        yield f"{pace['bytes_done'] / 1e9:,.1f} of {pace['bytes_planned'] / 1e9:,.1f} GB"
    if pace["ends_at"]:
        ends_at = datetime.fromisoformat(pace["ends_at"]).astimezone(UTC)
        yield f"until about {ends_at:%Y-%m-%d %H:%M} UTC"


def _tell(run: Mapping[str, Any]) -> None:
    """A run as an operator reads it: where it is, what waits, and the way out."""
    flags = [name for name in ("stopped", "undoing") if run[name]]
    flags += [f"limited to {run['limit']}"] if run["limit"] else []
    _line("run", "  ".join((run["id"], run["stage"], _done(run), *flags)))
    if run["stuck_codes"]:
        _line("stuck", " ".join(run["stuck_codes"]))
    if run["undo_until"]:
        _line("undo until", run["undo_until"])
    if words := "  ".join(_pace_words(run["pace"])):
        _line("pace", words)
    for part_ in run["progress"]:
        where = part_["dataset"] or "everybody"
        _line("progress", f"{part_['stage']:<8} {where:<20} {part_['done']}/{part_['total']}")
    for left in run["left"]:
        why = "  ".join(filter(None, (left["code"], left["reason"], left["until"])))
        _line(left["state"], f"{left['id']}  {left['stage']} {left['target']}  {why}")
        _line("exit", left["exit"] or "-")
    for case in run["dsars"]:
        _line("case", f"{case['id']}  {case['status']}  {case['outcome'] or '-'}")
    for report in run["reports"]:
        _line("report", f"{report['kind']} {report['verdict'] or ''} {report['href']}")
    for exit_ in run["exits"]:
        _line("exit", f"{exit_['words']}: {exit_['command']}")


def _tell_step(step: Mapping[str, Any]) -> None:
    where = step["dataset"] if step["group"] is None else f"{step['dataset']}/{step['group']}"
    tried = f"attempt {step['attempt']}/{step['max_attempts']}"
    why = filter(None, (step["code"], step["reason"], step["next_at"], step["lease_owner"]))
    _line(step["state"], "  ".join((step["id"], step["stage"], where, tried, *why)))
    if step["exit"]:
        _line("exit", step["exit"])


def _line(name: str, text: str) -> None:
    OUT.print(f"{name:<12} {text}", markup=False, soft_wrap=True)
