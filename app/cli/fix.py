"""`clearlake lake fix`: the settings of the map's tables, shown, changed and changed back.

Not here: what they should be, and where the old ones are kept (app.lake.table_fixes).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from app import wiring
from app.cli.display import OUT, print_json, table
from app.domain.errors import UsageError
from app.lake import table_fixes
from app.lake.table_fixes import Change
from app.wiring import lakes


def fix(
    lake_map: Annotated[Path, typer.Option("--map", help="The data map of the lake.")],
    apply: Annotated[bool, typer.Option("--apply", help="Change them; keeps the old.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Put the kept old ones back.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Show which settings of the tables keep an erasure from them; --apply changes them.

    Makes no snapshot. Needs the right to write metadata (CLEARLAKE_ERASE_S3_...).
    """
    if apply and undo:
        raise UsageError("--apply or --undo, not both.")
    settings = wiring.settings_of()
    data_map = lakes.data_map_of(lake_map)
    engine = lakes.table_engine(settings, data_map, role="erase")
    if engine is None:
        raise UsageError(f"{lake_map}: the map names no catalog.")
    with closing(engine):
        if undo:
            changes = table_fixes.recorded(engine, data_map)
            table_fixes.undo(engine, changes)
        else:
            changes = table_fixes.differences(engine, data_map)
            if apply:
                table_fixes.apply(engine, changes)
    _show(changes, changed=apply or undo, as_json=as_json)


def _show(changes: Sequence[Change], *, changed: bool, as_json: bool) -> None:
    rows = [(c.table, c.key, c.old or "not set", _new(c)) for c in changes]
    if as_json:
        names = ("table", "key", "old", "new", "left_to_others")
        found = [(c.table, c.key, c.old, c.new, c.by_others) for c in changes]
        items = [dict(zip(names, item, strict=True)) for item in found]
        print_json({"schema": "clearlake.fix/1", "changed": changed, "changes": items})
        return
    if not rows:
        OUT.print("Nothing to change.", markup=False)
        return
    table("Changed" if changed else "To change", ("table", "setting", "old", "new"), rows)
    if not changed:
        OUT.print("\nNothing was changed. The same with --apply changes it.", markup=False)


def _new(change: Change) -> str:
    if change.by_others:
        return "left as it is: others set it since"
    return change.new or "not set"
