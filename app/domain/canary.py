"""A canary: a run whose first pass goes over one dataset, or one folder of it, and no further.

Pure. Not here: beginning such a run and widening it to the whole lake (app.services.canaries).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from app.domain.datasets import DataMap
from app.domain.errors import DataMapError
from app.domain.findings import Finding, What

_FOLDERS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_=.:-]*(/[A-Za-z0-9_][A-Za-z0-9_=.:-]*)*")
LONGEST = 100


@dataclass(frozen=True, slots=True)
class Limit:
    """What a pass goes over. `partition`: a folder below the dataset's location, such as
    `event_dt=2026-11-01`; None: the whole dataset.
    """

    dataset: str
    partition: str | None = None

    def __str__(self) -> str:
        return self.dataset if self.partition is None else f"{self.dataset}/{self.partition}"


def is_folder(partition: str) -> bool:
    """Whether a text can be a partition of a dataset of objects."""
    return len(partition) <= LONGEST and _FOLDERS.fullmatch(partition) is not None


def narrowed(data_map: DataMap, limit: Limit | None) -> DataMap:
    """The map with the limit's dataset narrowed to its folder. DataMapError: the map has no such
    dataset, it is the identity table, or only a part of a table was asked for.
    """
    if limit is None:
        return data_map
    found = next((d for d in data_map.datasets if d.name == limit.dataset), None)
    if found is None:
        raise DataMapError(
            f"{data_map.source}: it has no dataset that is called as the run's limit says. Undo "
            "the run, then begin one with a name of the map."
        )
    if found.is_identity:
        raise DataMapError(
            f"{data_map.at(found.name)}: the identity table is the only map of the person, so it "
            "goes last and never alone. Undo the run, then limit one to another dataset."
        )
    if limit.partition is None:
        return data_map
    if found.location is None:
        raise DataMapError(
            f"{data_map.at(found.name)}: a table is erased as a whole, so a run cannot be limited "
            "to a part of it. Undo the run, then limit one to the table, or to objects."
        )
    smaller = replace(found, location=f"{found.location}{limit.partition}/")
    datasets = tuple(smaller if d is found else d for d in data_map.datasets)
    return replace(data_map, datasets=datasets)


def only(data_map: DataMap, limit: Limit | None) -> DataMap:
    """The map with nothing but what the limit names."""
    if limit is None:
        return data_map
    kept = tuple(d for d in narrowed(data_map, limit).datasets if d.name == limit.dataset)
    return replace(data_map, datasets=kept)


def untouched(data_map: DataMap, limit: Limit | None) -> Iterator[Finding]:
    """What a limited pass did not look at: the report lists it, and says PARTIAL because of it."""
    if limit is None:
        return
    for dataset in data_map.datasets:
        if dataset.name != limit.dataset:
            place = "the whole dataset"
        elif limit.partition is not None:
            place = f"everything but {limit.partition}"
        else:
            continue
        layer, detail = dataset.layer.value, "the run was limited to a part of the lake"
        yield Finding(What.UNTOUCHED, layer, dataset.name, place, detail)
    detail = "the run was limited to a part of the lake"
    yield Finding(What.UNTOUCHED, "", "beside the declared places", "the whole of it", detail)
