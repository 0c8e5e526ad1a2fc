"""What is said of loaders: of each that listens, how it leaves our rewriting alone."""

from __future__ import annotations

import pytest

from app.domain.loaders import KINDS, loader_advice
from app.lake.datamap import parse_map

HEAD = "version: 1\ndatasets:\n"


def advice(loader: str) -> list[str]:
    text = f" - {{name: d, layer: bronze, location: 's3://bkt/d/'{loader}}}\n"
    parsed = parse_map(HEAD + text, source="lake.yaml", environment={})
    return [said for dataset in parsed.bronze for said in loader_advice(dataset)]


def test_where_nobody_listens_nothing_is_said() -> None:
    assert advice(", loader: {kind: none}") == []


def test_where_the_map_is_silent_it_is_asked() -> None:
    (said,) = advice("")
    assert said.startswith("The map does not say who loads it")


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "none"])
def test_of_each_kind_it_is_said_how_it_leaves_rewritten_objects_out(kind: str) -> None:
    (said,) = advice(f", loader: {{kind: {kind}, dedupe_by: event_id}}")
    assert said.startswith("Its loader: ")
    assert "clearlake-run" in said or "clearlake lake rewritten" in said
    _, warned = advice(f", loader: {{kind: {kind}, acknowledged: true}}")
    assert "no dedupe_by" in warned


def test_a_replica_is_loaded_by_nobody() -> None:
    assert advice(", loader: {kind: none}, replicas: ['s3://other/d/']") == []
