"""`clearlake erase` and `clearlake check`: the offline run from the command line, without a server.

Parse, call, show; what happens is in app.offline.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from app import wiring
from app.audit.canonical import canonical_bytes
from app.audit.keys import KeyStore
from app.audit.signing import write_signed
from app.cli.display import ERR, OUT, print_json, progress, table
from app.domain.errors import IdentifierTooWeakError, UsageError
from app.domain.findings import Finding, Verdict, What
from app.domain.identifiers import Kind, Subject, named_subjects
from app.domain.plans import Plan
from app.domain.reports import Outcome
from app.offline.journal import StateFolder
from app.offline.run import Ended, Ending, OfflineRun, Request
from app.stages.search import search_lake
from app.wiring import lakes

Values = list[str] | None
MapOption = Annotated[Path, typer.Option("--map", help="The data map, lake.yaml.")]
UserOption = Annotated[Values, typer.Option("--user-id", help="A user_id. May be repeated.")]
AnonOption = Annotated[Values, typer.Option("--anon-id", help="An anon_id. May be repeated.")]
DeviceOption = Annotated[
    Values, typer.Option("--device-fp", help="A device_fp, with one user_id or one anon_id.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


class SharedReview(StrEnum):
    """What to do with shared values that the map leaves to a person."""

    TOMBSTONE = "tombstone"
    KEEP = "keep"


class Unparsable(StrEnum):
    """What to do with a line that cannot be parsed and holds an identifier."""

    PARK = "park"
    DROP = "drop"


def erase(
    lake_map: MapOption,
    user_id: UserOption = None,
    anon_id: AnonOption = None,
    device_fp: DeviceOption = None,
    report: Annotated[Path, typer.Option(help="Where the signed report goes.")] = Path(
        "clearlake-report.json"
    ),
    state: Annotated[
        Path | None, typer.Option(help="Keys and journal. Default: clearlake-state by the report.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Carry the plan out.")] = False,
    confirm: Annotated[
        str | None, typer.Option(help="Carry the plan out if this is its digest.")
    ] = None,
    purge_now: Annotated[
        bool, typer.Option("--purge-now", help="Do not wait for the undo window.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Put the open run's bytes back.")] = False,
    shared_review: Annotated[
        SharedReview | None, typer.Option(help="For shared values the map leaves to a person.")
    ] = None,
    unparsable: Annotated[
        Unparsable | None, typer.Option(help="Instead of what the map says of broken lines.")
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Take people out of the lake: plan, erase, check, purge, verify, report.

    Without --yes or --confirm it prints the plan and changes nothing.
    """
    if not report.absolute().parent.is_dir():
        raise UsageError(f"--report: {report.parent} is no folder. Make it first.")
    request = Request(
        subjects=named_subjects(
            user_ids=user_id or (), anon_ids=anon_id or (), device_fps=device_fp or ()
        ),
        report=report,
        purge_now=purge_now,
        shared_review=shared_review.value if shared_review else None,
    )
    with _run(
        request,
        lake_map,
        state=state or report.parent / "clearlake-state",
        unparsable=unparsable,
    ) as run:
        if undo:
            return _show_ended(run.undo(), as_json=as_json)
        if not run.is_open:
            plan, identities = run.plan()
            if not yes and confirm is None:
                return _show_plan(plan, as_json=as_json)
            run.start(plan, identities, confirmed=confirm)
        return _show_ended(run.go(), as_json=as_json)


@contextmanager
def _run(
    request: Request, lake_map: Path, *, state: Path, unparsable: Unparsable | None
) -> Iterator[OfflineRun]:
    """The run of this command, its lake, state folder and progress open."""
    settings = wiring.settings_of()
    data_map = lakes.data_map_of(lake_map)
    if unparsable is not None:
        data_map = replace(data_map, unparsable=unparsable.value)
    with ExitStack() as closing:
        folder = StateFolder(state)
        closing.callback(folder.close)
        doors = closing.enter_context(lakes.lake_doors(settings, data_map))
        say = closing.enter_context(progress())
        run = OfflineRun(
            request,
            data_map=data_map,
            doors=doors,
            state=folder,
            say=say,
            keys=settings.key_folder,
        )
        closing.callback(run.close)
        yield run


def _show_plan(plan: Plan, *, as_json: bool) -> int:
    if as_json:
        print_json({"schema": "clearlake.plan/1", **asdict(plan)})
        return 0
    table(
        "Who",
        ["subject", "user_id", "anon_id", "device_fp", "derived", "shared"],
        [
            [s.name, *(s.identifiers.get(kind.value, 0) for kind in Kind), len(s.shared)]
            for s in plan.subjects
        ],
    )
    table(
        "Where",
        ["layer", "dataset", "treatment", "objects", "versions", "bytes", "rows", "snapshots"],
        [
            [d.layer, d.name, d.treatment, d.objects, d.versions, d.bytes, d.rows, d.snapshots]
            for d in plan.datasets
        ],
    )
    for subject in plan.subjects:
        for note in subject.sources:
            OUT.print(f"{subject.name}: {note}", markup=False)
        for shared in subject.shared:
            OUT.print(
                f"{subject.name}: a {shared.kind} shared by {shared.users} users: "
                f"{shared.decision}",
                markup=False,
            )
    OUT.print(f"\nplan {plan.digest}", markup=False)
    OUT.print("Nothing was changed. Run it again with --yes, or with --confirm and this digest.")
    return 0


