"""What a purger may destroy, without any store."""

from __future__ import annotations

import pytest

from app.domain.errors import PurgeRefusedError
from app.lake.warrant import Warrant


def test_the_number_an_hour_holds_and_comes_back_with_time() -> None:
    now = [0.0]
    warrant = Warrant(["s3://b/raw"], per_hour=2, clock=lambda: now[0])
    versions = [("s3://b/raw/a", str(n)) for n in range(5)]
    warrant.allow(versions)
    warrant.require_version(*versions[0])
    now[0] = 1800
    warrant.require_version(*versions[1])
    with pytest.raises(PurgeRefusedError):
        warrant.require_version(*versions[2])
    now[0] = 3601
    warrant.require_version(*versions[2])
    with pytest.raises(PurgeRefusedError):
        warrant.require_version(*versions[3])


@pytest.mark.parametrize("uri", ["s3://b/raw", "s3://b/raw-archive/a", "s3://b2/raw/a", "/b/raw/a"])
def test_a_neighbour_of_the_prefix_is_outside(uri: str) -> None:
    warrant = Warrant(["s3://b/raw"], per_hour=2, clock=lambda: 0.0)
    warrant.allow([(uri, "v")])
    with pytest.raises(PurgeRefusedError):
        warrant.require_version(uri, "v")


def test_no_prefix_means_nothing_may_go() -> None:
    warrant = Warrant([], per_hour=2, clock=lambda: 0.0)
    warrant.allow([("s3://b/raw/a", "v")])
    with pytest.raises(PurgeRefusedError):
        warrant.require_version("s3://b/raw/a", "v")
