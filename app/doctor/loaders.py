"""What the map says of loaders, and what becomes of it when their objects are rewritten.

Not here: the gate that a loader calls.
"""

from __future__ import annotations

from collections.abc import Iterator

from app.domain.datasets import DataMap, Dataset


def loader_advice(data_map: DataMap) -> dict[str, str]:
    """Dataset -> what to do, where a rewritten object would be loaded a second time."""
    return {dataset.name: advice for dataset in data_map.bronze for advice in _advice(dataset)}


def _advice(dataset: Dataset) -> Iterator[str]:
    loader = dataset.loader
    live = loader.get("kind", "none") != "none"
    if live and "dedupe_by" not in loader and "acknowledged" not in loader:
        yield (
            f"Its loader ({loader['kind']}) takes a rewritten object for a new one. Say what it "
            "dedupes by (`dedupe_by: event_id`), or `acknowledged` with who looked at it; let it "
            "skip objects whose metadata has clearlake-run."
        )