_OUTCOME_CODES = {
    Outcome.FULFILLED: 0,
    Outcome.FULFILLED_WITH_WITHHELD: 0,
    Outcome.NOT_FOUND: 0,
    Outcome.PENDING_RETENTION: 4,
    Outcome.ON_HOLD: 4,
}


def outcome_code(outcome: Outcome) -> int:
    """The exit code of an outcome."""
    return _OUTCOME_CODES.get(outcome, 5)


def exit_code(ended: Ended) -> int:
    """The exit code of a run: what is left decides."""
    if ended.ending is Ending.UNDONE:
        return 0
    if ended.ending is Ending.WAITING:
        return 4
    if ended.ending is Ending.STUCK or ended.written is None:
        return 3
    if ended.written.verdict is Verdict.FAILED:
        return 3
    return outcome_code(ended.written.outcome)


def _show_ended(ended: Ended, *, as_json: bool) -> int:
    code = exit_code(ended)
    if as_json:
        print_json(
            {
                "schema": "clearlake.erase/1",
                "ending": ended.ending.value,
                "run_id": ended.run_id,
                "exit_code": code,
                "until": ended.until.isoformat() if ended.until else None,
                "verdict": ended.written.verdict.value if ended.written else None,
                "outcome": ended.written.outcome.value if ended.written else None,
                "reports": [str(p) for p in ended.written.reports] if ended.written else [],
                "datasets": ended.written.rows if ended.written else [],
                "findings": [_finding_row(f) for f in ended.findings],
                "seconds": {k: round(v, 3) for k, v in ended.seconds.items()},
            }
        )
        return code
    if ended.ending is Ending.UNDONE:
        OUT.print("Undone: every superseded byte was put back; nothing had been destroyed.")
    elif ended.ending is Ending.WAITING:
        OUT.print(
            f"Erased and checked. Nothing is destroyed until {ended.until:%Y-%m-%d %H:%M:%S} UTC: "
            "--undo puts everything back until then, and the same command after it purges and "
            "verifies. --purge-now does so at once."
        )
    elif ended.written is None:
        ERR.print("Stopped before anything was destroyed: a replacement is not what it should be.")
        show_findings(ended.findings)
        ERR.print("--undo puts everything back.")
    else:
        show_rows(ended.written.rows)
        OUT.print(f"\n{ended.written.verdict.value}, {ended.written.outcome.value}", markup=False)
        for path in ended.written.reports:
            OUT.print(f"report  {path}", markup=False, soft_wrap=True)
        OUT.print(
            f"verify  clearlake report verify {ended.written.reports[0]} "
            f"--key {ended.written.public_key}",
            markup=False,
            soft_wrap=True,
        )
    return code


ROW_COLUMNS = (
    "layer", "name", "read", "changed", "before", "deleted", "tombstoned", "co_owned", "after",
    "versions_purged", "files_purged", "findings",
)  # fmt: skip


def show_rows(rows: Sequence[dict[str, object]]) -> None:
    """The table at the end of a run, a line a dataset."""
    shown = [[row[c] for c in ROW_COLUMNS] for row in rows]
    table("", [c.replace("_", " ") for c in ROW_COLUMNS], shown)


def show_findings(findings: Sequence[Finding]) -> None:
    """Findings by place, a line each; nothing when there are none."""
    if not findings:
        return
    table(
        "Findings",
        ["what", "layer", "dataset", "place", "count", "detail"],
        [[f.what.value, f.layer, f.dataset, f.place, f.count, f.detail] for f in findings],
    )


def _finding_row(finding: Finding) -> dict[str, object]:
    shown = ("what", "layer", "dataset", "place", "detail", "subject", "count")
    return {name: getattr(finding, name) for name in shown}


def check(
    lake_map: MapOption,
    user_id: UserOption = None,
    anon_id: AnonOption = None,
    device_fp: DeviceOption = None,
    report: Annotated[
        Path | None, typer.Option(help="Write the answer here, signed by CLEARLAKE_KEYS_URI.")
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Is this person (still) in the lake, and where? Read-only, any time. Exit 3 when found."""
    subjects = _searched(user_id or [], anon_id or [], device_fp or [])
    settings = wiring.settings_of()
    if report is not None and settings.key_folder is None:
        raise UsageError("--report: set CLEARLAKE_KEYS_URI to the folder of the signing key.")
    data_map = lakes.data_map_of(lake_map)
    with lakes.lake_doors(settings, data_map) as doors, progress() as say:
        found = search_lake(subjects, data_map=data_map, doors=doors, say=say)
    left = [f for f in found.findings if f.what is not What.NOTE]
    document = {
        "schema": "clearlake.check/1",
        "found": bool(left),
        "findings": [_finding_row(f) for f in found.findings],
        "read": {name: asdict(seen) for name, seen in found.seen.items()},
    }
    if report is not None and settings.key_folder is not None:
        signer = KeyStore.open(settings.key_folder).signer()
        write_signed(report, canonical_bytes(document), signer=signer)
    if as_json:
        print_json(document)
    else:
        show_findings(found.findings)
        OUT.print("Found." if left else "Not found in the declared places.", markup=False)
    return 3 if left else 0


def _searched(users: list[str], anons: list[str], devices: list[str]) -> tuple[Subject, ...]:
    try:
        return named_subjects(user_ids=users, anon_ids=anons, device_fps=devices)
    except IdentifierTooWeakError as err:
        raise UsageError(str(err)) from err
