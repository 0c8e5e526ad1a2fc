"""A table's properties and sort orders. Changing properties makes no snapshot.

Not here: what they should be (app.lake.table_settings).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from pyiceberg.table.update import (
    AssertTableUUID,
    RemovePropertiesUpdate,
    SetPropertiesUpdate,
)

from app.domain.errors import CommitConflictError
from app.domain.failpoints import failpoint
from app.lake.pyiceberg_engine.commits import Staged, remove_files
from app.lake.pyiceberg_engine.faults import lake_errors

ATTEMPTS = 20


def change(
    catalog: Any,
    load: Callable[[], Table],
    *,
    changes: Mapping[str, str | None],
    staged: Staged,
) -> None:
    """app.lake.ports.TableEngine.set_properties."""
    updates: list[Any] = []
    if new := {key: value for key, value in changes.items() if value is not None}:
        updates.append(SetPropertiesUpdate(updates=new))
    if gone := [key for key, value in changes.items() if value is None]:
        updates.append(RemovePropertiesUpdate(removals=gone))
    if not updates:
        return
    for _ in range(ATTEMPTS):
        table = load()
        requirements = (AssertTableUUID(uuid=table.metadata.table_uuid),)
        failpoint("properties.before_swap")
        staged.paths.clear()
        try:
            with lake_errors("committing to the catalog"):
                catalog.commit_table(table, requirements, tuple(updates))
        except CommitFailedException:
            remove_files(staged.paths)
            continue
        failpoint("properties.after_swap")
        return
    raise CommitConflictError("The table was changed by others at every attempt. Try again.")


def sort_sources(metadata: Any) -> tuple[str, ...]:
    """Names of the columns that any sort order is made of; one that was dropped has none."""
    sources = {f.source_id for order in metadata.sort_orders for f in order.fields}
    names = (metadata.schema().find_column_name(source) for source in sources)
    return tuple(sorted(name for name in names if name is not None))
