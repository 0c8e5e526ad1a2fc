"""Stands to put workers through faults on, and how far to go."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.effort import Effort, effort_of_environment
from tests.faults.stands import Stands
from tests.faults.zygote import Zygote
from tests.places import S3Doors


@pytest.fixture(scope="session")
def effort() -> Effort:
    return effort_of_environment()


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture(scope="session")
def stands(
    s3_doors: S3Doors,
    database_template: str,
    zygote: Zygote,
    tmp_path_factory: pytest.TempPathFactory,
) -> Stands:
    return Stands(s3_doors, database_template, zygote, tmp_path_factory.mktemp("stands"))
