"""Who else reads new objects of a dataset, and what our rewriting does to them.

A replacement is a new version: it fires events and moves LastModified. Not here: reading the map
(app.lake.datamap), which objects were rewritten (app.lake.rewritten).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from app.domain.datasets import Dataset

NOBODY = "none"
KINDS = (NOBODY, "s3_event", "glue_bookmark", "mtime", "manifest")

_HOW: Mapping[str, str] = MappingProxyType(
    {
        "s3_event": "each rewritten object fires an event. Let the function that hears it ask for "
        "the object's metadata, and leave an object alone that has clearlake-run.",
        "glue_bookmark": "a bookmark takes a rewritten object for a new one, by its LastModified. "
        "Exclude what `clearlake lake rewritten` lists since the last load.",
        "mtime": "a rewritten object looks new, by its LastModified. Leave out what "
        "`clearlake lake rewritten` lists since the last load.",
        "manifest": "a manifest that names versions or ETags names superseded ones after a run. "
        "Make it anew once the run is closed, without what `clearlake lake rewritten` lists.",
    }
)

_SILENT = (
    "The map does not say who loads it. Declare loader: {kind: none} if nothing reads new objects, "
    "else its kind and dedupe_by."
)


def loads_twice(loader: Mapping[str, str]) -> bool:
    """Whether a live loader would load the lines of a rewritten object a second time, with nothing
    that tells the two apart.
    """
    return loader.get("kind", NOBODY) != NOBODY and "dedupe_by" not in loader


def is_acknowledged(loader: Mapping[str, str]) -> bool:
    """Whether somebody has said in the map that this is known."""
    return loader.get("acknowledged") == "true"


def loader_advice(dataset: Dataset) -> list[str]:
    """What to do about the loader of a dataset, a sentence each; none where nobody listens, or
    where the dataset is a replica.
    """
    loader = dataset.loader
    if dataset.replica_of or loader.get("kind") == NOBODY:
        return []
    if not loader:
        return [_SILENT]
    said = [f"Its loader: {_HOW[loader['kind']]}"]
    if loads_twice(loader):
        said.append(
            "Nothing tells a line loaded twice from another (no dedupe_by). That was "
            "acknowledged: a loader that does not leave rewritten objects out makes every row of "
            "theirs double."
        )
    return said
