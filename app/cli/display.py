"""Progress and tables on a terminal. Progress goes to stderr, results to stdout; --json is one
document. Shows names of datasets and counts, never a value.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from app.domain.progress import Say

ERR = Console(stderr=True, highlight=False)
OUT = Console(highlight=False)


def print_json(document: Mapping[str, Any]) -> None:
    """The one document of a `--json` command, flushed so that a reader behind a pipe has it."""
    sys.stdout.write(json.dumps(document, indent=1, default=str) + "\n")
    sys.stdout.flush()


@contextmanager
def progress() -> Iterator[Say]:
    """A bar for each stage and dataset; without a terminal, a line when one is finished."""
    if not ERR.is_terminal:
        yield _say_lines()
        return
    with Progress(
        TextColumn("{task.fields[stage]:<8}"),
        TextColumn("{task.description:<14}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=ERR,
    ) as bars:
        tasks: dict[tuple[str, str], Any] = {}

        def say(stage: str, dataset: str, done: int, total: int) -> None:
            if (stage, dataset) not in tasks:
                tasks[stage, dataset] = bars.add_task(dataset, total=total, stage=stage)
            bars.update(tasks[stage, dataset], completed=done, total=total)

        yield say


def _say_lines() -> Say:
    finished: set[tuple[str, str]] = set()

    def say(stage: str, dataset: str, done: int, total: int) -> None:
        if done >= total and (stage, dataset) not in finished:
            finished.add((stage, dataset))
            ERR.print(f"{stage:<8} {dataset:<14} {done}/{total}", markup=False)

    return say


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout: text to the left, numbers to the right, a thousand as 1,000."""
    shown = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 1))
    for n, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[n], int | float) for row in rows)
        shown.add_column(name, justify="right" if numeric else "left", no_wrap=True)
    for row in rows:
        shown.add_row(*(_cell(value) for value in row))
    wide = Console(highlight=False, width=max(OUT.width, 150), soft_wrap=True)
    wide.print(shown)


def near(path: Path) -> Path:
    """The path as one would type it from here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _cell(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return "-" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
