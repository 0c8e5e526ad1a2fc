"""Tables as they were read: a metadata.json never changes, so each is fetched and parsed once.

Of the catalogs that hold a pointer to it (sql, glue), which is still asked for every time; a REST
server sends the metadata itself.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any

from pyiceberg.table import Table

_AT_MOST = 32
"""Tables kept. A run looks at one table many times, and at few at once."""


def remember_tables(catalog: Any) -> None:
    """Let the catalog's client give a table again while its pointer is the same."""
    for method, key in (
        ("_convert_orm_to_iceberg", _of_sql),
        ("_convert_glue_to_iceberg", _of_glue),
    ):
        if hasattr(catalog, method):
            setattr(catalog, method, _remembering(getattr(catalog, method), key))


def _of_sql(row: Any) -> Hashable:
    return (row.table_namespace, row.table_name, row.metadata_location)


def _of_glue(row: Any) -> Hashable:
    location = row.get("Parameters", {}).get("metadata_location")
    return (row.get("DatabaseName"), row.get("Name"), location)


def _remembering(convert: Callable[..., Table], key: Callable[[Any], Hashable]) -> Any:
    known: OrderedDict[Hashable, Table] = OrderedDict()

    def converted(*positional: Any, **named: Any) -> Table:
        [row] = (*positional, *named.values())
        place = key(row)
        table = known.get(place)
        if table is None:
            table = known[place] = convert(row)
            while len(known) > _AT_MOST:
                with suppress(KeyError):  # another thread was faster
                    known.popitem(last=False)
        # Whoever commits changes the table in hand; what is kept stays as it was read.
        return copy.copy(table)

    return converted
