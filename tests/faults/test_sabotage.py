"""Whatever is done behind a run's back: no report says VERIFIED, and each says why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from app.servers import Servers
from tests.faults.effort import one_in
from tests.faults.sabotage import Judged, Lab, Sabotage, judged
from tests.faults.sabotage_buckets import BUCKETS
from tests.faults.sabotage_objects import OBJECTS
from tests.faults.sabotage_records import RECORDS
from tests.faults.sabotage_tables import TABLES
from tests.places import Place
from tests.stages.runs import Run

FOLDER = {s.name: s for s in (*OBJECTS, *TABLES, *RECORDS)}
IN_BUCKETS = {s.name: s for s in BUCKETS}


@pytest.fixture
def admin(servers: Servers) -> Iterator[Any]:
    key = servers.s3.credentials["admin"]
    client = boto3.client(
        "s3",
        endpoint_url=servers.s3.endpoint,
        region_name=servers.s3.region,
        aws_access_key_id=key.access_key,
        aws_secret_access_key=key.secret_key,
    )
    yield client
    client.close()


def _require_told(found: Judged, sabotage: Sabotage) -> None:
    assert found.verdict == sabotage.verdict, found.said
    named = [text for text in found.said if sabotage.says in text]
    assert any(text.startswith(sabotage.dataset) for text in named), found.said
    assert "usr_" not in repr(found)


def test_an_honest_run_is_verified(place_file: Place, tmp_path: Path) -> None:
    found = judged(Lab(Run(place_file, tmp_path)), None)
    assert found == Judged("VERIFIED", ())


@pytest.mark.parametrize("name", one_in(5, FOLDER))
def test_sabotage_in_a_folder_is_told(name: str, place_file: Place, tmp_path: Path) -> None:
    sabotage = FOLDER[name]
    _require_told(judged(Lab(Run(place_file, tmp_path)), sabotage), sabotage)


@pytest.mark.parametrize("name", one_in(5, IN_BUCKETS))
def test_sabotage_in_a_bucket_is_told(
    name: str, place_s3: Place, tmp_path: Path, admin: Any
) -> None:
    sabotage = IN_BUCKETS[name]
    _require_told(judged(Lab(Run(place_s3, tmp_path), admin), sabotage), sabotage)


def test_there_are_many_and_each_has_a_name_of_its_own() -> None:
    assert len(FOLDER) == len(OBJECTS) + len(TABLES) + len(RECORDS) >= 25
