"""`clearlake run replay`: after a restore, before the lake serves again.

Talks to the database, not to the API, which may be down after a restore. The workers do it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.display import ERR, OUT, print_json
from app.cli.times import since_of
from app.domain.runs import Stage
from app.domain.steps import StepState

if TYPE_CHECKING:
    from app.services.parts import Parts
    from app.services.replay import Requested, Standing

PENDING, PARKED = 4, 5
_LOOK_AGAIN = 1.0
"""Seconds."""


def replay(
    since: Annotated[
        str,
        typer.Option(help="When the backup was made, e.g. 2026-11-20T03:00Z; without a zone UTC."),
    ],
    wait: Annotated[
        bool, typer.Option(help="Until it is done; `--no-wait` only asks the workers for it.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Erase again whoever a restored backup brought back. Let the lake serve after exit code 0.

    4: something waits (a lock, a hold). 5: a person must look (a case whose digests have ended, a
    value that is active again, an object that cannot be read, a step that is parked).
    Needs CLEARLAKE_DATABASE_URL and CLEARLAKE_KEYS_URI, and workers that run.
    """
    from app import wiring  # only here: the commands beside this one talk HTTP alone
    from app.services import replay as service
    from app.services.actors import OPERATOR

    at = since_of(since)
    settings = wiring.settings_of()
    parts = wiring.service_parts(settings, ring=wiring.bell_of(settings))
    with closing(parts.database):
        with parts.database.transaction() as tx:
            asked = service.request(OPERATOR, tx, since=at)
        _warn(asked)
        if wait:
            ERR.print("A worker looks through the whole lake; Ctrl-C leaves that to it.")
        done = _over(parts, asked.step_id, time.sleep) if wait else _now(parts, asked.step_id)
    _show(asked, done, as_json=as_json)
    return _code(asked, done) if wait else (PARKED if asked.lost else 0)


def _now(parts: Parts, step_id: str) -> Standing:
    from app.services import replay as service

    with parts.database.transaction() as tx:
        return service.standing(tx, step_id=step_id)


def _over(parts: Parts, step_id: str, sleep: Callable[[float], None]) -> Standing:
    while not (seen := _now(parts, step_id)).is_over:
        sleep(_LOOK_AGAIN)
    return seen


def _warn(asked: Requested) -> None:
    for dsar_id in asked.lost:
        ERR.print(f"{dsar_id}: its digests have ended; open a new case for this person.")


def _show(asked: Requested, done: Standing, *, as_json: bool) -> None:
    if as_json:
        print_json({"schema": "clearlake.replay/1", **asdict(asked), **asdict(done)})
        return
    OUT.print(f"{asked.erased} cases were erased since then.", markup=False)
    if done.state is not StepState.DONE:
        OUT.print(f"The replay is {done.state.value} ({asked.step_id}).", markup=False)
        return
    OUT.print(f"{done.found} were back.", markup=False)
    if done.run_id is not None:
        OUT.print(f"{done.run_id} erases them again: {done.stage}.", markup=False)
    if done.active_again:
        OUT.print(f"{done.active_again} values are active since, and stay.", markup=False)
    if done.unreadable:
        OUT.print(f"{done.unreadable} objects or files could not be read.", markup=False)


def _code(asked: Requested, done: Standing) -> int:
    looked = done.state is StepState.DONE and not done.unreadable
    if asked.lost or done.active_again or not looked or done.stage in (Stage.STUCK, Stage.UNDONE):
        return PARKED
    return PENDING if done.stage is Stage.PENDING else 0
