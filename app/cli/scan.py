"""`clearlake lake scan`: what the map leaves out, and lines to add to it. Changes nothing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from app import wiring
from app.cli.display import OUT, print_json, progress, table
from app.stages.survey import Survey, survey
from app.wiring import lakes


def scan(
    lake_map: Annotated[Path, typer.Option("--map", help="The data map of the lake.")],
    people: Annotated[
        int, typer.Option(min=1, help="How many people of the identity table to look for.")
    ] = 200,
    suggest: Annotated[bool, typer.Option(help="Print lines to add to the map.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> int:
    """Tables, places and columns that the map does not declare. Read-only. Exit 3 when found."""
    settings = wiring.settings_of()
    data_map = lakes.data_map_of(lake_map)
    with lakes.lake_doors(settings, data_map) as doors, progress() as say:
        found = survey(data_map, doors=doors, people=people, say=say)
    if as_json:
        print_json({"schema": "clearlake.scan/1", "clean": found.is_clean, **asdict(found)})
    else:
        _show(found)
        if suggest:
            _show_lines(found)
    return 0 if found.is_clean else 3


def _show(found: Survey) -> None:
    OUT.print(f"Looked for the identifiers of {found.people:,} people.", markup=False)
    rows = [["table", name, ""] for name in found.tables]
    rows += [["place", place, ""] for place in found.places]
    rows += [
        ["column", f"{h.dataset}: {h.path}", f"{h.kind.value}, {h.count:,} times"]
        for h in found.columns
    ]
    if rows:
        table("Not declared", ["what", "where", "held"], rows)
    else:
        OUT.print("Everything that was found is declared.")


def _show_lines(found: Survey) -> None:
    for name, lines in found.suggestions.items():
        OUT.print(f"\n# {'new' if name == 'datasets' else 'add to the dataset'} {name}:")
        for line in lines:
            OUT.print(f"  {line}", markup=False, soft_wrap=True)
