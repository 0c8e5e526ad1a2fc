"""To which part of the lake a run is limited, as it is written down and checked before it begins.

Not here: what a limit means for a map (app.domain.canary), beginning and widening a run
(app.services.runs).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from app.domain.canary import Limit, is_folder
from app.domain.errors import InvalidFieldsError
from app.services.parts import Transaction
from app.services.previews import made_scope
from app.store import dsars as cases
from app.store.runs import LIMIT


def limit_in(facts: Mapping[str, str]) -> Limit | None:
    """To what a run is limited now; None: to nothing."""
    said = facts.get(LIMIT, "")
    return msgspec.json.decode(said, type=Limit) if said else None


def limit_facts(limit: Limit | None) -> dict[str, str]:
    """What a run keeps of it."""
    return {} if limit is None else {LIMIT: msgspec.json.encode(limit).decode()}


def require_known(tx: Transaction, dsar_id: str, limit: Limit) -> None:
    """InvalidFieldsError: the scope of this case, as it was approved, has no such dataset, or only
    a part of a table is asked for. What only the map knows, the run finds out before it begins.
    """
    scope = cases.scope_of(tx, dsar_id)
    if scope is None:
        return
    known = {d.name: d for d in made_scope(scope).datasets}
    if limit.dataset not in known:
        names = ", ".join(sorted(known))
        raise InvalidFieldsError(
            "The map has no such dataset.", fields={"body.limit.dataset": f"one of: {names}"}
        )
    if limit.partition is None:
        return
    if known[limit.dataset].rows is not None:
        what = "absent: a table is erased as a whole, only objects can be limited to a folder"
        raise InvalidFieldsError("A table has no folder.", fields={"body.limit.partition": what})
    if not is_folder(limit.partition):
        what = "a folder below the dataset's location, such as event_dt=2026-11-01"
        raise InvalidFieldsError("No such folder.", fields={"body.limit.partition": what})
