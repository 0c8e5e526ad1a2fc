"""The `clearlake` command: parse, call, show. Errors become one line and an exit code.

Exit codes: 0 clean, 2 usage or map, 3 findings, 4 deferred or held, 5 parked, 6 unreachable, 130.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module

import typer
from rich.console import Console

from app.client import AnswerError
from app.domain.errors import (
    AccessDeniedError,
    CheckFailedError,
    ClearlakeError,
    NotVersionedError,
    ReportInvalidError,
    StageError,
    UnsupportedTableError,
    UsageError,
)

EXIT_CODES: tuple[tuple[type[ClearlakeError], int], ...] = (
    (UsageError, 2),
    (AnswerError, 2),
    (UnsupportedTableError, 2),
    (CheckFailedError, 3),
    (ReportInvalidError, 3),
    (AccessDeniedError, 4),
    (NotVersionedError, 4),
    (StageError, 5),
    (ClearlakeError, 6),
)
"""The first class that fits decides."""
INTERRUPTED = 130

COMMANDS: Mapping[str, tuple[str, str]] = {
    "demo": ("demo", "demo"),
    "up": ("up", "up"),
    "api": ("service", "api"),
    "worker": ("service", "worker"),
    "beat": ("service", "beat"),
    "migrate": ("service", "migrate"),
    "secrets": ("secrets", "secrets"),
    "keys": ("keys", "app"),
    "dsar": ("cases", "dsars"),
    "run": ("runs", "runs"),
    "erase": ("erase", "erase"),
    "check": ("erase", "check"),
    "lake": ("lake", "app"),
    "bench": ("bench", "bench"),
    "doctor": ("doctor", "doctor"),
    "report": ("report", "app"),
}
"""Command -> where it is in this package: a function, or a group of commands."""


def application(wanted: str | None) -> typer.Typer:
    """The command with all its subcommands, or with the wanted one alone: importing what the
    others stand on takes seconds.
    """
    made = typer.Typer(
        name="clearlake",
        help="Takes a person out of an event lake, and proves it.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    made.callback()(_group)
    chosen = {n: where for n, where in COMMANDS.items() if n == wanted} or COMMANDS
    for name, (module, attribute) in chosen.items():
        found = getattr(import_module(f"app.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            made.add_typer(found, name=name)
        else:
            made.command(name)(found)
    return made


def _group() -> None:
    """Takes a person out of an event lake, and proves it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of the console script."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line and return its exit code."""
    typed = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = application(typed[0] if typed else None)(args=typed, standalone_mode=False)
    except typer.Exit as stop:
        return stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _interrupted()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ClearlakeError as err:
        _say(f"{err} [{err.code}]")
        return next(code for kind, code in EXIT_CODES if isinstance(err, kind))
    except typer.TyperException as err:
        _say(_without_values(err.format_message(), typed))
        return 2
    if code == INTERRUPTED:  # what typer makes of Ctrl-C
        return _interrupted()
    return code if isinstance(code, int) else 0


def _interrupted() -> int:
    _say("Interrupted. Nothing is lost: the same command again goes on from here.")
    return INTERRUPTED


def _without_values(message: str, arguments: Sequence[str]) -> str:
    """The parser's message; what was typed and is no plain word or option may be an identifier."""
    for value in sorted(arguments, key=len, reverse=True):
        if not value.startswith("-") and not value.isalpha():
            message = message.replace(value, "...") if value else message
    return message


def _say(text: str) -> None:
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(text)
